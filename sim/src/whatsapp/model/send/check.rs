//! O6: what Meta refuses at once: wrong token, unknown number, a body that is not a message.
//!
//! Source: Meta's "Send messages" and "Error codes". Checked is what a bridge may get wrong; the inner form of
//! interactive messages and templates is not.

use serde_json::Value;

use super::SendRequest;
use crate::whatsapp::graph_error::{INVALID_PARAMETER, MISSING_PARAMETER, PARAMETER_VALUE, TOKEN_INVALID};
use crate::whatsapp::model::{Model, people};

/// The most characters of a text message.
const TEXT_CHARS_MAX: usize = 4_096;
/// The most characters of `biz_opaque_callback_data`.
const OPAQUE_CHARS_MAX: usize = 512;
/// Every `type` that can be sent.
const TYPES: [&str; 11] = [
    "audio",
    "contacts",
    "document",
    "image",
    "interactive",
    "location",
    "reaction",
    "sticker",
    "template",
    "text",
    "video",
];

/// A refusal of Meta's kind.
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) details: String,
}

/// What a well-formed request wants.
pub(super) enum Send {
    /// `"status":"read"`, with or without a typing indicator.
    ReadMark,
    /// A message.
    Message(Outgoing),
}

/// A message to a person, as the sender gave it.
pub(super) struct Outgoing {
    /// Index of the sending number.
    pub(super) number: usize,
    /// `to` or `recipient`, as given.
    pub(super) input: String,
    /// Digits of the phone number, or the business-scoped user id.
    pub(super) to: String,
    /// Whether `to` is a user id.
    pub(super) by_user_id: bool,
    pub(super) kind: String,
    pub(super) text: Option<String>,
    pub(super) opaque: Option<String>,
}

impl Outgoing {
    /// Whose phone it reaches; the user id itself if nobody knows the number behind it.
    pub(super) fn phone<'a>(&'a self, people: &'a people::People) -> &'a str {
        if self.by_user_id { people.phone_of(&self.to).unwrap_or(&self.to) } else { &self.to }
    }
}

/// Checks in Meta's order: who asks, for what, with what.
pub(super) fn check(model: &Model, request: SendRequest<'_>, body: Option<&Value>) -> Result<Send, Refusal> {
    if !model.authorizes(request.authorization) {
        return refuse(TOKEN_INVALID, "The access token is missing or not valid.");
    }
    let number = model.numbers.iter().position(|number| number.phone_number_id == request.phone_number_id);
    let Some(number) = number else {
        let details = format!(
            "Unsupported post request. Object with ID '{}' does not exist, cannot be loaded due to missing \
             permissions, or does not support this operation.",
            request.phone_number_id
        );
        return refuse(INVALID_PARAMETER, &details);
    };
    let Some(body) = body.filter(|body| body.is_object()) else {
        return refuse(INVALID_PARAMETER, "The request body is not a JSON object.");
    };
    if text(body, "messaging_product") != Some("whatsapp") {
        return refuse(
            INVALID_PARAMETER,
            "The parameter messaging_product is required and must be 'whatsapp'.",
        );
    }
    if text(body, "status") == Some("read") {
        return match text(body, "message_id") {
            Some(id) if id.starts_with("wamid.") => Ok(Send::ReadMark),
            _ => refuse(INVALID_PARAMETER, "Invalid message_id."),
        };
    }
    message(number, body).map(Send::Message)
}

fn message(number: usize, body: &Value) -> Result<Outgoing, Refusal> {
    let (input, to, by_user_id) = recipient(body)?;
    // Meta takes a message without type for a text.
    let kind = text(body, "type").unwrap_or("text");
    if !TYPES.contains(&kind) {
        return refuse(INVALID_PARAMETER, &format!("The type '{kind}' is not one of the message types."));
    }
    let Some(object) = body.get(kind).filter(|object| object.is_object() || object.is_array()) else {
        return refuse(MISSING_PARAMETER, &format!("The parameter {kind} is required."));
    };
    let words = if kind == "text" { Some(text_body(object)?) } else { None };
    let opaque = text(body, "biz_opaque_callback_data");
    if opaque.is_some_and(|data| data.chars().count() > OPAQUE_CHARS_MAX) {
        return refuse(INVALID_PARAMETER, "biz_opaque_callback_data must be at most 512 characters long.");
    }
    if body.get("context").is_some_and(|context| text(context, "message_id").is_none()) {
        return refuse(MISSING_PARAMETER, "The parameter context['message_id'] is required.");
    }
    Ok(Outgoing {
        number,
        input,
        to,
        by_user_id,
        kind: kind.to_owned(),
        text: words,
        opaque: opaque.map(str::to_owned),
    })
}

/// `to` wins over `recipient`.
fn recipient(body: &Value) -> Result<(String, String, bool), Refusal> {
    match (text(body, "to"), text(body, "recipient")) {
        (Some(to), _) => match people::digits(to) {
            Some(digits) => Ok((to.to_owned(), digits, false)),
            None => refuse(PARAMETER_VALUE, "The parameter to is not a phone number."),
        },
        (None, Some(user_id)) if user_id.contains('.') => Ok((user_id.to_owned(), user_id.to_owned(), true)),
        (None, Some(_)) => {
            refuse(PARAMETER_VALUE, "The parameter recipient is not a business-scoped user id.")
        }
        (None, None) => refuse(MISSING_PARAMETER, "The parameter to is required."),
    }
}

fn text_body(object: &Value) -> Result<String, Refusal> {
    match text(object, "body") {
        None | Some("") => refuse(MISSING_PARAMETER, "The parameter text['body'] is required."),
        Some(body) if body.chars().count() > TEXT_CHARS_MAX => {
            refuse(INVALID_PARAMETER, "Param text['body'] must be at most 4096 characters long.")
        }
        Some(body) => Ok(body.to_owned()),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn refuse<T>(code: u32, details: &str) -> Result<T, Refusal> {
    Err(Refusal { code, details: details.to_owned() })
}
