//! I1 and O8 from Meta's side: the JSON of a webhook delivery, built from its parts. The model writes its webhooks with
//! this file, and tests of other crates their fixtures.
//!
//! Two things are as Graph does them and trip naive code: non-ASCII text is written as `\uXXXX`, so a receiver that
//! re-serialises before it checks the signature fails; and one `changes` element holds many updates of one kind.
//!
//! Source: Meta's pages "Webhooks overview", "messages webhook reference" and "status webhook reference".
//! Not in here: signing (`sign`), when a webhook is sent (`model`).

mod ascii;
mod content;
pub mod fixtures;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use content::Content;

use super::faults::DeliveryStatus;
use super::graph_error;

/// The most updates Meta puts into one webhook body.
pub const BATCH_MAX: usize = 1_000;

/// A number of the business, as in `metadata` and `entry[].id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusinessNumber {
    /// Names the number in the Graph API's paths and in `metadata`.
    pub phone_number_id: String,
    /// The WhatsApp Business Account; `entry[].id`.
    pub waba_id: String,
    /// Digits, with country code.
    pub display_phone_number: String,
}

impl BusinessNumber {
    /// The number of the examples in the documentation: `100000000000001` of `200000000000001`.
    pub fn example() -> Self {
        Self {
            phone_number_id: "100000000000001".to_owned(),
            waba_id: "200000000000001".to_owned(),
            display_phone_number: "15550000001".to_owned(),
        }
    }
}

/// Somebody on the other side. Any part may be missing, as in real webhooks since user names came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// `wa_id` and `from`: digits without `+`.
    pub phone: Option<String>,
    /// Business-scoped user id (BSUID), like `US.1349…`.
    pub user_id: Option<String>,
    /// BSUID of the enrolled parent portfolio, like `US.ENT.1181…`.
    pub parent_user_id: Option<String>,
    /// User name, without `@`.
    pub username: Option<String>,
    /// Profile name.
    pub name: Option<String>,
}

impl Person {
    /// Known by phone number; a leading `+` is dropped, as in Meta's `wa_id`.
    pub fn phone(phone: &str) -> Self {
        Self { phone: Some(phone.trim_start_matches('+').to_owned()), ..Self::default() }
    }

    /// Known by business-scoped user id only.
    pub fn user_id(user_id: &str) -> Self {
        Self { user_id: Some(user_id.to_owned()), ..Self::default() }
    }

    /// With a profile name.
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// With a business-scoped user id as well.
    pub fn with_user_id(self, user_id: &str) -> Self {
        Self { user_id: Some(user_id.to_owned()), ..self }
    }

    /// The element of `contacts[]`.
    fn contact(&self) -> Value {
        let mut profile = Map::new();
        put(&mut profile, "name", self.name.as_deref());
        put(&mut profile, "username", self.username.as_deref());
        let mut contact = Map::new();
        if !profile.is_empty() {
            contact.insert("profile".to_owned(), Value::Object(profile));
        }
        put(&mut contact, "wa_id", self.phone.as_deref());
        put(&mut contact, "user_id", self.user_id.as_deref());
        put(&mut contact, "parent_user_id", self.parent_user_id.as_deref());
        Value::Object(contact)
    }
}

/// A message from a person: an element of `messages[]` and its contact.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundMessage {
    /// Who wrote.
    pub from: Person,
    /// The message id, `wamid.…`.
    pub wamid: String,
    /// Unix seconds; written as a string.
    pub timestamp_s: u64,
    /// Type, object of that type, and siblings such as `context`.
    pub content: Content,
}

/// What became of a message to a person: an element of `statuses[]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusUpdate {
    /// The message this is about.
    pub wamid: String,
    /// How far it is.
    pub status: DeliveryStatus,
    /// Unix seconds; written as a string.
    pub timestamp_s: u64,
    /// To whom it was sent.
    pub recipient: Person,
    /// `biz_opaque_callback_data` of the send, echoed.
    pub opaque: Option<String>,
    /// Meta's code; `errors[]` of a failed status.
    pub error_code: Option<u32>,
    /// With `pricing`; Meta gives it once per message.
    pub priced: bool,
}

impl StatusUpdate {
    /// A status without opaque data, error or pricing; set those fields as needed.
    pub fn new(wamid: &str, status: DeliveryStatus, timestamp_s: u64, recipient: Person) -> Self {
        Self {
            wamid: wamid.to_owned(),
            status,
            timestamp_s,
            recipient,
            opaque: None,
            error_code: None,
            priced: false,
        }
    }

    /// With the send's `biz_opaque_callback_data`.
    pub fn opaque(self, data: &str) -> Self {
        Self { opaque: Some(data.to_owned()), ..self }
    }

    /// With `errors[]` of this code.
    pub fn error(self, code: u32) -> Self {
        Self { error_code: Some(code), ..self }
    }

