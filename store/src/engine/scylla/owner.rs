//! The store open in this process: what its tasks share, committing, applying, signs of life.
//!
//! **The database may be away** for any time. A commit under way waits until its outcome is known; whoever asks meanwhile
//! is told that the store is away ([`Owner::away`]) and nothing new is taken. When it is back, and nobody has taken over
//! meanwhile, everything goes on. Only a lease that another holds ends this process's part for good.
//! Not here: the log's statements (`log`), reading (`scan`, `reader`).

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;

use super::directory::Directory;
use super::layout::Map;
use super::lease::{Lease, TakeError};
use super::log::{LogEnd, LogEntry, LogError, LogReader, Patience};
use super::moment::Moments;
use super::progress::{LogSizes, Progress};
use super::recent::Recent;
use super::session::{self, Cql, CqlError};
use super::{Access, Faults, apply, lease, log, process_name};
use crate::engine::Batch;
use crate::error::{CommitError, OpenError};

/// The shard whose log carries the whole store, as long as one process owns all of it.
pub(super) const LOG_SHARD: i8 = 0;
/// Most bytes committed and not applied; a commit waits for room. Bounds memory, and what a start has to replay.
const UNAPPLIED_BYTES_MAX: usize = 64 << 20;
/// Entries replayed side by side.
const REPLAY_AT_ONCE: usize = 32;
/// Before it is looked again whether the database is back, or has applied something.
const READY_POLL: Duration = Duration::from_millis(10);

