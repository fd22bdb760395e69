//! O3. General messages: into the queue of every session that must not miss them.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use schemas::{AccountId, Publication, QoS, Subscription, topic};

use super::share::Group;
use super::{Effects, Plan, View};
use crate::error::ReadError;
use crate::keys::SessionKey;
use crate::ops::{Outcome, Publish};
use crate::read::QueuedMessage;
use crate::rows::{CursorRow, QueueRow, ShareRow, Table, keys};
use crate::topics::Trie;

/// Most acknowledged queue rows removed with one group: small steps, so that no commit waits for a big clean-up.
const GARBAGE_PER_GROUP: u64 = 2_048;

/// Subscriptions to general topics of all stored sessions, per account.
#[derive(Default)]
pub(super) struct Subscriptions {
    accounts: HashMap<AccountId, Topics>,
}

#[derive(Default)]
struct Topics {
    single: Trie<Subscriber, Wish>,
    /// Filters of shared subscriptions, `$share/…` and all, under what stands behind that.
    shared: Trie<Arc<str>, ()>,
    groups: HashMap<Arc<str>, Group>,
}

/// A session's key as bytes, in the same order: a number of that size would be aligned to itself, and an eighth of what
/// a subscription takes would be padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subscriber([u8; 16]);

impl From<SessionKey> for Subscriber {
    fn from(session: SessionKey) -> Self {
        Self(session.0.to_be_bytes())
    }
}

impl Subscriber {
    const fn session(self) -> SessionKey {
        SessionKey(u128::from_be_bytes(self.0))
    }
}

/// What a session wants with one filter. Small: there is one per stored subscription.
#[derive(Debug)]
struct Wish {
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    /// Never 0.
    id: Option<NonZeroU32>,
}

impl Wish {
    fn of(subscription: &Subscription) -> Self {
        Self {
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            id: subscription.id.and_then(NonZeroU32::new),
        }
    }
}

impl Subscriptions {
    pub(super) fn insert(&mut self, account: &AccountId, session: SessionKey, subscription: Subscription) {
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.clone(), Topics::default());
        }
        let Some(topics) = self.accounts.get_mut(account) else { return };
        if let Some((_, inner)) = topic::split_share(&subscription.filter) {
            topics.shared.insert(inner, subscription.filter.clone(), ());
            topics.groups.entry(subscription.filter.clone()).or_default().join(session, &subscription);
            return;
        }
        topics.single.insert(&subscription.filter, session.into(), Wish::of(&subscription));
    }

    /// `[v311:3.10.4-2] [v5:3.10.4-2]`
    pub(super) fn remove(&mut self, account: &AccountId, session: SessionKey, filter: &str) {
        let Some(topics) = self.accounts.get_mut(account) else { return };
        match topic::split_share(filter) {
            Some((_, inner)) => {
                if topics.groups.get_mut(filter).is_some_and(|group| group.leave(session)) {
                    topics.groups.remove(filter);
                    topics.shared.remove(inner, filter);
                }
            }
            None => drop(topics.single.remove(filter, &Subscriber::from(session))),
        }
        if topics.single.is_empty() && topics.groups.is_empty() {
            self.accounts.remove(account);
        }
    }

    /// The sessions that get a message, each once: highest QoS of its matching filters, all their identifiers.
    fn matches(&self, op: &Publish) -> BTreeMap<SessionKey, Match> {
        let mut found: BTreeMap<SessionKey, Match> = BTreeMap::new();
        let Some(topics) = self.accounts.get(&op.account) else {
            return found;
        };
        topics.single.matches(&op.message.topic, |subscriber, wish| {
            let session = subscriber.session();
            if wish.no_local && session == op.publisher {
                return; // [v5:3.8.3-3]
            }
            let entry = found.entry(session).or_default();
            entry.qos = entry.qos.max(wish.qos); // [v5:3.3.4-2]
            entry.ids.extend(wish.id.map(NonZeroU32::get)); // [v5:3.3.4-4]
            entry.retain |= wish.retain_as_published && op.message.retain;
        });
        found
    }

    /// The shared subscriptions that match a topic, in order.
    pub(super) fn shares(&self, account: &AccountId, topic: &str) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        if let Some(topics) = self.accounts.get(account) {
            topics.shared.matches(topic, |filter, ()| found.push(filter.clone()));
        }
        found.sort_unstable();
        found
    }

    pub(super) fn group(&mut self, account: &AccountId, filter: &str) -> Option<&mut Group> {
        self.accounts.get_mut(account)?.groups.get_mut(filter)
    }
}

#[derive(Default)]
struct Match {
    qos: QoS,
    ids: Vec<u32>,
    retain: bool,
}

