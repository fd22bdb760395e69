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
//!   are applied; what is not applied is bounded by [`UNAPPLIED_BYTES_MAX`]. A start replays the rest.
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
mod recent;
mod scan;
mod session;
mod tables;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use self::directory::Directory;
use self::layout::Map;
use self::lease::Lease;
use self::log::{LogEnd, LogEntry, LogError, LogReader};
use self::recent::Recent;
use self::scan::Walk;
use self::session::{Cql, CqlError};
use super::{Batch, Each, KeyRange, Order, Rows};
use crate::Store;
use crate::error::{CommitError, OpenError, ReadError};
use crate::rows::Key;
use crate::settings::Settings;
use crate::url::ScyllaUrl;
use crate::writer::{Clock, Log};

/// The shard whose log carries the whole store, as long as one process owns all of it.
const LOG_SHARD: i8 = 0;
/// Most bytes committed and not applied; a commit waits for room. Bounds memory, and what a start has to replay.
const UNAPPLIED_BYTES_MAX: usize = 64 << 20;
/// Longest wait for that room: a database that takes commits but no rows for so long will not recover by waiting.
const ROOM_WAIT: Duration = Duration::from_secs(120);
/// How far the note of what is applied lags behind. Conditional batches are synced before they are answered, plain
/// writes every 10 s (the default of ScyllaDB and Cassandra): were all replicas to lose power, rows applied since then
/// would be gone, and the log has them. Three times that; a start replays so much of the log.
const APPLIED_LAG: Duration = Duration::from_secs(30);
/// Entries replayed side by side.
const REPLAY_AT_ONCE: usize = 32;
/// Longest wait at the end of a process for rows to be applied; the next start replays what is left.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How long a slice of the log is kept after all of it is applied: for looking at after an accident.
const SLICE_KEPT: Duration = Duration::from_secs(3_600);
/// Threads that drive the driver; the work is waiting.
const THREADS: usize = 2;

/// Where the store is, and as whom to go there.
#[derive(Clone)]
pub struct Access {
    /// Hosts, keyspace, data centre.
    pub url: ScyllaUrl,
    /// User and password. They go over the network as they are: TLS is not supported yet (ADR 011).
    pub credentials: Option<(String, String)>,
    /// For tests; the default injects nothing.
    pub faults: Arc<Faults>,
}

impl Access {
    /// Without credentials.
    #[must_use]
    pub fn new(url: ScyllaUrl) -> Self {
        Self { url, credentials: None, faults: Arc::default() }
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
    Log::start(Arc::new(Scylla::open(access)?), settings, clock, &place)
}

/// Checks every invariant of a store that no process has open; replays its log first.
///
/// # Errors
/// [`OpenError`]: the store is in use, or cannot be read.
pub fn verify(
    access: Access,
    progress: &mut dyn FnMut(usize, usize, u64),
) -> Result<crate::verify::Report, OpenError> {
    Ok(crate::verify::verify(&Scylla::open(access)?, progress)?)
}

/// Drops a keyspace with all that stands there: for tests, which make one each.
///
/// # Errors
/// [`OpenError`]: the cluster cannot be reached, or does not allow it.
#[cfg(any(test, feature = "conformance"))]
pub fn drop_keyspace(access: &Access) -> Result<(), OpenError> {
    let runtime = start_runtime()?;
    let (inner, place) = (access.clone(), session::place(&access.url));
    let dropped = wait(&runtime, async move { migrate::drop_keyspace(&inner).await });
    runtime.shutdown_background();
    let failed = |error: CqlError| OpenError::Engine { path: place, why: error.0 };
    dropped.unwrap_or_else(|| Err(session::cql("the task ended"))).map_err(failed)
}

/// A name for this process that no other has: for the lease and for messages to people.
fn process_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("pid {} since {}.{number}", std::process::id(), now_us())
}

/// Microseconds since the Unix epoch: the timestamps of rows begin here. Not the store's clock, which a test may move,
/// and which may not be ahead of the database's by more than it allows.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What tasks of the engine share.
struct Inner {
    db: Cql,
    map: Map,
    recent: Recent,
    directory: Directory,
    lease: Lease,
    /// The log's end; held by the one that commits.
    end: tokio::sync::Mutex<LogEnd>,
    applied: Mutex<Applied>,
    /// Told when something was applied.
    room: Condvar,
    batches: Semaphore,
    signs: Signs,
    faults: Arc<Faults>,
}

