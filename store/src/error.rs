//! Errors per operation; each says whether a retry helps.

/// Why an op was not committed. Refusals of commands are outcomes, not errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The store is closing or its writer has ended; nothing of the op is on disk.
    #[error("the store is closed")]
    Closed,
    /// Less is free on the disk than is to stay free: what adds data is not taken; nothing of the op is on disk.
    #[error("disk full: {free} bytes are free, {min} are to stay free")]
    DiskFull {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are to stay free.
        min: u64,
    },
    /// Nothing can be written now (store away); nothing of the op is on disk.
    #[error("the store cannot write now: {0}")]
    Unavailable(String),
    /// No certain answer: the op may or may not be on disk.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// A row could not be read while planning; nothing of the op is on disk.
    #[error("cannot commit")]
    Read(#[from] ReadError),
}

impl CommitError {
    /// Does the same op have a chance later?
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Closed | Self::DiskFull { .. } | Self::Unavailable(_) | Self::Unknown(_) => true,
            Self::Read(error) => error.is_retryable(),
        }
    }
}

/// Why rows could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The engine failed.
    #[error("the store cannot read now: {0}")]
    Unavailable(String),
    /// A row is not what its kind should be: the store is damaged or newer than this program.
    #[error("a row of table {table} cannot be read: {why}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl ReadError {
    /// Does the same read have a chance later?
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine cannot open its files.
    #[error("cannot open the store at {path}: {why}")]
    Engine {
        /// Folder.
        path: String,
        /// The engine's words.
        why: String,
    },
    /// Another format version.
    #[error(
        "the store at {path} has format {found}, this program reads format {expected}; use the program that wrote it, or migrate"
    )]
    Format {
        /// Folder.
        path: String,
        /// Found.
        found: u32,
        /// Expected.
        expected: u32,
    },
    /// Another process has it.
    #[error("the store at {path} is in use by another process")]
    InUse {
        /// Folder.
        path: String,
    },
    /// Going on would overwrite what is there.
    #[error(
        "the store at {path} is damaged: {what}; see all with `inboxd verify`, go back with `inboxd restore`"
    )]
    Damaged {
        /// Folder.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Rows could not be read.
    #[error("cannot read the store")]
    Read(#[from] ReadError),
    /// Rows could not be written.
    #[error("cannot write the store")]
    Commit(#[from] CommitError),
    /// The writer's thread could not be started.
    #[error("cannot start the writer's thread")]
    Thread(#[source] std::io::Error),
}
