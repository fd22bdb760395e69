//! The server: connections around the production session machine, and one owner of the store. O3, I5–I8.
//!
//! What `broker::conn::driver` does with sockets and tasks is done here one step at a time, with the same translation to
//! and from the store. Not here: which step comes next (`device`).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use broker::store_io::{self, Owner};
use broker_protocol::{
    Action, Admission, Answer, Cause, Denied, Gate, Limits, LiveMessage, Now, Output, Progress, Refused,
    Request, Session,
};
use bytes::BytesMut;
use schemas::{AccountId, Claims, ClientId, Epoch, ErrorCode, Millis, NumberId, QoS, Role, Seq, UserId};
use store::stepper::{Disk, Phase, Stepper};
use store::{Agents, CommitResult, Notices, Number, Op, OpenError, SessionKey, Settings};

use super::{Bug, Marks};
use crate::node::Told;

/// Wall clock at the start, in milliseconds.
const START_MS: u64 = 1_800_000_000_000;
/// Rounds of work of a connection after one thing that happened.
const ROUNDS_MAX: usize = 1_000;
const ACCOUNT: &str = "acme";

/// Tokens are user names here; everything is allowed.
struct Door;

impl Gate for Door {
    fn admit(&self, token: &[u8], client_id: &str, _: Now) -> Result<Admission, Refused> {
        let refused = Refused { code: ErrorCode::TokenInvalid };
        let user = std::str::from_utf8(token).ok().and_then(|user| UserId::new(user).ok());
        let claims = Claims {
            user: user.ok_or(refused)?,
            account: AccountId::new(ACCOUNT).map_err(|_| refused)?,
            device: None,
            role: Role::Agent,
            exp: START_MS,
            iat: None,
            acl: None,
        };
        Ok(Admission { claims, client: ClientId::new(client_id).map_err(|_| refused)?, assigned: false })
    }

    fn publish(&self, _: &Claims, _: &str, _: QoS, _: bool) -> Result<(), Denied> {
        Ok(())
    }

    fn subscribe(&self, _: &Claims, _: &str) -> Result<(), Denied> {
        Ok(())
    }
}

/// The server's side of a connection.
struct Conn {
    device: usize,
    session: Session,
    owner: Option<Box<Owner>>,
    input: BytesMut,
    out: Output,
}

/// See the module.
pub(super) struct Server {
    pub(super) now_ms: u64,
    disk: Disk,
    stepper: Stepper,
    told: Arc<Told>,
    conns: BTreeMap<u64, Conn>,
    /// Ops on their way: whose, and the session's own token.
    calls: BTreeMap<u64, (u64, u64)>,
    next_call: u64,
    bug: Option<Bug>,
    /// Bytes for clients, by connection.
    pub(super) sent: BTreeMap<u64, Vec<u8>>,
    /// Connections that the server has closed.
    pub(super) closed: Vec<u64>,
    /// Cursors it moved: device and number.
    pub(super) cursors: Vec<(usize, u64)>,
    pub(super) marks: Marks,
}

fn settings() -> Settings {
    let mut settings = Settings::new(Epoch(1));
    settings.numbers = vec![Number {
        id: NumberId::new("100000000000001").expect("a number id"),
        account: AccountId::new(ACCOUNT).expect("an account id"),
        agents: Agents::All,
        triage: Vec::new(),
    }];
    // So small that reads fall out of memory often.
    settings.tail_max_events = 8;
    settings
}

impl Server {
    pub(super) fn new(disk: Disk, bug: Option<Bug>) -> Result<Self, OpenError> {
        let told = Arc::new(Told::default());
        let mut stepper = Stepper::start(&disk, &settings(), Millis(START_MS), bug.and_then(Bug::planted))?;
        stepper.listen(told.clone());
        Ok(Self {
            now_ms: 0,
            disk,
            stepper,
            told,
            conns: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 1,
            bug,
            sent: BTreeMap::new(),
            closed: Vec::new(),
            cursors: Vec::new(),
            marks: Marks::default(),
        })
    }

    fn now(&self) -> Now {
        Now { wall_us: (START_MS + self.now_ms) * 1_000, mono_ms: 1_000 + self.now_ms }
    }

    /// The process and the machine go down, with all that was not synced but a first part; and it starts again.
    pub(super) fn crash(&mut self, kept: usize) -> Result<(), OpenError> {
        self.marks.crashes += 1;
        let links: Vec<u64> = self.conns.keys().copied().collect();
        self.closed.extend(links);
        self.conns.clear();
        self.calls.clear();
        self.sent.clear();
        self.told = Arc::new(Told::default());
        self.disk.crash(kept)?;
        let now = Millis(START_MS + self.now_ms);
        self.stepper = Stepper::start(&self.disk, &settings(), now, self.bug.and_then(Bug::planted))?;
        self.stepper.listen(self.told.clone());
        Ok(())
    }

    pub(super) fn unsynced(&self) -> usize {
        self.disk.unsynced()
    }