/// How far the log is applied.
#[derive(Default)]
struct Applied {
    /// Everything below stands.
    next: i64,
    /// Stands above it.
    beyond: BTreeSet<i64>,
    /// What stood when, oldest first, as far as it is not due to be noted.
    marks: VecDeque<(Instant, i64)>,
    /// What is to be noted.
    due: i64,
    /// What is noted: see [`APPLIED_LAG`].
    noted: i64,
    /// Slices that ended: number, index of their end, since when they are known to be wholly applied.
    slices: Vec<(i64, i64, Option<Instant>)>,
}

/// Signs of life.
struct Signs {
    beat: AtomicI64,
    last: Mutex<Instant>,
    /// This process gave its lease back.
    left: AtomicBool,
    /// Why this process may write no more.
    lost: Mutex<Option<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    async fn open(access: &Access) -> Result<Arc<Self>, OpenError> {
        let place = session::place(&access.url);
        let failed = |why: String| OpenError::Engine { path: place.clone(), why };
        let db = Cql::open(access).await?;
        let lease = lease::take(&db, LOG_SHARD, &process_name()).await.map_err(|e| failed(e.0))?;
        let end = log::take_over(&db, &lease).await.map_err(|e| failed(e.to_string()))?;
        let inner = Arc::new(Self {
            map: Map::new(db.slots),
            recent: Recent::default(),
            directory: Directory::default(),
            applied: Mutex::default(),
            room: Condvar::new(),
            batches: Semaphore::new(apply::BATCHES_AT_ONCE),
            signs: Signs {
                beat: AtomicI64::new(0),
                last: Mutex::new(Instant::now()),
                left: AtomicBool::new(false),
                lost: Mutex::default(),
            },
            faults: access.faults.clone(),
            end: tokio::sync::Mutex::new(end),
            lease,
            db,
        });
        // Signs of life also while a long log is replayed.
        tokio::spawn(live(Arc::downgrade(&inner)));
        inner.replay().await.map_err(|e| failed(e.0))?;
        Ok(inner)
    }

    /// Applies what the owner before had committed and not applied.
    async fn replay(&self) -> Result<(), CqlError> {
        let end = self.end.lock().await;
        let rows = self.db.run(&self.db.log.read_applied, (LOG_SHARD,)).await?;
        let rows = rows.into_rows_result().map_err(session::cql)?;
        let from = rows.maybe_first_row::<(i64,)>().map_err(session::cql)?.map_or(0, |(next,)| next);
        let mut replayed = 0;
        let mut reader = LogReader::new(&end, from);
        while let Some(entries) = reader.next(&self.db).await? {
            replayed += entries.len();
            // Side by side, like all entries: their timestamps keep the order.
            let entries = stream::iter(entries);
            entries.for_each_concurrent(REPLAY_AT_ONCE, |entry| self.apply_rows(entry)).await;
        }
        if replayed > 0 {
            tracing::info!(entries = replayed, "the log was replayed");
        }
        let mut applied = locked(&self.applied);
        applied.next = end.next;
        applied.noted = from;
        applied.slices = (self.lease.first_slice..end.slice()).map(|slice| (slice, end.next, None)).collect();
        Ok(())
    }

    async fn apply_rows(&self, entry: LogEntry) {
        apply::apply(&self.db, self.map, &self.batches, &entry).await;
    }

    /// The process may not go on where another has taken over, or may have.
    fn check(&self) -> Result<(), String> {
        if let Some(why) = &*locked(&self.signs.lost) {
            return Err(why.clone());
        }
        let silent = locked(&self.signs.last).elapsed();
        if silent >= lease::LEASE && !self.faults.frozen.load(Ordering::SeqCst) {
            return Err(format!("no sign of life reached the database for {} s", silent.as_secs()));
        }
        Ok(())
    }

    fn lose(&self, why: &str) {
        locked(&self.signs.lost).get_or_insert_with(|| why.to_owned());
        self.room.notify_all();
    }

    async fn commit(self: &Arc<Self>, mut batch: Batch) -> Result<(), CommitError> {
        self.check().map_err(CommitError::Unavailable)?;
        let begun = self.directory.missing(&batch);
        batch.extend(begun.iter().map(|row| (row.clone(), Some(Vec::new()))));
        let mut end = self.end.lock().await;
        let slice = end.slice();
        let entry = match end.append(&self.db, batch, now_us(), &self.faults).await {
            Ok(entry) => entry,
            Err(error) => {
                self.lose(&error.to_string());
                return Err(match error {
                    // Its own entry may have been the last before the takeover.
                    LogError::Fenced { .. } => CommitError::Unknown(error.to_string()),
                    LogError::Unknown(error) => CommitError::Unknown(error.0),
                });
            }
        };
        if end.slice() != slice {
            locked(&self.applied).slices.push((slice, entry.index, None));
        }
        // Rows first: whoever finds a partition in the directory finds its rows.
        self.recent.install(entry.index, &entry.batch);
        self.directory.begun(begun);
        drop(end);
        let inner = self.clone();
        tokio::spawn(async move { inner.apply(entry).await });
        Ok(())
    }

