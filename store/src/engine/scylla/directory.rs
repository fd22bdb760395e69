//! Which partitions an owner has: rows of the engine's own, written with the first row of each partition.
//!
//! They go through the log, the overlay and `apply` like all others, so they are there whenever their partition is.
//! Kept in memory for owners that were asked for; partitions found empty from the front (what retention or an
//! acknowledged queue left) are forgotten there, so that the next reader steps over them without a read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::{directory_key, owner_of_range};
use crate::engine::{Batch, KeyRange};
use crate::rows::{Key, Table};

/// Owners kept in memory; all are forgotten above it. About 200 bytes each.
const OWNERS_MAX: usize = 100_000;

/// Rows of a generation of those written lately; about 80 bytes each.
const WRITTEN_MAX: usize = 100_000;
/// Tables whose numbers only rise: a partition that is not the last gets no row ever again.
const RISING: [u8; 3] = [Table::Inbox as u8, Table::Queue as u8, Table::Log as u8];

/// See the module.
#[derive(Default)]
pub(super) struct Directory(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The directory's rows of an owner, all of them.
    owners: HashMap<(u8, u128), BTreeSet<Key>>,
    /// Rows written lately, in two generations: most owners that are written to are never asked for.
    written: [HashSet<Key>; 2],
    /// Counts partitions begun: whoever read before one was begun does not know it.
    begun: u64,
}

impl Directory {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory's rows for the partitions of a batch that are not known to exist. Called by the committing thread.
    pub(super) fn missing(&self, batch: &Batch) -> BTreeSet<Key> {
        let known = self.lock();
        let mut missing = BTreeSet::new();
        for (key, value) in batch {
            if value.is_none() {
                continue;
            }
            let Some(row) = directory_key(key) else { continue };
            let there = owner_of_range(&KeyRange::prefix(key.clone()))
                .and_then(|owner| known.owners.get(&owner))
                .is_some_and(|rows| rows.contains(&row));
            if !there && known.written.iter().all(|rows| !rows.contains(&row)) {
                missing.insert(row);
            }
        }
        missing
    }

    /// They were committed.
    pub(super) fn begun(&self, rows: impl IntoIterator<Item = Key>) {
        let mut known = self.lock();
        known.begun += 1;
        for row in rows {
            let Some(owner) = owner_of(&row) else { continue };
            if let Some(rows) = known.owners.get_mut(&owner) {
                rows.insert(row.clone());
            }
            if known.written[0].len() >= WRITTEN_MAX {
                known.written[1] = std::mem::take(&mut known.written[0]);
            }
            known.written[0].insert(row);
        }
    }

    /// The rows of an owner, or the number to give back to [`Directory::learn`] with what was read.
    pub(super) fn of(&self, owner: (u8, u128)) -> Result<BTreeSet<Key>, u64> {
        let known = self.lock();
        known.owners.get(&owner).cloned().ok_or(known.begun)
    }

    /// All rows of an owner, read after [`Directory::of`] gave `begun`.
    pub(super) fn learn(&self, owner: (u8, u128), rows: BTreeSet<Key>, begun: u64) {
        let mut known = self.lock();
        if known.begun != begun {
            return;
        }
        if known.owners.len() >= OWNERS_MAX {
            known.owners.clear();
        }
        known.owners.insert(owner, rows);
    }

    /// A partition that is not its owner's last was read whole and holds nothing.
    pub(super) fn is_empty(&self, owner: (u8, u128), row: &Key) {
        if RISING.contains(&owner.0)
            && let Some(rows) = self.lock().owners.get_mut(&owner)
            && rows.last() != Some(row)
        {
            rows.remove(row);
        }
    }
}

/// The table and owner of a directory's row.
fn owner_of(row: &[u8]) -> Option<(u8, u128)> {
    Some((*row.get(1)?, u128::from_be_bytes(row.get(2..18)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        let mut key = vec![Table::Queue as u8];
        key.extend(7_u128.to_be_bytes());
        key.extend(n.to_be_bytes());
        key
    }

    #[test]
    fn a_partition_is_begun_once_and_forgotten_when_empty() {
        let directory = Directory::default();
        let owner = (Table::Queue as u8, 7);
        let batch: Batch = [(key(1), Some(vec![1])), (key(2), Some(vec![1])), (key(5_000), None)].into();
        let missing = directory.missing(&batch);
        assert_eq!(missing.len(), 1, "removals begin nothing");
        let begun = directory.of(owner).unwrap_err();
        directory.begun(missing.clone());
        directory.learn(owner, BTreeSet::new(), begun);
        assert!(directory.of(owner).is_err(), "what was read before it was begun is not believed");
        let begun = directory.of(owner).unwrap_err();
        directory.learn(owner, missing.clone(), begun);
        assert_eq!(directory.missing(&batch), BTreeSet::new());
        let first = missing.first().unwrap().clone();
        directory.is_empty(owner, &first);
        assert_eq!(directory.of(owner).unwrap(), missing, "the last one stays");
        let next: Batch = [(key(5_000), Some(vec![1]))].into();
        directory.begun(directory.missing(&next));
        directory.is_empty(owner, &first);
        assert_eq!(directory.of(owner).unwrap().len(), 1);
    }
}
