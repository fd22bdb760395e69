//! The engine on ScyllaDB (or Cassandra): a log whose conditional batches are the commit points, and rows that follow.
//!
//! ```text
//! commit ─▶ one conditional batch on shard_log (fence, next) ─▶ overlay: visible ─▶ told
//!                                                                  └─▶ rows, side by side, until they stand
//! ```
//! - **One owner.** The lease's fence is a condition of every commit: an owner that was taken over can write
//!   nothing, however late its statements arrive. For now one log, that of shard 0, carries the whole store; tables and
//!   lease have a `shard` column for the day when several nodes own shards each.
//! - **A commit is told when it is in the log**, not when its rows stand: they are in the overlay, where every reader of
//!   this process looks first. That is one round trip less for the writer, and lets the next commit begin while rows
//!   are applied; what is not applied is bounded. A start replays the rest.
//! - **Reads go to memory first**: rows read or written lately, also absent ones, and those that the writer says it will
//!   need (`Rows::warm`), because the plan reads one row after the other and each would cost a round trip.
//!
//! Decided and weighed in docs/adr/011-scylla-engine.md. Not here: what rows mean.

mod apply;
mod directory;
mod layout;
mod lease;
mod log;
mod migrate;
mod moment;
mod owner;
mod progress;
mod reader;
mod recent;
mod restore;
mod scan;
mod session;
mod tables;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use schemas::Millis;
use tokio::runtime::Runtime;

use self::moment::Moment;
use self::owner::Owner;
use self::reader::{Reader, wait};
use super::{Batch, Each, KeyRange, Order, Rows};
use crate::Store;
use crate::backup::Snapshot;
use crate::error::{CommitError, OpenError, ReadError};
use crate::rows::Key;
use crate::settings::Settings;
use crate::url::ScyllaUrl;
use crate::writer::{Clock, Log};

pub use self::progress::LogSizes;
pub use self::restore::{migrate, restore};
pub use self::tls::Tls;

/// Longest wait for a process that has the store and lives: it may be about to leave (a restart).
const TAKE_WAIT: Duration = Duration::from_secs(20);
/// Longest wait at the end of a process for rows to be applied; the next start replays what is left.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// Threads that drive the driver; the work is waiting.
const THREADS: usize = 2;

/// Where the store is, and as whom to go there.
#[derive(Clone)]
pub struct Access {
    /// Hosts, keyspace, data centre.
    pub url: ScyllaUrl,
    /// User and password. They go over the network as they are where there is no TLS.
    pub credentials: Option<(String, String)>,
    /// Encrypted, to nodes that can prove who they are; `None`: in the clear.
    pub tls: Option<Tls>,
    /// When slices of the log end and go; the default but for tests.
    pub log: LogSizes,
    /// For tests; the default injects nothing.
    pub faults: Arc<Faults>,
}

impl Access {
    /// Without credentials.
    #[must_use]
    pub fn new(url: ScyllaUrl) -> Self {
        Self { url, credentials: None, tls: None, log: LogSizes::default(), faults: Arc::default() }
    }
}

/// Faults that tests inject.
#[derive(Default)]
pub struct Faults {
    /// So many commits' requests are lost before they reach the database.
    pub lose_requests: AtomicU32,
    /// So many commits' answers are lost after the database carried them out.
    pub lose_answers: AtomicU32,
    /// Committed rows are not applied, no sign of life is given, and nothing is done at the end: the process is as if
    /// killed behind its commit point.
    pub dead: AtomicBool,
    /// The process does not notice that it has been silent: as if suspended after it had looked.
    pub frozen: AtomicBool,
}

/// Opens the store in a keyspace, making it if there is none. Waits for a lease that another process holds.
///
/// # Errors
/// [`OpenError`]: the cluster cannot be reached, the keyspace is in use or of another format.
pub fn open(access: Access, settings: Settings, clock: Clock) -> Result<Arc<dyn Store>, OpenError> {
    let place = session::place(&access.url);
    let rows = Scylla::open(access, TAKE_WAIT)?;
    restore::refuse_half(&rows, &place)?;
    Log::start(Arc::new(rows), settings, clock, &place)
}

/// A store that no process has open, to be checked or backed up; its log is replayed first. One that lives is not
/// waited for.
///
/// # Errors
/// [`OpenError`]: there is no store, it is in use, or cannot be read.
pub fn snapshot(access: Access, now: Millis) -> Result<Snapshot, OpenError> {
    let place = session::place(&access.url);
    let rows = Scylla::open(access, Duration::ZERO)?;
    restore::refuse_half(&rows, &place)?;
    let epoch = crate::turn::read_format(&rows, &place)?;
    let epoch = epoch.ok_or(OpenError::Engine { path: place, why: "there is no store".to_owned() })?;
    Ok(Snapshot { rows: Arc::new(rows), epoch, taken_at: now })
}

