//! What the store must know of the configuration: numbers and their agents, limits, retention.
//!
//! Plain values; read from files by `server`. Not here: secrets.

use schemas::{AccountId, Epoch, NumberId, UserId};

/// Who gets the conversations of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agents {
    /// Every user of role agent in the store and every one that ever connected with that role.
    All,
    /// These.
    Named(Vec<UserId>),
}

/// A business number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Meta's `phone_number_id`.
    pub id: NumberId,
    /// The account it belongs to; an account that a number names exists by that.
    pub account: AccountId,
    /// Who answers it.
    pub agents: Agents,
    /// Who gets unassigned conversations where there are more agents than `fanout_max`.
    pub triage: Vec<UserId>,
}

/// Settings of a store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Used as the epoch of every inbox when the store is made; ignored for an existing store.
    pub new_epoch: Epoch,
    /// All business numbers.
    pub numbers: Vec<Number>,
    /// Most members a conversation's events are copied to (contract: 64).
    pub fanout_max: usize,
    /// Longest time a cursor waits for a commit to ride on, in milliseconds.
    pub cursor_flush_ms: u64,
    /// Bytes of ops that may wait for the writer; beyond it submitters wait (P8).
    pub queue_max_bytes: usize,
    /// Most events and most queued messages kept in memory as hot tails.
    pub tail_max_events: usize,
}

impl Settings {
    /// Defaults with no numbers.
    #[must_use]
    pub fn new(new_epoch: Epoch) -> Self {
        Self {
            new_epoch,
            numbers: Vec::new(),
            fanout_max: 64,
            cursor_flush_ms: 200,
            queue_max_bytes: 64 << 20,
            tail_max_events: 32_768,
        }
    }
}