    fn to_json(&self) -> Value {
        let mut status = Map::new();
        put(&mut status, "id", Some(&self.wamid));
        put(&mut status, "status", Some(self.status.as_str()));
        put(&mut status, "timestamp", Some(&self.timestamp_s.to_string()));
        put(&mut status, "recipient_id", self.recipient.phone.as_deref());
        put(&mut status, "recipient_user_id", self.recipient.user_id.as_deref());
        put(&mut status, "recipient_parent_user_id", self.recipient.parent_user_id.as_deref());
        put(&mut status, "biz_opaque_callback_data", self.opaque.as_deref());
        if self.priced {
            let pricing =
                json!({ "billable": true, "pricing_model": "PMP", "type": "regular", "category": "service" });
            status.insert("pricing".to_owned(), pricing);
        }
        if let Some(code) = self.error_code {
            status.insert("errors".to_owned(), json!([graph_error::webhook_error(code)]));
        }
        Value::Object(status)
    }
}

/// One thing a webhook tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A person did something (I1).
    Message(InboundMessage),
    /// A message of ours got further (O8).
    Status(StatusUpdate),
}

/// The body of a webhook with a text message.
pub fn text_message(
    number: &BusinessNumber,
    from: &Person,
    wamid: &str,
    timestamp_s: u64,
    text: &str,
) -> Vec<u8> {
    message(
        number,
        InboundMessage {
            from: from.clone(),
            wamid: wamid.to_owned(),
            timestamp_s,
            content: Content::text(text),
        },
    )
}

/// The body of a webhook with one message of any type.
pub fn message(number: &BusinessNumber, message: InboundMessage) -> Vec<u8> {
    batch(number, &[Update::Message(message)])
}

/// The body of a webhook with one status.
pub fn status(number: &BusinessNumber, status: StatusUpdate) -> Vec<u8> {
    batch(number, &[Update::Status(status)])
}

/// The body of a webhook with many updates, in their order: neighbours of one kind share a `changes` element.
///
/// Takes any number; Meta stops at [`BATCH_MAX`].
pub fn batch(number: &BusinessNumber, updates: &[Update]) -> Vec<u8> {
    let same_kind = |left: &Update, right: &Update| {
        matches!(left, Update::Message(_)) == matches!(right, Update::Message(_))
    };
    let changes: Vec<Value> = updates.chunk_by(same_kind).map(|run| change(number, run)).collect();
    let entry = json!({ "id": number.waba_id, "changes": changes });
    ascii::to_vec(&json!({ "object": "whatsapp_business_account", "entry": [entry] }))
}

/// The body of a webhook that carries only an error about the number's own traffic (`value.errors`).
pub fn value_error(number: &BusinessNumber, code: u32) -> Vec<u8> {
    let mut value = value_of(number);
    value.insert("errors".to_owned(), json!([graph_error::webhook_error(code)]));
    field(number, "messages", Value::Object(value))
}

/// The body of a webhook of any field, `value` as given: for fields this file does not know.
pub fn field(number: &BusinessNumber, field: &str, value: Value) -> Vec<u8> {
    let entry = json!({ "id": number.waba_id, "changes": [{ "field": field, "value": value }] });
    ascii::to_vec(&json!({ "object": "whatsapp_business_account", "entry": [entry] }))
}

fn change(number: &BusinessNumber, run: &[Update]) -> Value {
    let mut contacts: Vec<Value> = Vec::new();
    let mut messages = Vec::new();
    let mut statuses = Vec::new();
    for update in run {
        let person = match update {
            Update::Message(message) => {
                messages.push(message_json(message));
                // System messages come without a contact.
                (message.content.kind() != "system").then_some(&message.from)
            }
            Update::Status(status) => {
                statuses.push(status.to_json());
                // So do failed statuses.
                (status.status != DeliveryStatus::Failed).then_some(&status.recipient)
            }
        };
        if let Some(contact) = person.map(Person::contact)
            && contacts.last() != Some(&contact)
        {
            contacts.push(contact);
        }
    }
    let mut value = value_of(number);
    for (key, list) in [("contacts", contacts), ("messages", messages), ("statuses", statuses)] {
        if !list.is_empty() {
            value.insert(key.to_owned(), Value::Array(list));
        }
    }
    json!({ "field": "messages", "value": value })
}

fn value_of(number: &BusinessNumber) -> Map<String, Value> {
    let mut value = Map::new();
    put(&mut value, "messaging_product", Some("whatsapp"));
    let metadata = json!({
        "display_phone_number": number.display_phone_number,
        "phone_number_id": number.phone_number_id,
    });
    value.insert("metadata".to_owned(), metadata);
    value
}

fn message_json(message: &InboundMessage) -> Value {
    let mut json = Map::new();
    put(&mut json, "from", message.from.phone.as_deref());
    put(&mut json, "from_user_id", message.from.user_id.as_deref());
    put(&mut json, "from_parent_user_id", message.from.parent_user_id.as_deref());
    put(&mut json, "id", Some(&message.wamid));
    put(&mut json, "timestamp", Some(&message.timestamp_s.to_string()));
    message.content.put_into(&mut json);
    Value::Object(json)
}

/// Inserts a string where there is one; an absent key and `null` are not the same to a receiver.
fn put(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), Value::String(value.to_owned()));
    }
}

#[cfg(test)]
mod tests;
