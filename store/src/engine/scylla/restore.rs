//! A store made of a backup or of another store, in a keyspace that holds none.
//!
//! A folder can be renamed when it is complete, a keyspace cannot: so a row says that the store is being made, as its
//! first and until its last, and nobody opens it meanwhile. Done again after a crash, it begins by removing what is there.
//! Not here: what is done with the rows (`backup`,
//! `migrate`).

use std::path::Path;
use std::time::Duration;

use schemas::Epoch;

use super::{Access, Scylla, session};
use crate::backup::{self, BackupError, Restored};
use crate::engine::{Batch, KeyRange, Order, Rows};
use crate::error::{OpenError, ReadError};
use crate::migrate as moving;
use crate::migrate::{MigrateError, Migrated};
use crate::rows::{Table, keys};

/// Rows removed at once.
const CLEAR_ROWS: usize = 4_096;

/// Is there while the store is being made.
const MARK: &str = "restoring";

fn is_half(rows: &dyn Rows) -> Result<bool, ReadError> {
    Ok(rows.get(&keys::meta(MARK))?.is_some())
}

/// A store that is only half there is not opened.
pub(super) fn refuse_half(rows: &dyn Rows, place: &str) -> Result<(), OpenError> {
    moving::refuse_half(rows, place)?;
    if is_half(rows)? {
        let why = "a restore into it did not end: run `inboxd restore` again".to_owned();
        return Err(OpenError::Engine { path: place.to_owned(), why });
    }
    Ok(())
}

/// Makes a store of a backup, under another epoch. The keyspace must hold none.
///
/// # Errors
/// [`BackupError`]; what is in the keyspace then is not opened by anybody, and removed by the next attempt.
pub fn restore(
    backup: &Path,
    access: Access,
    epoch: Epoch,
    progress: &mut backup::Progress<'_>,
) -> Result<Restored, BackupError> {
    let reader = backup::Reader::open(backup)?;
    let place = session::place(&access.url);
    let why = |error: OpenError| BackupError::Engine { path: place.clone(), why: error.to_string() };
    let rows = Scylla::open(access, Duration::ZERO).map_err(why)?;
    fill_empty(&rows, &place, || backup::fill(&rows, reader, epoch, progress))
}

/// Copies a store into a keyspace that holds none, or what an earlier attempt copied.
///
/// # Errors
/// [`MigrateError`]; what is in the keyspace then is not opened by anybody, and the next attempt goes on.
pub fn migrate(
    source: &backup::Snapshot,
    access: Access,
    progress: &mut moving::Progress<'_>,
) -> Result<Migrated, MigrateError> {
    let place = session::place(&access.url);
    let rows = Scylla::open(access, Duration::ZERO)?;
    if is_half(&rows)? {
        return Err(MigrateError::Changed(place));
    }
    moving::copy(source, &rows, &place, progress)
}

/// Runs `fill` on rows that hold no store, marked while it runs.
fn fill_empty<T>(
    rows: &dyn Rows,
    place: &str,
    fill: impl FnOnce() -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    if is_half(rows)? || moving::is_half(rows)? {
        clear(rows)?;
    } else if rows.get(&keys::meta("format"))?.is_some() {
        return Err(BackupError::Occupied(place.to_owned()));
    }
    rows.commit([(keys::meta(MARK), Some(Vec::new()))].into(), true)?;
    let filled = fill()?;
    rows.commit([(keys::meta(MARK), None)].into(), true)?;
    Ok(filled)
}

/// Removes all rows but the mark.
fn clear(rows: &dyn Rows) -> Result<(), BackupError> {
    let mark = keys::meta(MARK);
    for table in Table::ALL {
        loop {
            let mut gone = Batch::new();
            rows.scan(&KeyRange::prefix(keys::all(table)), Order::Ascending, &mut |key, _| {
                if key != mark {
                    gone.insert(key.to_vec(), None);
                }
                Ok(gone.len() < CLEAR_ROWS)
            })?;
            if gone.is_empty() {
                break;
            }
            rows.commit(gone, true)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::Memory;

    #[test]
    fn a_half_made_store_is_not_opened_and_is_begun_again() {
        let rows = Memory::default();
        let put = |key: &str| rows.commit([(keys::meta(key), Some(vec![1]))].into(), true);
        let stopped = fill_empty(&rows, "here", || -> Result<(), BackupError> {
            put("left")?;
            Err(BackupError::Stopped)
        });
        assert!(matches!(stopped, Err(BackupError::Stopped)));
        assert!(refuse_half(&rows, "here").unwrap_err().to_string().contains("run `inboxd restore` again"));
        fill_empty(&rows, "here", || Ok(put("format")?)).unwrap();
        refuse_half(&rows, "here").unwrap();
        assert_eq!(rows.get(&keys::meta("left")).unwrap(), None);
        assert!(matches!(fill_empty(&rows, "here", || Ok(())), Err(BackupError::Occupied(_))));
    }
}
