//! I3, I6. One event of an inbox: mostly a reference to where its content stands once.

use schemas::message::MessageError;
use schemas::{CommandId, ErrorCode, Pos, Status, Wamid};
use serde::{Deserialize, Serialize};

/// Table `inbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InboxRow {
    /// Event id.
    pub(crate) id: u128,
    /// Commit time, ms.
    pub(crate) at: u64,
    /// Conversation id.
    pub(crate) conversation: Option<u128>,
    /// Unread after this event, for the owner.
    pub(crate) unread: Option<u64>,
    /// What happened.
    pub(crate) body: InboxBody,
}

/// What happened. Variants are on disk by their position: only ever add at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum InboxBody {
    /// The message stands in the log.
    Created { pos: Pos },
    /// A status of it.
    Status { pos: Pos, wamid: Option<Wamid>, status: Status, error: Option<String>, at: u64 },
    /// A command was refused.
    Failed { id: Option<CommandId>, code: ErrorCode, detail: String, topic: Option<String> },
    /// JSON of `schemas::event::ConversationChange`.
    Conversation(String),
    /// JSON of `schemas::Contact`.
    Contact(String),
    /// A member read.
    Read { by: String, pos: Pos },
    /// Retention took the event; the row stays while it is the newest, because its number is the inbox's head (P2).
    Gone,
}

/// An error of a message as it stands in rows: JSON, because its optional fields are left out when absent.
pub(crate) fn error_json(error: &MessageError) -> String {
    serde_json::to_string(error).expect("a struct of strings and numbers")
}
