//! `applied`: up to which entry the log of a shard stands in the rows. One row a shard, written now and then.
//!
//! A hint: replaying more than needed changes nothing, because entries carry their timestamps.
//! Statements: as rows', without a timestamp of an entry.

/// Reads it.
pub(crate) const READ: &str = "SELECT next FROM applied WHERE shard = ?";
/// Moves it.
pub(crate) const WRITE: &str = "INSERT INTO applied (shard, next) VALUES (?, ?)";
