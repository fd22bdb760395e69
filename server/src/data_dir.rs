//! Who has `data_dir`: one process at a time, whatever stands in it.
//!
//! The store has a lock of its own, and that one goes where the store goes: a store that was moved away under a running
//! server would let a second one begin beside it, and `restore` put another store under its feet. So the folder itself
//! has one. It is the kernel's and ends with the process, however that ends. Only where the store is in `data_dir`: on a
//! ScyllaDB the lease says whose it is. Not here: making the folder (`keys`), the store's own lock (`store`).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::config::Config;

/// Name of the lock in `data_dir`. It stays: who removed it would let two have a lock each.
const LOCK_FILE: &str = "lock";
/// As the other files of the folder.
const OWNER_ONLY: u32 = 0o600;

/// Whoever wants the folder, as it is told to those who come second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// `serve` or `demo`.
    Server,
    /// Another subcommand, by its name.
    Command(&'static str),
}

impl Holder {
    const SERVER: &'static str = "a server";

    fn words(self) -> String {
        match self {
            Self::Server => Self::SERVER.to_owned(),
            Self::Command(name) => format!("`inboxd {name}`"),
        }
    }
}

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

/// Why the folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HoldError {
    /// Somebody else has it.
    #[error("data_dir {}: {by} holds it", .dir.display())]
    Held {
        /// The folder.
        dir: PathBuf,
        /// Who, in words.
        by: String,
    },
    /// The lock cannot be used.
    #[error("cannot lock data_dir: {}: {source}", .lock.display())]
    Io {
        /// The lock's file.
        lock: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl HoldError {
    /// For those who need the server stopped.
    pub(crate) fn stop_first(&self, then: &str) -> Failure {
        match self {
            Self::Held { by, .. } if by == Holder::SERVER => {
                Failure::Failed(format!("{self}: stop it first, then {then}"))
            }
            Self::Held { .. } => Failure::Failed(format!("{self}: wait for its end, then {then}")),
            Self::Io { .. } => Failure::Failed(self.to_string()),
        }
    }

    /// Is it a server that has it?
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Held { by, .. } if by == Holder::SERVER)
    }
}

/// Takes `data_dir`; `None` where it does not matter, or where there is no such folder and so nothing to hold.
///
/// # Errors
/// [`HoldError`].
pub(crate) fn hold(config: &Config, by: Holder) -> Result<Option<Held>, HoldError> {
    match config.store.cluster {
        Some(_) => Ok(None),
        None => hold_folder(&config.data_dir, by),
    }
}

/// Takes a folder that is, or is to be, the `data_dir` of an embedded store.
///
/// # Errors
/// [`HoldError`].
pub(crate) fn hold_folder(folder: &Path, by: Holder) -> Result<Option<Held>, HoldError> {
    let lock = folder.join(LOCK_FILE);
    let failed = |source| HoldError::Io { lock: lock.clone(), source };
    // Not truncated: it says who has it, if somebody does.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY);
    let mut file = match options.open(&lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            // Who has only just taken it has not written it yet: mostly a server.
            let by = fs::read_to_string(&lock).ok().filter(|by| !by.is_empty());
            let by = by.unwrap_or_else(|| Holder::SERVER.to_owned());
            // Whole: whoever reads it may stand in another folder than the one he thinks of.
            let dir = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            return Err(HoldError::Held { dir, by });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // Words for people: a full disk must not keep a server from starting.
    let _ = file.set_len(0).and_then(|()| file.write_all(by.words().as_bytes()));
    Ok(Some(Held { _lock: file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first_until_that_one_ends() {
        let folder = tempfile::tempdir().unwrap();
        for (first, told, to_do) in [
            (Holder::Command("restore"), "`inboxd restore` holds it", "wait for its end"),
            (Holder::Server, "a server holds it", "stop it first"),
        ] {
            let held = hold_folder(folder.path(), first).unwrap().unwrap();
            let refused = hold_folder(folder.path(), Holder::Server).unwrap_err();
            assert_eq!(refused.is_server(), first == Holder::Server);
            let said = refused.stop_first("try again").to_string();
            let dir = folder.path().display().to_string();
            for word in [told, to_do, "try again", dir.as_str()] {
                assert!(said.contains(word), "{said}");
            }
            drop(held);
        }
        assert!(hold_folder(folder.path(), Holder::Server).unwrap().is_some());
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(hold_folder(&missing, Holder::Server).unwrap().is_none());
        assert!(!missing.exists());
    }
}
