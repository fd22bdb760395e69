//! The commit plan: an op and the rows as they are → changes of rows, notices, an outcome. Pure.
//!
//! No I/O but reads through [`View`], no clock (`now` is an argument), no randomness (ids are hashes or commit
//! numbers), so that the same ops give the same bytes. What it keeps in memory are caches of rows (rebuilt from them
//! at a start), the users of role agent, and the trie of subscriptions.
//! One file per subject: people · conversation · inbox · command · webhook · send · session · will · topics · share ·
//! retained · exchange · sweep.

mod ahead;
pub(crate) mod command;
pub(crate) mod conversation;
mod exchange;
pub(crate) mod inbox;
mod people;
mod retained;
pub(crate) mod send;
mod session;
mod share;
mod status;
mod sweep;
mod topics;
pub(crate) mod view;
mod webhook;
mod will;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use schemas::{AccountId, Epoch, EventId, MessageId, Millis, NumberId, UserId};

use crate::engine::{KeyRange, Order};
use crate::error::ReadError;
use crate::keys::{InboxKey, SessionKey};
use crate::ops::{Op, Outcome};
use crate::read::{QueuedMessage, StoredEvent};
use crate::rows::{Table, UserRow, decode, keys};
use crate::settings::{Number, Settings};
use crate::{Notices, Published};
use view::View;

/// Entries of each cache above which it is emptied between groups: a bound on memory (P8), far above what is active
/// at once, so that emptying is rare.
const CACHE_ENTRIES_MAX: usize = 200_000;

/// What a group made that readers and listeners must hear of once it is on disk.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<(InboxKey, Arc<StoredEvent>)>,
    pub(crate) queued: Vec<(SessionKey, Arc<QueuedMessage>)>,
    pub(crate) sends: BTreeSet<MessageId>,
    /// Wills that were published.
    pub(crate) wills: Vec<Published>,
    /// Milliseconds from wamid to `delivered` of messages that were delivered.
    pub(crate) delivered_after_ms: Vec<u64>,
}

impl Effects {
    /// The notices of the group: each inbox and queue once, with its newest number.
    pub(crate) fn notices(&self) -> Notices {
        let mut inboxes = BTreeMap::new();
        for (inbox, stored) in &self.events {
            inboxes.insert(*inbox, stored.event.seq.unwrap_or_default());
        }
        let mut queues = BTreeMap::new();
        for (session, queued) in &self.queued {
            queues.insert(*session, queued.n);
        }
        Notices {
            inboxes: inboxes.into_iter().collect(),
            queues: queues.into_iter().collect(),
            sends: self.sends.iter().copied().collect(),
            wills: self.wills.clone(),
        }
    }
}

/// The plan's memory: caches and indexes, never the only place of anything.
pub(crate) struct Plan {
    pub(crate) epoch: Epoch,
    numbers: HashMap<NumberId, Number>,
    fanout_max: usize,
    /// Users of role agent per account, at most `fanout_max` + 1 of them: one more is all that need be known.
    agents: HashMap<AccountId, BTreeSet<UserId>>,
    inboxes: HashMap<InboxKey, inbox::Head>,
    queues: HashMap<SessionKey, topics::QueueHead>,
    conversations: HashMap<schemas::ConversationId, conversation::Cached>,
    /// Conversations to be written at the end of the group.
    touched: BTreeSet<schemas::ConversationId>,
    subscriptions: topics::Subscriptions,
    exchanges: exchange::Exchanges,
    /// Queue rows that are acknowledged and not removed yet: (session, first, last).
    garbage: VecDeque<(SessionKey, u64, u64)>,
    /// Parts of ended sessions' queues that other members of shared subscriptions are to get.
    handovers: VecDeque<share::Handover>,
    /// Sessions with shared subscriptions that are connected.
    online: HashSet<SessionKey>,
    /// No row of table `due` is before this, ms.
    next_due: u64,
    sweep: sweep::Sweep,
    commit: u64,
    event_index: u32,
    now: Millis,
}

impl Plan {
    /// A plan over the rows of a store, with what must be known from the start.
    pub(crate) fn new(settings: &Settings, epoch: Epoch) -> Self {
        Self {
            epoch,
            numbers: settings.numbers.iter().map(|n| (n.id.clone(), n.clone())).collect(),
            fanout_max: settings.fanout_max,
            agents: HashMap::new(),
            inboxes: HashMap::new(),
            queues: HashMap::new(),
            conversations: HashMap::new(),
            touched: BTreeSet::new(),
            subscriptions: topics::Subscriptions::default(),
            exchanges: exchange::Exchanges::default(),
            garbage: VecDeque::new(),
            handovers: VecDeque::new(),
            online: HashSet::new(),
            next_due: 0,
            sweep: sweep::Sweep::new(settings.retention),
            commit: 0,
            event_index: 0,
            now: Millis::default(),
        }
    }

