//! The embedded engine: fjall, one database in one folder, under the conditions that were measured for it.
//!
//! - Journals are persisted by us alone, with `fdatasync` inside the commit and before anything is visible.
//! - Journals are capped at 64 MiB and memtables at 16 MiB, so that a start after a crash takes 0.3 s, not 5.
//! - Never `Keyspace::clear` nor FIFO compaction (lost rows and panics are known of both).
//! - Any commit error ends the process: fjall poisons itself then, and a restart is the cure.
//!
//! Not here: what rows mean.

mod check;
mod folder;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use schemas::{Epoch, Millis};

use self::check::{Depth, Refusal};
pub use super::behind::WriteSet;
use super::behind::{Behind, Limits, RECORD};
use super::{Batch, Each, KeyRange, Order, Rows};
use crate::Store;
use crate::backup::{self, BackupError, Snapshot};
use crate::error::{CommitError, OpenError, ReadError};
use crate::migrate as moving;
use crate::migrate::{MigrateError, Migrated};
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
    /// Rows that are written at once.
    pub write_set: WriteSet,
    /// Most rows written behind that memory holds before they go to their tables.
    pub behind_max_rows: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            journal_max_bytes: 64 << 20,
            memtable_max_bytes: 16 << 20,
            write_set: WriteSet::default(),
            behind_max_rows: Limits::default().rows,
        }
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
    Log::start(Arc::new(open_rows(path, sizes)?), settings, clock, &path.display().to_string())
}

fn open_rows(path: &Path, sizes: Sizes) -> Result<Behind, OpenError> {
    let rows = sizes.behind_max_rows;
    let most = Limits::default();
    // In several steps, however few they are: so that a small store takes the same ways as a large one.
    let limits = Limits { rows, step: (rows / 4).clamp(1, most.step), ..most };
    Ok(Behind::open(open_tables(path, sizes)?, limits, sizes.write_set)?)
}

