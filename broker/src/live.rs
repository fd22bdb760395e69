//! Who of those online is subscribed to general topics, for messages that are passed on and not stored.
//!
//! A message at QoS 0 goes to every session whose filters match; a stored one (QoS 1 and 2) only to sessions that all of
//! their matching filters grant QoS 0, for the others have it in their queues. One copy per session, with all its
//! subscription identifiers (`[v5:3.3.4-4]`). Of a shared subscription one member gets a message at QoS 0, each in turn;
//! whom a stored one goes to is the store's to say. Reserved topics are not here, so a granted `#` never delivers them.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use broker_protocol::LiveMessage;
use schemas::{AccountId, Publication, QoS, Subscription, topic};
use store::SessionKey;
use store::topics::Trie;

use crate::conn::mailbox::Mailbox;

/// See the module.
#[derive(Default)]
pub(crate) struct Live {
    accounts: RwLock<HashMap<AccountId, Topics>>,
    /// The turn that was given last.
    turns: AtomicU64,
}

/// A message's place among all that are passed on. The bus takes its time; a message that was published before a
/// subscription began must not come to it then, for it has it among the retained ones, or was not meant to have it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct Turn(pub(crate) u64);

#[derive(Default)]
struct Topics {
    single: Trie<u64, Subscriber>,
    /// How many of `single` were granted QoS 0.
    at_most_once: usize,
    /// Filters of shared subscriptions, `$share/…` and all, under what stands behind that.
    shared: Trie<Arc<str>, ()>,
    groups: HashMap<Arc<str>, Group>,
}

/// The members of a shared subscription who are online.
#[derive(Default)]
struct Group {
    /// By connection.
    members: BTreeMap<u64, Subscriber>,
    /// The connection that got the last message.
    last: AtomicU64,
}

/// Four words, for there is one per subscription of everybody online.
#[derive(Clone)]
struct Subscriber {
    mailbox: Arc<Mailbox>,
    /// Its own session, where it does not want what that publishes (No Local). Few ask for it, and a key is large.
    no_local: Option<Box<SessionKey>>,
    qos: QoS,
    retain_as_published: bool,
    /// Never 0.
    id: Option<NonZeroU32>,
    /// It listens to what comes after this.
    since: Turn,
}

const _: () = assert!(size_of::<Subscriber>() <= 4 * size_of::<usize>());

impl Group {
    fn behind(&self, connection: u64) -> Option<(&u64, &Subscriber)> {
        let behind = (Bound::Excluded(connection), Bound::Unbounded);
        self.members.range(behind).next().or_else(|| self.members.first_key_value())
    }

    /// The member whose turn it is.
    fn take_turn(&self) -> Option<&Subscriber> {
        let next = |last| self.behind(last).map(|(connection, _)| *connection);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        self.behind(last).map(|(_, member)| member)
    }
}

/// What a session's matching subscriptions add up to.
struct Copy {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    retain_as_published: bool,
    ids: Vec<u32>,
}

impl Topics {
    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.groups.is_empty()
    }

    fn remove(&mut self, filter: &str, connection: u64) {
        let Some((_, inner)) = topic::split_share(filter) else {
            let removed = self.single.remove(filter, &connection);
            self.at_most_once -= usize::from(removed.is_some_and(|old| old.qos == QoS::AtMostOnce));
            return;
        };
        if let Some(group) = self.groups.get_mut(filter) {
            group.members.remove(&connection);
            if group.members.is_empty() {
                self.groups.remove(filter);
                self.shared.remove(inner, filter);
            }
        }
    }

    /// The member of each matching shared subscription whose turn it is.
    fn members(&self, topic: &str) -> Vec<Copy> {
        let mut copies = Vec::new();
        self.shared.matches(topic, |filter, ()| {
            copies.extend(self.groups.get(filter).and_then(Group::take_turn).map(Copy::of));
        });
        copies
    }
}

