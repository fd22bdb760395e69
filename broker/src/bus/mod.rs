//! I5. The live bus: from whoever has news to all who are online. Lossy by nature: what counts is in the store, and a
//! session that missed something reads on from its cursor.
//!
//! [`router`] is the one in use; [`direct`] the same without anything in between, for tests and comparison.

pub(crate) mod direct;
pub(crate) mod router;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use schemas::{AccountId, Publication, Seq, UserId};
use store::{InboxKey, SessionKey};

use crate::live::Turn;
use crate::registry::StatusChange;

/// Which bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusKind {
    /// rumqttd's router, embedded.
    #[default]
    Router,
    /// A function call.
    Direct,
}

/// Takes news. Neither call waits.
pub(crate) trait Bus: Send + Sync {
    /// Inboxes and queues have new heads.
    fn ring(&self, inboxes: &[(InboxKey, Seq)], queues: &[(SessionKey, u64)]);

    /// Something that is not stored.
    fn publish(&self, event: BusEvent);

    /// Ends its threads.
    fn stop(&self);
}

/// Gets news.
pub(crate) trait BusSink: Send + Sync {
    fn deliver(&self, batch: Batch);

    /// Some were lost, nobody knows which.
    fn lost(&self);
}

/// News that go together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Batch {
    pub(crate) inboxes: Vec<(InboxKey, Seq)>,
    pub(crate) queues: Vec<(SessionKey, u64)>,
    pub(crate) events: Vec<BusEvent>,
}

impl Batch {
    pub(crate) const fn is_empty(&self) -> bool {
        self.inboxes.is_empty() && self.queues.is_empty() && self.events.is_empty()
    }
}

/// Something that is not stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BusEvent {
    /// A message on a general topic, for those online who listened before its turn ([`crate::live::Turn`]).
    Live { account: AccountId, publisher: SessionKey, turn: Turn, message: Arc<Publication> },
    /// A signal to a user.
    Signal { account: AccountId, user: UserId, payload: Bytes },
    /// A user's status has changed.
    Status(StatusChange),
    /// A user's tokens are worth nothing any more: his connections end.
    Kick { account: AccountId, user: UserId },
}
