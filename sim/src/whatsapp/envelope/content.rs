//! What an inbound message holds (I1): its `type`, the object under that key, and siblings such as `context`. One
//! constructor for each type Meta documents.
//!
//! Source: Meta's "messages webhook reference". Ids, hashes and URLs in here are synthetic.

use serde_json::{Map, Value, json};

/// A message's type and object. Clone it, add to it, put it into an `InboundMessage`.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    kind: String,
    fields: Map<String, Value>,
}

impl Content {
    /// `{"type": kind, kind: object}`, whatever the kind.
    pub fn new(kind: &str, object: Value) -> Self {
        Self::bare(kind).with(kind, object)
    }

    /// `{"type": kind}` alone; Meta does send types without their object.
    pub fn bare(kind: &str) -> Self {
        Self { kind: kind.to_owned(), fields: Map::new() }
    }

    /// From a message object of Meta's form, `type` and all; `None` without a `type`. Ids, sender and time in it are
    /// left out, the model gives those.
    pub fn from_json(message: &Map<String, Value>) -> Option<Self> {
        const GIVEN_BY_THE_MODEL: [&str; 6] =
            ["type", "id", "from", "from_user_id", "from_parent_user_id", "timestamp"];
        let kind = message.get("type")?.as_str()?.to_owned();
        let mut fields = message.clone();
        fields.retain(|key, _| !GIVEN_BY_THE_MODEL.contains(&key.as_str()));
        Some(Self { kind, fields })
    }

