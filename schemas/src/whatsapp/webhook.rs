//! I1, O8. A webhook's body: `entry[] × changes[] × (messages[] | statuses[])`.
//!
//! Lists are kept raw and read item by item ([`super::lenient::read`]), so that no item spoils another and the object
//! of a message's type can be kept to the letter. Source: Meta's "Webhooks overview", "messages webhook reference",
//! "status webhook reference", and the page on business-scoped user ids.
//! Not here: fields other than `messages` (they stay in the journal), what an update does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient::{self, Items};

/// The body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Webhook<'a> {
    /// One per WhatsApp Business Account; see [`Entry`].
    #[serde(borrow)]
    pub entry: Items<'a>,
}

/// An element of `entry`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry<'a> {
    /// See [`Change`].
    #[serde(borrow)]
    pub changes: Items<'a>,
}

/// An element of `changes`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Change<'a> {
    /// What it is about: `messages` and some thirty others.
    #[serde(deserialize_with = "lenient::text")]
    pub field: Option<String>,
    /// See [`Value`].
    #[serde(borrow)]
    pub value: Option<&'a RawValue>,
}

/// `value` of the field `messages`: usually one of its lists, documented as independent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Value<'a> {
    /// To which number.
    #[serde(deserialize_with = "lenient::object")]
    pub metadata: Option<Metadata>,
    /// See [`Contact`]. Not in step with `messages`: join by `wa_id` or `user_id`.
    #[serde(borrow)]
    pub contacts: Items<'a>,
    /// See [`Message`].
    #[serde(borrow)]
    pub messages: Items<'a>,
    /// See [`Status`].
    #[serde(borrow)]
    pub statuses: Items<'a>,
}

/// Which number of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Names the number in the Graph API.
    #[serde(deserialize_with = "lenient::text")]
    pub phone_number_id: Option<String>,
    /// Digits.
    #[serde(deserialize_with = "lenient::text")]
    pub display_phone_number: Option<String>,
}

/// An element of `contacts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// Name and user name.
    #[serde(deserialize_with = "lenient::object")]
    pub profile: Option<Profile>,
    /// Phone digits; absent for some people with a user name.
    #[serde(deserialize_with = "lenient::text")]
    pub wa_id: Option<String>,
    /// BSUID.
    #[serde(deserialize_with = "lenient::text")]
    pub user_id: Option<String>,
    /// BSUID of the enrolled parent portfolio.
    #[serde(alias = "parent_bsuid", deserialize_with = "lenient::text")]
    pub parent_user_id: Option<String>,
}

/// What a person calls himself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// May be missing, and may be cut in the middle of a character.
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Documented with and without a leading `@`.
    #[serde(deserialize_with = "lenient::text")]
    pub username: Option<String>,
}

/// An element of `messages`: the part common to all types, and the text of those whose text we show.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Sender's phone digits; absent for some people with a user name.
    #[serde(deserialize_with = "lenient::text")]
    pub from: Option<String>,
    /// Sender's BSUID.
    #[serde(deserialize_with = "lenient::text")]
    pub from_user_id: Option<String>,
    /// Sender's parent BSUID.
    #[serde(deserialize_with = "lenient::text")]
    pub from_parent_user_id: Option<String>,
    /// wamid.
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// Unix seconds.
    #[serde(deserialize_with = "lenient::integer")]
    pub timestamp: Option<i64>,
    /// Type: names the key of the object that belongs to it ([`object_of`]).
    #[serde(deserialize_with = "lenient::text")]
    pub r#type: Option<String>,
    /// Set where it was sent in a group.
    #[serde(deserialize_with = "lenient::text")]
    pub group_id: Option<String>,
    /// What it answers.
    #[serde(deserialize_with = "lenient::object")]
    pub context: Option<Context>,
}

/// What a message answers, or that it was forwarded (then without an id).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Context {
    /// wamid of the message it answers.
    #[serde(alias = "message_id", deserialize_with = "lenient::text")]
    pub id: Option<String>,
}

/// Object of a `text`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Text {
    /// At most 4,096 characters.
    #[serde(deserialize_with = "lenient::text")]
    pub body: Option<String>,
}

