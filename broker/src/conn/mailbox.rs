//! I5. What others have for a connection: answers of the store, notices, live messages, an order to end, a session.
//!
//! Written from the store's writer, the bus and other connections; read by the connection's task. One wake for all that
//! is there, bounded: heads overwrite each other, answers are at most those asked for, live messages have a limit beyond
//! which they are dropped (nobody was promised them).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use broker_protocol::{Cause, LiveMessage, Progress};
use store::{CommitResult, CommitSink};

use crate::metrics::{self, Dropped};

/// Live messages that wait for a connection's task, which takes them all at its next turn: a burst of so many within a few
/// milliseconds is none that anybody counts on.
const LIVE_MAX: usize = 8_192;

/// See the module.
pub(crate) struct Mailbox {
    /// Number of the connection in this process.
    number: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    mail: Mail,
    waker: Option<Waker>,
    /// Who has its session next.
    successor: Option<Arc<Mailbox>>,
}

/// What was in the mailbox.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) heads: Progress,
    pub(crate) answers: Vec<(u64, CommitResult)>,
    pub(crate) live: Option<Box<Live>>,
    /// Boxed, like those: every idle connection has room for one, and few ever get any.
    pub(crate) cause: Option<Box<Cause>>,
    pub(crate) look_again: bool,
    /// A deadline has come.
    pub(crate) tick: bool,
    /// The connection that had the session is over.
    pub(crate) turn: bool,
    /// Nobody reads any more. (Beside the other flags, where it costs nothing.)
    closed: bool,
    /// It has its session no longer, as far as the store is told.
    over: bool,
}

/// Live messages in the order in which they came.
#[derive(Default)]
pub(crate) struct Live(pub(crate) Vec<LiveMessage>);

impl Mail {
    fn is_empty(&self) -> bool {
        self.heads == Progress::default()
            && !self.look_again
            && !self.tick
            && !self.turn
            && self.answers.is_empty()
            && self.live.is_none()
            && self.cause.is_none()
    }
}

impl Mailbox {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, inner: Mutex::default() }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in and wakes the task, if it sleeps.
    fn put(&self, put: impl FnOnce(&mut Mail)) {
        let waker = {
            let mut inner = self.inner();
            if inner.mail.closed {
                return;
            }
            put(&mut inner.mail);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn notice(&self, heads: Progress) {
        self.put(|mail| {
            mail.heads.inbox = mail.heads.inbox.max(heads.inbox);
            mail.heads.queue = mail.heads.queue.max(heads.queue);
        });
    }

    pub(crate) fn look_again(&self) {
        self.put(|mail| mail.look_again = true);
    }

    pub(crate) fn live(&self, message: LiveMessage) {
        self.put(|mail| {
            let live = &mut mail.live.get_or_insert_default().0;
            if live.len() < LIVE_MAX {
                live.push(message);
            } else {
                metrics::count_dropped(Dropped::Slow);
            }
        });
    }

    /// A deadline has come.
    pub(crate) fn tick(&self) {
        self.put(|mail| mail.tick = true);
    }

    /// Ends the connection; the first cause counts.
    pub(crate) fn end(&self, cause: Cause) {
        self.put(|mail| {
            mail.cause.get_or_insert_with(|| Box::new(cause));
        });
    }

    /// Another connection is to have its session next; true where that one waits to be told ([`Mail::turn`]).
    pub(crate) fn succeeded_by(&self, next: &Arc<Self>) -> bool {
        let mut inner = self.inner();
        if !inner.mail.over {
            inner.successor = Some(Arc::clone(next));
        }
        !inner.mail.over
    }

    /// The store has been told that this connection ends, or has nothing to be told: the next one may come.
    pub(crate) fn over(&self) {
        let next = {
            let mut inner = self.inner();
            inner.mail.over = true;
            inner.successor.take()
        };
        if let Some(next) = next {
            next.put(|mail| mail.turn = true);
        }
    }

    /// Takes everything out; if there is nothing, `waker` is woken when something comes.
    pub(crate) fn take(&self, waker: &Waker) -> Option<Mail> {
        let mut inner = self.inner();
        if inner.mail.is_empty() {
            if !inner.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                inner.waker = Some(waker.clone());
            }
            return None;
        }
        let over = inner.mail.over;
        Some(std::mem::replace(&mut inner.mail, Mail { over, ..Mail::default() }))
    }

    /// Nobody reads any more: what comes now is dropped.
    pub(crate) fn close(&self) {
        self.over();
        let mut inner = self.inner();
        inner.mail = Mail { closed: true, over: true, ..Mail::default() };
        inner.waker = None;
    }
}

impl CommitSink for Mailbox {
    fn done(&self, token: u64, result: CommitResult) {
        self.put(|mail| mail.answers.push((token, result)));
    }
}