    /// What a start does: loads agents and subscriptions, ends what a crash left open, makes configured agents users.
    pub(crate) fn recover(&mut self, view: &mut View<'_>, now: Millis) -> Result<(), ReadError> {
        self.begin(now);
        self.load_agents(view)?;
        self.load_exchanges(view)?;
        self.recover_sessions(view)?;
        self.load_handovers(view)?;
        self.name_agents(view)
    }

    fn load_agents(&mut self, view: &View<'_>) -> Result<(), ReadError> {
        let range = KeyRange::prefix(keys::all(Table::User));
        for (key, value) in view.scan(&range, Order::Ascending, usize::MAX)? {
            let row: UserRow = decode(&key, &value)?;
            if row.agent {
                self.remember_agent(&row.account, &row.user);
            }
        }
        Ok(())
    }

    fn remember_agent(&mut self, account: &AccountId, user: &UserId) {
        let agents = self.agents.entry(account.clone()).or_default();
        if agents.len() <= self.fanout_max {
            agents.insert(user.clone());
        }
    }

    /// A group begins: `now` is its time.
    pub(crate) fn begin(&mut self, now: Millis) {
        self.now = self.now.max(now);
        self.commit += 1;
        self.event_index = 0;
    }

    /// Plans one op. On error the group so far is worthless: throw the view away and call [`Plan::reload`].
    pub(crate) fn apply(
        &mut self,
        view: &mut View<'_>,
        op: &Op,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        match op {
            Op::UserSeen(seen) => {
                self.user_seen(view, &seen.account, &seen.user, seen.agent).map(|()| Outcome::Done)
            }
            Op::SessionOpen(open) => self.session_open(view, open, effects),
            Op::SessionClose(close) => self.session_close(view, close, effects),
            Op::Subscribe(subscribe) => self.subscribe(view, subscribe, effects),
            Op::Unsubscribe(unsubscribe) => self.unsubscribe(view, unsubscribe),
            Op::Replay(session) => self.replay(view, *session, effects),
            Op::Publish(publish) => self.publish(view, publish, effects),
            Op::PublishOnce(once) => self.publish_once(view, once, effects),
            Op::PublishReleased(release) => self.publish_released(view, release),
            Op::DeliveryReceived(delivery) => self.delivery_received(view, delivery),
            Op::DeliveryComplete(delivery) => self.delivery_complete(view, delivery),
            Op::Command(command) => self.command(view, command, effects),
            Op::ReportFailure(report) => self.report_failure(view, report, effects),
            Op::Webhook(webhook) => self.webhook(view, webhook, effects),
            Op::Journal(journal) => self.journal(view, journal),
            Op::JournalApply(apply) => self.journal_apply(view, apply, effects),
            Op::SendStart(message) => self.send_start(view, *message),
            Op::SendEnd(end) => self.send_end(view, end, effects),
        }
    }

    /// The group ends: what is written once a group is written now.
    pub(crate) fn end(&mut self, view: &mut View<'_>) {
        self.write_touched(view);
        self.collect_garbage(view);
        if self.inboxes.len() + self.queues.len() + self.conversations.len() > CACHE_ENTRIES_MAX {
            self.forget();
        }
    }

    /// After an error: caches and indexes may be ahead of the rows, so they are read again.
    pub(crate) fn reload(&mut self, view: &View<'_>) -> Result<(), ReadError> {
        self.forget();
        self.garbage.clear();
        self.agents.clear();
        self.next_due = 0;
        self.load_agents(view)?;
        self.load_exchanges(view)?;
        self.load_handovers(view)?;
        self.load_subscriptions(view)
    }

    /// Empties the caches; the next op reads rows again.
    fn forget(&mut self) {
        self.inboxes.clear();
        self.queues.clear();
        self.conversations.clear();
        self.touched.clear();
    }

    /// An id for an event: time, commit number, index. Rises, and is the same for every member.
    fn event_id(&mut self) -> EventId {
        self.event_index += 1;
        let time = u128::from(self.now.0) << 80;
        let commit = u128::from(self.commit & 0xFFFF_FFFF_FFFF) << 32;
        EventId(time | commit | u128::from(self.event_index))
    }
}
