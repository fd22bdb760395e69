//! The writer without a thread: the same turns as `writer.rs`, one step at a time, taken when the caller says so.
//! Feature `simulation`.
//!
//! I3, O3, I5, I6. A simulation interleaves everything else between plan, write and tell, and lets a crash, a failed
//! write or a second owner come between any two of them. Plan, write and tell themselves are `turn.rs`, as in
//! production. Not here: what chance decides (the caller's), the disk that forgets ([`Disk`]).

pub(crate) mod disk;
mod faulty;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{Message, MessageId, Millis, Seq};

use crate::engine::Rows;
use crate::engine::behind::{Behind, WriteSet};
use crate::error::{CommitError, OpenError, ReadError};
use crate::history::History;
use crate::keys::{InboxKey, SessionKey};
use crate::ops::{Op, Progress};
use crate::read::{Asker, InboxPage, OpenJournal, OpenSend, QueuePage};
use crate::settings::Settings;
use crate::tails::Tails;
use crate::turn::{Group, Pending, Planned, Turn};
use crate::{CommitListener, CommitSink};
use disk::{LIMITS, Owner};
use faulty::Faulty;

pub use disk::Disk;

/// A mistake built in on purpose, to see that it is found. Each is one that a commit path can really make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Sinks and listeners are called before the batch is written (breaks P1).
    AcknowledgeBeforeCommit,
    /// What remembers a command's id is not written (breaks P4).
    DedupeLost,
    /// After a write without a certain answer the writer goes on from what it can read, and gives the numbers again,
    /// while the write is still on its way (breaks P2).
    SeqReused,
    /// The present status is not looked at before a new one is set (breaks P5).
    StatusOverwritten,
    /// The disk takes the write of an owner whose fence is stale (breaks P1 and P2).
    FenceIgnored,
}

/// Where a stepper stands between two turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is planned.
    Idle,
    /// A group is planned and not written.
    Planned,
    /// A group is written and nobody is told.
    Written,
    /// A write failed: nothing is taken any more, as when the writer's thread has ended.
    Ended,
}

enum Step {
    Idle,
    Planned(Planned),
    Written(Planned),
    Ended,
}

/// An owner of the store, driven step by step. Dropping it is the crash of its process: nobody is told anything.
pub struct Stepper {
    disk: Disk,
    turn: Turn,
    tails: Tails,
    history: History,
    listeners: Vec<Arc<dyn CommitListener>>,
    waiting: Vec<Pending>,
    cursors: BTreeMap<SessionKey, Progress>,
    step: Step,
    planted: Option<Planted>,
}

impl Stepper {
    /// Starts on a disk as a process starts: reads what is there and recovers. Owners before it are fenced off.
    ///
    /// # Errors
    /// [`OpenError`]: what stands on the disk cannot be read.
    pub fn start(
        disk: &Disk,
        settings: &Settings,
        now: Millis,
        planted: Option<Planted>,
    ) -> Result<Self, OpenError> {
        let rows: Arc<dyn Rows> =
            Arc::new(Behind::open(Arc::new(Owner::new(disk, planted)), LIMITS, WriteSet::Three)?);
        let writers = Arc::new(Faulty { rows: rows.clone(), planted });
        let (turn, epoch) = Turn::open(writers, settings, now, "simulated disk")?;
        let history = History::new(rows, epoch, settings);
        Ok(Self {
            disk: disk.clone(),
            turn,
            tails: Tails::new(epoch, settings.tail_max_events),
            history,
            listeners: Vec::new(),
            waiting: Vec::new(),
            cursors: BTreeMap::new(),
            step: Step::Idle,
            planted,
        })
    }

    /// See [`crate::Store::listen`].
    pub fn listen(&mut self, listener: Arc<dyn CommitListener>) {
        self.listeners.push(listener);
    }

    /// See [`crate::Store::submit`].
    pub fn submit(&mut self, op: Op, token: u64, sink: Arc<dyn CommitSink>) {
        if matches!(self.step, Step::Ended) {
            sink.done(token, Err(CommitError::Closed));
            return;
        }
        self.waiting.push(Pending { op, token, sink, _permit: None });
    }

    /// See [`crate::Store::advance`].
    pub fn advance(&mut self, session: SessionKey, acked: Progress) {
        let waiting = self.cursors.entry(session).or_default();
        waiting.inbox = waiting.inbox.max(acked.inbox);
        waiting.queue = waiting.queue.max(acked.queue);
    }

