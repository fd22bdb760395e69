//! Migration: all rows of a store that nobody has open, into an empty engine of any kind, and the proof that they came.
//!
//! ```text
//!  target:  mark ─▶ table by table, chunk by chunk, each with the mark moved on ─▶ all read again and compared ─▶ meta rows
//!           "migrating": whose rows, the last key, the hash up to it                          with the end of the mark
//! ```
//! The rows are the same and so is the epoch: clients go on where they were. A store that has the mark is opened by
//! nobody. Killed at any moment, it is run again and goes on after the last chunk, provided the source still has what was
//! copied. Not here: where the engines are (`engine`), what the operator sees (`server`).

use schemas::Epoch;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backup::{Reached, Snapshot};
use crate::engine::{Batch, KeyRange, Order, Rows};
use crate::error::{CommitError, OpenError, ReadError};
use crate::rows::{Table, decode, encode, keys};

/// The row that says that a store is only half there.
const MARK: &str = "migrating";
/// Bytes of rows after which a chunk is written.
const CHUNK_BYTES: usize = 1 << 20;
/// Rows of a chunk, however small: what is written at once is held in memory as well.
const CHUNK_ROWS: usize = 4_096;
const HASH_BYTES: usize = 32;

/// How far it is. Heard after every chunk; `false` ends it, to be gone on with later.
pub type Progress<'a> = dyn FnMut(Step, &Reached) -> bool + 'a;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows are read that an earlier attempt copied.
    Checking,
    /// Rows are copied.
    Copying,
    /// Rows of the target are read again.
    Comparing,
}

/// What was copied of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its name.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 over all keys and values in key order, each behind its length: the same in source and target.
    pub hash: String,
}

/// A migration that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// All tables.
    pub tables: Vec<Moved>,
    /// Rows of all of them.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Rows that an earlier attempt had copied.
    pub resumed_after: u64,
    /// Epoch of its inboxes, as before.
    pub epoch: Epoch,
}

/// Why there is no migrated store.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is a store already, and none is ever overwritten.
    #[error("there is a store at {0}; name another place")]
    Occupied(String),
    /// What an earlier attempt copied came from another store, or the source changed since.
    #[error(
        "what stands at {0} is half of another store, or the source has changed since: remove it and begin again"
    )]
    Changed(String),
    /// The target does not hold what was written.
    #[error("table {table}: {source_rows} rows in the source, {target_rows} in the target, or other ones")]
    Differs {
        /// Which.
        table: &'static str,
        /// In the source.
        source_rows: u64,
        /// In the target.
        target_rows: u64,
    },
    /// The one who asked went away.
    #[error("stopped before it was complete; the next attempt goes on")]
    Stopped,
    /// The target's place cannot be used.
    #[error("cannot use {place}: {why}")]
    Place {
        /// Which.
        place: String,
        /// Why.
        why: String,
    },
    /// A store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Rows could not be read.
    #[error("cannot read: {0}")]
    Read(#[from] ReadError),
    /// The target could not be written.
    #[error("cannot write: {0}")]
    Commit(#[from] CommitError),
}

/// Table `meta`, row `migrating`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Of the source.
    epoch: u128,
    /// Last row that was copied; empty: none.
    last: Vec<u8>,
    /// Rows copied so far, of all tables.
    rows: u64,
    /// Over all of them.
    hash: [u8; HASH_BYTES],
}

/// Is a store here that is only half there?
pub(crate) fn is_half(rows: &dyn Rows) -> Result<bool, ReadError> {
    Ok(rows.get(&keys::meta(MARK))?.is_some())
}

/// A store that is only half there is not opened.
pub(crate) fn refuse_half(rows: &dyn Rows, place: &str) -> Result<(), OpenError> {
    if is_half(rows)? {
        let why = "a migration into it did not end: run `inboxd migrate` again".to_owned();
        return Err(OpenError::Engine { path: place.to_owned(), why });
    }
    Ok(())
}

/// SHA-256 of rows in their order.
#[derive(Clone, Default)]
struct Hash(Sha256);