/// Checks every invariant of a store that no process has open; replays its log first.
///
/// # Errors
/// [`OpenError`]: there is no store, it is in use, or cannot be read.
pub fn verify(
    access: Access,
    progress: &mut dyn FnMut(usize, usize, u64),
) -> Result<crate::verify::Report, OpenError> {
    Ok(snapshot(access, Millis::default())?.verify(progress)?)
}

/// Drops a keyspace with all that stands there: for tests, which make one each.
///
/// # Errors
/// [`OpenError`]: the cluster cannot be reached, or does not allow it.
#[cfg(any(test, feature = "conformance"))]
pub fn drop_keyspace(access: &Access) -> Result<(), OpenError> {
    let runtime = start_runtime()?;
    let (inner, place) = (access.clone(), session::place(&access.url));
    let dropped = wait(runtime.handle(), async move { migrate::drop_keyspace(&inner).await });
    runtime.shutdown_background();
    let failed = |error: session::CqlError| OpenError::Engine { path: place, why: error.0 };
    dropped.unwrap_or_else(|| Err(session::cql("the task ended"))).map_err(failed)
}

/// Numbers of the log's slices that are there, ascending: for tests. Reads the whole log.
///
/// # Errors
/// [`OpenError`]: the cluster cannot be reached.
#[cfg(any(test, feature = "conformance"))]
pub fn log_slices(access: &Access) -> Result<Vec<i64>, OpenError> {
    let runtime = start_runtime()?;
    let (inner, place) = (access.clone(), session::place(&access.url));
    let found = wait(runtime.handle(), async move { log::slices(&inner).await });
    runtime.shutdown_background();
    let failed = |error: session::CqlError| OpenError::Engine { path: place, why: error.0 };
    found.unwrap_or_else(|| Err(session::cql("the task ended"))).map_err(failed)
}

/// A name for this process that no other has: for the lease and for messages to people.
fn process_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("pid {} since {}.{number}", std::process::id(), owner::now_us())
}

fn start_runtime() -> Result<Runtime, OpenError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("store-cql")
        .enable_all()
        .build()
        .map_err(OpenError::Thread)
}

struct Scylla {
    reader: Reader,
    runtime: Option<Runtime>,
}

impl Scylla {
    /// `lives`: longest wait for another process that has the store and lives.
    fn open(access: Access, lives: Duration) -> Result<Self, OpenError> {
        let runtime = start_runtime()?;
        let opened = wait(runtime.handle(), async move { Owner::open(&access, lives).await });
        match opened {
            Some(Ok(owner)) => Ok(Self { reader: Reader::new(owner, &runtime), runtime: Some(runtime) }),
            Some(Err(error)) => {
                runtime.shutdown_background();
                Err(error)
            }
            None => Err(OpenError::Thread(std::io::Error::other("the engine's task ended"))),
        }
    }

    fn owner(&self) -> &Arc<Owner> {
        &self.reader.owner
    }

    /// Waits until the rows stand, and leaves the lease to the next owner. Once.
    fn leave(&self) {
        if self.owner().leave(DRAIN_WAIT) {
            let owner = self.owner().clone();
            wait(&self.reader.runtime, async move { owner.release().await });
        }
    }
}

impl Rows for Scylla {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.reader.get(key)
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.reader.scan(range, order, each)
    }

    fn commit(&self, batch: Batch, _sync: bool) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let gone = || CommitError::Unknown("the engine has ended".to_owned());
        let owner = self.owner().clone();
        wait(&self.reader.runtime, async move { owner.commit(batch).await }).ok_or_else(gone)?
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(()) // every commit is in the log of a quorum
    }

    fn snapshot(&self) -> Result<Arc<dyn Rows>, ReadError> {
        self.reader.check()?;
        let owner = self.owner().clone();
        let gone = || ReadError::Unavailable("the engine has ended".to_owned());
        let undo = wait(&self.reader.runtime, async move { owner.moment().await }).ok_or_else(gone)?;
        Ok(Arc::new(Moment::new(self.reader.clone(), undo)))
    }

    fn close(&self) {
        self.leave();
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn warm(&self, keys: Vec<Key>) {
        self.reader.warm(keys);
    }

    fn away(&self) -> Option<String> {
        self.owner().away()
    }

    fn lost(&self) -> Option<String> {
        self.owner().lost()
    }

    fn closing(&self) {
        self.owner().closing();
    }
}

impl Drop for Scylla {
    fn drop(&mut self) {
        self.leave();
        if let Some(runtime) = self.runtime.take() {
            // May run where blocking is not allowed; what is left are tasks that may be dropped anywhere.
            runtime.shutdown_background();
        }
    }
}
