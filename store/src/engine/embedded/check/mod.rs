//! A look at the engine's files before the engine opens them: what is damaged is named, and the store stays closed.
//!
//! The engine (fjall 3.1.13, lsm-tree 3.1.10) checks each block of a table when it reads it, but not its manifests, and
//! it takes a damaged journal for one that ends there. Its layouts are read here, which is why its version is pinned:
//! the tests of these files and `sim/powercut` fail where it changes them. Not here: rows (`crate::verify`).

mod journal;
mod tables;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that who has the store open holds locked.
const LOCK: &str = "lock";
/// The last owner's threads may take a moment to end; the engine asks as often.
const LOCK_TRIES: u32 = 3;
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// Why a store cannot be opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Somebody has it open.
    InUse,
    /// A file cannot be read or cut.
    Io(PathBuf, io::Error),
    /// A file is not what was written.
    Damaged { file: PathBuf, why: String },
}

/// How much is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Journals and manifests: milliseconds, at every start.
    Start,
    /// Every byte of every table as well.
    All,
}

/// Checks the files of a store that is there, and cuts off what a power cut left of a batch that nobody was told of.
pub(super) fn check(folder: &Path, depth: Depth) -> Result<(), Refusal> {
    let _lock = lock(&folder.join(LOCK))?;
    tables::check(folder, depth)?;
    journal::check(folder)
}

/// A journal that is being written looks torn: so nobody may have it open.
fn lock(path: &Path) -> Result<Option<File>, Refusal> {
    let failed = |e| Refusal::Io(path.to_owned(), e);
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_WAIT),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(Refusal::InUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path(), Depth::All).is_ok(), "nothing is there");
        let lock = File::create(folder.path().join(LOCK)).unwrap();
        lock.try_lock().unwrap();
        assert!(matches!(check(folder.path(), Depth::Start), Err(Refusal::InUse)));
    }
}