/// Object of an `image`, `audio`, `video`, `document` or `sticker`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Media {
    /// Meta's id; from a webhook it dies after 7 days.
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// MIME type.
    #[serde(deserialize_with = "lenient::text")]
    pub mime_type: Option<String>,
    /// SHA-256, base64 in webhooks, hex elsewhere.
    #[serde(deserialize_with = "lenient::text")]
    pub sha256: Option<String>,
    /// Bytes; seldom given.
    #[serde(deserialize_with = "lenient::integer")]
    pub file_size: Option<i64>,
    /// Words under it.
    #[serde(deserialize_with = "lenient::text")]
    pub caption: Option<String>,
    /// File name of a document.
    #[serde(deserialize_with = "lenient::text")]
    pub filename: Option<String>,
}

/// Object of an `interactive`: exactly one of its answers, in theory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Interactive {
    /// A button was pressed.
    #[serde(deserialize_with = "lenient::object")]
    pub button_reply: Option<Labelled>,
    /// A row of a list was chosen.
    #[serde(deserialize_with = "lenient::object")]
    pub list_reply: Option<Labelled>,
    /// A flow was finished.
    #[serde(deserialize_with = "lenient::object")]
    pub nfm_reply: Option<Labelled>,
    /// A call permission was given or refused.
    #[serde(deserialize_with = "lenient::object")]
    pub call_permission_reply: Option<Labelled>,
}

/// What an object shows to people, under whichever name its type has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Labelled {
    /// Of a button or row.
    #[serde(deserialize_with = "lenient::text")]
    pub title: Option<String>,
    /// Of a flow's answer or a system message.
    #[serde(deserialize_with = "lenient::text")]
    pub body: Option<String>,
    /// Of a template's button or an order.
    #[serde(deserialize_with = "lenient::text")]
    pub text: Option<String>,
    /// Of a call permission.
    #[serde(deserialize_with = "lenient::text")]
    pub response: Option<String>,
}

impl Labelled {
    /// The words, where there are any.
    #[must_use]
    pub fn words(self) -> Option<String> {
        self.title.or(self.body).or(self.text).or(self.response)
    }
}

/// An element of `statuses`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// wamid.
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// `sent`, `delivered`, `read`, `played`, `failed`; others exist.
    #[serde(deserialize_with = "lenient::text")]
    pub status: Option<String>,
    /// `call` where it is no message's.
    #[serde(deserialize_with = "lenient::text")]
    pub r#type: Option<String>,
    /// Unix seconds.
    #[serde(deserialize_with = "lenient::integer")]
    pub timestamp: Option<i64>,
    /// What we sent along.
    #[serde(deserialize_with = "lenient::text")]
    pub biz_opaque_callback_data: Option<String>,
    /// Phone digits of the recipient, or a group's id.
    #[serde(deserialize_with = "lenient::text")]
    pub recipient_id: Option<String>,
    /// BSUID of the recipient.
    #[serde(deserialize_with = "lenient::text")]
    pub recipient_user_id: Option<String>,
    /// Parent BSUID of the recipient; documented in both spellings.
    #[serde(alias = "parent_recipient_user_id", deserialize_with = "lenient::text")]
    pub recipient_parent_user_id: Option<String>,
    /// Phone digits of the group's member it is about; documented in both spellings.
    #[serde(alias = "participant_recipient_id", deserialize_with = "lenient::text")]
    pub recipient_participant_id: Option<String>,
    /// BSUID of that member; documented in both spellings.
    #[serde(alias = "participant_recipient_user_id", deserialize_with = "lenient::text")]
    pub recipient_participant_user_id: Option<String>,
    /// Why it failed; the first one counts.
    #[serde(deserialize_with = "lenient::list")]
    pub errors: Vec<Error>,
}

/// An element of `errors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Error {
    /// Meta's code.
    #[serde(deserialize_with = "lenient::integer")]
    pub code: Option<i64>,
    /// One line.
    #[serde(deserialize_with = "lenient::text")]
    pub title: Option<String>,
    /// Usually the title again.
    #[serde(deserialize_with = "lenient::text")]
    pub message: Option<String>,
    /// More.
    #[serde(deserialize_with = "lenient::object")]
    pub error_data: Option<ErrorData>,
}

/// More about an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ErrorData {
    /// A sentence.
    #[serde(deserialize_with = "lenient::text")]
    pub details: Option<String>,
}

/// The object under one key of an item, to the letter: of a message, that of its type. `None` where it is missing.
#[must_use]
pub fn object_of<'a>(item: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    let mut keys: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(item.get()).ok()?;
    keys.remove(key)
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
