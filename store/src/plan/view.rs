//! What the plan sees: rows as they will be after the group so far, and a batch that takes its changes.
//!
//! When an op cannot be planned, the writer throws the whole view away and plans the group again without it, so a
//! group never holds a part of an op.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::{Batch, Each, KeyRange, Order, Rows};
use crate::error::ReadError;
use crate::rows::{Key, decode, encode};

/// Rows plus the changes of the group that is being planned.
pub(crate) struct View<'a> {
    rows: &'a dyn Rows,
    batch: Batch,
    durable: bool,
}

impl<'a> View<'a> {
    pub(crate) fn new(rows: &'a dyn Rows) -> Self {
        Self { rows, batch: Batch::new(), durable: false }
    }

    /// The changes of the group, and whether they need a sync before anybody is told.
    pub(crate) fn finish(self) -> (Batch, bool) {
        (self.batch, self.durable)
    }

    pub(crate) fn get_bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        match self.batch.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.rows.get(key),
        }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, ReadError> {
        self.get_bytes(key)?.map(|value| decode(key, &value)).transpose()
    }

    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, ReadError> {
        Ok(self.get_bytes(key)?.is_some())
    }

    pub(crate) fn put_bytes(&mut self, key: Key, value: Vec<u8>) {
        self.durable = true;
        self.change(key, Some(value));
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: Key, row: &T) {
        self.put_bytes(key, encode(row));
    }

    /// A row that may be lost with the last moments before a crash: it asks for no sync.
    pub(crate) fn put_lazily<T: Serialize>(&mut self, key: Key, row: &T) {
        self.change(key, Some(encode(row)));
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.durable = true;
        self.change(key, None);
    }

    /// Removes what nobody can see any more; asks for no sync.
    pub(crate) fn remove_lazily(&mut self, key: Key) {
        self.change(key, None);
    }

    fn change(&mut self, key: Key, value: Option<Vec<u8>>) {
        self.batch.insert(key, value);
    }

    /// The rows of a range in order, the group's changes included, at most `limit`.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, ReadError> {
        let changed = || self.batch.range(range.from.clone()..range.to.clone());
        if range.from >= range.to {
            return Ok(Vec::new());
        }
        // Every change may hide one row of the engine, so that many more are read.
        let reach = limit.saturating_add(changed().count());
        let mut merged = Batch::new();
        self.rows.scan(range, order, &mut |key, value| {
            merged.insert(key.to_vec(), Some(value.to_vec()));
            Ok(merged.len() < reach)
        })?;
        for (key, change) in changed() {
            merged.insert(key.clone(), change.clone());
        }
        let present = merged.into_iter().filter_map(|(key, change)| change.map(|value| (key, value)));
        Ok(match order {
            Order::Ascending => present.take(limit).collect(),
            Order::Descending => {
                let mut all: Vec<_> = present.collect();
                all.reverse();
                all.truncate(limit);
                all
            }
        })
    }

    /// The rows of a range in order, the group's changes included, one by one, until `each` returns false.
    pub(crate) fn visit(&self, range: &KeyRange, each: &mut Each<'_>) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        let mut changed = self.batch.range(range.from.clone()..range.to.clone()).peekable();
        let mut goes_on = true;
        self.rows.scan(range, Order::Ascending, &mut |key, value| {
            while goes_on
                && let Some((new, change)) = changed.next_if(|(changed, _)| changed.as_slice() < key)
            {
                if let Some(value) = change {
                    goes_on = each(new, value)?;
                }
            }
            if goes_on {
                let changed = changed.next_if(|(changed, _)| changed.as_slice() == key);
                goes_on = match changed {
                    Some((_, None)) => true,
                    Some((_, Some(changed))) => each(key, changed)?,
                    None => each(key, value)?,
                };
            }
            Ok(goes_on)
        })?;
        for (key, change) in changed {
            if !goes_on {
                break;
            }
            if let Some(value) = change {
                goes_on = each(key, value)?;
            }
        }
        Ok(())
    }

    /// The engine's rows of a range, one by one, without the group's changes and without keeping them: for sweeps, which
    /// begin with no changes and never look at a row twice.
    pub(crate) fn walk(&self, range: &KeyRange, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.rows.scan(range, Order::Ascending, each)
    }

    /// The row with the highest key that starts with `prefix`.
    pub(crate) fn last(&self, prefix: Key) -> Result<Option<(Key, Vec<u8>)>, ReadError> {
        Ok(self.scan(&KeyRange::prefix(prefix), Order::Descending, 1)?.pop())
    }

    /// The row with the lowest key that starts with `prefix`.
    pub(crate) fn first(&self, prefix: Key) -> Result<Option<(Key, Vec<u8>)>, ReadError> {
        Ok(self.scan(&KeyRange::prefix(prefix), Order::Ascending, 1)?.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::Memory;

    fn rows(keys: &[u8]) -> Memory {
        let memory = Memory::default();
        memory.commit(keys.iter().map(|k| (vec![1, *k], Some(vec![*k]))).collect(), true).unwrap();
        memory
    }

    #[test]
    fn a_scan_sees_the_groups_changes_whichever_way_it_goes() {
        let memory = rows(&[1, 2, 3]);
        let mut view = View::new(&memory);
        view.remove(vec![1, 1]);
        view.put_bytes(vec![1, 4], vec![4]);
        let range = KeyRange::prefix(vec![1]);
        let keys = |order, limit| -> Vec<u8> {
            view.scan(&range, order, limit).unwrap().into_iter().map(|(k, _)| k[1]).collect()
        };
        assert_eq!(keys(Order::Ascending, 9), [2, 3, 4]);
        assert_eq!(keys(Order::Ascending, 1), [2]);
        assert_eq!(keys(Order::Descending, 2), [4, 3]);
        view.put_bytes(vec![1, 2], vec![9]);
        view.put_bytes(vec![1, 0], vec![0]);
        for stop in 0..5 {
            let mut seen = Vec::new();
            view.visit(&range, &mut |key, value| {
                seen.push((key[1], value[0]));
                Ok(seen.len() <= stop)
            })
            .unwrap();
            assert_eq!(seen, [(0, 0), (2, 9), (3, 3), (4, 4)][..4.min(stop + 1)], "{stop}");
        }
    }
}
