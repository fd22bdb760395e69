//! I3, O3. A message's body, once; and what changed of it since.

use schemas::message::{Direction, Kind, MessageError, Sender, SenderKind};
use schemas::{CommandId, ConversationId, Message, MessageId, Millis, Pos, Status, UserId, Wamid};
use serde::{Deserialize, Serialize};

/// Table `log`: a message as it was made. Never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRow {
    pub(crate) direction: Direction,
    pub(crate) sender_kind: SenderKind,
    pub(crate) sender_id: String,
    pub(crate) sender_name: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) text: Option<String>,
    /// JSON of `schemas::message::Media`.
    pub(crate) media: Option<String>,
    /// JSON of Meta's object.
    pub(crate) payload: Option<String>,
    pub(crate) command_id: Option<CommandId>,
    pub(crate) reply_to: Option<Pos>,
    pub(crate) status: Status,
    pub(crate) wamid: Option<Wamid>,
    /// When it was written, ms.
    pub(crate) created_at: u64,
    /// First byte received, µs.
    pub(crate) received_us: u64,
    /// When it was committed, ms: retention counts from here, as it does for the events that refer to it. 0 = written
    /// before this field was.
    #[serde(default)]
    pub(crate) written_at: u64,
}

/// Table `state`: what of a message changed since it was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateRow {
    pub(crate) status: Option<Status>,
    pub(crate) wamid: Option<Wamid>,
    /// JSON of `schemas::message::MessageError`.
    pub(crate) error: Option<String>,
    /// When, ms.
    pub(crate) updated_at: u64,
    /// When WhatsApp named it, ms; 0 = not yet.
    #[serde(default)]
    pub(crate) accepted_at: u64,
}

impl LogRow {
    /// The message as it was made, or as it is now.
    pub(crate) fn message(&self, id: MessageId, state: Option<&StateRow>) -> Message {
        let conversation: ConversationId = id.conversation;
        let json = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Message {
            id,
            conversation,
            command_id: self.command_id.clone(),
            direction: self.direction,
            sender: Sender {
                kind: self.sender_kind,
                id: self.sender_id.clone(),
                name: self.sender_name.clone(),
            },
            kind: self.kind,
            text: self.text.clone(),
            media: self.media.as_deref().and_then(|t| serde_json::from_str(t).ok()),
            payload: json(&self.payload),
            reply_to: self.reply_to.map(|pos| MessageId { conversation, pos }),
            reactions: Vec::new(),
            status: state.and_then(|s| s.status).unwrap_or(self.status),
            error: state.and_then(StateRow::error),
            wamid: state.and_then(|s| s.wamid.clone()).or_else(|| self.wamid.clone()),
            created_at: Millis(self.created_at),
            updated_at: Millis(state.map_or(self.created_at, |s| s.updated_at.max(self.created_at))),
        }
    }

    /// When it was committed, ms, as far as the row knows.
    pub(crate) fn committed_at(&self) -> u64 {
        match self.written_at {
            0 => self.created_at.max(self.received_us / 1000),
            at => at,
        }
    }

    /// The user who wrote it, where a user did.
    pub(crate) fn author(&self) -> Option<UserId> {
        (self.sender_kind == SenderKind::User).then(|| UserId::new(&self.sender_id).ok()).flatten()
    }
}

impl StateRow {
    pub(crate) fn error(&self) -> Option<MessageError> {
        self.error.as_deref().and_then(|t| serde_json::from_str(t).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{decode, encode};

    #[test]
    fn a_row_written_before_a_field_was_added_is_still_read() {
        // As version 1 wrote it first: four fields.
        let old = encode(&(Some(Status::Sent), None::<Wamid>, None::<String>, 5_u64));
        let row: StateRow = decode(b"", &old).unwrap();
        assert_eq!((row.status, row.updated_at, row.accepted_at), (Some(Status::Sent), 5, 0));
        assert_eq!(decode::<StateRow>(b"", &encode(&row)), Ok(row));
    }
}
