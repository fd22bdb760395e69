//! What the store must know of the configuration: numbers and their agents, limits, retention.
//!
//! Plain values; read from files by `server`. Not here: secrets.

use schemas::{AccountId, Epoch, NumberId, UserId};

use crate::space::DiskSpace;

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

/// How long things are kept; 0 = for ever. Days are 24 hours from the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events of inboxes. What goes is announced (`inbox.gap`); the messages they speak of stay.
    pub inbox_days: u32,
    /// Events of one inbox, by number, whichever comes first.
    pub inbox_max_events: u64,
    /// Messages. They stay as long as an event or a remembered command needs them, also where this is shorter.
    pub messages_days: u32,
    /// Ids of commands that were carried out (P4).
    pub dedupe_days: u32,
    /// Raw webhooks; those not worked off stay.
    pub journal_days: u32,
    /// Retained messages of one account; one more is refused.
    pub retained_max_messages: u64,
    /// Their bytes (topic, payload, properties, and 64 for the row).
    pub retained_max_bytes: u64,
}

impl Default for Retention {
    /// The contract's, section 3.
    fn default() -> Self {
        Self {
            inbox_days: 30,
            inbox_max_events: 100_000,
            messages_days: 0,
            dedupe_days: 7,
            journal_days: 7,
            retained_max_messages: 1_000_000,
            retained_max_bytes: 256 << 20,
        }
    }
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
    /// How long things are kept.
    pub retention: Retention,
    /// How much of the disk is to stay free; `None`: nobody looks.
    pub disk: Option<DiskSpace>,
    /// A commit that takes longer is stuck, in milliseconds.
    pub stuck_after_ms: u64,
}

/// The longest stall seen in the engine on an overloaded machine was 5 s; after a start it was gone.
const STUCK_AFTER_MS: u64 = 30_000;

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
            retention: Retention::default(),
            disk: None,
            stuck_after_ms: STUCK_AFTER_MS,
        }
    }
}
