//! Write-behind: what a message must have on disk is written at once, what follows from it a little later.
//!
//! I3, O3. Beneath the plan, above an engine on this machine. A row costs the engine two to three microseconds, mostly to
//! find its place, and most rows of a message are small ones that the next message changes again: a conversation, its
//! place in the lists, a cursor, an open send. So of a group
//! - rows that are written once and read by number (messages, inboxes, queues, webhooks) go to their tables, and
//! - all other changes stand together in **one record**, in the same batch and under the same sync.
//!
//! ```text
//! commit ─▶ batch: direct rows + record n + removal of records that are done   one sync
//!        ─▶ fresh      changes since the last turn-over, newest per key          read first
//!           draining   changes on their way to their tables, in small steps      read second
//!           engine     the tables                                                read last
//! ```
//! Readers always see the newest state, so nothing lags. When `fresh` has grown enough it becomes `draining`, which
//! [`Rows::settle`] writes to the tables in steps between two groups. A record is removed by a synced batch after all of
//! its changes were written: the journal holds the steps before it holds the removal, whatever the engine flushes when.
//! A start reads the records that are left and goes on. Its work is bounded, as the records are.
//!
//! Not here: what rows mean; which of them are direct is said at [`Table::is_direct`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::overlay::{self, Changes, changes_of};
use super::{Batch, Each, KeyRange, Order, Rows, record};
use crate::error::{CommitError, ReadError};
use crate::rows::{Key, Table};

/// First byte of a record's key; no table has it. `n8` follows.
pub(crate) const RECORD: u8 = 0;
/// Which rows are written at once. Others than [`WriteSet::Three`] are there to be measured against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteSet {
    /// What a device is waiting for: its inbox or queue.
    One,
    /// And the message itself, and the webhook that brought it.
    #[default]
    Three,
    /// Every row, so that nothing is written behind.
    All,
}

impl WriteSet {
    /// Is a row written at once? `table` is a key's first byte.
    const fn has(self, table: u8) -> bool {
        const LOG: u8 = Table::Log as u8;
        const JOURNAL: u8 = Table::Journal as u8;
        match self {
            Self::One => !matches!(table, LOG | JOURNAL) && Table::is_direct(table),
            Self::Three => Table::is_direct(table),
            Self::All => true,
        }
    }
}

/// When `fresh` is turned over, and how fast it goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Changes after which it is turned over.
    pub(crate) rows: usize,
    /// Records after which it is turned over, for rows that change again and again and never grow in number (cursors).
    pub(crate) records: u64,
    /// Bytes of records after which it is turned over: bounds memory, disk and the time of a start.
    pub(crate) bytes: usize,
    /// Rows written to their tables in one step.
    pub(crate) step: usize,
}

impl Default for Limits {
    /// Ten thousand messages' worth, so that the rows of a busy conversation are written once for dozens of them, and
    /// still less than a tenth of a second of reading at a start. A step stays well below the time of a sync, since the
    /// next group waits for it.
    fn default() -> Self {
        Self { rows: 16_384, records: 4_096, bytes: 8 << 20, step: 256 }
    }
}

/// Bytes of one record; more changes take several.
const RECORD_BYTES: usize = 1 << 20;

/// An engine with a write-behind layer.
pub(crate) struct Behind {
    rows: Arc<dyn Rows>,
    limits: Limits,
    write_set: WriteSet,
    /// The records that were found hold changes of rows that are written at once now: until they are worked off, which
    /// closing does, every row is written behind, lest an old change hide a new row.
    mixed: bool,
    layers: RwLock<Layers>,
    /// Held by whoever writes, and while a snapshot is taken.
    records: Mutex<Records>,
}

#[derive(Clone, Default)]
struct Layers {
    fresh: Batch,
    draining: Batch,
}

impl Layers {
    /// The change of a key.
    fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.fresh.get(key).or_else(|| self.draining.get(key))
    }

    /// Lays a change over the others. A row that is put once and removed for good, and that has not left `fresh` in
    /// between, never was: its table has not heard of it.
    fn put(&mut self, key: Key, value: Option<Vec<u8>>) {
        if value.is_none()
            && Table::is_put_once(table_of(&key))
            && matches!(self.fresh.get(&key), Some(Some(_)))
        {
            self.fresh.remove(&key);
        } else {
            self.fresh.insert(key, value);
        }
    }

    /// The changes of a range.
    fn of(&self, range: &KeyRange) -> Changes {
        changes_of(&[&self.fresh, &self.draining], range)
    }
}

