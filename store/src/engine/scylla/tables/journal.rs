//! `journal`: raw bodies of webhooks.
//!
//! Partition: 2^13 ms (8.2 s) of arrival, `part` = start of that time (16 bytes) + 8 zero bytes: 8 MB at 1,000 webhooks a
//! second of 1 KB.
//! Compaction: time windows of a day. Rows are never changed and are removed by age, in the order in which they came.

use super::super::layout::{Bucket, Layout};
use super::Space;
use crate::rows::Table;

pub(super) const SPACE: Space =
    Space { name: "journal", kinds: &[(Table::Journal as u8, Layout::Owned(Bucket::Time))] };
