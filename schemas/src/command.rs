//! O1. Outbox commands: what a user publishes to `user/{id}/outbox` or posts to `/v1/messages`.
//!
//! Reading is pure and total: any bytes give a [`Command`] or a [`CommandError`] that names code and place.
//! Not here: carrying them out (`store`'s commit plan).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error_code::ErrorCode;
use crate::ids::{CommandId, ContactId, ConversationId, MessageId, NumberId, UserId};
use crate::wire::Encoding;

/// Longest text of a message in characters: WhatsApp's limit for `text.body`.
pub const TEXT_CHARS_MAX: usize = 4096;
/// Longest phone number in digits (E.164 has 15).
pub const PHONE_DIGITS_MAX: usize = 15;

/// A command that can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Unique per (account, user).
    pub id: CommandId,
    /// What to do.
    pub body: CommandBody,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum CommandBody {
    /// `message.send`
    MessageSend(MessageSend),
    /// `message.read`
    MessageRead {
        /// Which conversation.
        conversation: ConversationId,
        /// Up to which message, included.
        up_to: MessageId,
    },
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MessageSend {
    /// To whom.
    pub to: Target,
    /// What.
    pub content: Content,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Target {
    /// An existing conversation.
    Conversation(ConversationId),
    /// A phone number, from one of the account's numbers.
    WhatsApp {
        /// Digits with a leading `+`.
        phone: String,
        /// From which number.
        number: NumberId,
    },
    /// A known contact; without `number` from the account's only one.
    Contact {
        /// Who.
        contact: ContactId,
        /// From which number.
        number: Option<NumberId>,
    },
    /// A user of the same account.
    User(UserId),
}

/// What a message to be sent is made of. More kinds follow with the whole of WhatsApp.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Content {
    /// Plain text, 1 to [`TEXT_CHARS_MAX`] characters.
    Text(String),
}

/// Typing, on the outbox at QoS 0: never stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
    /// Began or ended.
    pub state: TypingState,
}

/// Began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TypingState {
    /// Began.
    Start,
    /// Ended.
    Stop,
}

/// Why bytes are not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct CommandError {
    /// Stable code.
    pub code: ErrorCode,
    /// What is wrong, where, and what to do.
    pub detail: String,
    /// The command's id, where it could be read: lets the sender know which of his commands it was.
    pub id: Option<CommandId>,
}

impl Command {
    /// Reads a command from a payload.
    ///
    /// # Errors
    /// `json_malformed`, `command_unknown`, `command_malformed`, `text_too_long`.
    pub fn read(encoding: Encoding, payload: &[u8]) -> Result<Self, CommandError> {
        let value: Value = encoding.read(payload).map_err(|e| CommandError {
            code: ErrorCode::JsonMalformed,
            detail: e.to_string(),
            id: None,
        })?;
        Self::from_value(&value, None)
    }

    /// Reads a command from a parsed body. `default_type` stands in where the body has no `type` (HTTP routes
    /// that take one type only).
    ///
    /// # Errors
    /// As [`Command::read`].
    pub fn from_value(value: &Value, default_type: Option<&str>) -> Result<Self, CommandError> {
        let reader =
            Reader { value, id: value.get("id").and_then(Value::as_str).and_then(|t| t.parse().ok()) };
        let id: CommandId = reader.required("id")?;
        let body = match value.get("type").and_then(Value::as_str).or(default_type) {
            Some("message.send") => CommandBody::MessageSend(reader.message_send()?),
            Some("message.read") => CommandBody::MessageRead {
                conversation: reader.required_id("conversation", ConversationId::named)?,
                up_to: reader.required_id("up_to", MessageId::named)?,
            },
            Some(other) => {
                let shown: String = other.chars().take(64).collect();
                return Err(
                    reader.error(ErrorCode::CommandUnknown, format!("no command has the type {shown:?}"))
                );
            }
            None => return Err(reader.malformed("type", "is missing or not a string")),
        };
        Ok(Self { id, body })
    }

    /// Fingerprint of the body, kept with the id for `dedupe_days`: the same id with another body is refused (`id_reused`), the same body, however
    /// its JSON was spelled, is a repetition.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 8] {
        let digest = Sha256::digest(Encoding::Msgpack.write(&self.body));
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        first
    }
}

struct Reader<'a> {
    value: &'a Value,
    id: Option<CommandId>,
}

