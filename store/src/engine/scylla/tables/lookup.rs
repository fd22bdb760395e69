//! `lookup`: rows that are found by their key and by nothing else: conversations, contacts, who is who, wamids, command
//! ids, parked statuses, cursors, read positions, wills, room of retained messages and how far sessions have got them.
//!
//! Partition: 64 shards of `slots` (16 unless the store was made with another number) per kind, `part` = slot1, by the
//! first two bytes of the key, which is a hash: with a milliard wamids 60 MB. Not one partition a row: a check of
//! the whole store, and clearing by age, have to walk them in key order.
//! Compaction: leveled. Reads are of single rows, and most keys asked for (a new wamid, a new command id) are absent.

use super::super::layout::Layout;
use super::Space;
use crate::rows::Table;

pub(super) const SPACE: Space = Space {
    name: "lookup",
    kinds: &[
        (Table::Conversation as u8, Layout::Slotted),
        (Table::Member as u8, Layout::Slotted),
        (Table::Contact as u8, Layout::Slotted),
        (Table::Identity as u8, Layout::Slotted),
        (Table::Wamid as u8, Layout::Slotted),
        (Table::Dedupe as u8, Layout::Slotted),
        (Table::Cursor as u8, Layout::Slotted),
        (Table::Parked as u8, Layout::Slotted),
        (Table::Room as u8, Layout::Slotted),
        (Table::Replay as u8, Layout::Slotted),
        (Table::Will as u8, Layout::Slotted),
    ],
};
