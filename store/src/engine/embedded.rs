//! The embedded engine: fjall, one database in one folder, under the conditions that were measured for it.
//!
//! - Journals are persisted by us alone, with `fdatasync` inside the commit and before anything is visible.
//! - Journals are capped at 64 MiB and memtables at 16 MiB, so that a start after a crash takes 0.3 s, not 5.
//! - Never `Keyspace::clear` nor FIFO compaction (lost rows and panics are known of both).
//! - Any commit error ends the process: fjall poisons itself then, and a restart is the cure.
//!
//! Not here: what rows mean.

use std::path::Path;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Batch, Each, KeyRange, Order, Rows};
use crate::Store;
use crate::error::{CommitError, OpenError, ReadError};
use crate::rows::Table;
use crate::settings::Settings;
use crate::writer::{Clock, Log};

/// Sizes of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Most bytes of journals; bounds the time of a start after a crash.
    pub journal_max_bytes: u64,
    /// Most bytes of a keyspace's memtable; bounds memory.
    pub memtable_max_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { journal_max_bytes: 64 << 20, memtable_max_bytes: 16 << 20 }
    }
}

/// Opens the store in a folder, making it if there is none.
///
/// # Errors
/// [`OpenError`]: the folder cannot be used, holds another format, or is in use by another process.
pub fn open(
    path: &Path,
    sizes: Sizes,
    settings: Settings,
    clock: Clock,
) -> Result<Arc<dyn Store>, OpenError> {
    let rows = Fjall::open(path, sizes)
        .map_err(|e| OpenError::Engine { path: path.display().to_string(), why: e.to_string() })?;
    Log::start(Arc::new(rows), settings, clock, &path.display().to_string())
}

/// Checks every invariant of the store in a folder that no process has open; changes nothing.
///
/// # Errors
/// [`OpenError`]: the folder holds no store, is in use, or cannot be read.
pub fn verify(
    path: &Path,
    sizes: Sizes,
    progress: &mut dyn FnMut(usize, usize, u64),
) -> Result<crate::verify::Report, OpenError> {
    let rows = Fjall::open(path, sizes)
        .map_err(|e| OpenError::Engine { path: path.display().to_string(), why: e.to_string() })?;
    Ok(crate::verify::verify(&rows, progress)?)
}

/// Tables that are written together and read alike share a keyspace: each keyspace costs a memtable.
const SPACES: [&str; 5] = ["log", "inbox", "queue", "journal", "rest"];

const fn space_of(table: u8) -> usize {
    const LOG: u8 = Table::Log as u8;
    const STATE: u8 = Table::State as u8;
    const INBOX: u8 = Table::Inbox as u8;
    const QUEUE: u8 = Table::Queue as u8;
    const JOURNAL: u8 = Table::Journal as u8;
    match table {
        LOG | STATE => 0,
        INBOX => 1,
        QUEUE => 2,
        JOURNAL => 3,
        _ => 4,
    }
}

struct Fjall {
    db: Database,
    spaces: Vec<Keyspace>,
}

impl Fjall {
    fn open(path: &Path, sizes: Sizes) -> fjall::Result<Self> {
        let db = Database::builder(path)
            .manual_journal_persist(true)
            .max_journaling_size(sizes.journal_max_bytes)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(sizes.memtable_max_bytes);
        let spaces = SPACES.iter().map(|name| db.keyspace(name, options)).collect::<fjall::Result<_>>()?;
        Ok(Self { db, spaces })
    }

    fn space(&self, key: &[u8]) -> &Keyspace {
        &self.spaces[space_of(key.first().copied().unwrap_or(0))]
    }
}

fn unreadable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

impl Rows for Fjall {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.space(key).get(key).map_err(unreadable)?.map(|value| value.to_vec()))
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        let mut found = self.space(&range.from).range(&range.from[..]..&range.to[..]);
        while let Some(guard) = match order {
            Order::Ascending => found.next(),
            Order::Descending => found.next_back(),
        } {
            let (key, value) = guard.into_inner().map_err(unreadable)?;
            if !each(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch, sync: bool) -> Result<(), CommitError> {
        let mut write = self.db.batch().durability(sync.then_some(PersistMode::SyncData));
        for (key, value) in batch {
            let space = self.space(&key).clone();
            match value {
                Some(value) => write.insert(&space, key, value),
                None => write.remove(&space, key),
            }
        }
        write.commit().map_err(|e| CommitError::Unavailable(e.to_string()))
    }

    fn sync(&self) -> Result<(), CommitError> {
        self.db.persist(PersistMode::SyncData).map_err(|e| CommitError::Unavailable(e.to_string()))
    }
}
