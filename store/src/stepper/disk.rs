//! A disk that forgets: over any engine, it keeps apart what is written and not synced, and loses it at a crash.
//!
//! Batches that were committed without a sync stand in a journal above the engine and are seen by every reader. A
//! sync hands them, in order and with the batch that asked for it, to the engine. A crash keeps a prefix of the
//! journal, of a length that the caller names, and drops the rest: what a file system does to a log that was not
//! synced. A batch whose write failed stands in the journal too, unseen: the crash decides whether it was written.
//! Not here: torn batches (engines promise atomic ones; `tests/crash` kills the real one).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Planted;
use crate::engine::behind::{Behind, Limits, WriteSet};
use crate::engine::overlay::{self, changes_of};
use crate::engine::{Batch, Each, KeyRange, Order, Rows, embedded, memory};
use crate::error::{CommitError, OpenError, ReadError};
use crate::verify::Report;

/// Small, so that a simulated minute turns the write-behind layer over many times.
pub(super) const LIMITS: Limits = Limits { rows: 24, records: 6, bytes: 4_096, step: 5 };

/// A disk that outlives the steppers on it. Clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

struct State {
    /// Gives the engine again after a crash; `None`: the model in memory, which has nothing to open.
    folder: Option<PathBuf>,
    /// `None` only while it is being opened again.
    engine: Option<Arc<dyn Rows>>,
    /// What a crash may lose, oldest first.
    journal: Vec<Batch>,
    /// The visible part of the journal as one batch.
    seen: Batch,
    /// The fence of the newest owner; older ones may not write.
    fence: u64,
    fail_next: bool,
    /// Planted [`Planted::SeqReused`]: a write that is still on its way.
    late: Option<Batch>,
}

impl Disk {
    /// An empty disk in memory.
    #[must_use]
    pub fn model() -> Self {
        Self::new(None, Arc::new(memory::Memory::default()))
    }

    /// The embedded engine in a folder.
    ///
    /// # Errors
    /// [`OpenError`]: the folder cannot be used.
    pub fn embedded(folder: PathBuf) -> Result<Self, OpenError> {
        let engine = embedded::tables(&folder, embedded::Sizes::default())?;
        Ok(Self::new(Some(folder), engine))
    }

