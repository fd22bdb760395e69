//! Messages, conversations, contacts as clients see them (contract, section 5).
//!
//! Not here: how they are stored (`store::rows`), how WhatsApp spells them (`bridge`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{CommandId, ContactId, ConversationId, MessageId, NumberId, UserId, Wamid};
use crate::time::Millis;

/// Where a message stands. Rises only; see [`Status::may_become`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Stored here, not yet confirmed by a status of WhatsApp.
    Sending,
    /// An attempt was left open by a crash, a time-out or a 5xx: perhaps sent. Ranks as `sending`.
    Unknown,
    /// WhatsApp refused it or gave up.
    Failed,
    /// On WhatsApp's servers (user to user: committed).
    Sent,
    /// On a device of the recipient.
    Delivered,
    /// Seen by the recipient.
    Read,
    /// A voice message was played.
    Played,
}

impl Status {
    /// Rank of the rule "rises only"; `failed` has none of its own and is treated in [`Status::may_become`].
    const fn rank(self) -> u8 {
        match self {
            Self::Sending | Self::Unknown | Self::Failed => 0,
            Self::Sent => 1,
            Self::Delivered => 2,
            Self::Read => 3,
            Self::Played => 4,
        }
    }

    /// The contract's rule: rises only; `unknown` only from `sending`; `failed` only from sending, unknown, sent;
    /// delivered, read and played replace `failed` (one of several devices may have received it after all).
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Sending, Self::Unknown) | (Self::Sending | Self::Unknown | Self::Sent, Self::Failed) => {
                true
            }
            (_, Self::Sending | Self::Unknown | Self::Failed) => false,
            (Self::Failed, _) => next.rank() >= Self::Delivered.rank(),
            _ => next.rank() > self.rank(),
        }
    }

    /// As it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
        }
    }
}

/// Whether a message came from outside or went there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a contact.
    In,
    /// From a user of the account.
    Out,
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Contact, user or system.
    pub kind: SenderKind,
    /// A contact id, a user id, or `system`.
    pub id: String,
    /// Display name where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Kind of a [`Sender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SenderKind {
    /// A person outside.
    Contact,
    /// A user of the account.
    User,
    /// WhatsApp or inboxd itself.
    System,
}

/// What a message is made of. Everything that WhatsApp may send has a place here; what has none is `unsupported`,
/// with Meta's object kept whole in `payload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Plain text.
    Text,
    /// Picture.
    Image,
    /// Voice message or audio file.
    Audio,
    /// Moving picture.
    Video,
    /// File.
    Document,
    /// Sticker.
    Sticker,
    /// Place.
    Location,
    /// Contact cards.
    Contacts,
    /// Buttons, lists, flows and the answers to them.
    Interactive,
    /// Approved template.
    Template,
    /// Order from a catalogue.
    Order,
    /// Notice of WhatsApp.
    System,
    /// Whatever has no kind of its own.
    Unsupported,
}

/// An error that belongs to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageError {
    /// Stable code: one of ours, or `whatsapp_<code>`.
    pub code: String,
    /// One line for people.
    pub title: String,
    /// More, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Meta's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_code: Option<i64>,
}

/// State of a file that belongs to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaState {
    /// Known, not yet fetched.
    Pending,
    /// Can be read.
    Ready,
    /// Could not be fetched.
    Failed,
}

/// A file that belongs to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Id under `/v1/media`, once it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether it can be read.
    pub state: MediaState,
    /// MIME type as announced.
    pub mime: String,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// File name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where to read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A reaction to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// Who reacted.
    pub by: Sender,
    /// With what.
    pub emoji: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Made by the server.
    pub id: MessageId,
    /// Where it belongs.
    pub conversation: ConversationId,
    /// Id of the command that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// In or out.
    pub direction: Direction,
    /// Who wrote it.
    pub sender: Sender,
    /// What it is made of.
    pub kind: Kind,
    /// Text, or caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// File.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    /// Meta's object of that type, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// Reactions so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// Where it stands.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<MessageError>,
    /// WhatsApp's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wamid: Option<Wamid>,
    /// When it was written (WhatsApp's time for inbound ones).
    pub created_at: Millis,
    /// When its status or content last changed.
    pub updated_at: Millis,
}

/// Kind of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConversationKind {
    /// A person outside with a business number.
    Whatsapp,
    /// Two users.
    Direct,
    /// Several users.
    Group,
}

/// Where the work on a conversation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConversationState {
    /// To be worked on.
    #[default]
    Open,
    /// Out of sight for a while.
    Snoozed,
    /// Done.
    Closed,
}

/// A conversation as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Opaque.
    pub id: ConversationId,
    /// WhatsApp, direct or group.
    pub kind: ConversationKind,
    /// What a list shows.
    pub title: String,
    /// The person outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
    /// The business number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NumberId>,
    /// Members of a direct or group conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<UserId>>,
    /// Position − read position − own since, for the user who asks.
    pub unread: u64,
    /// The newest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Message>,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<UserId>,
    /// Labels.
    pub labels: Vec<String>,
    /// Open, snoozed or closed.
    pub state: ConversationState,
    /// Until when free-form messages may be sent; absent where WhatsApp's window does not apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_expires_at: Option<Millis>,
    /// Time of the newest activity.
    pub updated_at: Millis,
}

/// A person outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Ours.
    pub id: ContactId,
    /// What a list shows: profile name, else user name, else phone.
    pub name: String,
    /// International form with `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// WhatsApp's business-scoped user id (BSUID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// WhatsApp user name without `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Status::{self, *};

    #[test]
    fn status_moves_by_the_contracts_rule_only() {
        let all = [Sending, Unknown, Failed, Sent, Delivered, Read, Played];
        let allowed: &[(Status, &[Status])] = &[
            (Sending, &[Unknown, Failed, Sent, Delivered, Read, Played]),
            (Unknown, &[Failed, Sent, Delivered, Read, Played]),
            (Failed, &[Delivered, Read, Played]),
            (Sent, &[Failed, Delivered, Read, Played]),
            (Delivered, &[Read, Played]),
            (Read, &[Played]),
            (Played, &[]),
        ];
        for (from, to) in allowed {
            for next in all {
                assert_eq!(from.may_become(next), to.contains(&next), "{from:?} -> {next:?}");
            }
        }
    }
}