    pub(super) fn verify(&self) -> Vec<super::Entry> {
        match self.disk.verify() {
            Ok(report) => report
                .violations
                .into_iter()
                .map(|v| super::Entry::Verify(v.invariant, format!("{} {}: {}", v.table, v.key, v.what)))
                .collect(),
            Err(error) => {
                vec![super::Entry::Verify(schemas::invariant::InvariantId::P1, error.to_string())]
            }
        }
    }

    /// Nothing waits for a step, and no connection has anything left to send.
    pub(super) fn is_idle(&self) -> bool {
        self.conns.values().all(|conn| conn.session.backlog() == 0)
            && self.stepper.phase() == Phase::Idle
            && self.stepper.waiting() == (0, 0)
    }

    /// One step of the writer.
    pub(super) fn turn(&mut self, most: usize) {
        let now = Millis(START_MS + self.now_ms);
        match self.stepper.phase() {
            Phase::Idle if self.stepper.waiting() == (0, 0) => {}
            Phase::Idle => drop(self.stepper.plan(now, most)),
            // Here no write fails: `world` sees to that.
            Phase::Planned => drop(self.stepper.write(false)),
            Phase::Written => self.stepper.tell(),
            Phase::Ended => {}
        }
        self.hear();
    }

    fn hear(&mut self) {
        let notices = std::mem::take(&mut *self.told.notices.lock().unwrap_or_else(PoisonError::into_inner));
        let answers = std::mem::take(&mut *self.told.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for (call, result) in answers {
            self.answered(call, result);
        }
        for notice in notices {
            self.noticed(&notice);
        }
    }

    fn answered(&mut self, call: u64, result: CommitResult) {
        let Some((link, token)) = self.calls.remove(&call) else { return };
        let now = self.now();
        let Some(conn) = self.conns.get_mut(&link) else { return };
        let Some(owner) = &mut conn.owner else { return };
        let mut answer = store_io::answer_of(result, owner);
        if self.bug == Some(Bug::DupNotSet)
            && let Answer::Opened(opened) = &mut answer
        {
            opened.sent = Progress::default();
        }
        conn.session.answer(now, token, answer, &mut conn.out);
        self.work(link);
    }

    fn noticed(&mut self, notices: &Notices) {
        let links: Vec<u64> = self.conns.keys().copied().collect();
        for link in links {
            let Some(conn) = self.conns.get_mut(&link) else { continue };
            let Some(owner) = &conn.owner else { continue };
            let inbox = notices.inboxes.iter().find(|(inbox, _)| *inbox == owner.inbox);
            let queue = notices.queues.iter().find(|(session, _)| *session == owner.session);
            if inbox.is_none() && queue.is_none() {
                continue;
            }
            conn.session.notice(Progress {
                inbox: inbox.map_or(0, |(_, head)| head.0),
                queue: queue.map_or(0, |(_, head)| *head),
            });
            self.work(link);
        }
    }

    /// A device's connection is there.
    pub(super) fn accept(&mut self, link: u64, device: usize) {
        let limits = Limits { receive_max: 8, window_max: 6, ..Limits::default() };
        let session = Session::new(Arc::new(limits), self.now());
        let conn = Conn { device, session, owner: None, input: BytesMut::new(), out: Output::default() };
        self.conns.insert(link, conn);
    }

    /// Bytes arrive.
    pub(super) fn receive(&mut self, link: u64, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.input.extend_from_slice(bytes);
            self.work(link);
        }
    }

    /// The server notices that a connection is gone.
    pub(super) fn lost(&mut self, link: u64) {
        self.end(link, Cause::Lost);
    }