    async fn apply(&self, entry: LogEntry) {
        if self.faults.dead.load(Ordering::SeqCst) {
            return;
        }
        apply::apply(&self.db, self.map, &self.batches, &entry).await;
        self.recent.applied(entry.index);
        let mut applied = locked(&self.applied);
        applied.beyond.insert(entry.index);
        while applied.beyond.first() == Some(&applied.next) {
            applied.beyond.pop_first();
            applied.next += 1;
        }
        drop(applied);
        self.room.notify_all();
    }

    /// Waits until `done` says so; false where it does not in time, or the lease is lost.
    fn wait_for(&self, limit: Duration, done: impl Fn(&Applied, &Recent) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut applied = locked(&self.applied);
        while !done(&applied, &self.recent) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || locked(&self.signs.lost).is_some() {
                return false;
            }
            applied = self.room.wait_timeout(applied, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// A sign of life, and with it what is done now and then.
    async fn sign(&self) {
        let beat = self.signs.beat.fetch_add(1, Ordering::SeqCst) + 1;
        let first_slice = self.first_slice();
        let before = Instant::now();
        match lease::beat(&self.db, &self.lease, beat, first_slice).await {
            Ok(true) => *locked(&self.signs.last) = before,
            Ok(false) => {
                // Refused, or applied with its answer lost and then refused: the next owner's fence tells.
                self.lose("another process has taken this store over; this one can write no more");
                return;
            }
            Err(error) => tracing::warn!(%error, "no sign of life"),
        }
        let Some(next) = self.to_be_noted() else { return };
        match self.db.run(&self.db.log.write_applied, (LOG_SHARD, next)).await {
            Ok(_) => locked(&self.applied).noted = next,
            Err(error) => tracing::warn!(%error, "how far the log is applied cannot be noted"),
        }
    }

    /// What was applied [`APPLIED_LAG`] ago, where that is not noted yet.
    fn to_be_noted(&self) -> Option<i64> {
        let mut applied = locked(&self.applied);
        let next = applied.next;
        applied.marks.push_back((Instant::now(), next));
        while let Some((_, mark)) = applied.marks.front().filter(|(at, _)| at.elapsed() >= APPLIED_LAG) {
            applied.due = *mark;
            applied.marks.pop_front();
        }
        Some(applied.due).filter(|due| *due > applied.noted)
    }

    /// The oldest slice that is still wanted. Those before it are deleted once the lease says so.
    fn first_slice(&self) -> i64 {
        let mut applied = locked(&self.applied);
        // By what is noted: a start reads on from there, so it must not be gone.
        let noted = applied.noted;
        for (_, end, done) in &mut applied.slices {
            if *end <= noted && done.is_none() {
                *done = Some(Instant::now());
            }
        }
        let wanted = |done: &Option<Instant>| done.is_none_or(|since| since.elapsed() < SLICE_KEPT);
        let oldest = applied.slices.iter().find(|(_, _, done)| wanted(done)).map(|(slice, ..)| *slice);
        let last = applied.slices.last().map(|(slice, ..)| slice + 1);
        oldest.or(last).unwrap_or(self.lease.first_slice)
    }

    /// Deletes slices that the lease does not speak of any more.
    async fn delete_slices(&self, below: i64) {
        let gone: Vec<i64> =
            locked(&self.applied).slices.iter().map(|(slice, ..)| *slice).filter(|s| *s < below).collect();
        for slice in gone {
            match self.db.run(&self.db.log.delete_slice, (LOG_SHARD, slice)).await {
                Ok(_) => locked(&self.applied).slices.retain(|(number, ..)| *number != slice),
                Err(error) => tracing::warn!(%error, slice, "a slice of the log cannot be deleted yet"),
            }
        }
    }
}

/// Gives signs of life until the engine is dropped or its lease is lost.
async fn live(inner: std::sync::Weak<Inner>) {
    let mut ticks = tokio::time::interval(lease::BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let over = inner.signs.left.load(Ordering::SeqCst) || locked(&inner.signs.lost).is_some();
        if over || inner.faults.dead.load(Ordering::SeqCst) {
            return;
        }
        let kept_from = inner.first_slice();
        inner.sign().await;
        if inner.check().is_ok() {
            inner.delete_slices(kept_from).await;
        }
    }
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
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

impl Scylla {
    fn open(access: Access) -> Result<Self, OpenError> {
        let runtime = start_runtime()?;
        let opened = wait(&runtime, async move { Inner::open(&access).await });
        match opened {
            Some(Ok(inner)) => Ok(Self { inner, runtime: Some(runtime) }),
            Some(Err(error)) => {
                runtime.shutdown_background();
                Err(error)
            }
            None => Err(OpenError::Thread(std::io::Error::other("the engine's task ended"))),
        }
    }

    /// Runs a task of the engine and blocks this thread, which must be one that may block, until it is done.
    fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, CqlError>> + Send + 'static,
    ) -> Result<T, ReadError> {
        let gone = || ReadError::Unavailable("the engine has ended".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        Ok(wait(runtime, task).ok_or_else(gone)??)
    }

    fn check(&self) -> Result<(), ReadError> {
        self.inner.check().map_err(ReadError::Unavailable)
    }

    /// The rest of a segment behind its first page. False: the caller wants no more.
    fn rest(
        &self,
        segment: &layout::Segment,
        mut rest: Option<KeyRange>,
        order: Order,
        each: &mut Each<'_>,
    ) -> Result<bool, ReadError> {
        let mut limit = scan::FIRST;
        while let Some(range) = rest {
            limit = scan::next_page(limit);
            let (inner, segment) = (self.inner.clone(), segment.clone());
            let page = self.run(async move { inner.page(&segment, &range, order, limit).await })?;
            for (key, value) in &page.rows {
                if !each(key, value)? {
                    return Ok(false);
                }
            }
            rest = page.rest;
        }
        Ok(true)
    }
}

/// Runs a task on the engine's threads and waits for it without being on them: works from any thread, also one that
/// drives another runtime, which it blocks.
fn wait<T: Send + 'static>(runtime: &Runtime, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (done, result) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Whoever waited may be gone.
        let _ = done.send(task.await);
    });
    result.recv().ok()
}