impl Reader<'_> {
    fn error(&self, code: ErrorCode, detail: String) -> CommandError {
        CommandError { code, detail, id: self.id.clone() }
    }

    fn malformed(&self, field: &str, why: impl std::fmt::Display) -> CommandError {
        self.error(ErrorCode::CommandMalformed, format!("field `{field}`: {why}"))
    }

    fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        within: &Value,
        field: &str,
    ) -> Result<Option<T>, CommandError> {
        match within.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => text.parse().map(Some).map_err(|e| self.malformed(field, e)),
            Some(_) => Err(self.malformed(field, "is not a string")),
        }
    }

    fn required<T: std::str::FromStr<Err: std::fmt::Display>>(&self, field: &str) -> Result<T, CommandError> {
        self.optional(self.value, field)?.ok_or_else(|| self.malformed(field, "is missing"))
    }

    /// An id that the server made, or so the client says: whether it names something is for the store to find out.
    fn optional_id<T>(
        &self,
        within: &Value,
        field: &str,
        named: fn(&str) -> T,
    ) -> Result<Option<T>, CommandError> {
        Ok(self.optional::<String>(within, field)?.map(|text| named(&text)))
    }

    fn required_id<T>(&self, field: &str, named: fn(&str) -> T) -> Result<T, CommandError> {
        self.optional_id(self.value, field, named)?.ok_or_else(|| self.malformed(field, "is missing"))
    }

    fn message_send(&self) -> Result<MessageSend, CommandError> {
        Ok(MessageSend {
            to: self.target()?,
            content: self.content()?,
            reply_to: self.optional_id(self.value, "reply_to", MessageId::named)?,
        })
    }

    fn target(&self) -> Result<Target, CommandError> {
        let conversation = self.optional_id(self.value, "conversation", ConversationId::named)?;
        let to = self.value.get("to").filter(|to| !to.is_null());
        match (conversation, to) {
            (Some(_), Some(_)) => Err(self.malformed("to", "stands beside `conversation`; give one of them")),
            (Some(conversation), None) => Ok(Target::Conversation(conversation)),
            (None, None) => Err(self.malformed("conversation", "is missing, and so is `to`")),
            (None, Some(to)) => self.target_of(to),
        }
    }

    fn target_of(&self, to: &Value) -> Result<Target, CommandError> {
        let number = self.optional(to, "number")?;
        let whatsapp: Option<Phone> = self.optional(to, "whatsapp")?;
        let contact = self.optional_id(to, "contact", ContactId::named)?;
        let user = self.optional(to, "user")?;
        match (whatsapp, contact, user) {
            (Some(Phone(phone)), None, None) => {
                let number = number.ok_or_else(|| self.malformed("to.number", "is missing"))?;
                Ok(Target::WhatsApp { phone, number })
            }
            (None, Some(contact), None) => Ok(Target::Contact { contact, number }),
            (None, None, Some(user)) => Ok(Target::User(user)),
            _ => Err(self.malformed("to", "must hold exactly one of `whatsapp`, `contact`, `user`")),
        }
    }

    fn content(&self) -> Result<Content, CommandError> {
        match self.value.get("kind").and_then(Value::as_str) {
            Some("text") | None => {}
            Some(_) => return Err(self.malformed("kind", "can only be `text` so far")),
        }
        let text: String = self.required("text")?;
        match text.chars().count() {
            0 => Err(self.malformed("text", "is empty")),
            n if n > TEXT_CHARS_MAX => Err(self.error(
                ErrorCode::TextTooLong,
                format!("field `text`: {n} characters, at most {TEXT_CHARS_MAX}"),
            )),
            _ => Ok(Content::Text(text)),
        }
    }
}

/// A phone number: `+` and digits. Spaces, dots, dashes and brackets are dropped; a number without `+` is refused,
/// because WhatsApp would put the *business'* country code in front of it, and one that begins with 0, because no country
/// code does (E.164): it is one as it is dialled at home.
struct Phone(String);

