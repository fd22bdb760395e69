//! The rows of one moment, while commits go on: for backups, checks and moving to another engine.
//!
//! The database keeps no old versions, so whatever a commit replaces is kept here first. **The point is a place in
//! the log**: a moment shows exactly the entries before the one that was next when it began. Who reads takes the row of
//! now and then looks whether an older one was kept; a commit keeps the old row before the new one can be seen, so the
//! second look decides.
//! What is kept is bounded by [`KEPT_BYTES_MAX`]; beyond it the moment is lost and whoever reads it is told.
//! Costs a commit the read of those old rows that are not in memory, one round trip side by side.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::owner::Owner;
use super::reader::Reader;
use super::recent::Found;
use super::session::CqlError;
use super::tables::DIRECTORY;
use crate::engine::{Batch, Each, KeyRange, Order, Rows};
use crate::error::{CommitError, ReadError};
use crate::rows::Key;

/// Most bytes kept for a moment: about 250,000 messages that come in while it is read.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// What an entry of the map costs beside its bytes, roughly.
const ENTRY_BYTES: usize = 96;
/// Old rows read at once.
const READ_AT_ONCE: usize = 128;

/// The moments that somebody reads.
#[derive(Default)]
pub(super) struct Moments(Mutex<Vec<Weak<Undo>>>);

impl Moments {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Undo>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment begins; no commit may be under way.
    pub(super) fn begin(&self) -> Arc<Undo> {
        let undo = Arc::default();
        self.lock().push(Arc::downgrade(&undo));
        undo
    }

    /// Those that are still read.
    pub(super) fn live(&self) -> Vec<Arc<Undo>> {
        let mut moments = self.lock();
        moments.retain(|moment| moment.strong_count() > 0);
        moments.iter().filter_map(Weak::upgrade).collect()
    }
}

/// What commits replaced since a moment.
#[derive(Default)]
pub(super) struct Undo(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    rows: BTreeMap<Key, Found>,
    bytes: usize,
    /// Why the moment is lost.
    lost: Option<String>,
}

impl Undo {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the rows that a batch is about to replace. A moment that cannot be kept is lost; the commit is not.
    pub(super) async fn keep(&self, owner: &Owner, batch: &Batch) {
        let unkept: Vec<Key> = {
            let kept = self.lock();
            if kept.lost.is_some() {
                return;
            }
            let keys = batch.keys().filter(|key| key.first() != Some(&DIRECTORY));
            keys.filter(|key| !kept.rows.contains_key(*key)).cloned().collect()
        };
        let reads = stream::iter(unkept).map(|key| async move {
            let found = owner.get(&key).await?;
            Ok::<_, CqlError>((key, found))
        });
        let old: Result<Vec<(Key, Found)>, CqlError> =
            reads.buffer_unordered(READ_AT_ONCE).try_collect().await;
        match old {
            Ok(old) => self.lock().add(old, KEPT_BYTES_MAX),
            Err(error) => self.lock().lose(format!("a row that was to be kept could not be read: {error}")),
        }
    }

    /// The row of the moment, where it was kept.
    fn get(&self, key: &[u8]) -> Result<Option<Found>, ReadError> {
        let kept = self.lock();
        kept.check()?;
        Ok(kept.rows.get(key).cloned())
    }

    /// Rows of the moment within a range that were there and were kept.
    fn present(&self, range: &KeyRange) -> Result<Vec<(Key, Vec<u8>)>, ReadError> {
        let kept = self.lock();
        kept.check()?;
        if range.from >= range.to {
            return Ok(Vec::new());
        }
        let rows = kept.rows.range(range.from.clone()..range.to.clone());
        Ok(rows.filter_map(|(key, found)| Some((key.clone(), found.clone()?))).collect())
    }
}

impl Kept {
    fn add(&mut self, old: Vec<(Key, Found)>, bytes_max: usize) {
        for (key, found) in old {
            self.bytes += ENTRY_BYTES + key.len() + found.as_ref().map_or(0, Vec::len);
            self.rows.insert(key, found);
        }
        if self.bytes > bytes_max {
            self.lose(format!("more than {} MiB changed while it was read", bytes_max >> 20));
        }
    }

    fn lose(&mut self, why: String) {
        self.rows.clear();
        self.lost = Some(why);
    }

    fn check(&self) -> Result<(), ReadError> {
        match &self.lost {
            Some(why) => Err(ReadError::Unavailable(format!("the snapshot is lost: {why}"))),
            None => Ok(()),
        }
    }
}

/// See the module.
pub(super) struct Moment {
    reader: Reader,
    undo: Arc<Undo>,
}

impl Moment {
    pub(super) fn new(reader: Reader, undo: Arc<Undo>) -> Self {
        Self { reader, undo }
    }

    /// Rows of a range that are gone by now. False: the caller wants no more.
    fn gone(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<bool, ReadError> {
        let mut rows = self.undo.present(range)?;
        if order == Order::Descending {
            rows.reverse();
        }
        for (key, value) in rows {
            if !each(&key, &value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What lies between where a walk is and a key; the walk goes on behind the key.
fn step(rest: &mut KeyRange, key: &[u8], order: Order) -> KeyRange {
    let behind = [key, &[0]].concat();
    match order {
        Order::Ascending => KeyRange { from: std::mem::replace(&mut rest.from, behind), to: key.to_vec() },
        Order::Descending => KeyRange { from: behind, to: std::mem::replace(&mut rest.to, key.to_vec()) },
    }
}

impl Rows for Moment {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let now = self.reader.get(key)?;
        Ok(self.undo.get(key)?.unwrap_or(now))
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        let mut rest = range.clone();
        let mut wanted = true;
        self.reader.scan(range, order, &mut |key, value| {
            wanted = self.gone(&step(&mut rest, key, order), order, each)?
                && match self.undo.get(key)? {
                    None => each(key, value)?,
                    Some(Some(old)) => each(key, &old)?,
                    Some(None) => true,
                };
            Ok(wanted)
        })?;
        if wanted {
            self.gone(&rest, order, each)?;
        }
        Ok(())
    }

    fn commit(&self, _batch: Batch, _sync: bool) -> Result<(), CommitError> {
        Err(CommitError::Unavailable("a snapshot takes no commits".to_owned()))
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_steps_over_every_gap_once() {
        let key = |n: u8| vec![n];
        let mut up = KeyRange { from: key(1), to: key(9) };
        assert_eq!(step(&mut up, &[4], Order::Ascending), KeyRange { from: key(1), to: key(4) });
        assert_eq!(up, KeyRange { from: vec![4, 0], to: key(9) });
        let mut down = KeyRange { from: key(1), to: key(9) };
        assert_eq!(step(&mut down, &[4], Order::Descending), KeyRange { from: vec![4, 0], to: key(9) });
        assert_eq!(down, KeyRange { from: key(1), to: key(4) });
    }

    #[test]
    fn a_moment_that_grows_too_large_is_lost_and_says_so() {
        let undo = Undo::default();
        undo.lock().add(vec![(vec![1], Some(vec![2])), (vec![3], None)], 1_000);
        let all = KeyRange { from: vec![0], to: vec![9] };
        assert_eq!(undo.present(&all).unwrap(), [(vec![1], vec![2])]);
        assert_eq!(undo.get(&[3]).unwrap(), Some(None));
        assert_eq!(undo.get(&[4]).unwrap(), None);
        undo.lock().add(vec![(vec![4], Some(vec![0; 1_000]))], 1_000);
        assert!(undo.get(&[4]).unwrap_err().to_string().contains("the snapshot is lost"));
    }
}
