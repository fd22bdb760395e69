//! `shard_rows`: rows that a start has to read as a whole: users, sessions, subscriptions, QoS 2 flows, open sends,
//! webhooks not worked off, queues to be handed over; and the store's own facts and the directory.
//!
//! Partition: one per shard and kind, `part` = one zero byte. A million sessions of three subscriptions are 16,000 and
//! 47,000 rows a partition (2 and 7 MB); open sends are as many as wait for WhatsApp. The directory has one row per
//! partition of an owner: ten million inboxes are 6 MB a shard.
//! Compaction: leveled: rows are overwritten (a session each time it connects) and read by range at a start.

use super::super::layout::Layout;
use super::{DIRECTORY, Space};
use crate::rows::Table;

pub(super) const SPACE: Space = Space {
    name: "shard_rows",
    kinds: &[
        (Table::Meta as u8, Layout::Sharded),
        (Table::User as u8, Layout::Sharded),
        (Table::Session as u8, Layout::Sharded),
        (Table::Subscription as u8, Layout::Sharded),
        (Table::Exchange as u8, Layout::Sharded),
        (Table::Open as u8, Layout::Sharded),
        (Table::Progress as u8, Layout::Sharded),
        (Table::Leftover as u8, Layout::Sharded),
        (DIRECTORY, Layout::Sharded),
    ],
};