impl Rows for Scylla {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.check()?;
        if let Some(found) = self.inner.recent.get(key) {
            return Ok(found);
        }
        let (inner, key) = (self.inner.clone(), key.to_vec());
        self.run(async move { inner.get(&key).await })
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.check()?;
        let mut walk = Walk::new(range, order);
        loop {
            let inner = self.inner.clone();
            let (next, pages) = self.run(async move { walk.next(&inner).await })?;
            if pages.is_empty() {
                return Ok(());
            }
            walk = next;
            for (segment, page) in pages {
                if page.rows.is_empty() && page.rest.is_none() && order == Order::Ascending {
                    self.inner.empty(&segment);
                }
                for (key, value) in &page.rows {
                    if !each(key, value)? {
                        return Ok(());
                    }
                }
                if !self.rest(&segment, page.rest, order, each)? {
                    return Ok(());
                }
            }
        }
    }

    fn commit(&self, batch: Batch, _sync: bool) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let has_room = |_: &Applied, recent: &Recent| recent.unapplied_bytes() < UNAPPLIED_BYTES_MAX;
        if !self.inner.wait_for(ROOM_WAIT, has_room) {
            let why = self.inner.check().err();
            let full = || "committed rows cannot be applied, so no more are taken".to_owned();
            return Err(CommitError::Unavailable(why.unwrap_or_else(full)));
        }
        let gone = || CommitError::Unknown("the engine has ended".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        let inner = self.inner.clone();
        wait(runtime, async move { inner.commit(batch).await }).ok_or_else(gone)?
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(()) // every commit is in the log of a quorum
    }

    fn close(&self) {
        self.leave();
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn warm(&self, keys: Vec<Key>) {
        if keys.is_empty() || self.check().is_err() {
            return;
        }
        let inner = self.inner.clone();
        // What could not be read ahead is read, or fails, when it is asked for.
        if let Err(error) = self.run(async move { inner.warm(keys).await }) {
            tracing::debug!(%error, "rows could not be read ahead");
        }
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

impl Scylla {
    /// Waits until the rows stand, and leaves the lease to the next owner. Once.
    fn leave(&self) {
        let inner = self.inner.clone();
        let Some(runtime) = &self.runtime else { return };
        let dead = inner.faults.dead.load(Ordering::SeqCst);
        if dead || inner.check().is_err() || inner.signs.left.swap(true, Ordering::SeqCst) {
            return;
        }
        if !inner.wait_for(DRAIN_WAIT, |_, recent| recent.unapplied_bytes() == 0) {
            tracing::warn!("not all committed rows are applied; the next start goes on with them");
        }
        wait(runtime, async move {
            inner.sign().await;
            let beat = inner.signs.beat.fetch_add(1, Ordering::SeqCst) + 1;
            if let Err(error) = lease::release(&inner.db, &inner.lease, beat).await {
                tracing::warn!(%error, "the lease was not released; the next start waits until it ends");
            }
        });
    }
}