/// What the plan knows of a session's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueHead {
    pub(super) n: u64,
    pub(super) acked: u64,
}

/// A message on its way into a queue.
pub(super) struct Delivery {
    pub(super) message: Publication,
    pub(super) subscription_ids: Vec<u32>,
    /// RETAIN flag to be sent.
    pub(super) retain: bool,
    pub(super) share: Option<ShareRow>,
}

impl Plan {
    pub(super) fn queue_head(&mut self, view: &View<'_>, session: SessionKey) -> Result<u64, ReadError> {
        self.queue_state(view, session).map(|queue| queue.n)
    }

    pub(super) fn queue_state(
        &mut self,
        view: &View<'_>,
        session: SessionKey,
    ) -> Result<QueueHead, ReadError> {
        if let Some(queue) = self.queues.get(&session) {
            return Ok(*queue);
        }
        let last =
            view.last(keys::session(Table::Queue, session))?.and_then(|(key, _)| keys::number_of(&key));
        let cursor: CursorRow = view.get(&keys::session(Table::Cursor, session))?.unwrap_or_default();
        let queue = QueueHead { n: last.unwrap_or(0).max(cursor.queue), acked: cursor.queue };
        if queue.n > 0 {
            // Sessions whose queue was never used cost no memory here.
            self.queues.insert(session, queue);
        }
        Ok(queue)
    }

    /// `[v311:3.1.2-5] [v311:4.5.0-1] [v5:4.5.0-1] [v311:4.6.0-5] [v311:4.6.0-6] [v5:4.6.0-5]`
    /// `[v5:4.6.0-6]`
    pub(super) fn publish(
        &mut self,
        view: &mut View<'_>,
        op: &Publish,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        if op.message.retain
            && let Some(refusal) = self.retain(view, op)?
        {
            return self.publish_refused(view, op, refusal, effects);
        }
        let mut matched = 0;
        for (session, wish) in self.subscriptions.matches(op) {
            let qos = wish.qos.min(op.message.qos); // [v5:3.8.4-8]
            if qos == QoS::AtMostOnce {
                continue; // passed on live by the broker, never stored
            }
            let message = Publication { qos, ..op.message.clone() };
            let delivery = Delivery { message, subscription_ids: wish.ids, retain: wish.retain, share: None };
            self.enqueue(view, session, delivery, effects)?;
            matched += 1;
        }
        matched += self.publish_shared(view, op, effects)?;
        Ok(Outcome::Published { matched })
    }

    /// Puts a message at the end of a session's queue.
    pub(super) fn enqueue(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        delivery: Delivery,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let queue = self.queue_state(view, session)?;
        let n = queue.n + 1;
        let queued = QueuedMessage {
            n,
            message: Arc::new(delivery.message),
            subscription_ids: delivery.subscription_ids,
            retain: delivery.retain,
            at: self.now,
        };
        view.put(keys::queue(session, n), &QueueRow::of(&queued, delivery.share));
        self.queues.insert(session, QueueHead { n, ..queue });
        effects.queued.push((session, Arc::new(queued)));
        Ok(())
    }

    /// Queue rows from `first` to `last` will not be read again.
    pub(super) fn discard(&mut self, session: SessionKey, first: u64, last: u64) {
        if first <= last {
            self.garbage.push_back((session, first, last));
        }
    }

    /// Removes some of what was acknowledged.
    pub(super) fn collect_garbage(&mut self, view: &mut View<'_>) {
        let mut budget = GARBAGE_PER_GROUP;
        while let Some((session, first, last)) = self.garbage.pop_front() {
            let end = last.min(first.saturating_add(budget).saturating_sub(1));
            for n in first..=end {
                view.remove_lazily(keys::queue(session, n));
            }
            budget -= (end + 1).saturating_sub(first);
            if end < last {
                self.garbage.push_front((session, end + 1, last));
            }
            if budget == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many millions of bytes are in the trie of a million stored sessions with a filter each.
    #[test]
    fn bytes_of_a_stored_subscription() {
        const SESSIONS: u32 = 100_000;
        const BYTES_MAX: f64 = 80.0;
        let mut trie = Trie::<Subscriber, Wish>::default();
        for n in 0..SESSIONS {
            let filter = format!("devices/{n}/commands");
            let wish = Wish { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
            trie.insert(&filter, SessionKey(u128::from(n) << 64).into(), wish);
        }
        let bytes = trie.heap_bytes() as f64 / f64::from(SESSIONS);
        eprintln!("{bytes:.0} bytes a stored subscription, in the trie");
        assert!(bytes <= BYTES_MAX, "{bytes}");
    }
}
