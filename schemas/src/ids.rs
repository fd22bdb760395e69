//! Ids: whose they are, how long they may be, what is in them.
//!
//! Ids that come from outside (account, user, device, client, command, wamid) are checked text. Ids that the
//! server makes (conversation, contact, message, event, epoch) are 128-bit numbers or built of them, written
//! in Crockford base 32; they are opaque to everybody else.
//! Not here: who makes them (the store's commit plan does; randomness is an argument there).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use ulid::Ulid;

/// Longest account, user or device id in bytes (contract, section 4).
pub const NAME_BYTES_MAX: usize = 128;
/// Longest command id in bytes (contract, section 5).
pub const COMMAND_ID_BYTES_MAX: usize = 64;
/// Longest wamid we take, in bytes; Meta's are below 128 and documented as opaque.
pub const WAMID_BYTES_MAX: usize = 256;
/// Longest phone number id in bytes; Meta's have 15 to 17 digits.
pub const NUMBER_ID_BYTES_MAX: usize = 64;
/// Longest MQTT client id in bytes: what the two-byte length of the protocol allows.
pub const CLIENT_ID_BYTES_MAX: usize = 65_535;

/// Why a text is not an id of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than the limit named.
    #[error("{kind} must have 1 to {max} bytes, this has {got}")]
    Length {
        /// Kind of id, for the reader.
        kind: &'static str,
        /// Longest allowed, in bytes.
        max: usize,
        /// Length found, in bytes.
        got: usize,
    },
    /// Holds a character that its kind does not allow.
    #[error("{kind} holds a character that is not allowed there")]
    Character {
        /// Kind of id, for the reader.
        kind: &'static str,
    },
    /// Not in the form that the server gives ids of this kind.
    #[error("{kind} is not in the form the server gives")]
    Form {
        /// Kind of id, for the reader.
        kind: &'static str,
    },
}

fn check(kind: &'static str, text: &str, max: usize, allowed: fn(&str) -> bool) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(IdError::Length { kind, max, got: text.len() });
    }
    if allowed(text) { Ok(()) } else { Err(IdError::Character { kind }) }
}

/// `sub`, `acc`, `dev`: no control characters, none of `/ + #`, no leading `$`: they stand as one level in topics.
fn is_name(text: &str) -> bool {
    !text.starts_with('$') && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '+' | '#'))
}

fn is_command_id(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
}

fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_mqtt_string(text: &str) -> bool {
    !text.contains('\0')
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and characters.
            ///
            /// # Errors
            /// [`IdError`] says which rule is broken.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check($kind, text, $max, $allowed)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A tenant. Its topics and rows are invisible to every other account.
    AccountId, "account id", NAME_BYTES_MAX, is_name
);
text_id!(
    /// A user inside an account: the owner of one inbox.
    UserId, "user id", NAME_BYTES_MAX, is_name
);
text_id!(
    /// An MQTT client id. Session key: (account, user, client id).
    ClientId, "client id", CLIENT_ID_BYTES_MAX, is_mqtt_string
);
text_id!(
    /// A command's id as its sender chose it, unique per (account, user).
    CommandId, "command id", COMMAND_ID_BYTES_MAX, is_command_id
);
text_id!(
    /// WhatsApp's id of a message; opaque.
    Wamid, "wamid", WAMID_BYTES_MAX, is_printable_ascii
);
text_id!(
    /// Meta's `phone_number_id`: a business number of ours.
    NumberId, "phone number id", NUMBER_ID_BYTES_MAX, is_printable_ascii
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// What a client's text names. Ids are opaque to clients, so a text that is none of ours is the id of
            /// nothing, and gets the answer of everything that is not there, not that of a mistake.
            #[must_use]
            pub fn named(text: &str) -> Self {
                text.parse().unwrap_or_else(|_| Self(hash128($kind, &[text.as_bytes()])))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", Ulid(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                match Ulid::from_string(text) {
                    // Only the one spelling we give: otherwise two texts would name one thing.
                    Ok(ulid) if ulid.to_string() == text => Ok(Self(ulid.0)),
                    _ => Err(IdError::Form { kind: $kind }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

number_id!(
    /// A conversation. Built here and nowhere else, opaque everywhere else.
    ConversationId, "conversation id"
);
number_id!(
    /// A person outside, whatever phone numbers and WhatsApp ids they have had.
    ContactId, "contact id"
);
number_id!(
    /// An event. The same event has the same id in every member's inbox.
    EventId, "event id"
);
number_id!(
    /// Names one run of numbers of the inboxes; another epoch means "your numbers are worthless, take a snapshot".
    Epoch, "epoch"
);

impl ConversationId {
    /// The conversation of a business number with a person. Derived, so that finding it needs no lookup and two
    /// nodes that see the first message at once agree.
    #[must_use]
    pub fn whatsapp(account: &AccountId, number: &NumberId, contact: ContactId) -> Self {
        Self(hash128(
            "whatsapp",
            &[account.as_str().as_bytes(), number.as_str().as_bytes(), &contact.0.to_be_bytes()],
        ))
    }

    /// The direct conversation of two users; the order of the two does not matter.
    #[must_use]
    pub fn direct(account: &AccountId, one: &UserId, other: &UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self(hash128(
            "direct",
            &[account.as_str().as_bytes(), low.as_str().as_bytes(), high.as_str().as_bytes()],
        ))
    }
}

/// 128 bits of SHA-256 over a label and length-prefixed parts: no two lists of parts share an input.
#[must_use]
pub fn hash128(label: &str, parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update((label.len() as u64).to_be_bytes());
    hasher.update(label.as_bytes());
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(first)
}

/// Position in an inbox: 1, 2, 3 … without a gap. 0 stands before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of a message in its conversation's log: 1, 2, 3 … without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pos(pub u64);

impl Pos {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Digits of the position in a message id: enough for ten thousand million messages in one conversation, and
/// zero-padded so that within a conversation ids sort as messages do.
const POS_DIGITS: usize = 10;

/// A message: its conversation and its position there, so that no index is needed to find it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The conversation whose log holds it.
    pub conversation: ConversationId,
    /// Its position there.
    pub pos: Pos,
}

impl MessageId {
    /// What a client's text names; as [`ConversationId::named`].
    #[must_use]
    pub fn named(text: &str) -> Self {
        let nowhere = || ConversationId(hash128("message id", &[text.as_bytes()]));
        text.parse().unwrap_or_else(|_| Self { conversation: nowhere(), pos: Pos(0) })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:0POS_DIGITS$}", self.conversation, self.pos.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let form = IdError::Form { kind: "message id" };
        let Some((conversation, pos)) = text.split_once('-') else {
            return Err(form);
        };
        if pos.len() != POS_DIGITS || !pos.bytes().all(|b| b.is_ascii_digit()) {
            return Err(form);
        }
        let pos = pos.parse().map_err(|_| form)?;
        Ok(Self { conversation: conversation.parse()?, pos: Pos(pos) })
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_would_change_a_topic() {
        for bad in ["", "a/b", "a+", "#", "$SYS", "a\u{7}", &"x".repeat(129)] {
            assert!(UserId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["alice", "é", "a b", "a$b", &"x".repeat(128)] {
            assert!(UserId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn message_ids_read_back_and_sort_by_position() {
        let conversation = ConversationId(u128::MAX / 3);
        let nine = MessageId { conversation, pos: Pos(9) };
        let ten = MessageId { conversation, pos: Pos(10) };
        assert_eq!(nine.to_string().parse::<MessageId>(), Ok(nine));
        assert!(nine.to_string() < ten.to_string());
        assert!(nine.to_string().len() <= 64);
        assert!("x-1".parse::<MessageId>().is_err());
    }

    #[test]
    fn every_text_names_something_and_no_two_the_same() {
        let id = ConversationId(hash128("t", &[b"x"]));
        assert_eq!(ConversationId::named(&id.to_string()), id);
        let message = MessageId { conversation: id, pos: Pos(1) };
        assert_eq!(MessageId::named(&message.to_string()), message);
        for odd in ["", "nope", "é", &id.to_string().to_lowercase(), &format!("{id}-1")] {
            assert_ne!(ConversationId::named(odd), id, "{odd:?}");
            assert_ne!(ConversationId::named(odd), ConversationId::named("other"), "{odd:?}");
            let named = MessageId::named(odd);
            assert!(named.conversation != id && named.pos == Pos(0), "{odd:?} is no place in a log");
        }
    }

    #[test]
    fn one_spelling_per_id() {
        let id = ConversationId(hash128("t", &[b"x"]));
        assert_eq!(id.to_string().parse::<ConversationId>(), Ok(id));
        assert!(id.to_string().to_lowercase().parse::<ConversationId>().is_err());
    }

    #[test]
    fn a_direct_conversation_is_the_same_from_both_sides() {
        let (account, a, b) =
            (AccountId::new("acme").unwrap(), UserId::new("a").unwrap(), UserId::new("b").unwrap());
        assert_eq!(ConversationId::direct(&account, &a, &b), ConversationId::direct(&account, &b, &a));
    }
}