impl Hash {
    fn row(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    fn end(&self) -> [u8; HASH_BYTES] {
        self.0.clone().finalize().into()
    }
}

/// Rows and hash of each table.
type Counted = Vec<(Table, u64, [u8; HASH_BYTES])>;

/// The meta rows come last and together: they are what makes rows a store.
fn tables() -> impl Iterator<Item = (usize, Table)> {
    Table::ALL.into_iter().filter(|table| *table != Table::Meta).enumerate()
}

fn reached(index: usize, table: Table, rows: u64, bytes: u64) -> Reached {
    let tables = Table::ALL.len() - 1;
    Reached { table: Table::name(table as u8), number: index + 1, tables, rows, bytes }
}

/// Copies all rows into an engine that holds none, or what an earlier attempt copied, and compares them.
pub(crate) fn copy(
    source: &Snapshot,
    target: &dyn Rows,
    place: &str,
    progress: &mut Progress<'_>,
) -> Result<Migrated, MigrateError> {
    let mark_key = keys::meta(MARK);
    let begun = match target.get(&mark_key)? {
        Some(value) => decode::<Mark>(&mark_key, &value)?,
        None if target.get(&keys::meta("format"))?.is_some() => {
            return Err(MigrateError::Occupied(place.to_owned()));
        }
        None => {
            let mark = Mark { epoch: source.epoch.0, last: Vec::new(), rows: 0, hash: Hash::default().end() };
            target.commit([(mark_key, Some(encode(&mark)))].into(), true)?;
            mark
        }
    };
    if begun.epoch != source.epoch.0 {
        return Err(MigrateError::Changed(place.to_owned()));
    }
    let resumed_after = begun.rows;
    let mut copier = Copier::new(target, begun);
    let copied = copier.all(source, place, progress)?;
    let found = count(target, progress)?;
    for ((table, rows, hash), (_, target_rows, target_hash)) in copied.iter().zip(&found) {
        if (rows, hash) != (target_rows, target_hash) {
            let (table, source_rows, target_rows) = (Table::name(*table as u8), *rows, *target_rows);
            return Err(MigrateError::Differs { table, source_rows, target_rows });
        }
    }
    let meta = finish(source, target)?;
    let moved = |(table, rows, hash): &(Table, u64, [u8; HASH_BYTES])| {
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Moved { table: Table::name(*table as u8), rows: *rows, hash }
    };
    let tables: Vec<Moved> = [meta].iter().chain(&copied).map(moved).collect();
    let rows = tables.iter().map(|table| table.rows).sum();
    Ok(Migrated { tables, rows, bytes: copier.bytes, resumed_after, epoch: source.epoch })
}

/// The meta rows, and the end of the mark.
fn finish(source: &Snapshot, target: &dyn Rows) -> Result<(Table, u64, [u8; HASH_BYTES]), MigrateError> {
    let mut last = Batch::from([(keys::meta(MARK), None)]);
    let (mut hash, mut rows) = (Hash::default(), 0);
    source.rows.scan(&KeyRange::prefix(keys::all(Table::Meta)), Order::Ascending, &mut |key, value| {
        hash.row(key, value);
        rows += 1;
        last.insert(key.to_vec(), Some(value.to_vec()));
        Ok(true)
    })?;
    target.commit(last, true)?;
    Ok((Table::Meta, rows, hash.end()))
}

struct Copier<'a> {
    target: &'a dyn Rows,
    /// How far the target is.
    mark: Mark,
    /// Where an earlier attempt ended, until the source has been read that far.
    before: Option<Mark>,
    all: Hash,
    bytes: u64,
    chunk: Batch,
    chunk_bytes: usize,
}

impl<'a> Copier<'a> {
    fn new(target: &'a dyn Rows, begun: Mark) -> Self {
        let before = Some(begun.clone()).filter(|mark| mark.rows > 0);
        let mark = Mark { last: Vec::new(), rows: 0, ..begun };
        Self { target, mark, before, all: Hash::default(), bytes: 0, chunk: Batch::new(), chunk_bytes: 0 }
    }

