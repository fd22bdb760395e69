//! Where a row stands: from the store's key to shard, kind and partition, and from a range of keys to the partitions
//! that hold it, in key order. Pure.
//!
//! ```text
//! key      table1 owner16 …                          part
//! Sharded  one partition per shard                   00
//! Slotted  `slots` partitions per shard              slot1          (second byte of the owner)
//! Owned    partitions of one owner, bounded by       owner16 bucket8
//!          the number or time behind the owner
//! ```
//! The shard is the owner's ([`crate::shard_of`]). Not here: which table is laid out how (`tables`), reading (`scan`).

use super::tables::{DIRECTORY, SPACES};
use crate::engine::KeyRange;
use crate::keys::SHARDS;
use crate::rows::Key;

/// Bytes of an owner.
const OWNER: usize = 16;
/// Table's byte and owner.
const PREFIX: usize = 1 + OWNER;
/// The journal's key is a time in milliseconds, shifted by 80 bits, and a number: 2^13 ms make a partition.
const TIME_SHIFT: u32 = 80 + 13;

/// How the rows of a table are spread over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One partition per shard: rows that a start reads as a whole.
    Sharded,
    /// A fixed number of partitions per shard: rows that are found by key.
    Slotted,
    /// Partitions of its own for every owner.
    Owned(Bucket),
}

/// What ends an owner's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bucket {
    /// 2^`shift` of the number behind the owner.
    Number {
        /// Binary logarithm.
        shift: u32,
    },
    /// A stretch of time; the key is the time, the "owner" is the stretch.
    Time,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition {
    /// Index into [`SPACES`].
    pub(super) space: usize,
    pub(super) shard: i8,
    pub(super) kind: i8,
    pub(super) part: Vec<u8>,
}

/// What of a range stands in one partition: whole keys, table's byte included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) partition: Partition,
    pub(super) range: KeyRange,
}

/// The layout of a store: fixed when it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    /// Binary logarithm of the number of slots.
    slot_bits: u32,
}

fn find(table: u8) -> Option<(usize, Layout)> {
    SPACES.iter().enumerate().find_map(|(index, space)| {
        space.kinds.iter().find(|(kind, _)| *kind == table).map(|(_, layout)| (index, *layout))
    })
}

/// The layout of a table; `None` where there is no such table.
pub(super) fn layout_of(table: u8) -> Option<Layout> {
    find(table).map(|(_, layout)| layout)
}

fn owner(key: &[u8]) -> u128 {
    let mut bytes = [0; OWNER];
    let found = key.get(1..).unwrap_or_default();
    let len = found.len().min(OWNER);
    bytes[..len].copy_from_slice(&found[..len]);
    u128::from_be_bytes(bytes)
}

fn number(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let found = key.get(PREFIX..).unwrap_or_default();
    let len = found.len().min(8);
    bytes[..len].copy_from_slice(&found[..len]);
    u64::from_be_bytes(bytes)
}

fn shard(byte: u8) -> i8 {
    i8::try_from(byte % SHARDS).unwrap_or_default()
}

fn key_of(table: u8, owner: u128, number: Option<u64>) -> Key {
    let mut key = Vec::with_capacity(PREFIX + 8);
    key.push(table);
    key.extend_from_slice(&owner.to_be_bytes());
    key.extend(number.map(u64::to_be_bytes).into_iter().flatten());
    key
}

impl Bucket {
    /// The first bytes after the table's that all rows of a partition share, as owner and bucket.
    fn of(self, key: &[u8]) -> (u128, u64) {
        match self {
            Self::Number { shift } => (owner(key), number(key) >> shift),
            Self::Time => (owner(key) >> TIME_SHIFT << TIME_SHIFT, 0),
        }
    }

    /// The keys that may stand in a partition.
    fn range(self, table: u8, owner: u128, bucket: u64) -> KeyRange {
        match self {
            Self::Number { shift } => {
                // Also keys that are shorter than a number: what is missing of it counts as zero, so zeros at its end
                // are left out.
                let border = |number: u64| {
                    let mut key = key_of(table, owner, Some(number));
                    key.truncate(key.len() - number.trailing_zeros().min(64) as usize / 8);
                    key
                };
                let from = border(bucket << shift);
                let to = match (bucket + 1).checked_mul(1 << shift) {
                    Some(end) => border(end),
                    None => KeyRange::prefix(key_of(table, owner, None)).to,
                };
                KeyRange { from, to }
            }
            Self::Time => {
                let from = key_of(table, owner, None);
                let to = match owner.checked_add(1 << TIME_SHIFT) {
                    Some(end) => key_of(table, end, None),
                    None => KeyRange::prefix(vec![table]).to,
                };
                KeyRange { from, to }
            }
        }
    }
}

impl Map {
    /// `slots` is a power of two, at most 256.
    pub(super) fn new(slots: u16) -> Self {
        Self { slot_bits: slots.trailing_zeros().min(8) }
    }

