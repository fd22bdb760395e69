//! `journal`: rows in order of time: raw bodies of webhooks, dues of sessions that were left.
//!
//! Partition: 2^13 ms (8.2 s) of arrival, `part` = start of that time (16 bytes) + 8 zero bytes: 8 MB at 1,000 webhooks a
//! second of 1 KB.
//! Compaction: time windows of a day. Rows are never changed; webhooks are removed by age, in the order in which they
//! came, dues when their time comes or the session goes on.

use super::super::layout::{Bucket, Layout};
use super::Space;
use crate::rows::Table;

pub(super) const SPACE: Space = Space {
    name: "journal",
    kinds: &[
        (Table::Journal as u8, Layout::Owned(Bucket::Time)),
        (Table::Due as u8, Layout::Owned(Bucket::Time)),
    ],
};
