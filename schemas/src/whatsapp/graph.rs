//! O6, O7. The Graph API's `POST /{phone_number_id}/messages`: what we write, what it answers.
//!
//! A 200 means accepted, not delivered: the rest comes as status webhooks. There is no idempotency key; all that ties
//! an attempt to its statuses is `biz_opaque_callback_data`. Source: Meta's "Send messages", "Error codes".
//! Not here: what an answer means for the send (`bridge::sender::outcome`).

use serde::{Deserialize, Serialize};

use super::lenient;

/// A message to one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SendRequest<'a> {
    /// Always `whatsapp`.
    pub messaging_product: &'static str,
    /// `individual`; groups have another.
    pub recipient_type: &'static str,
    /// `+` and digits: without `+` Meta puts the *business'* country code in front. Wins over `recipient`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// BSUID or parent BSUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<&'a str>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<RequestContext<'a>>,
    /// Our message id; comes back in every status. At most 512 characters.
    pub biz_opaque_callback_data: &'a str,
    /// Type and object of it.
    #[serde(flatten)]
    pub content: RequestContent<'a>,
}

/// The message it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestContext<'a> {
    /// wamid.
    pub message_id: &'a str,
}

/// What is sent: `type` and the object under that key. More follow with the whole of WhatsApp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RequestContent<'a> {
    /// Plain text.
    Text {
        /// Its object.
        text: RequestText<'a>,
    },
}

/// Object of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestText<'a> {
    /// At most 4,096 characters.
    pub body: &'a str,
}

impl<'a> SendRequest<'a> {
    /// A text. `to` and `recipient`: at least one must be given.
    #[must_use]
    pub fn text(message: &'a str, to: Option<&'a str>, recipient: Option<&'a str>, body: &'a str) -> Self {
        Self {
            messaging_product: "whatsapp",
            recipient_type: "individual",
            to,
            recipient,
            context: None,
            biz_opaque_callback_data: message,
            content: RequestContent::Text { text: RequestText { body } },
        }
    }
}

/// Answer to a send that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SendResponse {
    /// One per message: one.
    #[serde(deserialize_with = "lenient::list")]
    pub messages: Vec<AcceptedMessage>,
}

/// An element of `messages`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AcceptedMessage {
    /// wamid.
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
}

/// Answer to anything that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// Why.
    #[serde(deserialize_with = "lenient::object")]
    pub error: Option<GraphError>,
}

/// Why the Graph API refused. Decide by `code`, not by HTTP status or title.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GraphError {
    /// Meta's code.
    #[serde(deserialize_with = "lenient::integer")]
    pub code: Option<i64>,
    /// One line.
    #[serde(deserialize_with = "lenient::text")]
    pub message: Option<String>,
    /// Meta says that it would pass if tried again.
    #[serde(deserialize_with = "lenient::text")]
    pub is_transient: Option<String>,
    /// More.
    #[serde(deserialize_with = "lenient::object")]
    pub error_data: Option<super::webhook::ErrorData>,
    /// What Meta's support asks for.
    #[serde(deserialize_with = "lenient::text")]
    pub fbtrace_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_to_a_phone_number_and_to_a_user_id() {
        let mut request = SendRequest::text("M-1", Some("+15550000002"), None, "hi");
        request.context = Some(RequestContext { message_id: "wamid.Q" });
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            json!({"messaging_product":"whatsapp","recipient_type":"individual","to":"+15550000002",
                "context":{"message_id":"wamid.Q"},"biz_opaque_callback_data":"M-1","type":"text","text":{"body":"hi"}})
        );
        let request = SendRequest::text("M-1", None, Some("US.134912"), "hi");
        let value = serde_json::to_value(&request).unwrap();
        assert_eq!((&value["recipient"], value.get("to")), (&json!("US.134912"), None));
    }

    #[test]
    fn answers_as_documented_and_as_strings() {
        let accepted: SendResponse = serde_json::from_value(
            json!({"messaging_product":"whatsapp","contacts":[{"input":"+1","wa_id":"1"}],"messages":[{"id":"wamid.X"}]}),
        )
        .unwrap();
        assert_eq!(accepted.messages[0].id.as_deref(), Some("wamid.X"));
        let refused: ErrorResponse =
            serde_json::from_value(json!({"error":{"code":"130429","message":"(#130429) Rate limit hit",
            "is_transient":true,"error_data":{"details":"too fast"}}}))
            .unwrap();
        let error = refused.error.unwrap();
        assert_eq!((error.code, error.is_transient.as_deref()), (Some(130_429), Some("true")));
        assert_eq!(error.error_data.unwrap().details.as_deref(), Some("too fast"));
        for strange in [json!({}), json!({"error":"no"}), json!({"messages":{}})] {
            assert_eq!(serde_json::from_value::<ErrorResponse>(strange.clone()).unwrap().error, None);
            assert_eq!(serde_json::from_value::<SendResponse>(strange).unwrap().messages, []);
        }
    }
}