    fn all(
        &mut self,
        source: &Snapshot,
        place: &str,
        progress: &mut Progress<'_>,
    ) -> Result<Counted, MigrateError> {
        let mut counted = Vec::new();
        for (index, table) in tables() {
            let (mut hash, mut rows, mut failed) = (Hash::default(), 0, None);
            source.rows.scan(&KeyRange::prefix(keys::all(table)), Order::Ascending, &mut |key, value| {
                hash.row(key, value);
                rows += 1;
                let taken = self.row(key, value, place).and_then(|full| {
                    let step = if self.before.is_some() { Step::Checking } else { Step::Copying };
                    let reached = || reached(index, table, self.mark.rows, self.bytes);
                    if full && !progress(step, &reached()) { Err(MigrateError::Stopped) } else { Ok(()) }
                });
                failed = taken.err();
                Ok(failed.is_none())
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            counted.push((table, rows, hash.end()));
        }
        if self.before.is_some() {
            return Err(MigrateError::Changed(place.to_owned()));
        }
        self.write()?;
        Ok(counted)
    }

    /// Takes a row; true where that filled a chunk.
    fn row(&mut self, key: &[u8], value: &[u8], place: &str) -> Result<bool, MigrateError> {
        self.all.row(key, value);
        self.mark.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
        if let Some(before) = &self.before {
            if self.mark.rows < before.rows {
                return Ok(self.mark.rows.is_multiple_of(CHUNK_ROWS as u64));
            }
            if before.last != key || before.hash != self.all.end() {
                return Err(MigrateError::Changed(place.to_owned()));
            }
            self.before = None;
            return Ok(true);
        }
        self.chunk_bytes += key.len() + value.len();
        self.chunk.insert(key.to_vec(), Some(value.to_vec()));
        let full = self.chunk_bytes >= CHUNK_BYTES || self.chunk.len() >= CHUNK_ROWS;
        if full {
            self.write()?;
        }
        Ok(full)
    }

    /// Writes the chunk and how far it goes, as one.
    fn write(&mut self) -> Result<(), MigrateError> {
        let Some((last, _)) = self.chunk.last_key_value() else { return Ok(()) };
        self.mark.last.clone_from(last);
        self.mark.hash = self.all.end();
        let mut batch = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        batch.insert(keys::meta(MARK), Some(encode(&self.mark)));
        Ok(self.target.commit(batch, true)?)
    }
}

/// Reads all rows of the target again.
fn count(target: &dyn Rows, progress: &mut Progress<'_>) -> Result<Counted, MigrateError> {
    let (mut all, mut bytes, mut counted) = (0_u64, 0, Vec::new());
    for (index, table) in tables() {
        let (mut hash, mut rows, mut stopped) = (Hash::default(), 0, false);
        target.scan(&KeyRange::prefix(keys::all(table)), Order::Ascending, &mut |key, value| {
            hash.row(key, value);
            (rows, all, bytes) = (rows + 1, all + 1, bytes + (key.len() + value.len()) as u64);
            let told = all.is_multiple_of(CHUNK_ROWS as u64);
            stopped = told && !progress(Step::Comparing, &reached(index, table, all, bytes));
            Ok(!stopped)
        })?;
        if stopped {
            return Err(MigrateError::Stopped);
        }
        counted.push((table, rows, hash.end()));
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::Memory;
    use crate::rows::Key;
    use schemas::Millis;
    use std::sync::Arc;

    const ROWS: u64 = 10_000;

    /// A store with so many rows in several tables.
    fn source(epoch: u128, value: u8) -> Snapshot {
        let rows = Memory::default();
        let mut batch = Batch::from([
            (keys::meta("format"), Some(encode(&1_u32))),
            (keys::meta("epoch"), Some(epoch.to_be_bytes().to_vec())),
        ]);
        for n in 0..ROWS {
            let table = [Table::Log, Table::Inbox, Table::Queue][(n % 3) as usize];
            batch.insert(
                [&keys::all(table)[..], &n.to_be_bytes()].concat(),
                Some(vec![value; (n % 50) as usize]),
            );
        }
        rows.commit(batch, true).unwrap();
        Snapshot { rows: Arc::new(rows), epoch: Epoch(epoch), taken_at: Millis(1) }
    }

    fn all(rows: &dyn Rows) -> Vec<(Key, Vec<u8>)> {
        let mut found = Vec::new();
        rows.scan(&KeyRange { from: vec![0], to: vec![255] }, Order::Ascending, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(true)
        })
        .unwrap();
        found
    }

    /// An attempt that is stopped when it has been told so often.
    fn attempt(source: &Snapshot, target: &Memory, after: usize) -> Result<Migrated, MigrateError> {
        let mut told = 0;
        copy(source, target, "here", &mut |_, _| {
            told += 1;
            told <= after
        })
    }

    #[test]
    fn whatever_attempts_it_takes_the_rows_are_the_same() {
        let source = source(7, 1);
        for after in 0..4 {
            let target = Memory::default();
            let stopped = attempt(&source, &target, after);
            assert!(matches!(stopped, Err(MigrateError::Stopped)), "after {after}: {stopped:?}");
            assert!(refuse_half(&target, "here").is_err() && is_half(&target).unwrap());
            let migrated = attempt(&source, &target, usize::MAX).unwrap();
            assert_eq!((migrated.rows, migrated.epoch), (ROWS + 2, Epoch(7)));
            assert!(migrated.resumed_after > 0, "it went on");
            assert_eq!(all(&target), all(&*source.rows));
            assert!(refuse_half(&target, "here").is_ok());
            let again = attempt(&source, &target, usize::MAX);
            assert!(matches!(again, Err(MigrateError::Occupied(_))), "none is overwritten");
        }
    }

    #[test]
    fn a_source_that_changed_and_a_target_that_differs_are_noticed() {
        for other in [source(8, 1), source(7, 2)] {
            let target = Memory::default();
            attempt(&source(7, 1), &target, 0).unwrap_err();
            let changed = attempt(&other, &target, usize::MAX);
            assert!(matches!(changed, Err(MigrateError::Changed(_))), "{changed:?}");
        }
        let target = Memory::default();
        target.commit([(vec![Table::Queue as u8, 9], Some(vec![]))].into(), true).unwrap();
        let differs = attempt(&source(7, 1), &target, usize::MAX);
        assert!(matches!(differs, Err(MigrateError::Differs { table: "queue", .. })), "{differs:?}");
        assert!(is_half(&target).unwrap(), "and nobody opens it");
    }
}
