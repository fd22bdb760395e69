//! I7/O10. Inbox events as clients see them (contract, section 5): one envelope, one `data` per type.
//!
//! Serialized as JSON or as MessagePack with the same field names ([`crate::wire`]). The type names stand in
//! [`EventData::type_name`] and nowhere else. Not here: how an event is stored.

use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::error_code::ErrorCode;
use crate::ids::{AccountId, CommandId, ConversationId, Epoch, EventId, MessageId, Seq, UserId, Wamid};
use crate::message::{Contact, ConversationState, Media, Message, MessageError, Sender, Status};
use crate::time::Millis;

/// Version of the envelope; rises only if a field changed its meaning, which it never should.
pub const EVENT_VERSION: u8 = 1;

/// One event of an inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Names the run of numbers that `seq` belongs to.
    pub epoch: Epoch,
    /// Its number; absent only for `inbox.gap`, which has none of its own.
    pub seq: Option<Seq>,
    /// The same in every member's inbox.
    pub id: EventId,
    /// When it was committed.
    pub at: Millis,
    /// Whose.
    pub account: AccountId,
    /// Where it belongs, when it belongs to a conversation.
    pub conversation: Option<ConversationId>,
    /// Unread messages of that conversation after this event, for the inbox's owner.
    pub unread: Option<u64>,
    /// What happened.
    pub data: EventData,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum EventData {
    /// `message.created`
    MessageCreated(Arc<Message>),
    /// `message.edited`
    MessageEdited(Arc<Message>),
    /// `message.status`
    MessageStatus {
        /// Which message.
        message: MessageId,
        /// Announced once it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        wamid: Option<Wamid>,
        /// Where it stands now.
        status: Status,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<MessageError>,
        /// WhatsApp's time of the change, ours where it gave none.
        at: Millis,
    },
    /// `message.deleted`
    MessageDeleted {
        /// Which message.
        message: MessageId,
        /// For whom.
        r#for: DeletedFor,
    },
    /// `message.reaction`
    MessageReaction {
        /// Which message.
        message: MessageId,
        /// Who reacted.
        by: Sender,
        /// With what; null takes it back.
        emoji: Option<String>,
    },
    /// `message.media`
    MessageMedia {
        /// Which message.
        message: MessageId,
        /// Its file, ready or failed.
        media: Media,
    },
    /// `receipt.read`
    ReceiptRead {
        /// Who read.
        by: UserId,
        /// Up to which message, included.
        up_to: MessageId,
    },
    /// `conversation.updated`
    ConversationUpdated(ConversationChange),
    /// `contact.updated`
    ContactUpdated(Contact),
    /// `command.failed`
    CommandFailed {
        /// The command's id, where it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<CommandId>,
        /// Stable code.
        code: ErrorCode,
        /// What is wrong and what to do.
        detail: String,
        /// The topic, where the refusal was about a topic.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
    },
    /// `inbox.gap`
    InboxGap {
        /// First number that retention removed.
        from: Seq,
        /// Last one, included.
        to: Seq,
    },
    /// `custom`
    Custom(Value),
}

/// For whom a message was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletedFor {
    /// The inbox's owner only.
    Me,
    /// Every member.
    All,
}

/// The fields of a conversation that changed and that a client cannot derive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ConversationChange {
    /// New assignee; inner `None`: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Option<UserId>>,
    /// All labels it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// New state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ConversationState>,
    /// New title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// New end of WhatsApp's window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_expires_at: Option<Millis>,
    /// All members it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<UserId>>,
}

impl EventData {
    /// The name in the envelope's `type`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::MessageCreated(_) => "message.created",
            Self::MessageEdited(_) => "message.edited",
            Self::MessageStatus { .. } => "message.status",
            Self::MessageDeleted { .. } => "message.deleted",
            Self::MessageReaction { .. } => "message.reaction",
            Self::MessageMedia { .. } => "message.media",
            Self::ReceiptRead { .. } => "receipt.read",
            Self::ConversationUpdated(_) => "conversation.updated",
            Self::ContactUpdated(_) => "contact.updated",
            Self::CommandFailed { .. } => "command.failed",
            Self::InboxGap { .. } => "inbox.gap",
            Self::Custom(_) => "custom",
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The number of fields is exact: MessagePack writes it in front.
        let optional = [self.seq.is_some(), self.conversation.is_some(), self.unread.is_some()];
        let fields = 7 + optional.iter().filter(|present| **present).count();
        let mut out = serializer.serialize_struct("Event", fields)?;
        out.serialize_field("v", &EVENT_VERSION)?;
        out.serialize_field("epoch", &self.epoch)?;
        if let Some(seq) = &self.seq {
            out.serialize_field("seq", seq)?;
        }
        out.serialize_field("id", &self.id)?;
        out.serialize_field("type", self.data.type_name())?;
        out.serialize_field("at", &self.at)?;
        out.serialize_field("account", &self.account)?;
        if let Some(conversation) = &self.conversation {
            out.serialize_field("conversation", conversation)?;
        }
        if let Some(unread) = &self.unread {
            out.serialize_field("unread", unread)?;
        }
        out.serialize_field("data", &self.data)?;
        out.end()
    }
}