fn open_tables(path: &Path, sizes: Sizes) -> Result<Arc<dyn Rows>, OpenError> {
    let shown = path.display().to_string();
    let failed = |error: fjall::Error| match error {
        fjall::Error::Locked => OpenError::InUse { path: shown.clone() },
        other => OpenError::Engine { path: shown.clone(), why: other.to_string() },
    };
    if !folder::holds_something(path) {
        // The engine cannot open what a power cut left of a half-made store: so one is made beside, and gets its name
        // when it is whole.
        folder::make_whole(path, MAKING, fjall::Error::Io, |partial| Fjall::open(partial, sizes).map(drop))
            .map_err(failed)?;
    }
    check_files(path, Depth::Start)?;
    match Fjall::open(path, sizes).map_err(failed) {
        Ok(rows) => Ok(Arc::new(rows)),
        // The engine's words seldom name the file.
        Err(error @ OpenError::Engine { .. }) => match check_files(path, Depth::All) {
            Err(damaged @ OpenError::Damaged { .. }) => Err(damaged),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn check_files(path: &Path, depth: Depth) -> Result<(), OpenError> {
    let shown = path.display().to_string();
    check::check(path, depth).map_err(|refusal| match refusal {
        Refusal::InUse => OpenError::InUse { path: shown },
        Refusal::Io(file, error) => {
            OpenError::Engine { path: shown, why: format!("{}: {error}", file.display()) }
        }
        Refusal::Damaged { file, why } => {
            OpenError::Damaged { path: shown, what: format!("{}: {why}", file.display()) }
        }
    })
}

/// A store that no process has open, to be checked or backed up as it is: nothing is recovered and nothing changed.
///
/// # Errors
/// [`OpenError`]: the folder holds no store, is in use, or holds another format.
pub fn snapshot(path: &Path, sizes: Sizes, now: Millis) -> Result<Snapshot, OpenError> {
    let shown = path.display().to_string();
    // Opening would make a store where there is none.
    if !folder::holds_something(path) {
        return Err(OpenError::Engine { path: shown, why: "there is no store".to_owned() });
    }
    check_files(path, Depth::All)?;
    let rows = open_rows(path, sizes)?;
    let epoch = crate::turn::read_format(&rows, &shown)?;
    let epoch = epoch.ok_or(OpenError::Engine { path: shown, why: "there is no store".to_owned() })?;
    Ok(Snapshot { rows: Arc::new(rows), epoch, taken_at: now })
}

/// Beside the folder of a store that is being made, restored or copied to: whole under its own name, or not there.
const MAKING: &str = "making";
const MIGRATING: &str = "migrating";
const RESTORING: &str = "restoring";

/// Makes a store of a backup, under another epoch. The folder must be empty or missing.
///
/// # Errors
/// [`BackupError`]; nothing is at `path` then.
pub fn restore(
    backup: &Path,
    path: &Path,
    sizes: Sizes,
    epoch: Epoch,
    progress: &mut backup::Progress<'_>,
) -> Result<backup::Restored, BackupError> {
    if folder::holds_something(path) {
        return Err(BackupError::Occupied(path.display().to_string()));
    }
    let reader = backup::Reader::open(backup)?;
    let shown = path.display().to_string();
    let failed = |source| BackupError::Io { path: shown.clone(), source };
    folder::make_whole(path, RESTORING, failed, |partial| {
        let why = |e: fjall::Error| BackupError::Engine { path: shown.clone(), why: e.to_string() };
        let rows = Fjall::open(partial, sizes).map_err(why)?;
        backup::fill(&rows, reader, epoch, progress)
    })
}

/// Copies a store into a folder that is empty or missing, going on where an earlier attempt ended.
///
/// # Errors
/// [`MigrateError`]; nothing is at `path` then, and the next attempt goes on.
pub fn migrate(
    source: &Snapshot,
    path: &Path,
    sizes: Sizes,
    progress: &mut moving::Progress<'_>,
) -> Result<Migrated, MigrateError> {
    let shown = path.display().to_string();
    if folder::holds_something(path) {
        return Err(MigrateError::Occupied(shown));
    }
    let failed = |e: std::io::Error| MigrateError::Place { place: shown.clone(), why: e.to_string() };
    let partial = path.with_extension(MIGRATING);
    let migrated = {
        let rows = open_tables(&partial, sizes)?;
        moving::copy(source, &*rows, &shown, progress)?
    };
    folder::rename(&partial, path).map_err(failed)?;
    Ok(migrated)
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
    Ok(snapshot(path, sizes, Millis::default())?.verify(progress)?)
}

/// The tables of a folder alone, for a simulation that puts faults between them and what stands above.
///
/// # Errors
/// [`OpenError`]: the folder cannot be used, or is in use.
#[cfg(feature = "simulation")]
pub(crate) fn tables(path: &Path, sizes: Sizes) -> Result<Arc<dyn Rows>, OpenError> {
    open_tables(path, sizes)
}

/// Tables that are written together and read alike share a keyspace: each keyspace costs a memtable.
const SPACES: [&str; 6] = ["log", "inbox", "queue", "journal", "rest", "record"];

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
        RECORD => 5,
        _ => 4,
    }
}

struct Fjall {
    db: Database,
    spaces: Vec<Keyspace>,
    /// Is space being given back at this moment?
    reclaiming: Arc<AtomicBool>,
}

impl Fjall {
    fn open(path: &Path, sizes: Sizes) -> fjall::Result<Self> {
        let db = Database::builder(path)
            .manual_journal_persist(true)
            .max_journaling_size(sizes.journal_max_bytes)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(sizes.memtable_max_bytes);
        let spaces = SPACES.iter().map(|name| db.keyspace(name, options)).collect::<fjall::Result<_>>()?;
        // The engine syncs what is in a keyspace's folder and not that folder's name: a cut could take it as a whole.
        folder::sync(&path.join("keyspaces"))?;
        Ok(Self { db, spaces, reclaiming: Arc::default() })
    }

    fn space(&self, key: &[u8]) -> &Keyspace {
        &self.spaces[space_of(key.first().copied().unwrap_or(0))]
    }
}

fn unreadable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

fn each_of(mut found: fjall::Iter, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
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

impl Rows for Fjall {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.space(key).get(key).map_err(unreadable)?.map(|value| value.to_vec()))
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        each_of(self.space(&range.from).range(&range.from[..]..&range.to[..]), order, each)
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

    /// Merges all tables of each keyspace, in a thread of its own. The engine writes the merged tables before it removes
    /// the old ones, so that a crash in between costs the attempt and nothing else.
    fn reclaim(&self) {
        if self.reclaiming.swap(true, Ordering::AcqRel) {
            return;
        }
        let (spaces, running) = (self.spaces.clone(), self.reclaiming.clone());
        // Its own hold on the database: without the engine's workers a flush that is waited for would never come, and
        // the folder would stay locked for as long.
        let db = self.db.clone();
        let merge = move || {
            let _db = db;
            for space in spaces {
                // What was removed last stands in memory and must come to the tables first.
                let merged = space.rotate_memtable_and_wait().and_then(|()| space.major_compact());
                if let Err(error) = merged {
                    tracing::warn!(%error, "the space of removed rows cannot be given back now");
                    break;
                }
            }
            running.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("store-reclaim".to_owned()).spawn(merge) {
            self.reclaiming.store(false, Ordering::Release);
            tracing::warn!(%error, "the space of removed rows cannot be given back now");
        }
    }

    fn sync(&self) -> Result<(), CommitError> {
        self.db.persist(PersistMode::SyncData).map_err(|e| CommitError::Unavailable(e.to_string()))
    }

    fn snapshot(&self) -> Result<Arc<dyn Rows>, ReadError> {
        Ok(Arc::new(Moment { snapshot: self.db.snapshot(), spaces: self.spaces.clone() }))
    }
}

/// The rows of one moment, of all keyspaces alike: a batch is in it as a whole or not at all.
struct Moment {
    snapshot: fjall::Snapshot,
    spaces: Vec<Keyspace>,
}

impl Moment {
    fn space(&self, key: &[u8]) -> &Keyspace {
        &self.spaces[space_of(key.first().copied().unwrap_or(0))]
    }
}

impl Rows for Moment {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let value = self.snapshot.get(self.space(key), key).map_err(unreadable)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        if range.from >= range.to {
            return Ok(());
        }
        let space = self.space(&range.from);
        each_of(self.snapshot.range(space, &range.from[..]..&range.to[..]), order, each)
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
    use std::time::{Duration, Instant};

    use super::*;

    /// Longer than the merge of a few megabytes takes; only a fault waits that long.
    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn the_space_of_removed_rows_comes_back_without_another_write() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = Fjall::open(folder.path(), Sizes::default()).expect("it opens");
        let log = rows.space(&[Table::Log as u8]).clone();
        let key = |n: u16| [&[Table::Log as u8][..], &n.to_be_bytes()].concat();
        // Bytes that do not compress.
        let value =
            |n: u16| (0..1_000_u32).map(move |i| (i.wrapping_mul(2_654_435_761 + u32::from(n)) >> 13) as u8);
        rows.commit((0..10_000).map(|n| (key(n), Some(value(n).collect()))).collect(), true)
            .expect("committed");
        log.rotate_memtable_and_wait().expect("flushed");
        let full = log.disk_space();
        rows.commit((0..10_000).map(|n| (key(n), None)).collect(), true).expect("committed");
        rows.reclaim();
        let deadline = Instant::now() + DEADLINE;
        while log.disk_space() > full / 10 || rows.reclaiming.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "{} of {full} bytes", log.disk_space());
            std::thread::yield_now();
        }
    }
}
