//! The single writer: ops from all connections and webhooks → groups → one atomic write and one sync → everybody told.
//!
//! One thread owns the plan. While one group syncs, the next one fills; there is no timer that waits for more. Nobody
//! is told anything before the sync that covers it (P1). A commit that fails ends the writer: what it had not told is
//! answered with an error, `health` says so, and the process is to be restarted.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use schemas::{Conversation, ConversationId, Epoch, Message, MessageId, Millis, Seq};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::backup::Snapshot;
use crate::engine::Rows;
use crate::error::{CommitError, OpenError, ReadError};
use crate::history::History;
use crate::keys::{InboxKey, SessionKey};
use crate::ops::{Op, Progress};
use crate::read::{
    ActivityCursor, Asker, ConversationPage, InboxPage, MessagePage, MessageRange, OpenJournal, OpenSend,
    QueuePage,
};
use crate::settings::Settings;
use crate::space::Watermark;
use crate::tails::Tails;
use crate::turn::{Group, Pending, Turn};
use crate::{BoxFuture, CommitListener, CommitResult, CommitSink, Store};

/// Where the store gets the time from.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// Most ops of one commit group: bounds the time the first of them waits for the last.
const GROUP_OPS_MAX: usize = 4_096;
/// Longest time between two looks whether retention has something to do, and shortest time between two of its steps
/// while ops keep coming: an idle writer makes them one after the other.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Bytes that one permit stands for: the queue is counted in these.
const PERMIT_BYTES: usize = 256;

/// Room in the writer's queue; given back when the op is done.
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Queue {
    ops: Vec<Pending>,
    cursors: BTreeMap<SessionKey, Progress>,
    /// When the oldest waiting cursor came.
    cursors_since: Option<Instant>,
    closing: bool,
    /// Set when the writer has ended, with the reason.
    ended: Option<String>,
    closers: Vec<oneshot::Sender<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    permits: Arc<Semaphore>,
    permits_max: usize,
    listeners: RwLock<Vec<Arc<dyn CommitListener>>>,
    tails: Tails,
    /// When the present commit began.
    commit_began: Mutex<Option<Instant>>,
    stuck_after: Duration,
    space: Arc<Watermark>,
    clock: Clock,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cursor waits for a commit to ride on. True: it is the first.
    fn advance(&self, session: SessionKey, acked: Progress) -> bool {
        let mut queue = self.queue();
        let waiting = queue.cursors.entry(session).or_default();
        waiting.inbox = waiting.inbox.max(acked.inbox);
        waiting.queue = waiting.queue.max(acked.queue);
        let first = queue.cursors_since.is_none();
        queue.cursors_since.get_or_insert_with(Instant::now);
        first
    }

    fn commit_began(&self) -> MutexGuard<'_, Option<Instant>> {
        self.commit_began.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store made of an engine, the commit plan, the writer and the readers.
pub(crate) struct Log {
    shared: Arc<Shared>,
    history: Arc<History>,
    rows: Arc<dyn Rows>,
    epoch: Epoch,
}

impl Log {
    /// Checks the format, recovers, and starts the writer.
    pub(crate) fn start(
        rows: Arc<dyn Rows>,
        settings: Settings,
        clock: Clock,
        path: &str,
    ) -> Result<Arc<dyn Store>, OpenError> {
        let (turn, epoch) = Turn::open(rows.clone(), &settings, clock(), path)?;
        let permits_max = (settings.queue_max_bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            permits: Arc::new(Semaphore::new(permits_max)),
            permits_max,
            listeners: RwLock::default(),
            tails: Tails::new(epoch, settings.tail_max_events),
            commit_began: Mutex::default(),
            stuck_after: Duration::from_millis(settings.stuck_after_ms),
            space: turn.space(),
            clock: clock.clone(),
        });
        let history = Arc::new(History::new(rows.clone(), epoch, &settings));
        let writer = Writer {
            shared: shared.clone(),
            rows: rows.clone(),
            turn,
            clock,
            cursor_flush: Duration::from_millis(settings.cursor_flush_ms),
            swept: Instant::now(),
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(|| writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Arc::new(Self { shared, history, rows, epoch }))
    }

    /// Runs a read that may touch the disk where it may block.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&History) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        let history = self.history.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || read(&history)).await {
                Ok(result) => result,
                Err(error) => Err(ReadError::Unavailable(error.to_string())),
            }
        })
    }
}

struct Writer {
    shared: Arc<Shared>,
    rows: Arc<dyn Rows>,
    turn: Turn,
    clock: Clock,
    cursor_flush: Duration,
    /// When retention last made a step.
    swept: Instant,
}

/// What the writer does next.
enum Next {
    /// Ops and cursors that waited.
    Group(Group),
    /// Nothing waits, and retention has a step to make.
    Sweep,
}

