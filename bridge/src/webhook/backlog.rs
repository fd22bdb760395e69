//! I3. Webhooks that are journaled and not worked off yet, in order of arrival.
//!
//! ```text
//!  receive ──Op::Journal──▶ place at the end ──on disk──▶ … ──▶ front ──Op::JournalApply × n──▶ gone
//! ```
//! While anything stands here, every webhook that comes is journaled behind it: effects follow the order of arrival
//! for each person (P5). A webhook's place is taken before its op is submitted, in one step with it, so that the line
//! is the store's order. Bounded: where the line is too long, webhooks are refused and Meta sends them again.
//! Not here: HTTP, translation.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use schemas::Millis;
use store::{
    CommitError, CommitResult, CommitSink, JournalApply, JournalId, JournalOp, Op, OpenJournal, Outcome,
    Store, Update, WEBHOOK_EFFECTS_MAX, WebhookOp,
};
use tokio::sync::{Notify, oneshot, watch};

use crate::metrics;
use crate::translate::{Translation, Unreadable, translate};

/// Most bytes of bodies that stand in line.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Between two tries while the store cannot write.
const RETRY: Duration = Duration::from_secs(1);

/// The line.
#[derive(Default)]
pub(crate) struct Backlog {
    /// Held while a webhook is submitted, so that line and store have one order. Never taken by a sink.
    order: Mutex<()>,
    line: Mutex<Line>,
    moved: Notify,
}

#[derive(Default)]
struct Line {
    places: VecDeque<Place>,
    next_ticket: u64,
    bytes: usize,
}

struct Place {
    ticket: u64,
    body: Bytes,
    received_us: u64,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Submitted; whether it is on disk is not known yet.
    Submitted,
    /// On disk; updates below this index are applied.
    Journaled(JournalId, u32),
    /// Not on disk.
    Gone,
}

/// How a webhook was submitted.
pub(crate) enum Submitted {
    /// With its effects.
    Whole(oneshot::Receiver<CommitResult>),
    /// Alone; its effects follow.
    Alone(oneshot::Receiver<CommitResult>),
    /// Not at all: too much stands in line.
    Full,
}

impl Backlog {
    /// What a former process left, in order.
    pub(crate) fn of(open: Vec<OpenJournal>) -> Self {
        let backlog = Self::default();
        for webhook in open {
            backlog.line().push(
                webhook.body,
                webhook.received_us,
                State::Journaled(webhook.id, webhook.done),
            );
        }
        backlog
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a webhook to the store: with its effects where nothing stands in line and there are few, else alone.
    pub(crate) async fn submit(self: &Arc<Self>, store: &dyn Store, webhook: WebhookOp) -> Submitted {
        let op = Op::Webhook(webhook);
        let permit = store.permit(op.cost()).await;
        let Op::Webhook(webhook) = op else { return Submitted::Full };
        let (sender, receiver) = oneshot::channel();
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = {
            let mut line = self.line();
            // What has no effects has no order to keep.
            let alone = webhook.updates.len() > WEBHOOK_EFFECTS_MAX || !line.places.is_empty();
            if !alone || webhook.updates.is_empty() {
                None
            } else if line.bytes + webhook.body.len() > LINE_BYTES_MAX {
                return Submitted::Full;
            } else {
                Some(line.push(webhook.body.clone(), webhook.received_us, State::Submitted))
            }
        };
        let sink = Arc::new(Sink {
            told: Mutex::new(Some(sender)),
            place: ticket.map(|ticket| (Arc::clone(self), ticket)),
        });
        match ticket {
            None => {
                store.submit(Op::Webhook(webhook), permit, 0, sink);
                Submitted::Whole(receiver)
            }
            Some(_) => {
                let op = JournalOp { body: webhook.body, received_us: webhook.received_us };
                store.submit(Op::Journal(op), permit, 0, sink);
                Submitted::Alone(receiver)
            }
        }
    }

    /// Works off the line until `stop` turns true.
    pub(crate) async fn work(self: Arc<Self>, store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
        loop {
            let front = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                front = self.front() => front,
            };
            match work_off(&*store, front).await {
                Ok(()) => {}
                Err(error @ CommitError::Closed) => {
                    tracing::info!(%error, "a journaled webhook is left for the next start");
                    return;
                }
                Err(error) => {
                    // It stays in the journal; those behind it must not wait for it for ever.
                    tracing::error!(%error, "a journaled webhook cannot be worked off, it is passed over");
                    metrics::count_updates("passed_over", 1);
                }
            }
            self.line().pop();
        }
    }