/// Numbers of records: `first ≤ done ≤ turned ≤ next`.
#[derive(Default)]
struct Records {
    /// The oldest that is on disk.
    first: u64,
    /// All before it are written to the tables, and can go with the next sync.
    done: u64,
    /// All before it were turned over.
    turned: u64,
    /// The next one.
    next: u64,
    /// Bytes of those that were not turned over.
    fresh_bytes: usize,
}

fn record_key(n: u64) -> Key {
    let mut key = vec![RECORD];
    key.extend_from_slice(&n.to_be_bytes());
    key
}

impl Behind {
    /// Over an engine whose records are read and not written: opening changes nothing.
    ///
    /// # Errors
    /// [`ReadError`]: a record cannot be read, or one is missing.
    pub(crate) fn open(rows: Arc<dyn Rows>, limits: Limits, write_set: WriteSet) -> Result<Self, ReadError> {
        let corrupt = |why: String| ReadError::Corrupt { table: "record", why };
        let (mut draining, mut records) = (Batch::new(), Records::default());
        rows.scan(&KeyRange::prefix(vec![RECORD]), Order::Ascending, &mut |key, value| {
            let n = key.get(1..).and_then(|n| n.try_into().ok()).map(u64::from_be_bytes);
            let n = n.ok_or_else(|| corrupt(format!("{} bytes of key instead of 9", key.len())))?;
            if records.next == 0 {
                records = Records { first: n, done: n, turned: n, next: n, fresh_bytes: 0 };
            }
            if n != records.next {
                return Err(corrupt(format!("{n} follows where {} should", records.next)));
            }
            draining.extend(record::decode(value).map_err(|e| corrupt(format!("{n}: {e}")))?);
            records.next += 1;
            Ok(true)
        })?;
        // From 1, so that 0 says that none was found.
        if records.next == 0 {
            records = Records { first: 1, done: 1, turned: 1, next: 1, fresh_bytes: 0 };
        }
        // What a crash left may have come to its tables in part, so it is not fresh: see `Layers::put`.
        records.turned = records.next;
        if draining.is_empty() {
            records.done = records.turned;
        }
        let layers = Layers { fresh: Batch::new(), draining };
        let mixed = layers.draining.keys().any(|key| write_set.has(table_of(key)));
        let (layers, records) = (RwLock::new(layers), Mutex::new(records));
        Ok(Self { rows, limits, write_set, mixed, layers, records })
    }

