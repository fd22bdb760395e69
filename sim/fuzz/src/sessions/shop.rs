//! The server's side of a session case: the session machine, a store of a few lines that answers when it is told to,
//! and a clock that moves when it is told to.
//!
//! The store answers in the order of the requests, as the writer does. A connection that breaks leaves requests behind;
//! as in a crash, some first ones of them were stored and the rest was not. Not here: the client and the judge.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use broker_protocol::{
    Action, Admission, Answer, Cause, Delivered, Denied, Gate, InboxEvent, InboxPage, Limits, Now, OpenInbox,
    Opened, Origin, Output, Progress, QueueMessage, QueuePage, Refused, Request, Session, SubscribedFilter,
};
use bytes::BytesMut;
use schemas::{
    AccountId, Claims, ClientId, Epoch, ErrorCode, Event, EventData, EventId, Millis, Publication, QoS, Role,
    Seq, Subscription, UserId,
};

use crate::Finding;

/// Wall clock at the start, in seconds.
const START_S: u64 = 1_800_000_000;
/// Rounds of work after one thing that happened: a machine that wants more asks for ever.
const ROUNDS_MAX: usize = 1_000;
/// Messages below this topic are put into the session's own queue.
const OWN: &str = "own/";

/// Everybody with a token is alice; `denied…` is denied.
struct Door;

impl Gate for Door {
    fn admit(&self, token: &[u8], client_id: &str, _: Now) -> Result<Admission, Refused> {
        if token != b"token" {
            return Err(Refused { code: ErrorCode::TokenInvalid });
        }
        let assigned = client_id.is_empty();
        let claims = Claims {
            user: UserId::new("alice").map_err(|_| Refused { code: ErrorCode::TokenInvalid })?,
            account: AccountId::new("acme").map_err(|_| Refused { code: ErrorCode::TokenInvalid })?,
            device: None,
            role: Role::Agent,
            exp: START_S * 2,
            iat: None,
            acl: None,
        };
        let client = ClientId::new(if assigned { "assigned" } else { client_id });
        let client = client.map_err(|_| Refused { code: ErrorCode::ClientIdMismatch })?;
        Ok(Admission { claims, client, assigned })
    }

    fn publish(&self, _: &Claims, topic: &str, _: QoS, _: bool) -> Result<(), Denied> {
        if topic.starts_with("denied") { Err(Denied { reason: 0x87 }) } else { Ok(()) }
    }

    fn subscribe(&self, _: &Claims, filter: &str) -> Result<(), Denied> {
        if filter.starts_with("denied") { Err(Denied { reason: 0x87 }) } else { Ok(()) }
    }
}

/// What is on disk of the session.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    present: bool,
    /// A connection has it that was not closed in order.
    connected: bool,
    subscriptions: Vec<Subscription>,
    inbox: Option<OpenInbox>,
    pub(super) acked: Progress,
    sent: Progress,
    /// Packet identifiers of publishes at QoS 2.
    pub(super) packets: BTreeSet<u16>,
    received: BTreeMap<Delivered, bool>,
    /// Messages that were stored, in order, as often as they were.
    pub(super) effects: Vec<Arc<Publication>>,
    /// Newest number of the inbox.
    pub(super) head: u64,
    /// The session's queue.
    queue: BTreeMap<u64, Arc<Publication>>,
}

/// See the module.
pub(super) struct Shop {
    pub(super) now: Now,
    pub(super) disk: Disk,
    pub(super) session: Session,
    limits: Arc<Limits>,
    waiting: VecDeque<(u64, Request)>,
    /// Bytes that the session did not take yet.
    input: BytesMut,
    out: Output,
    /// Bytes for the client.
    pub(super) sent: Vec<u8>,
    pub(super) closed: bool,
    /// Requests of this connection that were answered.
    pub(super) answered: u64,
    /// The machine went against its contract.
    pub(super) broken: Option<Finding>,
}

