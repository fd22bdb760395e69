//! `activity`: lists of conversations by time of the newest activity.
//!
//! Partition: list and 2^26 ms (18.6 hours), `part` = list16 + bucket8. A number with 100,000 conversations active in a
//! day has 6 MB there. A message moves its conversation: one delete, one insert; reading the newest page
//! steps over at most that many tombstones as there were moves within the bucket since the last compaction.
//! Compaction: leveled, because of these tombstones.

use super::super::layout::{Bucket, Layout};
use super::Space;
use crate::rows::Table;

pub(super) const SPACE: Space = Space {
    name: "activity",
    kinds: &[(Table::Activity as u8, Layout::Owned(Bucket::Number { shift: 26 }))],
};