impl Writer {
    fn run(mut self) {
        // However this thread ends, nobody may wait for it for ever.
        let _ending = Ending(self.shared.clone());
        while let Some(next) = self.next() {
            *self.shared.commit_began() = Some(Instant::now());
            let done = self.carry_out(next);
            *self.shared.commit_began() = None;
            if let Err(error) = done {
                tracing::error!(%error, "commit failed, the writer ends");
                self.shared.queue().ended = Some(error.to_string());
                return;
            }
        }
        if let Err(error) = self.rows.sync() {
            tracing::error!(%error, "the last sync failed");
        }
        self.rows.close();
    }

    fn carry_out(&mut self, next: Next) -> Result<(), CommitError> {
        match next {
            Next::Group(group) => {
                self.commit(group)?;
                // A step in between, so that retention goes on however much there is to do.
                if self.swept.elapsed() >= SWEEP_EVERY && self.turn.sweep_is_due((self.clock)()) {
                    self.sweep()?;
                }
                Ok(())
            }
            Next::Sweep => self.sweep(),
        }
    }

    fn sweep(&mut self) -> Result<(), CommitError> {
        let swept = self.turn.sweep((self.clock)());
        self.swept = Instant::now();
        swept
    }

    /// Waits for something to do; `None` when the store is closed and everything is done.
    fn next(&self) -> Option<Next> {
        let mut queue = self.shared.queue();
        loop {
            let flush_in = queue.cursors_since.map(|since| self.cursor_flush.saturating_sub(since.elapsed()));
            let due = flush_in.is_some_and(|left| left.is_zero());
            if !queue.ops.is_empty() || due || (queue.closing && !queue.cursors.is_empty()) {
                break;
            }
            if queue.closing {
                return None;
            }
            let now = (self.clock)();
            if self.turn.is_due(now) {
                break;
            }
            if self.turn.sweep_is_due(now) {
                return Some(Next::Sweep);
            }
            let due_in = Duration::from_millis(self.turn.next_due().since(now));
            let wait = flush_in.map_or(SWEEP_EVERY, |left| left.min(SWEEP_EVERY)).min(due_in);
            queue = self.shared.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        let ops = if queue.ops.len() <= GROUP_OPS_MAX {
            std::mem::take(&mut queue.ops)
        } else {
            queue.ops.drain(..GROUP_OPS_MAX).collect()
        };
        queue.cursors_since = None;
        Some(Next::Group(Group { ops, cursors: std::mem::take(&mut queue.cursors) }))
    }

    /// Plans, writes, syncs, tells. An error means that nothing of the group is known to be on disk.
    fn commit(&mut self, group: Group) -> Result<(), CommitError> {
        let started = Instant::now();
        let mut planned = self.turn.plan((self.clock)(), group);
        // At the end nobody waits for what is away: those devices get again what they acknowledged last.
        if !self.shared.queue().closing {
            for (session, acked) in std::mem::take(&mut planned.unmoved) {
                self.shared.advance(session, acked);
            }
        }
        let rows = planned.batch.len();
        if let Err(error) = self.turn.write(&mut planned) {
            planned.tell_unknown(&error);
            return Err(error);
        }
        if planned.durable {
            crate::metrics::observe_commit(started.elapsed(), rows, planned.ops());
        }
        let listeners = self.shared.listeners.read().unwrap_or_else(PoisonError::into_inner);
        planned.tell(&self.shared.tails, &listeners);
        drop(listeners);
        self.turn.settle()
    }
}

/// Answers everything that waits when the writer's thread ends, also by a panic.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.ended.get_or_insert_with(|| "the writer has ended".to_owned());
        let ops = std::mem::take(&mut queue.ops);
        let closers = std::mem::take(&mut queue.closers);
        drop(queue);
        for pending in ops {
            pending.sink.done(pending.token, Err(CommitError::Closed));
        }
        for closer in closers {
            let _ = closer.send(());
        }
    }
}

impl Store for Log {
    fn try_permit(&self, bytes: usize) -> Option<Permit> {
        let permits = self.permits_for(bytes);
        let permit = self.shared.permits.clone().try_acquire_many_owned(permits).ok()?;
        Some(Permit { _permit: permit })
    }