    /// Ops and cursors that wait for a turn.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.cursors.len())
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self.step {
            Step::Idle => Phase::Idle,
            Step::Planned(_) => Phase::Planned,
            Step::Written(_) => Phase::Written,
            Step::Ended => Phase::Ended,
        }
    }

    /// Plans a group of the oldest `most` ops and all cursors. Ops in the group; 0 where no step was due.
    pub fn plan(&mut self, now: Millis, most: usize) -> usize {
        if !matches!(self.step, Step::Idle) {
            return 0;
        }
        let count = most.min(self.waiting.len());
        let ops = self.waiting.drain(..count).collect();
        let group = Group { ops, cursors: std::mem::take(&mut self.cursors) };
        let mut planned = self.turn.plan(now, group);
        if self.planted == Some(Planted::AcknowledgeBeforeCommit) {
            let told = planned.split_telling();
            told.tell(&self.tails, &self.listeners);
        }
        self.step = Step::Planned(planned);
        count
    }

    /// Writes the planned group; `Ok(true)` where it was synced, `Ok(false)` where none of it asked for a sync.
    ///
    /// # Errors
    /// As the writer's thread has them, after which it ends: the group is answered with [`CommitError::Unknown`],
    /// what waits with [`CommitError::Closed`]. `fail` makes the disk give no certain answer: what became of the
    /// batch is decided by [`Disk::crash`].
    pub fn write(&mut self, fail: bool) -> Result<bool, CommitError> {
        let Step::Planned(mut planned) = std::mem::replace(&mut self.step, Step::Idle) else {
            return Ok(false);
        };
        let durable = planned.durable;
        self.disk.fail_next(fail);
        let written = self.turn.write(&mut planned);
        // A group without changes never asked the disk.
        self.disk.fail_next(false);
        match written {
            Ok(()) => {
                self.step = Step::Written(planned);
                Ok(durable)
            }
            Err(error) => {
                planned.tell_unknown(&error);
                if self.planted == Some(Planted::SeqReused) {
                    self.turn.reload();
                } else {
                    self.end();
                }
                Err(error)
            }
        }
    }

    /// Tells everybody of the written group, and lets the engine do a little of what it put off.
    pub fn tell(&mut self) {
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Written(planned) => {
                planned.tell(&self.tails, &self.listeners);
                if self.turn.settle().is_err() {
                    self.end();
                }
            }
            other => self.step = other,
        }
    }

    /// As when the writer's thread ends.
    fn end(&mut self) {
        self.step = Step::Ended;
        for pending in std::mem::take(&mut self.waiting) {
            pending.sink.done(pending.token, Err(CommitError::Closed));
        }
    }

    /// See [`crate::Store::inbox_hot`].
    #[must_use]
    pub fn inbox_hot(&self, inbox: InboxKey, after: Seq, limit: usize) -> Option<InboxPage> {
        self.tails.inbox(inbox, after, limit)
    }

    /// See [`crate::Store::inbox`].
    ///
    /// # Errors
    /// [`ReadError`] where rows are damaged.
    pub fn inbox(&self, inbox: InboxKey, after: Seq, limit: usize) -> Result<InboxPage, ReadError> {
        self.history.inbox(inbox, after, limit)
    }

    /// See [`crate::Store::queue_hot`].
    #[must_use]
    pub fn queue_hot(&self, session: SessionKey, after: u64, limit: usize) -> Option<QueuePage> {
        self.tails.queue(session, after, limit)
    }

    /// See [`crate::Store::queue`].
    ///
    /// # Errors
    /// [`ReadError`] where rows are damaged.
    pub fn queue(&self, session: SessionKey, after: u64, limit: usize) -> Result<QueuePage, ReadError> {
        self.history.queue(session, after, limit)
    }

    /// See [`crate::Store::message`].
    ///
    /// # Errors
    /// [`ReadError`] where rows are damaged.
    pub fn message(&self, asker: &Asker, id: MessageId) -> Result<Option<Message>, ReadError> {
        self.history.message(asker, id)
    }

    /// See [`crate::Store::open_sends`].
    ///
    /// # Errors
    /// [`ReadError`] where rows are damaged.
    pub fn open_sends(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<OpenSend>, ReadError> {
        self.history.open_sends(after, limit)
    }

    /// See [`crate::Store::open_journal`].
    ///
    /// # Errors
    /// [`ReadError`] where rows are damaged.
    pub fn open_journal(&self) -> Result<Vec<OpenJournal>, ReadError> {
        self.history.open_journal()
    }
}