    fn slot(self, byte: u8) -> u8 {
        u8::try_from(u32::from(byte) >> (8 - self.slot_bits)).unwrap_or_default()
    }

    /// The partition of a row.
    pub(super) fn partition(self, key: &[u8]) -> Option<Partition> {
        let table = *key.first()?;
        let (space, layout) = find(table)?;
        let kind = i8::try_from(table).ok()?;
        let byte = |at: usize| key.get(at).copied().unwrap_or(0);
        // The directory's rows begin with the table they speak of; their owner comes next.
        let shard_at = if table == DIRECTORY { 2 } else { 1 };
        let shard = shard(byte(shard_at));
        let part = match layout {
            Layout::Sharded => vec![0],
            Layout::Slotted => vec![self.slot(byte(2))],
            Layout::Owned(bucket) => directory_part(bucket.of(key)),
        };
        Some(Partition { space, shard, kind, part })
    }

    /// The partitions of a range of one table that is not [`Layout::Owned`], lowest keys first.
    pub(super) fn segments(self, range: &KeyRange) -> Vec<Segment> {
        let Some(&table) = range.from.first() else { return Vec::new() };
        // The directory counts from its second byte on: the first says of which table.
        let (lead, bits) = match layout_of(table) {
            Some(Layout::Slotted) => (vec![table], self.slot_bits),
            Some(Layout::Sharded) if table == DIRECTORY => {
                (vec![table, range.from.get(1).copied().unwrap_or(0)], 0)
            }
            _ => (vec![table], 0),
        };
        let shared = lead.len();
        let low = range.from.get(shared).copied().unwrap_or(0);
        let mut segments = Vec::new();
        for top in low..=u8::MAX {
            for slot in 0..1_u32 << bits {
                let mut start = lead.clone();
                start.push(top);
                let end = self.end_of(&start, slot, bits);
                if bits > 0 {
                    start.push(u8::try_from(slot << (8 - bits)).unwrap_or(u8::MAX));
                }
                // Keys that are shorter than this prefix sort before it and belong to its zero bytes.
                let from = if slot == 0 { start[..=shared].to_vec() } else { start.clone() };
                let from = if top == 0 && slot == 0 { lead.clone() } else { from };
                if from >= range.to {
                    return segments;
                }
                let clipped = KeyRange { from: from.max(range.from.clone()), to: end.min(range.to.clone()) };
                if clipped.from < clipped.to
                    && let Some(partition) = self.partition(&start)
                {
                    segments.push(Segment { partition, range: clipped });
                }
            }
        }
        segments
    }

    fn end_of(self, start: &[u8], slot: u32, bits: u32) -> Key {
        let next = slot + 1;
        if bits == 0 || next == 1 << bits {
            return KeyRange::prefix(start.to_vec()).to;
        }
        let mut end = start.to_vec();
        end.push(u8::try_from(next << (8 - bits)).unwrap_or(u8::MAX));
        end
    }

    /// The segment of a range in the partition that a directory row names.
    pub(super) fn owned_segment(self, directory: &[u8], range: &KeyRange) -> Option<Segment> {
        let table = *directory.get(1)?;
        let Layout::Owned(bucket) = layout_of(table)? else { return None };
        let part = directory.get(2..2 + OWNER + 8)?;
        let owner = u128::from_be_bytes(part[..OWNER].try_into().ok()?);
        let whole = bucket.range(table, owner, u64::from_be_bytes(part[OWNER..].try_into().ok()?));
        let clipped =
            KeyRange { from: whole.from.clone().max(range.from.clone()), to: whole.to.min(range.to.clone()) };
        if clipped.from >= clipped.to {
            return None;
        }
        Some(Segment { partition: self.partition(&whole.from)?, range: clipped })
    }
}

fn directory_part((owner, bucket): (u128, u64)) -> Vec<u8> {
    let mut part = owner.to_be_bytes().to_vec();
    part.extend_from_slice(&bucket.to_be_bytes());
    part
}

/// The directory's row for the partition of a row; `None` where its table needs none.
pub(super) fn directory_key(key: &[u8]) -> Option<Key> {
    let table = *key.first()?;
    let Layout::Owned(bucket) = layout_of(table)? else { return None };
    let mut row = vec![DIRECTORY, table];
    row.extend(directory_part(bucket.of(key)));
    Some(row)
}

/// The directory's rows of the partitions that may hold a range of one owned table.
pub(super) fn directory_range(range: &KeyRange) -> Option<KeyRange> {
    let table = *range.from.first()?;
    let from = directory_key(&range.from)?;
    let to = if range.to.first() == Some(&table) {
        let mut last = directory_key(&range.to)?;
        last.push(0);
        last
    } else {
        KeyRange::prefix(vec![DIRECTORY, table]).to
    };
    Some(KeyRange { from, to })
}

