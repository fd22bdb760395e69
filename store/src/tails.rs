//! I6. Hot tails: the newest events and queued messages of all owners in memory, so that a live session's read costs
//! no disk. A bounded copy of what is on disk, filled after the commit; losing it costs a read, nothing else.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::{Epoch, Seq};

use crate::keys::{InboxKey, SessionKey};
use crate::plan::Effects;
use crate::read::{InboxPage, QueuePage, QueuedMessage, StoredEvent};

/// The newest of everything, at most `max` entries in all: the oldest entry of all goes first.
pub(crate) struct Tails {
    epoch: Epoch,
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    inboxes: HashMap<InboxKey, VecDeque<Arc<StoredEvent>>>,
    queues: HashMap<SessionKey, VecDeque<Arc<QueuedMessage>>>,
    order: VecDeque<Owner>,
}

#[derive(Clone, Copy)]
enum Owner {
    Inbox(InboxKey),
    Queue(SessionKey),
}

impl Tails {
    pub(crate) fn new(epoch: Epoch, max: usize) -> Self {
        Self { epoch, max, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a group committed.
    pub(crate) fn push(&self, effects: Effects) {
        let mut inner = self.inner();
        for (inbox, event) in effects.events {
            inner.inboxes.entry(inbox).or_default().push_back(event);
            inner.order.push_back(Owner::Inbox(inbox));
        }
        for (session, queued) in effects.queued {
            inner.queues.entry(session).or_default().push_back(queued);
            inner.order.push_back(Owner::Queue(session));
        }
        while inner.order.len() > self.max {
            inner.drop_oldest();
        }
    }

    /// Events after a number; `None` where not all of them are here.
    pub(crate) fn inbox(&self, inbox: InboxKey, after: Seq, limit: usize) -> Option<InboxPage> {
        let inner = self.inner();
        let tail = inner.inboxes.get(&inbox)?;
        let first = tail.front()?.event.seq?;
        let head = tail.back()?.event.seq?;
        if after.next() < first {
            return None;
        }
        let skip = usize::try_from(after.next().0 - first.0).ok()?;
        let events = tail.iter().skip(skip).take(limit).cloned().collect();
        Some(InboxPage { epoch: self.epoch, head, oldest: first, events })
    }

    /// Messages after a number; `None` where not all of them are here.
    pub(crate) fn queue(&self, session: SessionKey, after: u64, limit: usize) -> Option<QueuePage> {
        let inner = self.inner();
        let tail = inner.queues.get(&session)?;
        let first = tail.front()?.n;
        let head = tail.back()?.n;
        if after + 1 < first {
            return None;
        }
        // Where it stands if no number is missing, as it mostly is: a search would touch a message at every step.
        let guess = usize::try_from(after + 1 - first).ok()?;
        let skip = match tail.get(guess) {
            Some(queued) if queued.n == after + 1 => guess,
            _ => tail.partition_point(|queued| queued.n <= after),
        };
        Some(QueuePage { head, messages: tail.iter().skip(skip).take(limit).cloned().collect() })
    }
}

impl Inner {
    fn drop_oldest(&mut self) {
        match self.order.pop_front() {
            Some(Owner::Inbox(key)) => {
                if let Some(tail) = self.inboxes.get_mut(&key) {
                    tail.pop_front();
                    if tail.is_empty() {
                        self.inboxes.remove(&key);
                    }
                }
            }
            Some(Owner::Queue(key)) => {
                if let Some(tail) = self.queues.get_mut(&key) {
                    tail.pop_front();
                    if tail.is_empty() {
                        self.queues.remove(&key);
                    }
                }
            }
            None => {}
        }
    }
}
