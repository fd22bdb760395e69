//! `lease`: who owns a shard's log. One row a shard; written by conditional statements only.
//!
//! `fence` rises with every owner; `beat` with every sign of life; `owner` is absent where the last one left in order;
//! `first_slice` is the oldest slice of the log that is kept.
//! Statements: as the log's. A sign of life without an answer is not settled: the next one tells.

/// Read at serial consistency.
pub(crate) const READ: &str = "SELECT fence, owner, beat, first_slice FROM lease WHERE shard = ?";
/// The first owner ever.
pub(crate) const CREATE: &str =
    "INSERT INTO lease (shard, fence, owner, beat, first_slice) VALUES (?, 1, ?, 0, 0) IF NOT EXISTS";
/// The next owner.
pub(crate) const TAKE: &str =
    "UPDATE lease SET fence = ?, owner = ?, beat = 0 WHERE shard = ? IF fence = ? AND beat = ?";
/// A sign of life.
pub(crate) const BEAT: &str =
    "UPDATE lease SET beat = ?, first_slice = ? WHERE shard = ? IF fence = ? AND owner = ?";
/// Leaves in order, so that the next owner need not wait.
pub(crate) const RELEASE: &str =
    "UPDATE lease SET owner = null, beat = ? WHERE shard = ? IF fence = ? AND owner = ?";