/// What tasks of the engine share.
pub(super) struct Owner {
    pub(super) db: Cql,
    pub(super) map: Map,
    pub(super) recent: Recent,
    pub(super) directory: Directory,
    pub(super) moments: Moments,
    lease: Lease,
    sizes: LogSizes,
    /// The log's end; held by the one that commits.
    end: tokio::sync::Mutex<LogEnd>,
    progress: Mutex<Progress>,
    /// Told when something was applied.
    room: Condvar,
    batches: Semaphore,
    /// Since when a commit waits for others to be applied.
    full_since: Mutex<Option<Instant>>,
    signs: Signs,
    patience: Arc<Patience>,
    faults: Arc<Faults>,
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

/// Microseconds since the Unix epoch: the timestamps of rows begin here. Not the store's clock, which a test may move,
/// and which may not be ahead of the database's by more than it allows.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Owner {
    /// Takes the store, waiting so long for another owner that lives, and replays its log.
    pub(super) async fn open(access: &Access, wait: Duration) -> Result<Arc<Self>, OpenError> {
        let place = session::place(&access.url);
        let failed = |why: String| OpenError::Engine { path: place.clone(), why };
        let db = Cql::open(access).await?;
        let lease =
            lease::take(&db, LOG_SHARD, &process_name(), wait).await.map_err(|error| match error {
                TakeError::InUse(by) => OpenError::InUse { path: format!("{place} ({by})") },
                TakeError::Cql(error) => failed(error.0),
            })?;
        let patience = Arc::new(Patience::default());
        let end = log::take_over(&db, &lease, access.log, patience.clone()).await;
        let end = end.map_err(|e| failed(e.to_string()))?;
        let owner = Arc::new(Self {
            map: Map::new(db.slots),
            recent: Recent::default(),
            directory: Directory::default(),
            moments: Moments::default(),
            sizes: access.log,
            progress: Mutex::default(),
            room: Condvar::new(),
            batches: Semaphore::new(apply::BATCHES_AT_ONCE),
            full_since: Mutex::default(),
            signs: Signs {
                beat: AtomicI64::new(0),
                last: Mutex::new(Instant::now()),
                left: AtomicBool::new(false),
                lost: Mutex::default(),
            },
            patience,
            faults: access.faults.clone(),
            end: tokio::sync::Mutex::new(end),
            lease,
            db,
        });
        // Signs of life also while a long log is replayed.
        tokio::spawn(live(Arc::downgrade(&owner)));
        owner.replay().await.map_err(|e| failed(e.0))?;
        Ok(owner)
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
            let apply = |entry: LogEntry| async move {
                apply::apply(&self.db, self.map, &self.batches, &entry).await;
            };
            entries.for_each_concurrent(REPLAY_AT_ONCE, apply).await;
        }
        if replayed > 0 {
            tracing::info!(entries = replayed, "the log was replayed");
        }
        crate::metrics::count_replayed(replayed);
        locked(&self.progress).begin(from, end.next, self.lease.first_slice..end.slice());
        Ok(())
    }

    /// Rows of this process are not the truth any more where another has taken over, or may have.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(why) = self.lost() {
            return Err(why);
        }
        let silent = locked(&self.signs.last).elapsed();
        if silent >= lease::LEASE && !self.faults.frozen.load(Ordering::SeqCst) {
            return Err(format!("no sign of life reached the database for {} s", silent.as_secs()));
        }
        Ok(())
    }

    /// Why this process can never commit again.
    pub(super) fn lost(&self) -> Option<String> {
        locked(&self.signs.lost).clone()
    }

    /// Why nothing can be committed now; it may go by itself.
    pub(super) fn away(&self) -> Option<String> {
        let full = || "committed rows cannot be applied, so no more are taken".to_owned();
        let long = locked(&self.full_since).is_some_and(|since| since.elapsed() >= lease::LEASE);
        self.check().err().or_else(|| long.then(full))
    }

    /// No more ops come: what cannot be settled soon is left to the next start.
    pub(super) fn closing(&self) {
        self.patience.ends();
    }

    fn lose(&self, why: &str) {
        locked(&self.signs.lost).get_or_insert_with(|| why.to_owned());
        self.room.notify_all();
    }

    fn has_room(&self) -> bool {
        self.recent.unapplied_bytes() < UNAPPLIED_BYTES_MAX
    }

    /// Waits until the database is there and takes rows. Nothing is in the log if this fails.
    async fn ready(&self) -> Result<(), CommitError> {
        loop {
            let why = match self.check() {
                Ok(()) if self.has_room() => break,
                Ok(()) => "committed rows cannot be applied".to_owned(),
                Err(why) => why,
            };
            if self.lost().is_some() || self.patience.is_over() {
                return Err(CommitError::Unavailable(why));
            }
            if !self.has_room() {
                locked(&self.full_since).get_or_insert_with(Instant::now);
            }
            tokio::time::sleep(READY_POLL).await;
        }
        *locked(&self.full_since) = None;
        Ok(())
    }

    pub(super) async fn commit(self: &Arc<Self>, mut batch: Batch) -> Result<(), CommitError> {
        self.ready().await?;
        let begun = self.directory.missing(&batch);
        batch.extend(begun.iter().map(|row| (row.clone(), Some(Vec::new()))));
        let mut end = self.end.lock().await;
        // Before anybody can see the new rows: whoever reads an older moment needs those they replace.
        for moment in self.moments.live() {
            moment.keep(self, &batch).await;
        }
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
            locked(&self.progress).ended(slice, entry.index);
        }
        // Rows first: whoever finds a partition in the directory finds its rows.
        self.recent.install(entry.index, &entry.batch);
        self.directory.begun(begun);
        drop(end);
        let owner = self.clone();
        tokio::spawn(async move { owner.apply(entry).await });
        Ok(())
    }

    async fn apply(&self, entry: LogEntry) {
        if self.faults.dead.load(Ordering::SeqCst) {
            return;
        }
        apply::apply(&self.db, self.map, &self.batches, &entry).await;
        self.recent.applied(entry.index);
        locked(&self.progress).applied(entry.index);
        self.room.notify_all();
    }

    /// A moment that later commits do not change. No commit is under way when it begins.
    pub(super) async fn moment(&self) -> Arc<super::moment::Undo> {
        let _end = self.end.lock().await;
        self.moments.begin()
    }

    /// Waits until everything committed is applied; false where it is not in time, or the lease is lost.
    fn drained(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut progress = locked(&self.progress);
        while self.recent.unapplied_bytes() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.lost().is_some() {
                return false;
            }
            progress = self.room.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What is left to be done before [`Owner::release`]: blocks until rows stand. False: there is nothing to release.
    pub(super) fn leave(&self, limit: Duration) -> bool {
        let dead = self.faults.dead.load(Ordering::SeqCst);
        if dead || self.check().is_err() || self.signs.left.swap(true, Ordering::SeqCst) {
            return false;
        }
        if !self.drained(limit) {
            tracing::warn!("not all committed rows are applied; the next start goes on with them");
        }
        true
    }

    /// Leaves the lease to the next owner.
    pub(super) async fn release(&self) {
        self.sign().await;
        let beat = self.signs.beat.fetch_add(1, Ordering::SeqCst) + 1;
        if let Err(error) = lease::release(&self.db, &self.lease, beat).await {
            tracing::warn!(%error, "the lease was not released; the next start waits until it ends");
        }
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
            Err(error) => {
                tracing::warn!(%error, "no sign of life");
                return;
            }
        }
        let due = locked(&self.progress).due_at(Instant::now(), self.sizes.applied_lag);
        let Some(next) = due else { return };
        match self.db.run(&self.db.log.write_applied, (LOG_SHARD, next)).await {
            Ok(_) => locked(&self.progress).noted(next),
            Err(error) => tracing::warn!(%error, "how far the log is applied cannot be noted"),
        }
    }

    fn first_slice(&self) -> i64 {
        let first = locked(&self.progress).first_slice(Instant::now(), self.sizes.slice_kept);
        first.unwrap_or(self.lease.first_slice)
    }

    /// Deletes slices that the lease does not speak of any more.
    async fn delete_slices(&self, below: i64) {
        let gone = locked(&self.progress).below(below);
        for slice in gone {
            match self.db.run(&self.db.log.delete_slice, (LOG_SHARD, slice)).await {
                Ok(_) => locked(&self.progress).deleted(slice),
                Err(error) => tracing::warn!(%error, slice, "a slice of the log cannot be deleted yet"),
            }
        }
    }
}

/// Gives signs of life until the engine is dropped or its lease is lost.
async fn live(owner: std::sync::Weak<Owner>) {
    let mut ticks = tokio::time::interval(lease::BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(owner) = owner.upgrade() else { return };
        let over = owner.signs.left.load(Ordering::SeqCst) || owner.lost().is_some();
        if over || owner.faults.dead.load(Ordering::SeqCst) {
            return;
        }
        let kept_from = owner.first_slice();
        owner.sign().await;
        if owner.check().is_ok() {
            owner.delete_slices(kept_from).await;
        }
    }
}
