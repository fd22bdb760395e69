//! `queue`: general messages that wait for a session.
//!
//! Partition: session and 1,024 numbers, `part` = session16 + bucket8. A payload may be 256 KiB, usual are some hundred
//! bytes: 0.3 MB, at worst 256 MB. Emptied partitions are stepped over without a read (see `directory`), so that a
//! session does not wade through what it had acknowledged.
//! Compaction: leveled. Most rows are deleted soon, and their tombstones must meet them soon.

use super::super::layout::{Bucket, Layout};
use super::Space;
use crate::rows::Table;

pub(super) const SPACE: Space =
    Space { name: "queue", kinds: &[(Table::Queue as u8, Layout::Owned(Bucket::Number { shift: 10 }))] };