    fn new(folder: Option<PathBuf>, engine: Arc<dyn Rows>) -> Self {
        Self(Arc::new(Mutex::new(State {
            folder,
            engine: Some(engine),
            journal: Vec::new(),
            seen: Batch::new(),
            fence: 0,
            fail_next: false,
            late: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches that a crash may lose.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().journal.len()
    }

    /// The machine stops: of the unsynced batches the first `keep` are on disk, the others are gone. Steppers on this
    /// disk must be dropped.
    ///
    /// # Errors
    /// [`OpenError`]: the engine does not open again, [`CommitError`] inside it where it does not write.
    pub fn crash(&self, keep: usize) -> Result<(), OpenError> {
        let mut state = self.state();
        let kept = state.journal.drain(..).take(keep).reduce(merged);
        state.seen.clear();
        state.fail_next = false;
        state.late = None;
        let engine = state.engine()?;
        if let Some(batch) = kept {
            engine.commit(batch, true)?;
        }
        drop(engine);
        if let Some(folder) = state.folder.clone() {
            // The old one must be gone before another may take its folder.
            state.engine = None;
            state.engine = Some(embedded::tables(&folder, embedded::Sizes::default())?);
        }
        Ok(())
    }

    /// Checks every invariant of what is on disk, the unsynced part left out.
    ///
    /// # Errors
    /// [`ReadError`] where the engine cannot be read.
    pub fn verify(&self) -> Result<Report, ReadError> {
        let rows = Behind::open(self.state().engine()?, LIMITS, WriteSet::Three)?;
        crate::verify::verify(&rows, &mut |_, _, _| {})
    }

    /// Whether the next write gets no certain answer.
    pub(crate) fn fail_next(&self, fail: bool) {
        self.state().fail_next = fail;
    }
}

impl State {
    fn engine(&self) -> Result<Arc<dyn Rows>, ReadError> {
        self.engine.clone().ok_or_else(|| ReadError::Unavailable("the disk is being opened".to_owned()))
    }

    fn commit(&mut self, batch: Batch, sync: bool) -> Result<(), CommitError> {
        if !sync {
            self.seen = merged(std::mem::take(&mut self.seen), batch.clone());
            self.journal.push(batch);
            return Ok(());
        }
        let all = merged(std::mem::take(&mut self.seen), batch);
        self.journal.clear();
        let engine = self.engine()?;
        engine.commit(all, true)?;
        match self.late.take() {
            Some(late) => engine.commit(late, true),
            None => Ok(()),
        }
    }
}

fn merged(mut older: Batch, newer: Batch) -> Batch {
    older.extend(newer);
    older
}

/// The disk as one owner of the store uses it.
#[derive(Clone)]
pub(crate) struct Owner {
    disk: Disk,
    fence: u64,
    planted: Option<Planted>,
}

impl Owner {
    /// A new owner: those before it are fenced off.
    pub(crate) fn new(disk: &Disk, planted: Option<Planted>) -> Self {
        let mut state = disk.state();
        state.fence += 1;
        Self { disk: disk.clone(), fence: state.fence, planted }
    }
}

impl Rows for Owner {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let state = self.disk.state();
        match state.seen.get(key) {
            Some(change) => Ok(change.clone()),
            None => state.engine()?.get(key),
        }
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        // Copied, because `each` may read other rows.
        let (engine, seen) = {
            let state = self.disk.state();
            (state.engine()?, changes_of(&[&state.seen], range))
        };
        overlay::scan(&*engine, seen, range, order, each)
    }

    /// Itself: a simulation is one thread, and nothing is committed while it reads.
    fn snapshot(&self) -> Result<Arc<dyn Rows>, ReadError> {
        Ok(Arc::new(self.clone()))
    }

    fn commit(&self, batch: Batch, sync: bool) -> Result<(), CommitError> {
        let mut state = self.disk.state();
        if self.fence != state.fence && self.planted != Some(Planted::FenceIgnored) {
            return Err(CommitError::Unavailable("another owner has taken over".to_owned()));
        }
        if std::mem::take(&mut state.fail_next) {
            if self.planted == Some(Planted::SeqReused) {
                state.late = Some(batch);
            } else {
                state.journal.push(batch);
            }
            return Err(CommitError::Unavailable("the disk gave no answer".to_owned()));
        }
        state.commit(batch, sync)
    }

    fn sync(&self) -> Result<(), CommitError> {
        self.disk.state().commit(Batch::new(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(changes: &[(u8, Option<u8>)]) -> Batch {
        changes.iter().map(|(key, value)| (vec![1, *key], value.map(|v| vec![v]))).collect()
    }

    fn rows(owner: &Owner, order: Order, limit: usize) -> Vec<(u8, u8)> {
        let mut found = Vec::new();
        let each: &mut Each<'_> = &mut |key, value| {
            found.push((key[1], value[0]));
            Ok(found.len() < limit)
        };
        owner.scan(&KeyRange::prefix(vec![1]), order, each).expect("memory is readable");
        found
    }

    #[test]
    fn unsynced_batches_are_seen_and_a_crash_keeps_a_prefix_of_them() {
        for keep in 0..=3 {
            let disk = Disk::model();
            let owner = Owner::new(&disk, None);
            owner.commit(batch(&[(2, Some(2)), (4, Some(4)), (6, Some(6))]), true).expect("written");
            owner.commit(batch(&[(1, Some(1)), (4, None)]), false).expect("written");
            owner.commit(batch(&[(6, Some(7)), (8, Some(8))]), false).expect("written");
            let all = [(1, 1), (2, 2), (6, 7), (8, 8)];
            assert_eq!(rows(&owner, Order::Ascending, 9), all);
            assert_eq!(rows(&owner, Order::Ascending, 2), all[..2]);
            assert_eq!(rows(&owner, Order::Descending, 9), [(8, 8), (6, 7), (2, 2), (1, 1)]);
            disk.fail_next(true);
            owner.commit(batch(&[(9, Some(9))]), true).expect_err("no answer");
            assert_eq!(rows(&owner, Order::Ascending, 9), all, "a failed write is not seen");
            disk.crash(keep).expect("memory opens");
            let expected: &[(u8, u8)] = match keep {
                0 => &[(2, 2), (4, 4), (6, 6)],
                1 => &[(1, 1), (2, 2), (6, 6)],
                2 => &all,
                _ => &[(1, 1), (2, 2), (6, 7), (8, 8), (9, 9)],
            };
            assert_eq!(rows(&owner, Order::Ascending, 9), expected, "{keep} kept");
        }
    }

    #[test]
    fn a_sync_takes_what_was_written_before_it_along() {
        let disk = Disk::model();
        let owner = Owner::new(&disk, None);
        owner.commit(batch(&[(1, Some(1))]), false).expect("written");
        owner.commit(batch(&[(2, Some(2))]), true).expect("written");
        assert_eq!(disk.unsynced(), 0);
        disk.crash(0).expect("memory opens");
        assert_eq!(rows(&owner, Order::Ascending, 9), [(1, 1), (2, 2)]);
    }

    #[test]
    fn a_new_owner_fences_the_old_one_off() {
        let disk = Disk::model();
        let old = Owner::new(&disk, None);
        let new = Owner::new(&disk, None);
        old.commit(batch(&[(1, Some(1))]), true).expect_err("fenced off");
        new.commit(batch(&[(2, Some(2))]), true).expect("written");
        assert_eq!(rows(&old, Order::Ascending, 9), [(2, 2)]);
    }
}