    /// A sibling of the object: `context`, `referral`, `errors`, `identity`, `group_id`, or one nobody knows yet.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.fields.insert(key.to_owned(), value);
        self
    }

    /// As an answer to the message `wamid` that `from` (digits) sent.
    pub fn quoting(self, from: &str, wamid: &str) -> Self {
        self.with("context", json!({ "from": from, "id": wamid }))
    }

    /// The `type`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// A text.
    pub fn text(body: &str) -> Self {
        Self::new("text", json!({ "body": body }))
    }

    /// A picture.
    pub fn image(media_id: &str, caption: Option<&str>) -> Self {
        Self::new("image", media(media_id, "image/jpeg", caption))
    }

    /// A film.
    pub fn video(media_id: &str, caption: Option<&str>) -> Self {
        Self::new("video", media(media_id, "video/mp4", caption))
    }

    /// Sound; `voice` if recorded in the chat.
    pub fn audio(media_id: &str, voice: bool) -> Self {
        let mut object = media(media_id, "audio/ogg; codecs=opus", None);
        object["voice"] = Value::Bool(voice);
        Self::new("audio", object)
    }

    /// A file.
    pub fn document(media_id: &str, filename: &str, caption: Option<&str>) -> Self {
        let mut object = media(media_id, "application/pdf", caption);
        object["filename"] = Value::String(filename.to_owned());
        Self::new("document", object)
    }

    /// A sticker.
    pub fn sticker(media_id: &str, animated: bool) -> Self {
        let mut object = media(media_id, "image/webp", None);
        object["animated"] = Value::Bool(animated);
        Self::new("sticker", object)
    }

    /// A place.
    pub fn location(latitude: f64, longitude: f64, name: Option<&str>) -> Self {
        let mut object = json!({ "latitude": latitude, "longitude": longitude });
        if let Some(name) = name {
            object["name"] = Value::String(name.to_owned());
        }
        Self::new("location", object)
    }

    /// A reaction to the message `wamid`; without an emoji it takes the reaction back.
    pub fn reaction(wamid: &str, emoji: Option<&str>) -> Self {
        let mut object = json!({ "message_id": wamid });
        if let Some(emoji) = emoji {
            object["emoji"] = Value::String(emoji.to_owned());
        }
        Self::new("reaction", object)
    }

    /// A visiting card.
    pub fn contacts(formatted_name: &str, phone: &str) -> Self {
        let card = json!({
            "name": { "formatted_name": formatted_name, "first_name": formatted_name },
            "phones": [{ "phone": phone, "wa_id": phone.trim_start_matches('+'), "type": "MOBILE" }],
            "origin": "other",
        });
        Self::new("contacts", json!([card]))
    }

    /// A tap on a quick reply of a template.
    pub fn button(payload: &str, text: &str) -> Self {
        Self::new("button", json!({ "payload": payload, "text": text }))
    }

    /// A tap on a reply button of an interactive message.
    pub fn button_reply(id: &str, title: &str) -> Self {
        let reply = json!({ "id": id, "title": title });
        Self::new("interactive", json!({ "type": "button_reply", "button_reply": reply }))
    }

    /// A choice from a list.
    pub fn list_reply(id: &str, title: &str) -> Self {
        let reply = json!({ "id": id, "title": title, "description": "as listed" });
        Self::new("interactive", json!({ "type": "list_reply", "list_reply": reply }))
    }

    /// A filled-in form (Flow, or address message): `response` travels as a JSON *string*.
    pub fn form_reply(name: &str, response: &Value) -> Self {
        let reply = json!({ "name": name, "body": "Sent", "response_json": response.to_string() });
        Self::new("interactive", json!({ "type": "nfm_reply", "nfm_reply": reply }))
    }

    /// An answer to a call permission request.
    pub fn call_permission_reply(accepted: bool) -> Self {
        let reply = json!({
            "response": if accepted { "accept" } else { "reject" },
            "is_permanent": false,
            "expiration_timestamp": 1_753_186_982,
            "response_source": "user_action",
        });
        Self::new("interactive", json!({ "type": "call_permission_reply", "call_permission_reply": reply }))
    }

    /// An order from the catalogue.
    pub fn order(catalog_id: &str, product: &str, quantity: u32) -> Self {
        let item = json!({
            "product_retailer_id": product, "quantity": quantity, "item_price": 30, "currency": "USD",
        });
        Self::new("order", json!({ "catalog_id": catalog_id, "text": "", "product_items": [item] }))
    }

    /// The person moved to another phone number.
    pub fn system_changed_number(old: &str, new: &str) -> Self {
        let body = format!("User changed from {old} to {new}");
        Self::new("system", json!({ "type": "user_changed_number", "wa_id": new, "body": body }))
    }

    /// The person's business-scoped user id changed.
    pub fn system_changed_user_id(old: &str, new: &str) -> Self {
        let body = format!("User changed from {old} to {new}");
        Self::new("system", json!({ "type": "user_changed_user_id", "user_id": new, "body": body }))
    }

    /// The person's identity key changed (another phone, a new installation).
    pub fn system_identity_changed(hash: &str) -> Self {
        let identity = json!({ "acknowledged": true, "created_timestamp": "1750030073", "hash": hash });
        Self::new("system", json!({ "type": "customer_identity_changed", "body": "identity changed" }))
            .with("identity", identity)
    }

    /// Something the API does not pass on: a poll, an edit, …
    pub fn unsupported(what: &str) -> Self {
        let error = super::graph_error::webhook_error(131_051);
        Self::new("unsupported", json!({ "type": what })).with("errors", json!([error]))
    }

    /// The person edited the message `original` (coexistence numbers only).
    pub fn edit(original: &str, new_text: &str) -> Self {
        let message = json!({ "context": { "id": "M0" }, "type": "text", "text": { "body": new_text } });
        Self::new("edit", json!({ "original_message_id": original, "message": message }))
    }

    /// The person took the message `original` back (coexistence numbers only).
    pub fn revoke(original: &str) -> Self {
        Self::new("revoke", json!({ "original_message_id": original }))
    }

    /// Writes `type` and all fields into a message object.
    pub(super) fn put_into(&self, message: &mut Map<String, Value>) {
        message.insert("type".to_owned(), Value::String(self.kind.clone()));
        for (key, value) in &self.fields {
            message.insert(key.clone(), value.clone());
        }
    }
}

fn media(media_id: &str, mime_type: &str, caption: Option<&str>) -> Value {
    let mut object = json!({
        "id": media_id,
        "mime_type": mime_type,
        "sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "url": format!("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid={media_id}"),
    });
    if let Some(caption) = caption {
        object["caption"] = Value::String(caption.to_owned());
    }
    object
}
