//! One session, one client, a store of a few lines, and a clock that moves when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker_protocol::{
    Action, Admission, Answer, Cause, Delivered, Denied, Gate, InboxEvent, InboxPage, Limits, Now, OpenInbox,
    Opened, Origin, Output, Progress, QueueMessage, QueuePage, Refused, Request, Session, SubscribedFilter,
    Told,
};
use bytes::BytesMut;
use schemas::{
    AccountId, Acl, Claims, ClientId, Epoch, ErrorCode, Event, EventData, EventId, Millis, Publication, QoS,
    Role, Seq, Subscription, UserId,
};

/// Wall clock at the start, in seconds.
pub(crate) const START_S: u64 = 1_800_000_000;

/// Alice may do everything that is not another's.
pub(crate) struct Alice;

impl Gate for Alice {
    fn admit(&self, token: &[u8], client_id: &str, _now: Now) -> Result<Admission, Refused> {
        if token.is_empty() {
            return Err(Refused { code: ErrorCode::TokenMissing });
        }
        if token == b"bad" {
            return Err(Refused { code: ErrorCode::TokenInvalid });
        }
        let claims = Claims {
            user: UserId::new(if token == b"bob" { "bob" } else { "alice" }).unwrap(),
            account: AccountId::new("acme").unwrap(),
            device: None,
            role: Role::Agent,
            exp: START_S + if token == b"longer" { 7_200 } else { 3_600 },
            iat: None,
            acl: Some(Arc::new(Acl::default())),
        };
        let assigned = client_id.is_empty();
        let client = ClientId::new(if assigned { "assigned" } else { client_id }).unwrap();
        Ok(Admission { claims, client, assigned })
    }

    fn publish(&self, _: &Claims, topic: &str, _: QoS, _: bool) -> Result<(), Denied> {
        if topic.starts_with("denied") { Err(Denied { reason: 0x87 }) } else { Ok(()) }
    }

    fn subscribe(&self, _: &Claims, filter: &str) -> Result<(), Denied> {
        if filter.starts_with("denied") { Err(Denied { reason: 0x87 }) } else { Ok(()) }
    }
}

/// Retained messages that the store puts into the queue at a time.
pub(crate) const RETAINED_PAGE: usize = 2;

