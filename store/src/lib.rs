//! The durable log: the truth that everything flows through. **The trait [`Store`] is the specification.**
//!
//! I3 append · I5 notice · I6 read · I8 cursor · O3 append · O5–O7 sends · O9 status · S3 history.
//! Not here: MQTT (`broker`), WhatsApp's JSON (`bridge`), HTTP (`history-api`).
//!
//! ```text
//!              acked        sent             head
//!  inbox   1 2 3 4 │ 5 6 7 8 │ 9 10 11 … 41 42 │        numbers given once, without a gap (P2)
//!          ▲       │  in     │   to be read    │
//!          │       │  flight │   from the log  │
//!        oldest    │         │                 └─ a commit moves it, and only then is it announced (I5)
//!     (retention)  └─ the session's cursor: moved by acknowledgement only (P3)
//! ```
//!
//! # What every engine promises
//! - **Atomic**: all effects of an [`Op`] are on disk together, or none is.
//! - **Durable before told**: [`CommitSink::done`] is called, and [`CommitListener::committed`] before it, only after
//!   the sync that covers the op (P1). Rows are readable from then on.
//! - **In order**: ops take effect in the order in which [`Store::submit`] took them.
//! - **Gapless**: the events of an op take the next numbers of each inbox; an op that is not committed takes none (P2).
//! - **Idempotent**: a command id, a wamid, a status that was there before changes nothing (P4, P5).
//! - **Errors**: an `Err` means that nothing is on disk, except [`CommitError::Unknown`], which says it may be.
//! - **A notice is a hint**: losing one delays, and loses nothing; the rows are the truth.

pub mod backup;
pub mod engine;
mod error;
mod history;
mod keys;
pub mod metrics;
pub mod migrate;
mod ops;
mod plan;
mod read;
mod rows;
mod settings;
mod space;
#[cfg(feature = "simulation")]
pub mod stepper;
mod tails;
pub mod topics;
mod turn;
pub mod url;
pub mod verify;
mod writer;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schemas::{AccountId, Conversation, ConversationId, Message, MessageId, Publication, Seq};

pub use error::{CommitError, OpenError, ReadError};
pub use keys::{InboxKey, JournalId, SHARDS, SessionKey, shard_of};
pub use ops::*;
pub use read::*;
pub use settings::{Agents, Number, Retention, Settings};
pub use space::{DiskSpace, FreeBytes};
pub use writer::{Clock, Permit};

/// A boxed future, so that the trait can be used as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Result of a commit.
pub type CommitResult = Result<Outcome, CommitError>;

/// Gets the results of ops, on the writer's thread: it must only note them and wake somebody.
pub trait CommitSink: Send + Sync {
    /// The op submitted with `token` is on disk, or is not.
    fn done(&self, token: u64, result: CommitResult);
}

/// Hears after each commit group what moved (I5, O5). A hint, never data. On the writer's thread: note and wake.
pub trait CommitListener: Send + Sync {
    /// A group is on disk.
    fn committed(&self, notices: &Notices);
}

/// What a commit group moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// Inboxes and their new heads.
    pub inboxes: Vec<(InboxKey, Seq)>,
    /// Sessions' queues and their new heads.
    pub queues: Vec<(SessionKey, u64)>,
    /// Sends that were queued, settled or ended.
    pub sends: Vec<MessageId>,
    /// Wills that came: for online sessions that get them at QoS 0; the others have them in their queues.
    pub wills: Vec<Published>,
}

/// A message that the store itself published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Whose subscribers get it.
    pub account: AccountId,
    /// Session whose will it was, for No Local.
    pub publisher: SessionKey,
    /// The message.
    pub message: Arc<Publication>,
}

