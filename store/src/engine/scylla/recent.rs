//! What was committed a moment ago, and what was read: kept in memory, so that a reader sees a commit whole before its
//! rows are applied, and the plan does not ask the network for the same row twice.
//!
//! There is one owner, and every change goes through its commits, so this memory is never behind the rows. An
//! owner that lost its lease may plan on old rows, but can commit nothing.
//!
//! Two parts. The *overlay* holds the rows of every entry that is not applied, and of the last few that are: a reader
//! whose read of the database began before may need them. The *cache* holds rows read or written, also absent
//! ones, in two generations: when the young one is full it becomes the old one, and the old one is dropped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::{Batch, KeyRange};
use crate::rows::Key;

/// Bytes of a generation of the cache; there are two.
const CACHE_BYTES: usize = 32 << 20;
/// What an entry of a map costs beside its bytes, roughly.
const ENTRY_BYTES: usize = 96;
/// Applied entries that stay in the overlay: far more than commit while one read is under way, most of the time; where
/// more do, the read is not kept.
const APPLIED_KEPT: usize = 16;

/// A row, or that there is none.
pub(super) type Found = Option<Vec<u8>>;

/// See the module.
#[derive(Default)]
pub(super) struct Recent(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    overlay: BTreeMap<Key, (i64, Found)>,
    entries: VecDeque<Entry>,
    unapplied_bytes: usize,
    young: HashMap<Key, Found>,
    young_bytes: usize,
    old: HashMap<Key, Found>,
    /// Entries installed so far.
    installed: u64,
}

struct Entry {
    index: i64,
    keys: Vec<Key>,
    bytes: usize,
    applied: bool,
}

impl Memory {
    fn keep(&mut self, key: Key, found: Found) {
        let bytes = ENTRY_BYTES + key.len() + found.as_ref().map_or(0, Vec::len);
        if self.young_bytes + bytes > CACHE_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.old.remove(&key);
        self.young_bytes += bytes;
        self.young.insert(key, found);
    }

    fn evict(&mut self) {
        while self.entries.len() > APPLIED_KEPT && self.entries.front().is_some_and(|entry| entry.applied) {
            let Some(entry) = self.entries.pop_front() else { return };
            for key in entry.keys {
                if self.overlay.get(&key).is_some_and(|(index, _)| *index == entry.index) {
                    self.overlay.remove(&key);
                }
            }
        }
    }
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry is committed: all of its rows are visible from here on.
    pub(super) fn install(&self, index: i64, batch: &Batch) {
        let mut memory = self.lock();
        let mut bytes = 0;
        for (key, value) in batch {
            bytes += ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
            memory.overlay.insert(key.clone(), (index, value.clone()));
            memory.keep(key.clone(), value.clone());
        }
        memory.installed += 1;
        memory.unapplied_bytes += bytes;
        memory.entries.push_back(Entry {
            index,
            keys: batch.keys().cloned().collect(),
            bytes,
            applied: false,
        });
        memory.evict();
    }

    /// An entry stands in the rows.
    pub(super) fn applied(&self, index: i64) {
        let mut memory = self.lock();
        let mut freed = 0;
        if let Some(entry) = memory.entries.iter_mut().find(|entry| entry.index == index) {
            entry.applied = true;
            freed = entry.bytes;
        }
        memory.unapplied_bytes -= freed;
        memory.evict();
    }

    /// Bytes of entries that are not applied.
    pub(super) fn unapplied_bytes(&self) -> usize {
        self.lock().unapplied_bytes
    }

    /// Counts commits; see [`Recent::fill`].
    pub(super) fn version(&self) -> u64 {
        self.lock().installed
    }

    /// The row of a key, where it is known.
    pub(super) fn get(&self, key: &[u8]) -> Option<Found> {
        let mut memory = self.lock();
        if let Some((_, found)) = memory.overlay.get(key) {
            return Some(found.clone());
        }
        if let Some(found) = memory.young.get(key) {
            return Some(found.clone());
        }
        let (key, found) = memory.old.remove_entry(key)?;
        memory.keep(key, found.clone());
        Some(found)
    }

    /// What was read from the database, in a read that began at `version`. The overlay wins; and where so much was
    /// committed meanwhile that the overlay may have forgotten, the row is not kept.
    pub(super) fn fill(&self, key: &[u8], found: Found, version: u64) -> Found {
        let mut memory = self.lock();
        if let Some((_, newer)) = memory.overlay.get(key) {
            return newer.clone();
        }
        if memory.installed - version < APPLIED_KEPT as u64 {
            memory.keep(key.to_vec(), found.clone());
        }
        found
    }

    /// The overlay's rows of a range.
    pub(super) fn range(&self, range: &KeyRange) -> Batch {
        if range.from >= range.to {
            return Batch::new();
        }
        let memory = self.lock();
        let rows = memory.overlay.range(range.from.clone()..range.to.clone());
        rows.map(|(key, (_, found))| (key.clone(), found.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: &[(u8, Option<u8>)]) -> Batch {
        rows.iter().map(|(key, value)| (vec![*key], value.map(|v| vec![v]))).collect()
    }

    #[test]
    fn a_commit_is_seen_until_it_is_applied_and_a_while_longer() {
        let recent = Recent::default();
        recent.install(1, &batch(&[(1, Some(1)), (2, None)]));
        assert_eq!(recent.get(&[1]), Some(Some(vec![1])));
        assert_eq!(recent.get(&[2]), Some(None));
        assert_eq!(recent.get(&[3]), None);
        for index in 2..40 {
            recent.install(index, &batch(&[(9, Some(9))]));
            recent.applied(index);
        }
        let all = KeyRange { from: vec![0], to: vec![99] };
        assert!(recent.range(&all).contains_key(&vec![1]), "not applied, so it stays");
        recent.applied(1);
        assert!(!recent.range(&all).contains_key(&vec![1]));
        assert!(recent.range(&all).contains_key(&vec![9]));
        assert_eq!(recent.unapplied_bytes(), 0);
    }

    #[test]
    fn a_slow_read_does_not_bring_an_old_row_back() {
        let recent = Recent::default();
        let version = recent.version();
        recent.install(1, &batch(&[(1, Some(2))]));
        assert_eq!(recent.fill(&[1], Some(vec![1]), version), Some(vec![2]), "the overlay wins");
        recent.applied(1);
        for index in 2..40 {
            recent.install(index, &batch(&[(9, Some(9))]));
            recent.applied(index);
        }
        recent.fill(&[4], Some(vec![1]), version);
        assert_eq!(recent.get(&[4]), None, "so much was committed that nobody knows");
        recent.fill(&[4], Some(vec![1]), recent.version());
        assert_eq!(recent.get(&[4]), Some(Some(vec![1])));
    }

    #[test]
    fn the_cache_is_bounded() {
        let recent = Recent::default();
        let row = vec![0; 1 << 20];
        for n in 0..200_u32 {
            recent.fill(&n.to_be_bytes(), Some(row.clone()), recent.version());
        }
        let memory = recent.lock();
        let rows = memory.young.len() + memory.old.len();
        assert!((32..=64).contains(&rows), "{rows} MiB");
    }
}