    fn is_direct(&self, key: &[u8]) -> bool {
        !self.mixed && self.write_set.has(table_of(key))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, look: impl FnOnce(&Layers) -> T) -> T {
        look(&self.layers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Layers) -> T) -> T {
        change(&mut self.layers.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes the first `most` of the draining changes to their tables. No sync: the records still hold them.
    fn step(&self, records: &mut Records, most: usize) -> Result<(), CommitError> {
        let step: Batch = self.read(|layers| {
            layers.draining.iter().take(most).map(|(key, value)| (key.clone(), value.clone())).collect()
        });
        let count = step.len();
        if count > 0 {
            self.rows.commit(step, false)?;
        }
        // Only now: until here a reader found them above the tables, from here on in them.
        let empty = self.change(|layers| {
            for _ in 0..count {
                layers.draining.pop_first();
            }
            layers.draining.is_empty()
        });
        if empty {
            records.done = records.turned;
        }
        Ok(())
    }

    /// All that is fresh is to be written to the tables.
    fn turn_over(&self, records: &mut Records) {
        self.change(|layers| layers.draining = std::mem::take(&mut layers.fresh));
        (records.turned, records.fresh_bytes) = (records.next, 0);
    }

    /// Removes the records that are done, with a sync of its own.
    fn remove_done(&self, records: &mut Records) -> Result<(), CommitError> {
        let removals: Batch = (records.first..records.done).map(|n| (record_key(n), None)).collect();
        self.rows.commit(removals, true)?;
        records.first = records.done;
        Ok(())
    }

    /// Writes all that waits to its tables, and leaves no record.
    fn drain(&self) -> Result<(), CommitError> {
        let records = &mut *self.records();
        for turn_over in [false, true] {
            if turn_over {
                self.turn_over(records);
            }
            self.step(records, usize::MAX)?;
        }
        self.remove_done(records)
    }
}

/// The records of these changes.
fn records_of(changes: &Batch) -> Vec<Vec<u8>> {
    let (mut records, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for change in changes {
        bytes += record::size(change);
        part.push(change);
        if bytes >= RECORD_BYTES {
            records.push(record::encode(&std::mem::take(&mut part)));
            bytes = 0;
        }
    }
    if !part.is_empty() {
        records.push(record::encode(&part));
    }
    records
}

impl Rows for Behind {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        if !self.is_direct(key)
            && let Some(change) = self.read(|layers| layers.get(key).cloned())
        {
            return Ok(change);
        }
        self.rows.get(key)
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        if self.is_direct(&range.from) || range.from >= range.to {
            return self.rows.scan(range, order, each);
        }
        // Both of one moment, or a row that moves between them would be seen twice or not at all. No lock is held while
        // `each` reads on.
        let (changes, rows) = self.read(|layers| (layers.of(range), self.rows.snapshot()));
        overlay::scan(&*rows?, changes, range, order, each)
    }

    fn commit(&self, batch: Batch, sync: bool) -> Result<(), CommitError> {
        let records = &mut *self.records();
        let (mut direct, later): (Batch, Batch) = batch.into_iter().partition(|(key, _)| self.is_direct(key));
        let (mut next, mut bytes) = (records.next, records.fresh_bytes);
        for record in records_of(&later) {
            bytes += record.len();
            direct.insert(record_key(next), Some(record));
            next += 1;
        }
        if sync {
            direct.extend((records.first..records.done).map(|n| (record_key(n), None)));
        }
        self.rows.commit(direct, sync)?;
        (records.next, records.fresh_bytes) = (next, bytes);
        if sync {
            records.first = records.done;
        }
        self.change(|layers| later.into_iter().for_each(|(key, value)| layers.put(key, value)));
        Ok(())
    }

    fn settle(&self) -> Result<(), CommitError> {
        let records = &mut *self.records();
        let (fresh, draining) = self.read(|layers| (layers.fresh.len(), layers.draining.len()));
        let due = fresh >= self.limits.rows
            || records.next - records.turned >= self.limits.records
            || records.fresh_bytes >= self.limits.bytes;
        if draining > 0 {
            // What comes in faster than it goes out must not pile up: the writer then does all of it now.
            return self.step(records, if due { usize::MAX } else { self.limits.step });
        }
        if records.done - records.first >= self.limits.records {
            // Nobody has asked for a sync for that long.
            self.remove_done(records)?;
        }
        if due {
            self.turn_over(records);
        }
        Ok(())
    }

    fn reclaim(&self) {
        self.rows.reclaim();
    }

    fn sync(&self) -> Result<(), CommitError> {
        self.rows.sync()
    }

    fn snapshot(&self) -> Result<Arc<dyn Rows>, ReadError> {
        // No commit is under way, so that the rows and the changes above them are of one moment.
        let _records = self.records();
        let layers = self.read(Layers::clone);
        Ok(Arc::new(Moment { rows: self.rows.snapshot()?, layers }))
    }

    fn close(&self) {
        if let Err(error) = self.drain() {
            tracing::error!(%error, "what waits for its tables stays in its records");
        }
        self.rows.close();
    }
}

/// Rows and what stood above them at one moment.
struct Moment {
    rows: Arc<dyn Rows>,
    layers: Layers,
}

impl Rows for Moment {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        match self.layers.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.rows.get(key),
        }
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        overlay::scan(&*self.rows, self.layers.of(range), range, order, each)
    }

    fn commit(&self, _batch: Batch, _sync: bool) -> Result<(), CommitError> {
        Err(CommitError::Unavailable("a snapshot takes no commits".to_owned()))
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

fn table_of(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or(RECORD)
}

#[cfg(test)]
#[path = "behind/tests.rs"]
mod tests;