/// What the store remembers of the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) present: bool,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) inbox: Option<OpenInbox>,
    pub(crate) acked: Progress,
    pub(crate) sent: Progress,
    /// Packet identifiers of publishes at QoS 2.
    pub(crate) packets: BTreeSet<u16>,
    /// Deliveries received; true: PUBREL is owed.
    pub(crate) received: BTreeMap<Delivered, bool>,
    /// Retained messages that are not in the queue yet.
    pub(crate) retained: Vec<Publication>,
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) limits: Limits,
    pub(crate) session: Session,
    pub(crate) stored: Stored,
    /// Events of the inbox by number.
    pub(crate) inbox: BTreeMap<u64, Event>,
    /// The first number that retention has kept.
    pub(crate) oldest: u64,
    pub(crate) queue: BTreeMap<u64, Publication>,
    /// The store answers only when told to.
    pub(crate) hold: bool,
    pub(crate) held: Vec<(u64, Request)>,
    /// The store has no answer to requests for retained messages.
    pub(crate) refuse_replays: bool,
    pub(crate) submitted: Vec<Request>,
    pub(crate) told: Vec<Told>,
    pub(crate) other: Vec<Action>,
    pub(crate) closed: Option<u16>,
    out: Output,
    bytes: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let now = Now { wall_us: START_S * 1_000_000, mono_ms: 1_000 };
        Self {
            now,
            session: Session::new(Arc::new(limits.clone()), now),
            limits,
            stored: Stored::default(),
            inbox: BTreeMap::new(),
            oldest: 1,
            queue: BTreeMap::new(),
            hold: false,
            held: Vec::new(),
            refuse_replays: false,
            submitted: Vec::new(),
            told: Vec::new(),
            other: Vec::new(),
            closed: None,
            out: Output::default(),
            bytes: Vec::new(),
        }
    }

    /// A new connection of the same client; the store keeps what it has.
    pub(crate) fn reconnect(&mut self, connect: &[u8]) {
        if self.closed.is_none() {
            self.session.end(Cause::Lost, &mut self.out);
            self.run();
        }
        self.session = Session::new(Arc::new(self.limits.clone()), self.now);
        self.closed = None;
        self.bytes.clear();
        self.send(connect);
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        while !input.is_empty() && self.session.accepts() {
            let before = input.len();
            self.session.receive(self.now, &Alice, &mut input, &mut self.out);
            self.run();
            if input.len() == before {
                break;
            }
        }
    }

    /// Hands in bytes once; what is left of them.
    pub(crate) fn feed(&mut self, mut input: BytesMut) -> BytesMut {
        self.session.receive(self.now, &Alice, &mut input, &mut self.out);
        self.run();
        input
    }

    pub(crate) fn end(&mut self, cause: Cause) {
        self.session.end(cause, &mut self.out);
        self.run();
    }

    /// Time passes; the timer runs out where it is due.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now.mono_ms += millis;
        self.now.wall_us += millis * 1_000;
        if self.session.deadline(self.now).is_some_and(|at| at <= self.now.mono_ms) {
            self.session.timeout(self.now, &mut self.out);
        }
        self.run();
    }

    /// Events are committed.
    pub(crate) fn commit(&mut self, count: u64) {
        for _ in 0..count {
            let seq = self.inbox.last_key_value().map_or(self.oldest, |(seq, _)| seq + 1);
            self.inbox.insert(seq, event(seq, self.now.wall()));
        }
        self.ring();
    }

    /// A message comes into the queue under a number.
    pub(crate) fn enqueue(&mut self, n: u64, message: Publication) {
        self.queue.insert(n, message);
        self.ring();
    }

    pub(crate) fn ring(&mut self) {
        self.session.notice(self.heads());
        self.run();
    }

    fn heads(&self) -> Progress {
        Progress {
            inbox: self.inbox.last_key_value().map_or(self.oldest - 1, |(seq, _)| *seq),
            queue: self.queue.last_key_value().map_or(0, |(n, _)| *n),
        }
    }

    /// What the client has got since the last call, packet by packet.
    pub(crate) fn got(&mut self) -> Vec<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.bytes);
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let (mut length, mut at, mut shift) = (0_usize, 1, 0);
            loop {
                let byte = rest[at];
                length |= usize::from(byte & 0x7F) << shift;
                at += 1;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let tail = rest.split_off(at + length);
            packets.push(rest);
            rest = tail;
        }
        packets
    }

    /// Does what the session wants until it wants nothing more.
    pub(crate) fn run(&mut self) {
        for _ in 0..1_000 {
            self.session.flush(self.now, &mut self.out);
            self.bytes.append(&mut self.out.bytes);
            if self.out.actions.is_empty() {
                return;
            }
            for action in std::mem::take(&mut self.out.actions) {
                self.act(action);
            }
        }
        panic!("the session asks for ever");
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Submit { token, request } => {
                self.submitted.push((*request).clone());
                if self.hold {
                    self.held.push((token, *request));
                } else {
                    self.store(token, *request);
                }
            }
            Action::ReadInbox { after, limit } => self.read_inbox(after, limit),
            Action::ReadQueue { after, limit } => self.read_queue(after, limit),
            Action::Advance(progress) => {
                assert!(progress.inbox >= self.stored.acked.inbox, "a cursor never moves back");
                self.stored.acked = progress;
            }
            Action::Told(told) => self.told.push(told),
            Action::Close { websocket } => self.closed = Some(websocket),
            other => self.other.push(other),
        }
    }

    /// The store answers what it has held back.
    pub(crate) fn release(&mut self) {
        for (token, request) in std::mem::take(&mut self.held) {
            self.store(token, request);
        }
        self.run();
    }

    pub(crate) fn answer(&mut self, token: u64, answer: Answer) {
        self.session.answer(self.now, token, answer, &mut self.out);
        self.run();
    }

    fn store(&mut self, token: u64, request: Request) {
        let answer = match request {
            Request::Open { clean, .. } => {
                if clean {
                    self.stored = Stored::default();
                }
                let present = std::mem::replace(&mut self.stored.present, true);
                let inbox =
                    self.stored.inbox.map(|c| OpenInbox { acked: self.stored.acked.inbox.max(c.acked), ..c });
                Answer::Opened(Box::new(Opened {
                    present: present && !clean,
                    subscriptions: self.stored.subscriptions.clone(),
                    inbox,
                    queue_acked: self.stored.acked.queue,
                    queue_head: self.heads().queue,
                    replay: !self.stored.retained.is_empty(),
                    sent: self.stored.sent,
                    received: self.stored.received.iter().map(|(d, owed)| (*d, *owed)).collect(),
                }))
            }
            Request::Close { sent, acked_ahead, .. } => {
                self.stored.sent = sent;
                self.stored.received.extend(acked_ahead.into_iter().map(|delivered| (delivered, false)));
                return;
            }
            Request::Once { packet, request } => {
                if !self.stored.packets.insert(packet.get()) {
                    Answer::Repeated
                } else {
                    return self.store(token, *request);
                }
            }
            Request::Replay if self.refuse_replays => Answer::Unavailable,
            Request::Replay => {
                let page = self.stored.retained.len().min(RETAINED_PAGE);
                for message in self.stored.retained.drain(..page).collect::<Vec<_>>() {
                    let n = self.heads().queue + 1;
                    self.queue.insert(n, message);
                }
                Answer::Replayed { more: !self.stored.retained.is_empty() }
            }
            Request::Release { packet } => Answer::Released(self.stored.packets.remove(&packet.get())),
            Request::Received(delivered) => {
                self.stored.received.insert(delivered, true);
                Answer::Done
            }
            Request::Complete(delivered) => {
                self.stored.received.insert(delivered, false);
                return;
            }
            Request::Subscribe { filters, .. } => {
                Answer::Subscribed(filters.into_iter().map(|filter| self.subscribe(filter)).collect())
            }
            Request::Unsubscribe { filters } => {
                let known = |filter: &String| self.stored.subscriptions.iter().any(|s| *s.filter == **filter);
                let existed: Vec<bool> = filters.iter().map(known).collect();
                self.stored.subscriptions.retain(|s| !filters.iter().any(|filter| *s.filter == **filter));
                if filters.iter().any(|filter| filter.ends_with("/inbox")) {
                    self.stored.inbox = None;
                }
                Answer::Unsubscribed(existed)
            }
            _ => Answer::Done,
        };
        self.session.answer(self.now, token, answer, &mut self.out);
    }

    fn subscribe(&mut self, subscription: Subscription) -> SubscribedFilter {
        let existed = self.stored.subscriptions.iter().any(|s| s.filter == subscription.filter);
        self.stored.subscriptions.retain(|s| s.filter != subscription.filter);
        let replay = !self.stored.retained.is_empty();
        let mut result = SubscribedFilter { existed, inbox: None, retained: replay, replay };
        if subscription.filter.ends_with("/inbox") {
            if !existed {
                self.stored.acked.inbox = self.heads().inbox;
            }
            let acked = self.stored.acked.inbox;
            self.stored.inbox = Some(OpenInbox { qos: subscription.qos, acked, gap: None });
            result.inbox = self.stored.inbox;
        }
        self.stored.subscriptions.push(subscription);
        result
    }

    fn read_inbox(&mut self, after: u64, limit: usize) {
        let events: Vec<Event> = self
            .inbox
            .range(after.max(self.oldest - 1) + 1..)
            .take(limit)
            .map(|(_, event)| event.clone())
            .collect();
        let page = InboxPage { epoch: Epoch(7), head: self.heads().inbox, oldest: self.oldest };
        let received = self.now.wall_us;
        let events =
            events.iter().map(|event| InboxEvent { event, origin: Some((Origin::Device, received)) });
        self.session.inbox_page(self.now, after, page, events, &mut self.out);
    }

    fn read_queue(&mut self, after: u64, limit: usize) {
        let at = Millis(START_S * 1_000);
        let messages: Vec<_> =
            self.queue.range(after + 1..).take(limit).map(|(n, message)| (*n, message.clone())).collect();
        let page = QueuePage { head: self.heads().queue };
        let messages = messages.iter().map(|(n, message)| QueueMessage {
            n: *n,
            message,
            subscription_ids: &[],
            retain: false,
            at,
        });
        self.session.queue_page(self.now, after, page, messages, &mut self.out);
    }

    /// Retention removes everything below a number.
    pub(crate) fn retain_from(&mut self, oldest: u64) {
        self.oldest = oldest;
        self.inbox.retain(|seq, _| *seq >= oldest);
    }
}