impl Shop {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Now { wall_us: START_S * 1_000_000, mono_ms: 1_000 };
        let limits = Arc::new(limits);
        Self {
            now,
            disk: Disk::default(),
            session: Session::new(Arc::clone(&limits), now),
            limits,
            waiting: VecDeque::new(),
            input: BytesMut::new(),
            out: Output::default(),
            sent: Vec::new(),
            closed: false,
            answered: 0,
            broken: None,
        }
    }

    /// The connection is gone: of what waits, the first `stored` requests reached the disk. A new one is there.
    pub(super) fn reconnect(&mut self, stored: usize) {
        if !self.closed {
            self.session.end(Cause::Lost, &mut self.out);
            self.work();
        }
        for _ in 0..stored.min(self.waiting.len()) {
            self.store_one();
        }
        self.waiting.clear();
        self.session = Session::new(Arc::clone(&self.limits), self.now);
        self.input.clear();
        self.out = Output::default();
        self.sent.clear();
        self.closed = false;
        self.answered = 0;
        self.work();
    }

    /// Requests that wait for the store.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of the client.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.work();
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now.mono_ms += millis;
        self.now.wall_us += millis * 1_000;
        if self.session.deadline(self.now).is_some_and(|at| at <= self.now.mono_ms) {
            self.session.timeout(self.now, &mut self.out);
        }
        self.work();
    }

    pub(super) fn read_failed(&mut self) {
        self.session.read_failed(self.now);
        self.work();
    }

    /// Events come into the inbox.
    pub(super) fn commit(&mut self, count: u64) {
        self.disk.head += count;
        self.ring();
    }

    pub(super) fn ring(&mut self) {
        self.session.notice(self.heads());
        self.work();
    }

    fn heads(&self) -> Progress {
        Progress { inbox: self.disk.head, queue: self.disk.queue.last_key_value().map_or(0, |(n, _)| *n) }
    }

    /// The store takes one request.
    pub(super) fn store_one(&mut self) {
        if let Some((token, request)) = self.waiting.pop_front() {
            let queued = self.heads().queue;
            if let Some(answer) = self.store(request) {
                self.answered += 1;
                self.session.answer(self.now, token, answer, &mut self.out);
            }
            if self.heads().queue > queued {
                self.session.notice(self.heads());
            }
            self.work();
        }
    }

    /// The store takes nothing that waits: all of it, for a later one must not be stored before an earlier one.
    pub(super) fn refuse(&mut self) {
        for (token, _) in std::mem::take(&mut self.waiting) {
            self.session.answer(self.now, token, Answer::Unavailable, &mut self.out);
        }
        self.work();
    }

    /// Does what the session wants until it wants nothing more.
    fn work(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.input.is_empty() && self.session.accepts() {
                self.session.receive(self.now, &Door, &mut self.input, &mut self.out);
            }
            self.session.flush(self.now, &mut self.out);
            self.sent.append(&mut self.out.bytes);
            if self.out.actions.is_empty() {
                return;
            }
            for action in std::mem::take(&mut self.out.actions) {
                self.act(action);
            }
        }
        self.broken = Some(Finding::new("the session asks for ever"));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Submit { token, request } => self.waiting.push_back((token, *request)),
            Action::ReadInbox { after, limit } => self.read_inbox(after, limit),
            Action::ReadQueue { after, limit } => self.read_queue(after, limit),
            Action::Advance(to) => {
                if to.inbox < self.disk.acked.inbox || to.queue < self.disk.acked.queue {
                    self.broken = Some(Finding::new("P3: a cursor moved back"));
                }
                self.disk.acked = to;
            }
            Action::Close { .. } => self.closed = true,
            _ => {}
        }
    }

    /// `None`: not answered.
    fn store(&mut self, request: Request) -> Option<Answer> {
        let disk = &mut self.disk;
        Some(match request {
            Request::Open { clean, .. } => return Some(self.open(clean)),
            Request::Close { sent, acked_ahead, .. } => {
                disk.connected = false;
                disk.sent = sent;
                disk.received.extend(acked_ahead.into_iter().map(|delivered| (delivered, false)));
                return None;
            }
            Request::Publish { message, .. } => {
                if message.topic.starts_with(OWN) {
                    let n = self.heads().queue + 1;
                    self.disk.queue.insert(n, Arc::clone(&message));
                }
                self.disk.effects.push(message);
                Answer::Done
            }
            Request::Once { packet, request } => {
                if !disk.packets.insert(packet.get()) {
                    return Some(Answer::Repeated);
                }
                return self.store(*request);
            }
            Request::Release { packet } => Answer::Released(disk.packets.remove(&packet.get())),
            Request::Received(delivered) => {
                disk.received.insert(delivered, true);
                Answer::Done
            }
            Request::Complete(delivered) => {
                disk.received.insert(delivered, false);
                Answer::Done
            }
            Request::Subscribe { filters, .. } => {
                Answer::Subscribed(filters.into_iter().map(|filter| self.subscribe(filter)).collect())
            }
            Request::Unsubscribe { filters } => {
                let had = |filter: &String| disk.subscriptions.iter().any(|s| *s.filter == **filter);
                let existed = filters.iter().map(had).collect();
                disk.subscriptions.retain(|s| !filters.iter().any(|filter| *s.filter == **filter));
                if filters.iter().any(|filter| filter == "user/alice/inbox") {
                    disk.inbox = None;
                }
                Answer::Unsubscribed(existed)
            }
            Request::Replay => Answer::Replayed { more: false },
            Request::Command { .. } | Request::Report { .. } => Answer::Done,
        })
    }

    fn open(&mut self, clean: bool) -> Answer {
        let heads = self.heads();
        let disk = &mut self.disk;
        if clean {
            let (head, effects) = (disk.head, std::mem::take(&mut disk.effects));
            *disk = Disk { head, effects, ..Disk::default() };
        }
        if disk.connected {
            // Nobody knows what was sent.
            disk.sent = heads;
        }
        disk.connected = true;
        let present = std::mem::replace(&mut disk.present, true);
        disk.received.retain(|delivered, owed| {
            let acked = match delivered.source {
                broker_protocol::Source::Inbox => disk.acked.inbox,
                broker_protocol::Source::Queue => disk.acked.queue,
            };
            *owed || delivered.n > acked
        });
        Answer::Opened(Box::new(Opened {
            present,
            subscriptions: disk.subscriptions.clone(),
            inbox: disk.inbox.map(|cursor| OpenInbox { acked: disk.acked.inbox.max(cursor.acked), ..cursor }),
            queue_acked: disk.acked.queue,
            queue_head: self.disk.queue.last_key_value().map_or(0, |(n, _)| *n),
            replay: false,
            sent: self.disk.sent,
            received: self.disk.received.iter().map(|(delivered, owed)| (*delivered, *owed)).collect(),
        }))
    }

    fn subscribe(&mut self, subscription: Subscription) -> SubscribedFilter {
        let disk = &mut self.disk;
        let existed = disk.subscriptions.iter().any(|s| s.filter == subscription.filter);
        disk.subscriptions.retain(|s| s.filter != subscription.filter);
        let mut result = SubscribedFilter { existed, inbox: None, retained: false, replay: false };
        if &*subscription.filter == "user/alice/inbox" {
            if disk.inbox.is_none() {
                disk.acked.inbox = disk.head;
            }
            let acked = disk.acked.inbox;
            disk.inbox = Some(OpenInbox { qos: subscription.qos, acked, gap: None });
            result.inbox = disk.inbox;
        }
        disk.subscriptions.push(subscription);
        result
    }

    fn read_inbox(&mut self, after: u64, limit: usize) {
        let page = InboxPage { epoch: Epoch(7), head: self.disk.head, oldest: 1 };
        let events: Vec<Event> = (after + 1..=self.disk.head).take(limit).map(event).collect();
        let received = self.now.wall_us;
        let events =
            events.iter().map(|event| InboxEvent { event, origin: Some((Origin::Device, received)) });
        self.session.inbox_page(self.now, after, page, events, &mut self.out);
    }

    fn read_queue(&mut self, after: u64, limit: usize) {
        let page = QueuePage { head: self.heads().queue };
        let found: Vec<_> = self.disk.queue.range(after + 1..).take(limit).collect();
        let messages = found.iter().map(|(n, message)| QueueMessage {
            n: **n,
            message,
            subscription_ids: &[],
            retain: false,
            at: self.now.wall(),
        });
        self.session.queue_page(self.now, after, page, messages, &mut self.out);
    }
}

fn event(seq: u64) -> Event {
    Event {
        epoch: Epoch(7),
        seq: Some(Seq(seq)),
        id: EventId(u128::from(seq)),
        at: Millis(START_S * 1_000),
        account: AccountId::new("acme").expect("an account id"),
        conversation: None,
        unread: None,
        data: EventData::Custom(serde_json::json!({ "n": seq })),
    }
}
