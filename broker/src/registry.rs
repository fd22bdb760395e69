//! Who is connected: connections, sessions, users; takeover; statuses and who follows them.
//!
//! Only of this process; nothing here is stored: nobody is online at a start. One lock, held for lookups and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker_protocol::{Cause, LiveMessage, Progress};
use bytes::Bytes;
use schemas::topic::{self, UserTopic};
use schemas::{AccountId, Millis, Seq, UserId};
use store::{InboxKey, SessionKey};

use crate::conn::mailbox::Mailbox;

/// See the module.
pub(crate) struct Registry {
    inner: Mutex<Inner>,
    known_users_max: usize,
    coalesce_ms: u64,
}

#[derive(Default)]
struct Inner {
    /// Every connection, let in or not, for shutting down.
    connections: HashMap<u64, Arc<Mailbox>>,
    /// The connection that has a session now.
    sessions: HashMap<SessionKey, Arc<Mailbox>>,
    /// Boxed: the table has room for as many again, and that room is small then.
    users: HashMap<InboxKey, Box<User>>,
    accounts: HashMap<AccountId, Account>,
    /// Users whose status may have changed, and when to look.
    due: HashMap<InboxKey, u64>,
}

/// Somebody who is, or lately was, online.
struct User {
    account: AccountId,
    user: UserId,
    online: Vec<Arc<Mailbox>>,
    last_seen: Millis,
    /// Devices in the status that was told last, and when.
    announced: Option<u32>,
    announced_at_ms: u64,
}

#[derive(Default)]
struct Account {
    /// In order, so that a snapshot is.
    users: BTreeSet<UserId>,
    followers: HashMap<u64, (Arc<Mailbox>, Vec<Arc<str>>)>,
}

/// A status that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusChange {
    pub(crate) account: AccountId,
    pub(crate) user: UserId,
    pub(crate) payload: Bytes,
}

/// The JSON of a status. `last_seen` of somebody online is now.
fn status_json(devices: usize, last_seen: Option<Millis>) -> Bytes {
    let status = serde_json::json!({"online": devices > 0, "last_seen": last_seen, "devices": devices});
    Bytes::from(status.to_string())
}

impl User {
    fn status(&self, wall: Millis) -> Bytes {
        let devices = self.online.len();
        status_json(devices, Some(if devices > 0 { wall } else { self.last_seen }))
    }
}