impl Copy {
    fn of(subscriber: &Subscriber) -> Self {
        Self {
            mailbox: Arc::clone(&subscriber.mailbox),
            qos: subscriber.qos,
            retain_as_published: subscriber.retain_as_published,
            ids: subscriber.id.map(NonZeroU32::get).into_iter().collect(),
        }
    }
}

impl Live {
    /// The next turn. To be taken when the store has been asked to retain the message, lest a subscriber get neither.
    pub(crate) fn turn(&self) -> Turn {
        Turn(self.turns.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// A connection's subscription; the same filter again replaces the earlier one and goes on from where that began.
    pub(crate) fn insert(
        &self,
        account: &AccountId,
        session: SessionKey,
        mailbox: &Arc<Mailbox>,
        subscription: &Subscription,
    ) {
        let mut subscriber = Subscriber {
            since: Turn(self.turns.load(Ordering::Acquire)),
            mailbox: Arc::clone(mailbox),
            no_local: subscription.no_local.then(|| Box::new(session)),
            qos: subscription.qos,
            retain_as_published: subscription.retain_as_published,
            id: subscription.id.and_then(NonZeroU32::new),
        };
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let connection = mailbox.number();
        let topics = accounts.entry(account.clone()).or_default();
        let filter = &subscription.filter;
        let Some((_, inner)) = topic::split_share(filter) else {
            topics.at_most_once += usize::from(subscriber.qos == QoS::AtMostOnce);
            if let Some(old) = topics.single.insert(filter, connection, subscriber.clone()) {
                topics.at_most_once -= usize::from(old.qos == QoS::AtMostOnce);
                subscriber.since = old.since;
                topics.single.insert(filter, connection, subscriber);
            }
            return;
        };
        topics.shared.insert(inner, Arc::clone(filter), ());
        topics.groups.entry(Arc::clone(filter)).or_default().members.insert(connection, subscriber);
    }

    pub(crate) fn remove(
        &self,
        account: &AccountId,
        connection: u64,
        filters: impl Iterator<Item = impl AsRef<str>>,
    ) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topics) = accounts.get_mut(account) else {
            return;
        };
        for filter in filters {
            topics.remove(filter.as_ref(), connection);
        }
        if topics.is_empty() {
            accounts.remove(account);
        }
    }

    /// May anybody of this account get a message of this kind from here? A stored one is mostly nobody's: all who are
    /// subscribed to it have it in their queues, and passing it on would cost as much as delivering it.
    pub(crate) fn may_want(&self, account: &AccountId, stored: bool) -> bool {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.get(account).is_some_and(|topics| !stored || topics.at_most_once > 0)
    }

    /// Passes a message on.
    pub(crate) fn deliver(
        &self,
        account: &AccountId,
        publisher: SessionKey,
        turn: Turn,
        message: &Arc<Publication>,
    ) {
        let mut copies: BTreeMap<u64, Copy> = BTreeMap::new();
        let stored = message.qos != QoS::AtMostOnce;
        let members;
        {
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            let Some(topics) = accounts.get(account) else {
                return;
            };
            topics.single.matches(&message.topic, |connection, subscriber| {
                // [v5:3.8.3-3]
                if subscriber.no_local.as_deref() == Some(&publisher) || subscriber.since >= turn {
                    return;
                }
                let copy = copies
                    .entry(*connection)
                    .or_insert_with(|| Copy { ids: Vec::new(), ..Copy::of(subscriber) });
                copy.qos = copy.qos.max(subscriber.qos);
                copy.retain_as_published |= subscriber.retain_as_published;
                copy.ids.extend(subscriber.id.map(NonZeroU32::get));
            });
            members = if stored { Vec::new() } else { topics.members(&message.topic) };
        }
        for copy in copies.into_values().chain(members) {
            if stored && copy.qos != QoS::AtMostOnce {
                continue;
            }
            copy.mailbox.live(LiveMessage::Publication {
                message: Arc::clone(message),
                subscription_ids: copy.ids,
                // [v5:3.3.1-12] [v5:3.3.1-13]
                retain: message.retain && copy.retain_as_published,
            });
        }
    }
}
