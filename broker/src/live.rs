//! Who of those online is subscribed to general topics, for messages that are passed on and not stored.
//!
//! A message at QoS 0 goes to every session whose filters match; a stored one (QoS 1) only to sessions that all of their
//! matching filters grant QoS 0, for the others have it in their queues. One copy per session, with all its subscription
//! identifiers (`[v5:3.3.4-4]`). Reserved topics are not here, so a granted `#` never delivers them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use broker_protocol::LiveMessage;
use schemas::{AccountId, Publication, QoS, Subscription};
use store::SessionKey;
use store::topics::Trie;

use crate::conn::mailbox::Mailbox;

/// See the module.
#[derive(Default)]
pub(crate) struct Live {
    accounts: RwLock<HashMap<AccountId, Trie<u64, Subscriber>>>,
}

#[derive(Clone)]
struct Subscriber {
    session: SessionKey,
    mailbox: Arc<Mailbox>,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    id: Option<u32>,
}

/// What a session's matching subscriptions add up to.
struct Copy {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    retain_as_published: bool,
    ids: Vec<u32>,
}

impl Live {
    /// A connection's subscription; the same filter again replaces the earlier one.
    pub(crate) fn insert(
        &self,
        account: &AccountId,
        session: SessionKey,
        mailbox: &Arc<Mailbox>,
        subscription: &Subscription,
    ) {
        let subscriber = Subscriber {
            session,
            mailbox: Arc::clone(mailbox),
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            id: subscription.id,
        };
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(account.clone()).or_default().insert(
            &subscription.filter,
            mailbox.number(),
            subscriber,
        );
    }

    pub(crate) fn remove(
        &self,
        account: &AccountId,
        connection: u64,
        filters: impl Iterator<Item = impl AsRef<str>>,
    ) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let Some(trie) = accounts.get_mut(account) else {
            return;
        };
        for filter in filters {
            trie.remove(filter.as_ref(), &connection);
        }
        if trie.is_empty() {
            accounts.remove(account);
        }
    }

    /// Is anybody of this account subscribed to a general topic?
    pub(crate) fn has_any(&self, account: &AccountId) -> bool {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).contains_key(account)
    }

    /// Passes a message on.
    pub(crate) fn deliver(&self, account: &AccountId, publisher: SessionKey, message: &Arc<Publication>) {
        let mut copies: BTreeMap<u64, Copy> = BTreeMap::new();
        {
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            let Some(trie) = accounts.get(account) else {
                return;
            };
            trie.matches(&message.topic, |connection, subscriber| {
                // [v5:3.8.3-3]
                if subscriber.no_local && subscriber.session == publisher {
                    return;
                }
                let copy = copies.entry(*connection).or_insert_with(|| Copy {
                    mailbox: Arc::clone(&subscriber.mailbox),
                    qos: QoS::AtMostOnce,
                    retain_as_published: false,
                    ids: Vec::new(),
                });
                copy.qos = copy.qos.max(subscriber.qos);
                copy.retain_as_published |= subscriber.retain_as_published;
                copy.ids.extend(subscriber.id);
            });
        }
        let stored = message.qos != QoS::AtMostOnce;
        for copy in copies.into_values() {
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
