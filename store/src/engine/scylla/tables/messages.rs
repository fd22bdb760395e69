//! `messages`: bodies of messages, and what changed of them since.
//!
//! Partition: conversation and 4,096 positions, `part` = conversation16 + bucket8: at some 300 bytes a row 1.2 MB; 64 KiB of
//! text in every message would make it 256 MB, which WhatsApp's own limit of 4,096 characters prevents.
//! Compaction: size-tiered. Rows are written once and read by range; only `state` is ever overwritten, a few times.

use super::super::layout::{Bucket, Layout};
use super::Space;
use crate::rows::Table;

/// 4,096 positions.
const POSITIONS: Layout = Layout::Owned(Bucket::Number { shift: 12 });

pub(super) const SPACE: Space =
    Space { name: "messages", kinds: &[(Table::Log as u8, POSITIONS), (Table::State as u8, POSITIONS)] };