impl Registry {
    pub(crate) fn new(known_users_max: usize, coalesce_ms: u64) -> Self {
        Self { inner: Mutex::default(), known_users_max, coalesce_ms }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was made.
    pub(crate) fn connected(&self, mailbox: &Arc<Mailbox>) {
        self.inner().connections.insert(mailbox.number(), Arc::clone(mailbox));
    }

    /// A connection is over, whatever it was.
    pub(crate) fn disconnected(&self, connection: u64) {
        self.inner().connections.remove(&connection);
    }

    /// A connection that has been let in takes its session; an older one that had it is told so.
    /// `[v311:3.1.4-2] [v5:3.1.4-3]` True where it has to wait until that one is over: each waits for the one before it,
    /// so the order in which connections take a session here is the order in which the store opens it.
    #[must_use]
    pub(crate) fn take_over(&self, session: SessionKey, mailbox: &Arc<Mailbox>) -> bool {
        let old = self.inner().sessions.insert(session, Arc::clone(mailbox));
        old.is_some_and(|old| {
            let waits = old.succeeded_by(mailbox);
            old.end(Cause::TakenOver);
            waits
        })
    }

    /// Has a connection this session?
    pub(crate) fn is_held(&self, session: SessionKey) -> bool {
        self.inner().sessions.contains_key(&session)
    }

    /// A session is open: its user is online.
    pub(crate) fn online(
        &self,
        account: &AccountId,
        user: &UserId,
        key: InboxKey,
        mailbox: &Arc<Mailbox>,
        now_ms: u64,
    ) {
        let mut inner = self.inner();
        let entry = inner.users.entry(key).or_insert_with(|| {
            Box::new(User {
                account: account.clone(),
                user: user.clone(),
                // Most have one device.
                online: Vec::with_capacity(1),
                last_seen: Millis(0),
                announced: None,
                announced_at_ms: 0,
            })
        });
        entry.online.push(Arc::clone(mailbox));
        let soonest = entry.announced_at_ms + self.coalesce_ms;
        let due = if entry.announced.is_some() { now_ms.max(soonest) } else { now_ms };
        inner.due.insert(key, due);
        inner.accounts.entry(account.clone()).or_default().users.insert(user.clone());
    }

    /// A session's connection has ended.
    pub(crate) fn offline(
        &self,
        account: &AccountId,
        key: InboxKey,
        session: SessionKey,
        connection: u64,
        wall: Millis,
        now_ms: u64,
    ) {
        let mut guard = self.inner();
        let inner = &mut *guard;
        if inner.sessions.get(&session).is_some_and(|holder| holder.number() == connection) {
            inner.sessions.remove(&session);
        }
        if let Some(account) = inner.accounts.get_mut(account) {
            account.followers.remove(&connection);
        }
        if let Some(entry) = inner.users.get_mut(&key) {
            let before = entry.online.len();
            entry.online.retain(|mailbox| mailbox.number() != connection);
            if entry.online.len() != before {
                entry.last_seen = wall;
                // Somebody whose connection breaks and comes back within this time was never away.
                inner.due.insert(key, now_ms + self.coalesce_ms);
            }
        }
    }

    /// I5. Tells those who are online what a commit group moved.
    pub(crate) fn notice(&self, inboxes: &[(InboxKey, Seq)], queues: &[(SessionKey, u64)]) {
        let inner = self.inner();
        for (key, head) in inboxes {
            if let Some(user) = inner.users.get(key) {
                for mailbox in &user.online {
                    mailbox.notice(Progress { inbox: head.0, queue: 0 });
                }
            }
        }
        for (session, head) in queues {
            if let Some(mailbox) = inner.sessions.get(session) {
                mailbox.notice(Progress { inbox: 0, queue: *head });
            }
        }
    }

    /// Notices may have been lost: everybody looks again.
    pub(crate) fn look_again(&self) {
        for mailbox in self.mailboxes() {
            mailbox.look_again();
        }
    }

    /// Ends every connection.
    pub(crate) fn end_all(&self, cause: Cause) {
        for mailbox in self.mailboxes() {
            mailbox.end(cause);
        }
    }

    fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let inner = self.inner();
        #[expect(clippy::iter_over_hash_type, reason = "all are told the same, in whatever order")]
        let all = {
            let mut all = Vec::with_capacity(inner.connections.len());
            for mailbox in inner.connections.values() {
                all.push(Arc::clone(mailbox));
            }
            all
        };
        all
    }

    /// Ends the connections of a user.
    pub(crate) fn end_user(&self, account: &AccountId, user: &UserId, cause: Cause) {
        if let Some(entry) = self.inner().users.get(&InboxKey::of(account, user)) {
            entry.online.iter().for_each(|mailbox| mailbox.end(cause));
        }
    }

    /// Gives a user's connections a message; each passes it on if it is subscribed.
    pub(crate) fn to_user(&self, account: &AccountId, user: &UserId, message: &LiveMessage) {
        if let Some(entry) = self.inner().users.get(&InboxKey::of(account, user)) {
            entry.online.iter().for_each(|mailbox| mailbox.live(message.clone()));
        }
    }

    /// Users of an account that are online, in order, at most `limit`.
    pub(crate) fn online_users(&self, account: &AccountId, limit: usize) -> Vec<UserId> {
        let inner = self.inner();
        let Some(known) = inner.accounts.get(account) else {
            return Vec::new();
        };
        let is_online = |user: &&UserId| {
            inner.users.get(&InboxKey::of(account, user)).is_some_and(|user| !user.online.is_empty())
        };
        known.users.iter().filter(is_online).take(limit).cloned().collect()
    }

