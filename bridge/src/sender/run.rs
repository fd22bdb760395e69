//! O5–O7. The loop around the plan: notices and timers in, attempts out.
//!
//! A notice only says which send to read again; losing all of them would only delay, because everything open is looked
//! through at the start and whenever notices did not fit. Not here: decisions (`plan`), an attempt's steps (`attempt`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemas::{MessageId, Millis};
use store::{CommitListener, Notices, ReadError};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};

use super::attempt::{Attempts, Done};
use super::outcome::NumberHint;
use super::plan::{Action, Planner};
use crate::{metrics, millis};

/// Sends noted and not yet read; beyond it everything open is looked through again.
const NOTED_MAX: usize = 100_000;
/// Sends read between two looks at timers and finished attempts.
const READS_MAX: usize = 256;
/// Longest time between two updates of the gauges.
const GAUGES_MS: u64 = 5_000;
/// After a failed read of the store.
const READ_RETRY_MS: u64 = 1_000;

/// Notes which sends moved.
#[derive(Default)]
pub(crate) struct Doorbell {
    noted: Mutex<Noted>,
    rung: Notify,
}

#[derive(Default)]
struct Noted {
    sends: BTreeSet<MessageId>,
    overflow: bool,
}

impl CommitListener for Doorbell {
    fn committed(&self, notices: &Notices) {
        if notices.sends.is_empty() {
            return;
        }
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.sends.extend(&notices.sends);
            if noted.sends.len() > NOTED_MAX {
                noted.sends.clear();
                noted.overflow = true;
            }
        }
        self.rung.notify_one();
    }
}

impl Doorbell {
    fn take(&self) -> Noted {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The sender.
pub(crate) struct Sender {
    plan: Planner,
    attempts: Arc<Attempts>,
    doorbell: Arc<Doorbell>,
    /// To be read again, oldest message of a conversation first.
    dirty: BTreeSet<MessageId>,
    tasks: JoinSet<Done>,
    /// What each task is about, should it panic.
    about: HashMap<Id, (MessageId, bool)>,
    /// No reads before: the store failed.
    reads_from: Millis,
}

impl Sender {
    pub(crate) fn new(plan: Planner, attempts: Arc<Attempts>, doorbell: Arc<Doorbell>) -> Self {
        Self {
            plan,
            attempts,
            doorbell,
            dirty: BTreeSet::new(),
            tasks: JoinSet::new(),
            about: HashMap::new(),
            reads_from: Millis(0),
        }
    }

    /// Runs until `stop` turns true and what was under way then is on record.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let doorbell = Arc::clone(&self.doorbell);
        loop {
            let stopping = *stop.borrow_and_update();
            if stopping && self.tasks.is_empty() {
                return;
            }
            let wait = self.turn(stopping).await;
            tokio::select! {
                () = doorbell.rung.notified() => {}
                Some(done) = self.tasks.join_next_with_id() => self.finished(done),
                changed = stop.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(done) = self.tasks.try_join_next_with_id() {
                self.finished(done);
            }
        }
    }

    /// Reads what moved, starts what may start; says how long nothing is to be done unless something happens.
    async fn turn(&mut self, stopping: bool) -> Duration {
        let noted = self.doorbell.take();
        self.dirty.extend(noted.sends);
        if noted.overflow {
            self.plan.lost_track();
        }
        let now = millis(&self.attempts.clock);
        if now >= self.reads_from
            && let Err(error) = self.read().await
        {
            tracing::error!(%error, "open sends cannot be read, trying again");
            self.reads_from = now.plus(READ_RETRY_MS);
        }
        let now = millis(&self.attempts.clock);
        if !stopping {
            for action in self.plan.poll(now) {
                self.spawn(action);
            }
        }
        let (depth, oldest_ms, paused) = self.plan.depth(now);
        metrics::set_queue(depth, oldest_ms, paused);
        let mut next = now.plus(GAUGES_MS);
        if !self.dirty.is_empty() || self.plan.wants().is_some() {
            next = self.reads_from;
        }
        if let (Some(at), false) = (self.plan.next_poll(), stopping) {
            next = next.min(at);
        }
        Duration::from_millis(next.since(now))
    }

    async fn read(&mut self) -> Result<(), ReadError> {
        for _ in 0..READS_MAX {
            // In order, and taken out only once it was read: a later message of a pair must not be learned first.
            let Some(message) = self.dirty.first().copied() else { break };
            let send = self.attempts.store.open_send(message).await?;
            self.dirty.remove(&message);
            self.plan.learn(message, send.as_ref(), millis(&self.attempts.clock));
        }
        if let Some(request) = self.plan.wants() {
            let sends = self.attempts.store.open_sends(request.after, request.limit).await?;
            self.plan.page(request, &sends, millis(&self.attempts.clock));
        }
        Ok(())
    }

    fn spawn(&mut self, action: Action) {
        let attempts = Arc::clone(&self.attempts);
        let (message, started) = match &action {
            Action::Start(message) => (*message, true),
            Action::Settle(message, _) => (*message, false),
        };
        let task = self.tasks.spawn(async move {
            match action {
                Action::Start(message) => attempts.start(message).await,
                Action::Settle(message, result) => attempts.settle(message, result).await,
            }
        });
        self.about.insert(task.id(), (message, started));
    }

    fn finished(&mut self, result: Result<(Id, Done), JoinError>) {
        let done = match result {
            Ok((id, done)) => {
                self.about.remove(&id);
                done
            }
            Err(error) => {
                tracing::error!(%error, "a fault of the sender; the attempt counts as left open");
                let Some((message, started)) = self.about.remove(&error.id()) else { return };
                Done { message, started, hint: NumberHint::None }
            }
        };
        self.plan.done(done.message, done.started, done.hint, millis(&self.attempts.clock));
        self.dirty.insert(done.message);
    }
}
