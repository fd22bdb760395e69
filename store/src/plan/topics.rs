//! O3. General messages: into the queue of every session that must not miss them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemas::{AccountId, Publication, QoS, Subscription};

use super::{Effects, Plan, View};
use crate::error::ReadError;
use crate::keys::SessionKey;
use crate::ops::{Outcome, Publish};
use crate::read::QueuedMessage;
use crate::rows::{CursorRow, QueueRow, Table, keys};
use crate::topics::Trie;

/// Most acknowledged queue rows removed with one group: small steps, so that no commit waits for a big clean-up.
const GARBAGE_PER_GROUP: u64 = 2_048;

/// Subscriptions to general topics of all stored sessions, per account.
#[derive(Default)]
pub(super) struct Subscriptions {
    accounts: HashMap<AccountId, Trie<SessionKey, Box<Wish>>>,
}

/// What a session wants with one filter. Small: there is one per stored subscription.
struct Wish {
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    id: Option<u32>,
}

impl Subscriptions {
    pub(super) fn insert(&mut self, account: &AccountId, session: SessionKey, subscription: Subscription) {
        let wish = Wish {
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            id: subscription.id,
        };
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.clone(), Trie::default());
        }
        if let Some(trie) = self.accounts.get_mut(account) {
            trie.insert(&subscription.filter, session, Box::new(wish));
        }
    }

    pub(super) fn remove(&mut self, account: &AccountId, session: SessionKey, filter: &str) {
        if let Some(trie) = self.accounts.get_mut(account) {
            trie.remove(filter, &session);
            if trie.is_empty() {
                self.accounts.remove(account);
            }
        }
    }

    /// The sessions that get a message, each once: highest QoS of its matching filters, all their identifiers.
    fn matches(&self, op: &Publish) -> BTreeMap<SessionKey, Match> {
        let mut found: BTreeMap<SessionKey, Match> = BTreeMap::new();
        let Some(trie) = self.accounts.get(&op.account) else {
            return found;
        };
        trie.matches(&op.message.topic, |session, wish| {
            if wish.no_local && *session == op.publisher {
                return; // [v5:3.8.3-3]
            }
            let entry = found.entry(*session).or_default();
            entry.qos = entry.qos.max(wish.qos); // [v5:3.3.4-2]
            entry.ids.extend(wish.id); // [v5:3.3.4-4]
            entry.retain |= wish.retain_as_published && op.message.retain;
        });
        found
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
    n: u64,
}

impl Plan {
    pub(super) fn queue_head(&mut self, view: &View<'_>, session: SessionKey) -> Result<u64, ReadError> {
        if let Some(head) = self.queues.get(&session) {
            return Ok(head.n);
        }
        let last =
            view.last(keys::session(Table::Queue, session))?.and_then(|(key, _)| keys::number_of(&key));
        let cursor: CursorRow = view.get(&keys::session(Table::Cursor, session))?.unwrap_or_default();
        let n = last.unwrap_or(0).max(cursor.queue);
        self.queues.insert(session, QueueHead { n });
        Ok(n)
    }

    pub(super) fn publish(
        &mut self,
        view: &mut View<'_>,
        op: &Publish,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let found = self.subscriptions.matches(op);
        let mut matched = 0;
        for (session, wish) in found {
            let qos = wish.qos.min(op.message.qos);
            if qos == QoS::AtMostOnce {
                continue; // passed on live by the broker, never stored
            }
            let n = self.queue_head(view, session)? + 1;
            let queued = QueuedMessage {
                n,
                message: Arc::new(Publication { qos, ..op.message.clone() }),
                subscription_ids: wish.ids,
                retain: wish.retain,
                at: self.now,
            };
            view.put(keys::queue(session, n), &QueueRow::of(&queued));
            self.queues.insert(session, QueueHead { n });
            effects.queued.push((session, Arc::new(queued)));
            matched += 1;
        }
        Ok(Outcome::Published { matched })
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
