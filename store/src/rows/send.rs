//! O3–O9. What makes a command and a wamid take effect once, and what is on its way to WhatsApp.

use schemas::{AccountId, CommandId, MessageId, NumberId, UserId, Wamid, ids::hash128};
use serde::{Deserialize, Serialize};

/// Table `dedupe`: a command that was carried out. Kept for `dedupe_days`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DedupeRow {
    /// Of its body.
    pub(crate) fingerprint: [u8; 8],
    /// The message it made.
    pub(crate) message: Option<MessageId>,
    /// When, ms.
    pub(crate) at: u64,
}

/// Key of table `dedupe`.
pub(crate) fn command_hash(account: &AccountId, user: &UserId, id: &CommandId) -> u128 {
    hash128("command", &[account.as_str().as_bytes(), user.as_str().as_bytes(), id.as_str().as_bytes()])
}

/// Key of tables `wamid` and `parked`.
pub(crate) fn wamid_hash(number: &NumberId, wamid: &Wamid) -> u128 {
    hash128("wamid", &[number.as_str().as_bytes(), wamid.as_str().as_bytes()])
}

/// Table `open`: a send that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenRow {
    /// 0 queued, 1 attempting, 2 unknown.
    pub(crate) state: u8,
    /// Due, or since when, ms.
    pub(crate) at: u64,
    /// Attempts begun.
    pub(crate) attempts: u32,
}

/// Table `parked`: a status whose message is not known yet. Kept 7 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParkedRow {
    pub(crate) status: schemas::Status,
    /// WhatsApp's time, ms.
    pub(crate) at: u64,
    /// JSON of `schemas::message::MessageError`.
    pub(crate) error: Option<String>,
    /// When it was parked, ms.
    pub(crate) parked_at: u64,
}