    fn permit(&self, bytes: usize) -> BoxFuture<'_, Permit> {
        let permits = self.permits_for(bytes);
        Box::pin(async move {
            let permit = self.shared.permits.clone().acquire_many_owned(permits).await;
            Permit { _permit: permit.expect("the semaphore is never closed") }
        })
    }

    fn submit(&self, op: Op, permit: Permit, token: u64, sink: Arc<dyn CommitSink>) {
        let mut queue = self.shared.queue();
        if queue.closing || queue.ended.is_some() {
            drop(queue);
            sink.done(token, Err(CommitError::Closed));
            return;
        }
        // Who waited behind a commit that cannot end would not know whether to send again.
        if let Some(why) = self.rows.away() {
            drop(queue);
            sink.done(token, Err(CommitError::Unavailable(why)));
            return;
        }
        let was_empty = queue.ops.is_empty();
        queue.ops.push(Pending { op, token, sink, _permit: Some(permit) });
        drop(queue);
        if was_empty {
            self.shared.wake.notify_one();
        }
    }

    fn advance(&self, session: SessionKey, acked: Progress) {
        if self.shared.advance(session, acked) {
            self.shared.wake.notify_one();
        }
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.shared.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    fn inbox_hot(&self, inbox: InboxKey, after: Seq, limit: usize) -> Option<InboxPage> {
        self.shared.tails.inbox(inbox, after, limit)
    }

    fn inbox(
        &self,
        inbox: InboxKey,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<InboxPage, ReadError>> {
        self.read(move |history| history.inbox(inbox, after, limit))
    }

    fn queue_hot(&self, session: SessionKey, after: u64, limit: usize) -> Option<QueuePage> {
        self.shared.tails.queue(session, after, limit)
    }

    fn queue(
        &self,
        session: SessionKey,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<QueuePage, ReadError>> {
        self.read(move |history| history.queue(session, after, limit))
    }

    fn conversations(
        &self,
        asker: Asker,
        after: Option<ActivityCursor>,
        limit: usize,
    ) -> BoxFuture<'_, Result<ConversationPage, ReadError>> {
        self.read(move |history| history.conversations(&asker, after, limit))
    }

    fn conversation(
        &self,
        asker: Asker,
        id: ConversationId,
    ) -> BoxFuture<'_, Result<Option<Conversation>, ReadError>> {
        self.read(move |history| history.conversation(&asker, id))
    }

    fn messages(
        &self,
        asker: Asker,
        id: ConversationId,
        range: MessageRange,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessagePage>, ReadError>> {
        self.read(move |history| history.messages(&asker, id, range, limit))
    }

    fn message(&self, asker: Asker, id: MessageId) -> BoxFuture<'_, Result<Option<Message>, ReadError>> {
        self.read(move |history| history.message(&asker, id))
    }

    fn open_sends(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OpenSend>, ReadError>> {
        self.read(move |history| history.open_sends(after, limit))
    }

    fn open_send(&self, message: MessageId) -> BoxFuture<'_, Result<Option<OpenSend>, ReadError>> {
        self.read(move |history| history.open_send(message))
    }

    fn open_journal(&self) -> BoxFuture<'_, Result<Vec<OpenJournal>, ReadError>> {
        self.read(|history| history.open_journal())
    }

    fn readiness(&self) -> Result<(), String> {
        self.health()?;
        self.rows.away().map_or(Ok(()), Err)?;
        self.shared.space.refusal((self.shared.clock)()).map_or(Ok(()), |full| Err(full.to_string()))
    }

    fn health(&self) -> Result<(), String> {
        // Whoever asks for health asks once a second: so the metrics of an idle store are fresh too.
        let _ = self.shared.space.refusal((self.shared.clock)());
        let running = self.shared.commit_began().map(|began| began.elapsed()).unwrap_or_default();
        crate::metrics::set_commit_running(running);
        if let Some(why) = self.rows.lost() {
            return Err(why);
        }
        // What waits for something that is away is not stuck: a new start would wait as well.
        if running > self.shared.stuck_after && self.rows.away().is_none() {
            return Err(format!("the writer has been busy with one commit for {} s", running.as_secs()));
        }
        self.shared.queue().ended.clone().map_or(Ok(()), Err)
    }

    fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let taken_at = (self.shared.clock)();
        Ok(Snapshot { rows: self.rows.snapshot()?, epoch: self.epoch, taken_at })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let (done, wait) = oneshot::channel();
        let mut queue = self.shared.queue();
        queue.closing = true;
        if queue.ended.is_none() {
            queue.closers.push(done);
        }
        drop(queue);
        self.rows.closing();
        self.shared.wake.notify_one();
        Box::pin(async move {
            // An error means that the sender was dropped: the writer had ended already.
            let _ = wait.await;
        })
    }
}

impl Log {
    fn permits_for(&self, bytes: usize) -> u32 {
        // An op larger than the whole queue takes all of it, instead of waiting for ever.
        let permits = (bytes / PERMIT_BYTES + 1).min(self.shared.permits_max);
        u32::try_from(permits).unwrap_or(u32::MAX)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.queue().closing = true;
        self.shared.wake.notify_one();
    }
}

/// A sink that one waiting task gets its result from.
pub(crate) struct OneShot(Mutex<Option<oneshot::Sender<CommitResult>>>);

impl OneShot {
    pub(crate) fn pair() -> (Arc<Self>, oneshot::Receiver<CommitResult>) {
        let (sender, receiver) = oneshot::channel();
        (Arc::new(Self(Mutex::new(Some(sender)))), receiver)
    }
}

impl CommitSink for OneShot {
    fn done(&self, _token: u64, result: CommitResult) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The task may have stopped waiting; the commit stands all the same.
            let _ = sender.send(result);
        }
    }
}

#[cfg(test)]
mod tests;