impl std::str::FromStr for Phone {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '(' | ')')).collect();
        let digits = compact.strip_prefix('+').ok_or("must start with + and the country code")?;
        if digits.starts_with('0') {
            return Err("must have the country code behind the +, and none begins with 0");
        }
        let valid =
            (1..=PHONE_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if valid { Ok(Self(compact)) } else { Err("must be + and at most 15 digits") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Command, CommandError> {
        Command::read(Encoding::Json, value.to_string().as_bytes())
    }

    #[test]
    fn a_message_to_a_phone_number() {
        let command = read(
            &json!({"type":"message.send","id":"c1","to":{"whatsapp":"+1 555-000 0002","number":"1"},"kind":"text","text":"hi"}),
        );
        let CommandBody::MessageSend(send) = command.unwrap().body else { panic!("not a send") };
        assert_eq!(
            send.to,
            Target::WhatsApp { phone: "+15550000002".into(), number: NumberId::new("1").unwrap() }
        );
        assert_eq!(send.content, Content::Text("hi".into()));
    }

    #[test]
    fn msgpack_and_json_give_the_same_command() {
        let value = json!({"type":"message.send","id":"c1","to":{"user":"bob"},"text":"hi"});
        let packed = Encoding::Msgpack.write(&value);
        assert_eq!(Encoding::detect(None, &packed), Encoding::Msgpack);
        assert_eq!(Command::read(Encoding::Msgpack, &packed), read(&value));
    }

    #[test]
    fn each_mistake_has_its_code_and_names_its_place() {
        let conversation = ConversationId(7).to_string();
        for (value, code, place) in [
            (json!([]), ErrorCode::CommandMalformed, "`id`"),
            (json!({"id":"a b","type":"message.send"}), ErrorCode::CommandMalformed, "`id`"),
            (json!({"id":"a"}), ErrorCode::CommandMalformed, "`type`"),
            (json!({"id":"a","type":"message.sing"}), ErrorCode::CommandUnknown, "message.sing"),
            (json!({"id":"a","type":"message.send"}), ErrorCode::CommandMalformed, "`conversation`"),
            (
                json!({"id":"a","type":"message.send","conversation":conversation}),
                ErrorCode::CommandMalformed,
                "`text`",
            ),
            (
                json!({"id":"a","type":"message.send","conversation":conversation,"text":""}),
                ErrorCode::CommandMalformed,
                "`text`",
            ),
            (json!({"id":"a","type":"message.send","to":{}}), ErrorCode::CommandMalformed, "`to`"),
            (
                json!({"id":"a","type":"message.send","to":{"whatsapp":"555","number":"1"},"text":"x"}),
                ErrorCode::CommandMalformed,
                "`whatsapp`",
            ),
            (
                json!({"id":"a","type":"message.send","to":{"whatsapp":"+0 555 000","number":"1"},"text":"x"}),
                ErrorCode::CommandMalformed,
                "country code",
            ),
            (
                json!({"id":"a","type":"message.send","conversation":conversation,"text":"x".repeat(4097)}),
                ErrorCode::TextTooLong,
                "`text`",
            ),
        ] {
            let error = read(&value).unwrap_err();
            assert_eq!(error.code, code, "{value}");
            assert!(error.detail.contains(place), "{value}: {}", error.detail);
        }
        assert_eq!(Command::read(Encoding::Json, b"{").unwrap_err().code, ErrorCode::JsonMalformed);
    }

    /// Contract, section 6: an unknown id is 404, and what ids look like is the server's own affair.
    #[test]
    fn an_id_in_an_odd_form_is_an_id_of_nothing_and_no_mistake() {
        for value in [
            json!({"id":"a","type":"message.send","conversation":"nope","text":"x"}),
            json!({"id":"a","type":"message.send","to":{"contact":"nope","number":"1"},"text":"x"}),
            json!({"id":"a","type":"message.send","conversation":"nope","text":"x","reply_to":"nope"}),
            json!({"id":"a","type":"message.read","conversation":"nope","up_to":"nope"}),
        ] {
            assert!(read(&value).is_ok(), "{value}");
        }
        let wrong = json!({"id":"a","type":"message.read","conversation":7,"up_to":"nope"});
        assert_eq!(read(&wrong).unwrap_err().code, ErrorCode::CommandMalformed);
    }

    #[test]
    fn the_fingerprint_sees_the_body_and_nothing_else() {
        let body = |id: &str, text: &str| {
            read(&json!({"type":"message.send","id":id,"to":{"user":"b"},"text":text})).unwrap()
        };
        assert_eq!(body("1", "x").fingerprint(), body("2", "x").fingerprint());
        assert_ne!(body("1", "x").fingerprint(), body("1", "y").fingerprint());
    }
}
