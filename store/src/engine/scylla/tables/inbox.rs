//! `inbox`: events of users, in their order.
//!
//! Partition: inbox and 8,192 numbers, `part` = inbox16 + bucket8: about 1 MB at 100 bytes a row.
//! Compaction: size-tiered. Rows are written once; retention removes from the front, so whole partitions die together.

use super::super::layout::{Bucket, Layout};
use super::Space;
use crate::rows::Table;

pub(super) const SPACE: Space =
    Space { name: "inbox", kinds: &[(Table::Inbox as u8, Layout::Owned(Bucket::Number { shift: 13 }))] };