    fn end(&mut self, link: u64, cause: Cause) {
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.session.end(cause, &mut conn.out);
            self.work(link);
        }
        self.sent.remove(&link);
    }

    /// What time brings.
    pub(super) fn tick(&mut self) {
        let now = self.now();
        let links: Vec<u64> = self.conns.keys().copied().collect();
        for link in links {
            if let Some(conn) = self.conns.get_mut(&link)
                && conn.session.deadline(now).is_some_and(|at| at <= now.mono_ms)
            {
                conn.session.timeout(now, &mut conn.out);
            }
            self.work(link);
        }
    }

    /// Does what a connection's machine wants until it wants nothing more.
    fn work(&mut self, link: u64) {
        for _ in 0..ROUNDS_MAX {
            let now = self.now();
            let Some(conn) = self.conns.get_mut(&link) else { return };
            if !conn.input.is_empty() && conn.session.accepts() {
                conn.session.receive(now, &Door, &mut conn.input, &mut conn.out);
            }
            conn.session.flush(now, &mut conn.out);
            self.sent.entry(link).or_default().append(&mut conn.out.bytes);
            if conn.out.actions.is_empty() {
                if conn.session.has_ended() {
                    self.conns.remove(&link);
                    self.closed.push(link);
                }
                return;
            }
            for action in std::mem::take(&mut conn.out.actions) {
                self.act(link, action);
            }
        }
    }

    fn act(&mut self, link: u64, action: Action) {
        match action {
            Action::Submit { token, request } => self.submit(link, token, *request),
            Action::ReadInbox { after, limit } => self.read_inbox(link, after, limit),
            Action::ReadQueue { after, limit } => self.read_queue(link, after, limit),
            Action::Advance(progress) => self.advance(link, progress),
            Action::PublishLive(message) if message.qos == QoS::AtMostOnce => {
                // Everybody here subscribes at QoS 1 or 2, and gets this at QoS 0: nothing is promised of it.
                let live = LiveMessage::Publication { message, subscription_ids: Vec::new(), retain: false };
                for conn in self.conns.values_mut().filter(|conn| conn.owner.is_some()) {
                    conn.session.live(live.clone(), &mut conn.out);
                }
            }
            _ => {}
        }
    }

    fn advance(&mut self, link: u64, progress: Progress) {
        let Some(conn) = self.conns.get(&link) else { return };
        let Some(owner) = &conn.owner else { return };
        self.cursors.push((conn.device, progress.inbox));
        self.stepper.advance(owner.session, store_io::store_progress(progress));
    }

    fn submit(&mut self, link: u64, token: u64, request: Request) {
        let bug = self.bug;
        let now = self.now();
        let Some(conn) = self.conns.get_mut(&link) else { return };
        if let Request::Open { account, user, client, version, .. } = &request {
            let owner = Owner::new(account, user, client, *version);
            let session = owner.session;
            conn.owner = Some(Box::new(owner));
            self.take_over(link, session);
        }
        let Some(conn) = self.conns.get_mut(&link) else { return };
        let Some(owner) = &conn.owner else { return };
        if bug == Some(Bug::PubRelNotStored) && matches!(request, Request::Received(_)) {
            return conn.session.answer(now, token, Answer::Done, &mut conn.out);
        }
        let mut op = store_io::op_of(request, owner);
        let freed = match &mut op {
            Op::PublishOnce(once) => {
                if bug == Some(Bug::TakeoverWithoutFence) {
                    once.connection = u64::MAX;
                }
                (bug == Some(Bug::IdFreedAtPubRec)).then_some(once.packet)
            }
            _ => None,
        };
        let call = self.next_call;
        self.next_call += 1;
        self.calls.insert(call, (link, token));
        if let Some(packet) = freed {
            let (session, connection) = (owner.session, owner.connection);
            self.stepper.submit(op, call, self.told.clone());
            let release = store::PublishReleased { session, connection, packet };
            return self.stepper.submit(Op::PublishReleased(release), 0, self.told.clone());
        }
        self.stepper.submit(op, call, self.told.clone());
    }

    /// Older connections of a session are closed before the newer one opens it (ADR 012).
    fn take_over(&mut self, link: u64, session: SessionKey) {
        let of_session = |conn: &Conn| conn.owner.as_ref().is_some_and(|owner| owner.session == session);
        let older = self.conns.iter().filter(|(other, conn)| **other != link && of_session(conn));
        for other in older.map(|(other, _)| *other).collect::<Vec<_>>() {
            self.marks.taken_over += 1;
            if self.bug != Some(Bug::TakeoverWithoutFence) {
                self.end(other, Cause::TakenOver);
            }
        }
    }

    fn read_inbox(&mut self, link: u64, after: u64, limit: usize) {
        let now = self.now();
        let Some(conn) = self.conns.get_mut(&link) else { return };
        let Some(owner) = &conn.owner else { return };
        let page = match self.stepper.inbox_hot(owner.inbox, Seq(after), limit) {
            Some(page) => Ok(page),
            None => self.stepper.inbox(owner.inbox, Seq(after), limit),
        };
        match page {
            Ok(page) => {
                let last = page.events.last().and_then(|stored| stored.event.seq);
                let (head, events) = store_io::inbox_page(&page);
                conn.session.inbox_page(now, after, head, events, &mut conn.out);
                if self.bug == Some(Bug::CursorAtSend)
                    && let Some(last) = last
                {
                    self.advance(link, Progress { inbox: last.0, queue: 0 });
                }
            }
            Err(_) => conn.session.read_failed(now),
        }
    }

    fn read_queue(&mut self, link: u64, after: u64, limit: usize) {
        let now = self.now();
        let Some(conn) = self.conns.get_mut(&link) else { return };
        let Some(owner) = &conn.owner else { return };
        let page = match self.stepper.queue_hot(owner.session, after, limit) {
            Some(page) => Ok(page),
            None => self.stepper.queue(owner.session, after, limit),
        };
        match page {
            Ok(page) => {
                let (head, messages) = store_io::queue_page(&page);
                conn.session.queue_page(now, after, head, messages, &mut conn.out);
            }
            Err(_) => conn.session.read_failed(now),
        }
    }
}
