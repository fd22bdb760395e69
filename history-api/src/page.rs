//! S3. Pages: limits, opaque cursors, and the link to the next one.
//!
//! A cursor is base64url of a kind byte and fixed-width numbers: short, and nothing a client should take apart.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::{ConversationId, Encoding, ErrorCode, MessageId, Millis, Pos};
use serde::Serialize;
use store::{ActivityCursor, MessageRange};

use crate::error::ApiError;

/// Items of a page unless asked for otherwise (contract, section 6).
pub(crate) const LIMIT_DEFAULT: usize = 50;

const CONVERSATIONS: u8 = 1;
const BEFORE: u8 = 2;
const AFTER: u8 = 3;

/// The pairs of a query; unknown ones are ignored, of a repeated one the first counts.
pub(crate) struct Parameters(pub(crate) Vec<(String, String)>);

impl Parameters {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `limit`: a larger one than `most` is `most`.
    pub(crate) fn limit(&self, most: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(LIMIT_DEFAULT) };
        match text.parse::<u64>() {
            Ok(limit) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(most).min(most)),
            _ => Err(ApiError::bad_parameter("limit", "must be a whole number from 1 on")),
        }
    }
}

fn bad_cursor() -> ApiError {
    ApiError::plain(ErrorCode::CursorInvalid)
}

fn write(kind: u8, number: u64, conversation: ConversationId) -> String {
    let mut bytes = vec![kind];
    bytes.extend(number.to_be_bytes());
    bytes.extend(conversation.0.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read(text: &str) -> Option<(u8, u64, ConversationId)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (kind, rest) = bytes.split_first()?;
    let (number, conversation) = rest.split_at_checked(size_of::<u64>())?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    Some((*kind, number, ConversationId(u128::from_be_bytes(conversation.try_into().ok()?))))
}

pub(crate) fn write_activity(cursor: ActivityCursor) -> String {
    write(CONVERSATIONS, cursor.at.0, cursor.conversation)
}

pub(crate) fn read_activity(text: &str) -> Result<ActivityCursor, ApiError> {
    match read(text) {
        Some((CONVERSATIONS, at, conversation)) => Ok(ActivityCursor { at: Millis(at), conversation }),
        _ => Err(bad_cursor()),
    }
}

/// Which messages: those before or after one, or where a cursor goes on. A client may leave in the query what gave it the
/// cursor.
pub(crate) fn message_range(
    parameters: &Parameters,
    conversation: ConversationId,
) -> Result<MessageRange, ApiError> {
    let id = |text: &str| {
        let id: MessageId = text.parse().map_err(|_| bad_cursor())?;
        if id.conversation == conversation { Ok(id) } else { Err(bad_cursor()) }
    };
    let first = match (parameters.get("before"), parameters.get("after")) {
        (None, None) => MessageRange::Newest,
        (Some(before), None) => MessageRange::Before(id(before)?),
        (None, Some(after)) => MessageRange::After(id(after)?),
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_parameter("after", "stands beside `before`; give one of them"));
        }
    };
    let Some(cursor) = parameters.get("cursor") else { return Ok(first) };
    let (kind, pos, of) = read(cursor).filter(|(_, _, of)| *of == conversation).ok_or_else(bad_cursor)?;
    let id = MessageId { conversation: of, pos: Pos(pos) };
    match (kind, first) {
        (BEFORE, MessageRange::Newest | MessageRange::Before(_)) => Ok(MessageRange::Before(id)),
        (AFTER, MessageRange::Newest | MessageRange::After(_)) => Ok(MessageRange::After(id)),
        (BEFORE, MessageRange::After(_)) => Err(other_way("after")),
        (AFTER, MessageRange::Before(_)) => Err(other_way("before")),
        _ => Err(bad_cursor()),
    }
}

/// A cursor beside what did not give it.
fn other_way(beside: &str) -> ApiError {
    ApiError::bad_parameter("cursor", &format!("goes the other way than `{beside}`; give one of them"))
}

/// The cursor that goes on in the direction of `range`, after these items (newest first).
pub(crate) fn next_messages(range: MessageRange, items: &[schemas::Message]) -> Option<String> {
    let (kind, message) = match range {
        MessageRange::Newest | MessageRange::Before(_) => (BEFORE, items.last()?),
        MessageRange::After(_) => (AFTER, items.first()?),
    };
    Some(write(kind, message.id.pos.0, message.id.conversation))
}

/// A JSON answer that no cache may keep.
pub(crate) fn json<T: Serialize>(body: &T) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, Encoding::Json.write(body)).into_response()
}

/// `Link: <…>; rel="next"`, where there is a next page: the same address with the cursor.
pub(crate) fn link(uri: &Uri, limit: usize, next: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(next) = next {
        let link = format!("<{}?limit={limit}&cursor={next}>; rel=\"next\"", uri.path());
        if let Ok(link) = HeaderValue::from_str(&link) {
            headers.insert(header::LINK, link);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_read_back_and_are_safe_in_a_query(at in any::<u64>(), id in any::<u128>()) {
            let cursor = ActivityCursor { at: Millis(at), conversation: ConversationId(id) };
            let text = write_activity(cursor);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            prop_assert_eq!(read_activity(&text).ok(), Some(cursor));
        }

        #[test]
        fn no_text_brings_a_panic(text in "\\PC{0,40}") {
            let _ = read_activity(&text);
            let parameters = Parameters(vec![("cursor".into(), text.clone()), ("limit".into(), text)]);
            let _ = (message_range(&parameters, ConversationId(1)), parameters.limit(10));
        }
    }

    #[test]
    fn a_cursor_may_stand_beside_what_gave_it_and_nothing_else() {
        let conversation = ConversationId(1);
        let id = |pos| MessageId { conversation, pos: Pos(pos) };
        let cursor = |kind| ("cursor".to_owned(), write(kind, 5, conversation));
        let place = |name: &str| (name.to_owned(), id(9).to_string());
        let range = |pairs: &[(String, String)]| message_range(&Parameters(pairs.to_vec()), conversation);
        assert_eq!(range(&[place("after"), cursor(AFTER)]).ok(), Some(MessageRange::After(id(5))));
        assert_eq!(range(&[place("before"), cursor(BEFORE)]).ok(), Some(MessageRange::Before(id(5))));
        for (pairs, named) in [
            ([place("after"), cursor(BEFORE)], "`cursor`: goes the other way than `after`"),
            ([place("before"), cursor(AFTER)], "`cursor`: goes the other way than `before`"),
            ([place("before"), place("after")], "`after`: stands beside `before`"),
        ] {
            let refused = format!("{:?}", range(&pairs).unwrap_err());
            assert!(refused.contains("ParameterInvalid") && refused.contains(named), "{refused}");
        }
    }

    #[test]
    fn a_cursor_of_another_list_or_conversation_is_refused() {
        let cursor = |text: String| Parameters(vec![("cursor".into(), text)]);
        let right = write(BEFORE, 5, ConversationId(1));
        assert!(message_range(&cursor(right.clone()), ConversationId(1)).is_ok());
        assert!(message_range(&cursor(right.clone()), ConversationId(2)).is_err());
        assert!(
            message_range(&cursor(write(CONVERSATIONS, 5, ConversationId(1))), ConversationId(1)).is_err()
        );
        assert!(read_activity(&right).is_err());
    }
}
