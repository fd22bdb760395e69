//! Conversations and their members' read positions.

use schemas::message::{ConversationKind, ConversationState};
use schemas::{AccountId, NumberId, Pos, UserId};
use serde::{Deserialize, Serialize};

/// Table `conversation`. Written with the commit group that touched it, once a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConversationRow {
    pub(crate) account: AccountId,
    pub(crate) kind: ConversationKind,
    pub(crate) number: Option<NumberId>,
    pub(crate) contact: Option<u128>,
    pub(crate) members: Vec<UserId>,
    pub(crate) title: Option<String>,
    pub(crate) assignee: Option<UserId>,
    pub(crate) labels: Vec<String>,
    pub(crate) state: ConversationState,
    /// The newest message's position.
    pub(crate) head: Pos,
    /// Time of the newest activity, ms: its place in the lists.
    pub(crate) activity_at: u64,
    /// When WhatsApp's window ends, ms.
    pub(crate) window_expires_at: Option<u64>,
}

/// Table `member`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberRow {
    /// Everything up to here is read.
    pub(crate) read: Pos,
    /// Own messages after it.
    pub(crate) own_since: u64,
}
