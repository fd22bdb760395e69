//! `queue`: general messages that wait for a session, and retained ones.
//!
//! Partition: session and 1,024 numbers, `part` = session16 + bucket8. A payload may be 256 KiB, usual are some hundred
//! bytes: 0.3 MB, at worst 256 MB. Emptied partitions are stepped over without a read (see `directory`), so that a
//! session does not wade through what it had acknowledged.
//! Retained: account and the first four bytes of the topic. What one such partition may hold is bounded by the account's
//! room alone (`retained_max_bytes`, 256 MB unless set).
//! Compaction: leveled. Most rows are deleted soon, and their tombstones must meet them soon.

use super::super::layout::{Bucket, Layout};
use super::Space;
use crate::rows::Table;

pub(super) const SPACE: Space = Space {
    name: "queue",
    kinds: &[
        (Table::Queue as u8, Layout::Owned(Bucket::Number { shift: 10 })),
        (Table::Retained as u8, Layout::Owned(Bucket::Number { shift: 32 })),
    ],
};