/// The one owner that a range is confined to, as table and owner.
pub(super) fn owner_of_range(range: &KeyRange) -> Option<(u8, u128)> {
    let table = *range.from.first()?;
    if !matches!(layout_of(table)?, Layout::Owned(Bucket::Number { .. })) || range.from.len() < PREFIX {
        return None;
    }
    let owner = owner(&range.from);
    (range.to <= KeyRange::prefix(key_of(table, owner, None)).to).then_some((table, owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Table;

    const fn hashed(n: u64) -> u128 {
        (n as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
    }

    #[test]
    fn every_table_stands_in_exactly_one_space() {
        for table in Table::ALL {
            let found = SPACES.iter().flat_map(|s| s.kinds).filter(|(kind, _)| *kind == table as u8);
            assert_eq!(found.count(), 1, "{table:?}");
        }
    }

    #[test]
    fn segments_cover_a_table_in_key_order_and_hold_the_keys_they_should() {
        for slots in [1, 4, 16, 256] {
            let map = Map::new(slots);
            for table in [Table::Wamid as u8, Table::Session as u8, Table::Meta as u8] {
                let all = map.segments(&KeyRange::prefix(vec![table]));
                assert_eq!(all.first().map(|s| &s.range.from), Some(&vec![table]));
                assert_eq!(all.last().map(|s| &s.range.to), Some(&vec![table + 1]));
                assert!(all.windows(2).all(|pair| pair[0].range.to == pair[1].range.from), "no gap");
                let name = b"format".to_vec();
                let keys = (0..2_000).map(|n| key_of(table, hashed(n), None));
                for key in keys.chain([[vec![table], name].concat(), vec![table, 0], vec![table, 7]]) {
                    let segment = all.iter().find(|s| s.range.from <= key && key < s.range.to);
                    assert_eq!(segment.map(|s| &s.partition), map.partition(&key).as_ref(), "{key:?}");
                }
            }
        }
    }

    #[test]
    fn a_range_within_an_owner_needs_few_partitions() {
        let map = Map::new(16);
        let prefix = key_of(Table::Parked as u8, hashed(5), None);
        assert_eq!(map.segments(&KeyRange::prefix(prefix)).len(), 1);
        let session = key_of(Table::Subscription as u8, hashed(6), None);
        assert_eq!(map.segments(&KeyRange::prefix(session)).len(), 1);
    }

    #[test]
    fn an_owners_partitions_are_found_through_the_directory() {
        let map = Map::new(16);
        for table in [Table::Inbox as u8, Table::Log as u8, Table::Activity as u8, Table::Journal as u8] {
            for n in [0, 1, 4095, 4096, 1 << 20, u64::MAX - 1] {
                let key = key_of(table, hashed(3), Some(n));
                let directory = directory_key(&key).unwrap();
                let range = KeyRange { from: key.clone(), to: [key.clone(), vec![0]].concat() };
                let rows = directory_range(&range).unwrap();
                assert!(rows.from <= directory && directory < rows.to);
                let segment = map.owned_segment(&directory, &range).unwrap();
                assert_eq!(
                    (Some(&segment.partition), &segment.range),
                    (map.partition(&key).as_ref(), &range)
                );
                let everything = KeyRange { from: vec![table], to: vec![table + 1] };
                let whole = map.owned_segment(&directory, &everything).unwrap();
                assert!(whole.range.from <= key && key < whole.range.to);
            }
        }
    }

    #[test]
    fn topics_of_any_length_stand_in_their_partition() {
        let map = Map::new(16);
        let owner = hashed(9);
        let prefix = key_of(Table::Retained as u8, owner, None);
        let all = KeyRange::prefix(prefix.clone());
        let names =
            ["a", "a/", "a/b", "ab/c", "ab/cd", "ab/cdefgh/ijk", "b", "é/x", "\u{1}", "zzzz", "zzzzz"];
        let mut found: Vec<(KeyRange, &str)> = Vec::new();
        for name in names {
            let key = [&prefix, name.as_bytes()].concat();
            let segment = map.owned_segment(&directory_key(&key).unwrap(), &all).unwrap();
            assert!(segment.range.from <= key && key < segment.range.to, "{name}");
            assert_eq!(Some(segment.partition), map.partition(&key), "{name}");
            found.push((segment.range, name));
        }
        for (range, name) in &found {
            for (other, _) in &found {
                assert!(range == other || range.to <= other.from || other.to <= range.from, "{name}");
            }
        }
    }

    #[test]
    fn a_range_knows_whether_it_is_one_owners() {
        let inbox = key_of(Table::Inbox as u8, hashed(1), None);
        assert_eq!(owner_of_range(&KeyRange::prefix(inbox)), Some((Table::Inbox as u8, hashed(1))));
        assert_eq!(owner_of_range(&KeyRange::prefix(vec![Table::Inbox as u8])), None);
        assert_eq!(owner_of_range(&KeyRange::prefix(key_of(Table::User as u8, 1, None))), None);
    }
}
