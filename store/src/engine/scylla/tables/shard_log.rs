//! `shard_log`: the log whose conditional batches are the commit points.
//!
//! Partition: shard and slice; a slice ends at 64 MiB or 10 minutes and is deleted an hour after all of it is applied.
//! Static columns: `fence` (who may write), `next` (the index of the next entry), `last_ts` (timestamp of the newest),
//! `sealed` (the log goes on in slice + 1). Rows `(idx, part)`: an entry in parts; `parts` and `ts` stand in each.
//! Compaction: size-tiered; partitions are deleted whole. Written by conditional statements only, but for that delete.
//! Statements: `READ_STATE` at LOCAL_SERIAL, repeated like reads of rows; all conditional ones at LOCAL_QUORUM with
//! LOCAL_SERIAL, 15 s, never retried nor speculated by the driver: an outcome that is not known is settled by `READ_STATE`;
//! `READ_ENTRIES` and `DELETE_SLICE` as rows'.

/// Statics of a slice. Read at serial consistency, it also finishes what a coordinator left half done.
pub(crate) const READ_STATE: &str =
    "SELECT fence, next, last_ts, sealed FROM shard_log WHERE shard = ? AND slice = ? LIMIT 1";
/// The commit point: goes first in the batch.
pub(crate) const ADVANCE: &str =
    "UPDATE shard_log SET next = ?, last_ts = ? WHERE shard = ? AND slice = ? IF fence = ? AND next = ?";
/// Holds the place while parts of a large entry are written ahead of its commit point.
pub(crate) const HOLD: &str =
    "UPDATE shard_log SET next = ? WHERE shard = ? AND slice = ? IF fence = ? AND next = ?";
/// A part of an entry. Only ever in a batch behind one of the two above.
pub(crate) const INSERT_PART: &str =
    "INSERT INTO shard_log (shard, slice, idx, part, parts, ts, data) VALUES (?, ?, ?, ?, ?, ?, ?)";
/// A new slice carries on.
pub(crate) const CREATE_SLICE: &str =
    "INSERT INTO shard_log (shard, slice, fence, next, last_ts) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS";
/// Ends a slice.
pub(crate) const SEAL: &str =
    "UPDATE shard_log SET sealed = true WHERE shard = ? AND slice = ? IF fence = ? AND next = ?";
/// Locks out the owner before.
pub(crate) const RAISE: &str = "UPDATE shard_log SET fence = ? WHERE shard = ? AND slice = ? IF fence < ?";
/// Entries to be applied.
pub(crate) const READ_ENTRIES: &str = "SELECT idx, part, parts, ts, data FROM shard_log WHERE shard = ? AND slice = ? AND (idx, part) > (?, ?) LIMIT ?";
/// The last row of a slice that is wholly applied and an hour old.
pub(crate) const DELETE_SLICE: &str = "DELETE FROM shard_log WHERE shard = ? AND slice = ?";