pub(crate) fn event(seq: u64, at: Millis) -> Event {
    Event {
        epoch: Epoch(7),
        seq: Some(Seq(seq)),
        id: EventId(u128::from(seq)),
        at,
        account: AccountId::new("acme").unwrap(),
        conversation: None,
        unread: None,
        data: EventData::Custom(serde_json::json!({ "n": seq })),
    }
}

pub(crate) fn message(topic: &str, payload: &[u8]) -> Publication {
    Publication {
        topic: topic.into(),
        payload: bytes::Bytes::copy_from_slice(payload),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: None,
    }
}

/// A DELIVERED PUBLISH: (first byte, packet identifier or 0, everything behind it).
pub(crate) fn delivered(packet: &[u8]) -> (u8, u16, String) {
    assert_eq!(packet[0] >> 4, 3, "{packet:?}");
    let at = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let topic = usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let mut rest = &packet[at + 2 + topic..];
    let mut id = 0;
    if packet[0] & 6 != 0 {
        id = u16::from_be_bytes([rest[0], rest[1]]);
        rest = &rest[2..];
    }
    (packet[0], id, String::from_utf8_lossy(rest).into_owned())
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, u8::try_from(body.len()).unwrap()][..], body].concat()
}

/// CONNECT with a token; `properties` are those of MQTT 5.
pub(crate) fn connect(level: u8, clean: bool, properties: &[u8]) -> Vec<u8> {
    let mut body = [&text("MQTT")[..], &[level, 0xC0 | u8::from(clean) << 1, 0, 10]].concat();
    if level == 5 {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
    }
    body.extend([text("c"), text("u"), text("token")].concat());
    packet(0x10, &body)
}

pub(crate) fn subscribe(level: u8, filter: &str, qos: u8) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(0x82, &[&[0, 1], properties, &text(filter)[..], &[qos]].concat())
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}