    /// The first webhook in line, once it is on disk. It keeps its place.
    async fn front(&self) -> Front {
        loop {
            let moved = self.moved.notified();
            {
                let mut line = self.line();
                while line.places.front().is_some_and(|place| matches!(place.state, State::Gone)) {
                    line.pop();
                }
                if let Some(place) = line.places.front()
                    && let State::Journaled(id, done) = place.state
                {
                    return Front { id, done, body: place.body.clone(), received_us: place.received_us };
                }
            }
            moved.await;
        }
    }
}

impl Line {
    fn push(&mut self, body: Bytes, received_us: u64, state: State) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.bytes += body.len();
        self.places.push_back(Place { ticket, body, received_us, state });
        metrics::set_backlog(self.places.len());
        ticket
    }

    fn pop(&mut self) {
        if let Some(place) = self.places.pop_front() {
            self.bytes -= place.body.len();
        }
        metrics::set_backlog(self.places.len());
    }
}

/// A webhook being worked off.
struct Front {
    id: JournalId,
    done: u32,
    body: Bytes,
    received_us: u64,
}

/// Parts of [`WEBHOOK_EFFECTS_MAX`], each a commit, from where the last process came to.
async fn work_off(store: &dyn Store, front: Front) -> Result<(), CommitError> {
    let received = Millis(front.received_us / 1000);
    let updates =
        guarded(front.body, received).await.map(|translation| translation.updates).unwrap_or_default();
    let mut from = usize::try_from(front.done).unwrap_or(usize::MAX).min(updates.len());
    loop {
        let to = updates.len().min(from + WEBHOOK_EFFECTS_MAX);
        let last = to == updates.len();
        apply(store, front.id, from, &updates[from..to], last).await?;
        if last {
            return Ok(());
        }
        from = to;
    }
}