/// A durable log of inboxes, conversations, sessions and sends. See the module for what every engine promises.
pub trait Store: Send + Sync + 'static {
    /// Room for an op of `bytes` in the writer's queue, at once or not at all.
    fn try_permit(&self, bytes: usize) -> Option<Permit>;

    /// Room for an op of `bytes` in the writer's queue; waits while the queue is full (P8: back-pressure, not memory).
    fn permit(&self, bytes: usize) -> BoxFuture<'_, Permit>;

    /// Hands an op to the writer. Its result comes to `sink` with `token`, exactly once, also when the store closes.
    fn submit(&self, op: Op, permit: Permit, token: u64, sink: Arc<dyn CommitSink>);

    /// Moves a session's cursors (I8). Rides on the next commit, at the latest after `cursor_flush_ms`, never on a
    /// sync of its own. Never moves one back.
    fn advance(&self, session: SessionKey, acked: Progress);

    /// Adds somebody who hears of commits; for the life of the store.
    fn listen(&self, listener: Arc<dyn CommitListener>);

    /// Events after a number, from memory only; `None` where memory does not hold them all.
    fn inbox_hot(&self, inbox: InboxKey, after: Seq, limit: usize) -> Option<InboxPage>;

    /// Events after a number, at most `limit` (and [`INBOX_PAGE_MAX`]).
    fn inbox(&self, inbox: InboxKey, after: Seq, limit: usize)
    -> BoxFuture<'_, Result<InboxPage, ReadError>>;

    /// Messages of a session's queue after a number, from memory only; `None` where memory does not hold them all.
    fn queue_hot(&self, session: SessionKey, after: u64, limit: usize) -> Option<QueuePage>;

    /// Messages of a session's queue after a number, at most `limit` (and [`INBOX_PAGE_MAX`]).
    fn queue(
        &self,
        session: SessionKey,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<QueuePage, ReadError>>;

    /// Conversations the asker is a member of, newest activity first, at most `limit` (and [`LIST_PAGE_MAX`]).
    fn conversations(
        &self,
        asker: Asker,
        after: Option<ActivityCursor>,
        limit: usize,
    ) -> BoxFuture<'_, Result<ConversationPage, ReadError>>;

    /// One conversation; `None` where it is unknown or not the asker's.
    fn conversation(
        &self,
        asker: Asker,
        id: ConversationId,
    ) -> BoxFuture<'_, Result<Option<Conversation>, ReadError>>;

    /// Messages of a conversation, at most `limit` (and [`LIST_PAGE_MAX`]); `None` where it is unknown or not the
    /// asker's.
    fn messages(
        &self,
        asker: Asker,
        id: ConversationId,
        range: MessageRange,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessagePage>, ReadError>>;

    /// One message; `None` where it is unknown or not the asker's.
    fn message(&self, asker: Asker, id: MessageId) -> BoxFuture<'_, Result<Option<Message>, ReadError>>;

    /// Sends that have not ended, after one of them, at most `limit` (O5); those of one conversation stand together,
    /// in the order of their messages.
    fn open_sends(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OpenSend>, ReadError>>;

    /// One send; `None` where it has ended.
    fn open_send(&self, message: MessageId) -> BoxFuture<'_, Result<Option<OpenSend>, ReadError>>;

    /// Journaled webhooks that are not worked off, in order of arrival.
    fn open_journal(&self) -> BoxFuture<'_, Result<Vec<OpenJournal>, ReadError>>;

    /// Is the writer able to commit? It is not once it has ended, which any failed commit does, and where one commit
    /// takes longer than `stuck_after_ms`; only a new start cures either. The text says what is wrong.
    fn health(&self) -> Result<(), String>;

    /// Would an op that adds data be taken now? For `/readyz`: unlike [`Store::health`] it may say no for a while (a full
    /// disk) and yes again later. The text says why not.
    fn readiness(&self) -> Result<(), String> {
        self.health()
    }

    /// All rows of this moment: everything that was acknowledged before is in it. For backups and checks.
    ///
    /// # Errors
    /// [`ReadError`] where the engine has no snapshots.
    fn snapshot(&self) -> Result<backup::Snapshot, ReadError> {
        Err(ReadError::Unavailable("this store has no snapshots".to_owned()))
    }

    /// Commits what waits, flushes cursors, syncs, and ends the writer. Ops submitted later get
    /// [`CommitError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// How long somebody waits who can be told "not certainly stored, send it again": above any commit that goes well, below
/// the patience of clients and of Meta's webhooks.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Waits for the result of an op, at most [`ANSWER_WAIT`]: where the store is away in the middle of a commit, its outcome
/// is unknown until it is back.
///
/// # Errors
/// As [`CommitSink::done`] gets them; [`CommitError::Unknown`] at the end of the wait.
pub async fn within_answer_wait(result: impl Future<Output = CommitResult>) -> CommitResult {
    let late = || CommitError::Unknown(format!("no answer within {} s", ANSWER_WAIT.as_secs()));
    tokio::time::timeout(ANSWER_WAIT, result).await.unwrap_or_else(|_| Err(late()))
}

/// Submits an op and waits for its result.
///
/// # Errors
/// As [`CommitSink::done`] gets them.
pub async fn commit(store: &dyn Store, op: Op) -> CommitResult {
    let permit = store.permit(op.cost()).await;
    let (sink, receiver) = writer::OneShot::pair();
    store.submit(op, permit, 0, sink);
    receiver.await.unwrap_or(Err(CommitError::Closed))
}
