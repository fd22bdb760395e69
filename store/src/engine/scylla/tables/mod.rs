//! The tables of the keyspace, one file each: what stands there, its key, how large a partition may get, its compaction.
//!
//! Seven tables hold the store's rows and have one shape, `((shard, kind, part), key) → value`: `kind` is the number of
//! the store's table ([`crate::rows::Table`]), `key` its key without that number, `part` what keeps partitions bounded.
//! Their statements: point and range reads at LOCAL_QUORUM, 10 s, retried by the driver on another replica, asked of a
//! second one after 100 ms, repeated by the engine five times within 1.6 s; writes at LOCAL_QUORUM in unlogged batches of
//! one partition with the entry's timestamp, 10 s, repeated until they stand, never speculated.
//! Which rows a partition holds follows from the key alone ([`super::layout`]). Three more are the log's own.

mod activity;
mod inbox;
mod journal;
mod lookup;
mod messages;
mod queue;
mod shard_rows;

pub(super) mod applied;
pub(super) mod lease;
pub(super) mod shard_log;
pub(super) mod store_settings;

use super::layout::Layout;

/// A CQL table that holds rows of one or several of the store's tables.
pub(super) struct Space {
    /// Name in the keyspace.
    pub(super) name: &'static str,
    /// The store's tables in it, and how their rows are spread over partitions.
    pub(super) kinds: &'static [(u8, Layout)],
}

/// All of them.
pub(super) const SPACES: [Space; 7] = [
    messages::SPACE,
    inbox::SPACE,
    queue::SPACE,
    activity::SPACE,
    journal::SPACE,
    lookup::SPACE,
    shard_rows::SPACE,
];

/// The engine's own kind of row: which partitions an owner has. Above the store's tables, within a `tinyint`.
pub(super) const DIRECTORY: u8 = 126;
