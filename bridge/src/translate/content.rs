//! I2. What a message is made of: kind, text, file, and Meta's object kept to the letter.
//!
//! Not here: who wrote it, fetching files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemas::message::{Kind, Media, MediaState};
use schemas::whatsapp::lenient;
use schemas::whatsapp::webhook::{Interactive, Labelled, Media as MetaMedia, Message, Text, object_of};
use serde_json::value::RawValue;

/// What a message is made of.
#[derive(Debug, PartialEq)]
pub(super) struct Content {
    pub(super) kind: Kind,
    pub(super) text: Option<String>,
    pub(super) media: Option<Media>,
    pub(super) payload: Option<String>,
}

/// Bytes of a SHA-256.
const SHA256_BYTES: usize = 32;
/// Media type of a file whose own was not given (RFC 2046, section 4.5.1).
const UNKNOWN_MIME: &str = "application/octet-stream";

pub(super) fn read(item: &RawValue, message: &Message) -> Content {
    let object = message.r#type.as_deref().and_then(|name| object_of(item, name));
    match object {
        // A group has no conversation here yet, and its message must not pass for one to us alone.
        Some(object) if message.group_id.is_none() => {
            typed(message.r#type.as_deref().unwrap_or_default(), object).unwrap_or_else(|| unsupported(item))
        }
        _ => unsupported(item),
    }
}

/// The content of a type that is known here and has what it needs; `None` otherwise.
fn typed(name: &str, object: &RawValue) -> Option<Content> {
    let content = |kind, text| Content { kind, text, media: None, payload: payload(object) };
    let words = || lenient::read::<Labelled>(object).and_then(Labelled::words);
    match name {
        "text" => {
            let text = lenient::read::<Text>(object)?.body?;
            Some(Content { kind: Kind::Text, text: Some(text), media: None, payload: None })
        }
        "image" => media(Kind::Image, object),
        "audio" => media(Kind::Audio, object),
        "video" => media(Kind::Video, object),
        "document" => media(Kind::Document, object),
        "sticker" => media(Kind::Sticker, object),
        "location" => Some(content(Kind::Location, None)),
        "contacts" => Some(content(Kind::Contacts, None)),
        "interactive" => {
            let answer: Interactive = lenient::read(object)?;
            let label = answer
                .button_reply
                .or(answer.list_reply)
                .or(answer.nfm_reply)
                .or(answer.call_permission_reply);
            Some(content(Kind::Interactive, label.and_then(Labelled::words)))
        }
        "button" => Some(content(Kind::Interactive, words())),
        "order" => Some(content(Kind::Order, words())),
        "system" => Some(content(Kind::System, words())),
        _ => None,
    }
}

fn media(kind: Kind, object: &RawValue) -> Option<Content> {
    let file: MetaMedia = lenient::read(object)?;
    Some(Content {
        kind,
        text: file.caption,
        media: Some(Media {
            id: None,
            state: MediaState::Pending,
            mime: file.mime_type.unwrap_or_else(|| UNKNOWN_MIME.to_owned()),
            size: file.file_size.and_then(|size| u64::try_from(size).ok()),
            sha256: file.sha256.as_deref().and_then(hex_of),
            name: file.filename,
            // Meta's own address is not handed on: it lives for minutes and wants the number's token.
            url: None,
        }),
        // Holds Meta's id of the file, without which it can never be fetched.
        payload: payload(object),
    })
}

/// Whatever has no kind of its own: the whole message.
fn unsupported(item: &RawValue) -> Content {
    Content { kind: Kind::Unsupported, text: None, media: None, payload: payload(item) }
}

/// The text as it came; none where it is nested so deeply that readers of our events would give up on the event.
fn payload(object: &RawValue) -> Option<String> {
    (lenient::depth(object.get()) <= lenient::DEPTH_MAX).then(|| object.get().to_owned())
}

/// Lower-case hex of a SHA-256 given as base64 (webhooks) or as hex (everywhere else).
fn hex_of(text: &str) -> Option<String> {
    if text.len() == 2 * SHA256_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(text.to_ascii_lowercase());
    }
    let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == SHA256_BYTES)?;
    Some(
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect(),
    )
}