async fn apply(
    store: &dyn Store,
    journal: JournalId,
    from: usize,
    updates: &[Update],
    last: bool,
) -> Result<(), CommitError> {
    let from = u32::try_from(from).unwrap_or(u32::MAX);
    loop {
        let op = JournalApply { journal, from, updates: updates.to_vec(), last };
        match store::commit(store, Op::JournalApply(op)).await {
            Ok(Outcome::Webhook(done)) => {
                super::receive::count_done(done);
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(error @ CommitError::Closed) => return Err(error),
            // Part by part and by index: a part that was applied although its answer was lost has no second effect.
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "part of a journaled webhook cannot be committed, trying again");
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Bodies up to this size are parsed where they are: it takes less than a millisecond.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Translates; a large body elsewhere, so that nobody waits for it, and a panic becomes unreadable (P9).
pub(super) async fn guarded(body: Bytes, received: Millis) -> Result<Translation, Unreadable> {
    let is_small = body.len() <= INLINE_BYTES_MAX;
    let parse = move || {
        std::panic::catch_unwind(AssertUnwindSafe(|| translate(&body, received))).unwrap_or_else(|_| {
            tracing::error!("a fault in the translation of a webhook; its body is in the journal");
            Err(Unreadable)
        })
    };
    if is_small {
        return parse();
    }
    tokio::task::spawn_blocking(parse).await.unwrap_or(Err(Unreadable))
}

/// Tells the receiver, and the line where the webhook stands in it.
struct Sink {
    told: Mutex<Option<oneshot::Sender<CommitResult>>>,
    place: Option<(Arc<Backlog>, u64)>,
}

impl CommitSink for Sink {
    fn done(&self, _token: u64, result: CommitResult) {
        if let Some((backlog, ticket)) = &self.place {
            let state = match &result {
                Ok(Outcome::Journaled(id)) => State::Journaled(*id, 0),
                _ => State::Gone,
            };
            if let Some(place) = backlog.line().places.iter_mut().find(|place| place.ticket == *ticket) {
                place.state = state;
            }
            backlog.moved.notify_one();
        }
        let sender = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // The receiver may have hung up; the webhook is on disk all the same.
            let _ = sender.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Epoch, NumberId, Wamid};
    use store::{Settings, StatusUpdate};

    use super::*;

    fn status(n: usize) -> Update {
        Update::Status(Box::new(StatusUpdate {
            number: NumberId::new("1").unwrap(),
            wamid: Wamid::new(&format!("w{n}")).unwrap(),
            message: None,
            status: schemas::Status::Sent,
            at: Millis(1),
            error: None,
        }))
    }

    fn webhook(updates: usize, body_bytes: usize) -> WebhookOp {
        let body = vec![b' '; body_bytes].into();
        WebhookOp { body, updates: (0..updates).map(status).collect(), received_us: 1 }
    }

    fn store() -> Arc<dyn Store> {
        store::engine::memory::open(Settings::new(Epoch(1)), Arc::new(|| Millis(1))).unwrap()
    }

    async fn work_off_all(backlog: &Backlog, store: &dyn Store) {
        while !backlog.line().places.is_empty() {
            let front = backlog.front().await;
            work_off(store, front).await.unwrap();
            backlog.line().pop();
        }
    }

    #[tokio::test]
    async fn p5_nothing_overtakes_what_stands_in_line() {
        let (backlog, store) = (Arc::new(Backlog::default()), store());
        assert!(matches!(
            backlog.submit(&*store, webhook(WEBHOOK_EFFECTS_MAX, 1)).await,
            Submitted::Whole(_)
        ));
        let Submitted::Alone(large) = backlog.submit(&*store, webhook(WEBHOOK_EFFECTS_MAX + 1, 1)).await
        else {
            panic!("with its effects")
        };
        assert!(matches!(backlog.submit(&*store, webhook(1, 1)).await, Submitted::Alone(_)));
        assert!(
            matches!(backlog.submit(&*store, webhook(0, 1)).await, Submitted::Whole(_)),
            "no effects, no order"
        );
        assert!(matches!(large.await.unwrap(), Ok(Outcome::Journaled(_))));
        work_off_all(&backlog, &*store).await;
        assert!(store.open_journal().await.unwrap().is_empty());
        assert!(matches!(backlog.submit(&*store, webhook(1, 1)).await, Submitted::Whole(_)));
    }

    #[tokio::test]
    async fn p8_the_line_has_an_end() {
        let (backlog, store) = (Arc::new(Backlog::default()), store());
        let most = LINE_BYTES_MAX / (4 << 20);
        for n in 0..=most {
            let submitted = backlog.submit(&*store, webhook(WEBHOOK_EFFECTS_MAX + 1, 4 << 20)).await;
            assert_eq!(matches!(submitted, Submitted::Full), n == most, "{n}");
        }
    }

    #[tokio::test]
    async fn what_was_not_stored_leaves_the_line() {
        let (backlog, store) = (Arc::new(Backlog::default()), store());
        store.close().await;
        let submitted = backlog.submit(&*store, webhook(WEBHOOK_EFFECTS_MAX + 1, 1)).await;
        let Submitted::Alone(told) = submitted else { panic!("with its effects") };
        assert_eq!(told.await.unwrap().unwrap_err(), CommitError::Closed);
        let stop = watch::channel(false).1;
        let nothing = tokio::time::timeout(Duration::ZERO, Arc::clone(&backlog).work(store, stop)).await;
        assert!(nothing.is_ok() || backlog.line().places.is_empty());
    }
}