    /// A connection follows statuses from now on; those it has to be told now. An exact filter is answered for anybody,
    /// `user/+/status` for those who are or lately were online.
    pub(crate) fn follow(
        &self,
        account: &AccountId,
        mailbox: &Arc<Mailbox>,
        filter: &Arc<str>,
        wall: Millis,
    ) -> Vec<(UserId, Bytes)> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let known = inner.accounts.entry(account.clone()).or_default();
        let follower =
            known.followers.entry(mailbox.number()).or_insert_with(|| (Arc::clone(mailbox), Vec::new()));
        if !follower.1.contains(filter) {
            follower.1.push(Arc::clone(filter));
        }
        if let Some(exact) = UserTopic::parse(filter) {
            let status = inner.users.get(&InboxKey::of(account, &exact.user));
            let payload = status.map_or_else(|| status_json(0, None), |user| user.status(wall));
            return vec![(exact.user, payload)];
        }
        let status = |user: &UserId| {
            let known = inner.users.get(&InboxKey::of(account, user))?;
            Some((user.clone(), known.status(wall)))
        };
        known.users.iter().filter_map(status).collect()
    }

    pub(crate) fn unfollow(&self, account: &AccountId, connection: u64, filter: &str) {
        let mut inner = self.inner();
        let Some(known) = inner.accounts.get_mut(account) else {
            return;
        };
        if let Some((_, filters)) = known.followers.get_mut(&connection) {
            filters.retain(|known| **known != *filter);
            if filters.is_empty() {
                known.followers.remove(&connection);
            }
        }
    }

    /// Tells those who follow it that a status has changed.
    pub(crate) fn tell_status(&self, change: &StatusChange) {
        let inner = self.inner();
        let Some(known) = inner.accounts.get(&change.account) else {
            return;
        };
        let kind = topic::UserTopicKind::Status;
        let name = UserTopic { user: change.user.clone(), kind }.to_string();
        #[expect(clippy::iter_over_hash_type, reason = "all are told the same, in whatever order")]
        for (mailbox, filters) in known.followers.values() {
            if filters.iter().any(|filter| topic::matches(filter, &name)) {
                mailbox
                    .live(LiveMessage::Status { user: change.user.clone(), payload: change.payload.clone() });
            }
        }
    }

    /// The statuses that have changed and are due to be told.
    pub(crate) fn due_statuses(&self, wall: Millis, now_ms: u64) -> Vec<StatusChange> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        if inner.due.is_empty() {
            return Vec::new();
        }
        let mut due = Vec::new();
        inner.due.retain(|key, at| {
            let is_due = *at <= now_ms;
            if is_due {
                due.push(*key);
            }
            !is_due
        });
        let mut changes = Vec::new();
        if inner.due.is_empty() {
            // After a storm it has room for a fleet.
            inner.due = HashMap::new();
        }
        for key in due {
            let forget = inner.users.len() > self.known_users_max;
            let Some(user) = inner.users.get_mut(&key) else {
                continue;
            };
            let devices = user.online.len();
            let told = u32::try_from(devices).unwrap_or(u32::MAX);
            if user.announced != Some(told) {
                (user.announced, user.announced_at_ms) = (Some(told), now_ms);
                let (account, name) = (user.account.clone(), user.user.clone());
                changes.push(StatusChange { account, user: name, payload: user.status(wall) });
            }
            if devices == 0 && forget {
                inner.forget(key);
            }
        }
        changes
    }
}

impl Inner {
    fn forget(&mut self, key: InboxKey) {
        if let Some(user) = self.users.remove(&key)
            && let Some(account) = self.accounts.get_mut(&user.account)
        {
            account.users.remove(&user.user);
            if account.users.is_empty() && account.followers.is_empty() {
                self.accounts.remove(&user.account);
            }
        }
    }
}
