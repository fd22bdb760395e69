//! The model engine: a sorted map behind a lock. Forgets everything when dropped.
//!
//! For tests and simulation: what it does is what the contract says, with nothing in between.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Batch, KeyRange, Order, Rows};
use crate::error::{CommitError, OpenError, ReadError};
use crate::rows::Key;
use crate::settings::Settings;
use crate::writer::{Clock, Log};
use crate::Store;

/// Opens an empty store in memory.
///
/// # Errors
/// [`OpenError`] where the writer's thread cannot be started.
pub fn open(settings: Settings, clock: Clock) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Log::start(Arc::new(Memory::default()), settings, clock, "memory")?)
}

#[derive(Default)]
pub(crate) struct Memory {
    rows: RwLock<BTreeMap<Key, Vec<u8>>>,
}

impl Rows for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(
        &self,
        range: &KeyRange,
        order: Order,
        each: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
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
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
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
}
