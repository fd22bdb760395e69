//! The model engine: a sorted map behind a lock. Forgets everything when dropped.
//!
//! For tests and simulation: what it does is what the contract says, with nothing in between.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Batch, Each, KeyRange, Order, Rows};
use crate::Store;
use crate::error::{CommitError, OpenError, ReadError};
use crate::rows::Key;
use crate::settings::Settings;
use crate::writer::{Clock, Log};

/// Opens an empty store in memory.
///
/// # Errors
/// [`OpenError`] where the writer's thread cannot be started.
pub fn open(settings: Settings, clock: Clock) -> Result<Arc<dyn Store>, OpenError> {
    Disk::default().open(settings, clock)
}

/// What outlives a store in memory, as a disk outlives a process: open it again to see what a restart sees.
#[derive(Clone, Default)]
pub struct Disk(Arc<Memory>);

impl Disk {
    /// Opens the store that stands on this disk.
    ///
    /// # Errors
    /// [`OpenError`] where the writer's thread cannot be started.
    pub fn open(&self, settings: Settings, clock: Clock) -> Result<Arc<dyn Store>, OpenError> {
        Log::start(self.0.clone(), settings, clock, "memory")
    }

    /// Checks every invariant of what stands on this disk.
    ///
    /// # Errors
    /// [`OpenError`] never: memory is always readable.
    pub fn verify(&self) -> Result<crate::verify::Report, OpenError> {
        Ok(crate::verify::verify(&*self.0, &mut |_, _, _| {})?)
    }
}

#[derive(Default)]
pub(crate) struct Memory {
    /// Shared with scans that are under way: a commit then changes a copy, so that a scan sees one moment and holds no
    /// lock while its caller reads on.
    rows: RwLock<Arc<BTreeMap<Key, Vec<u8>>>>,
}

impl Rows for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = rows.range(range.from.clone()..range.to.clone());
        while let Some((key, value)) = match order {
            Order::Ascending => found.next(),
            Order::Descending => found.next_back(),
        } {
            if !each(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch, _sync: bool) -> Result<(), CommitError> {
        let mut shared = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let rows = Arc::make_mut(&mut shared);
        for (key, value) in batch {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn Rows>, ReadError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Arc::new(Self { rows: RwLock::new(rows) }))
    }
}
