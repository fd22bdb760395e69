//! The server: an owner of the store driven step by step, and the parts around it that the store's contract speaks
//! of: connections (I6–I8), the sender (O5–O7), the worker of journaled webhooks (I3).
//!
//! Model clients of the contract, not the production shells: `tests/flow` and `tests/crash` run those.
//! Not here: when something happens (`world`), what chance decides about the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use schemas::invariant::InvariantId;
use schemas::{MessageId, Seq};
use store::stepper::{Phase, Stepper};
use store::{CommitError, CommitListener, CommitResult, CommitSink, Notices, Op, Outcome, SessionKey};

use crate::devices::Connect;
use crate::history::{Answer, Call, Entry};
use crate::world::{Happening, World};

/// The writer flushes cursors after at most this long, as production does.
const CURSOR_FLUSH_MS: u64 = 200;
/// A request finds an owner that was taken over, while there is one, with this probability.
const STALE_ROUTE: f64 = 0.3;
/// Most ops of a group here: small, so that there are many groups.
const GROUP_OPS_MAX: u64 = 12;

/// What an answer is for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    Command { agent: usize, number: usize },
    Webhook { webhook: usize },
    Apply,
    Open(Connect),
    Subscribe { connect: Connect, session: SessionKey, connection: u64, dup_to: u64 },
    Close,
    SendStart(MessageId),
    SendEnd(MessageId),
}

/// Notes what the store tells; the world looks after each step.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) answers: Mutex<Vec<(u64, CommitResult)>>,
    pub(crate) notices: Mutex<Vec<Notices>>,
}

impl CommitSink for Told {
    fn done(&self, token: u64, result: CommitResult) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((token, result));
    }
}

impl CommitListener for Told {
    fn committed(&self, notices: &Notices) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notices.clone());
    }
}

/// The server's side of a connection.
pub(crate) struct Conn {
    pub(crate) device: usize,
    pub(crate) session: SessionKey,
    /// The store's number of it.
    pub(crate) connection: u64,
    /// Everything up to here is acknowledged.
    pub(crate) acked: u64,
    pub(crate) sent: u64,
    /// Events up to here may have been sent by an earlier connection.
    pub(crate) dup_to: u64,
    /// Receive window.
    pub(crate) window: u64,
    /// Acknowledged above `acked`.
    pub(crate) early: BTreeSet<u64>,
    /// When the newest event arrives at the device: a connection keeps the order.
    pub(crate) last_arrival: u64,
}

/// How far the sender is with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    Starting,
    Posting,
    Ending,
    /// Unknown, to be released when time is up.
    Held,
}

/// A process that owns, or believes to own, the store.
pub(crate) struct Node {
    pub(crate) life: u64,
    pub(crate) stepper: Stepper,
    pub(crate) told: Arc<Told>,
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) sends: BTreeMap<MessageId, Sending>,
    /// Is a part of a journaled webhook being applied?
    pub(crate) applying: bool,
    /// A process that is held up (that is how it loses its lease) takes no step before this time.
    pub(crate) held_up_until: u64,
    /// When the next step is due.
    turn_at: Option<u64>,
}

impl Node {
    pub(crate) fn new(life: u64, mut stepper: Stepper) -> Self {
        let told = Arc::new(Told::default());
        stepper.listen(told.clone());
        Self {
            life,
            stepper,
            told,
            conns: BTreeMap::new(),
            sends: BTreeMap::new(),
            applying: false,
            held_up_until: 0,
            turn_at: None,
        }
    }
}

impl World {
    /// Hands an op to the present owner; without one the request is lost. What comes over the network may still find
    /// an owner that does not know that it is none.
    pub(crate) fn submit(&mut self, call: Call, op: Op, purpose: Purpose) {
        let stale = self.rng.chance(STALE_ROUTE);
        let from_outside = matches!(purpose, Purpose::Command { .. } | Purpose::Webhook { .. });
        let old = self.zombies.last_mut().filter(|_| stale && from_outside);
        let Some(node) = old.or(self.node.as_mut()) else { return };
        let token = self.next_call;
        self.next_call += 1;
        self.calls.insert(token, (node.life, purpose));
        node.stepper.submit(op, token, node.told.clone());
        let life = node.life;
        self.history(Entry::Call(token, call));
        self.turn_is_due(life);
    }

    /// Sees to it that the owner of that life takes its next step.
    pub(crate) fn turn_is_due(&mut self, life: u64) {
        let delay = self.delay();
        let flush = self.rng.below(CURSOR_FLUSH_MS);
        let now = self.now;
        let Some(node) = self.owner(life) else { return };
        let (ops, cursors) = node.stepper.waiting();
        let at_work = matches!(node.stepper.phase(), Phase::Planned | Phase::Written);
        if !at_work && ops == 0 && cursors == 0 {
            return;
        }
        // A cursor alone waits for a commit to ride on.
        let at = now + if at_work || ops > 0 { delay } else { flush };
        if node.turn_at.is_none_or(|due| at < due) {
            node.turn_at = Some(at);
            self.at(at, Happening::Turn(life));
        }
    }

    /// The present owner or one that was taken over and does not know it.
    fn owner(&mut self, life: u64) -> Option<&mut Node> {
        self.node.iter_mut().chain(&mut self.zombies).find(|node| node.life == life)
    }

    /// One step of an owner.
    pub(crate) fn turn(&mut self, life: u64) {
        let now = self.clock();
        let most = usize::try_from(1 + self.rng.below(GROUP_OPS_MAX)).unwrap_or(1);
        let fail = self.rng.chance(self.weather.write_failure);
        let at = self.now;
        let Some(node) = self.owner(life) else { return };
        let until = node.held_up_until;
        if at < until {
            return self.at(until, Happening::Turn(life));
        }
        node.turn_at = None;
        let entry = match node.stepper.phase() {
            // A later turn that an earlier one made needless.
            Phase::Idle if node.stepper.waiting() == (0, 0) => None,
            Phase::Idle => Some(Entry::Planned(node.stepper.plan(now, most))),
            Phase::Planned => Some(match node.stepper.write(fail) {
                Ok(synced) => Entry::Written(synced),
                Err(_) => Entry::WriteFailed,
            }),
            Phase::Written => {
                node.stepper.tell();
                None
            }
            Phase::Ended => None,
        };
        let ended = node.stepper.phase() == Phase::Ended;
        // The rows of a stale owner's cursors are not those of the present one: the checker hears of one only.
        if let Some(entry) = entry
            && self.is_present(life)
        {
            self.marks.failed_writes += u64::from(matches!(entry, Entry::WriteFailed));
            self.history(entry);
        }
        self.hear(life);
        if !ended {
            self.turn_is_due(life);
            let idle = |node: &Node| node.stepper.phase() == Phase::Idle && node.stepper.waiting() == (0, 0);
            self.zombies.retain(|zombie| !idle(zombie));
        } else if self.is_present(life) {
            // As production: the process ends, and a restart reads what is.
            self.crash();
        } else {
            self.marks.fenced += 1;
            self.zombies.retain(|zombie| zombie.life != life);
        }
    }

    fn is_present(&self, life: u64) -> bool {
        self.node.as_ref().is_some_and(|node| node.life == life)
    }

    /// Takes what the store told since the last step.
    fn hear(&mut self, life: u64) {
        let Some(node) = self.owner(life) else { return };
        let told = node.told.clone();
        let notices = std::mem::take(&mut *told.notices.lock().unwrap_or_else(PoisonError::into_inner));
        let answers = std::mem::take(&mut *told.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for (token, result) in answers {
            self.answered(token, result);
        }
        if !self.is_present(life) {
            return;
        }
        for notice in notices {
            for (inbox, _) in notice.inboxes {
                if !self.rng.chance(self.weather.notice_loss) {
                    self.on_the_way(Happening::Wake(inbox));
                }
            }
            if !notice.sends.is_empty() && !self.rng.chance(self.weather.notice_loss) {
                self.on_the_way(Happening::SenderLooks(life));
            }
        }
    }

    /// The store answered a call.
    fn answered(&mut self, token: u64, result: CommitResult) {
        let Some((life, purpose)) = self.calls.remove(&token) else { return };
        let answer = answer_of(&result);
        self.history(Entry::Answer(token, answer.clone()));
        let present = self.is_present(life);
        match purpose {
            Purpose::Command { agent, number } => {
                if self.rng.chance(self.weather.loss) {
                    self.history(Entry::Lost(token));
                } else {
                    self.on_the_way(Happening::CommandReply { agent, number, answer });
                }
            }
            Purpose::Webhook { webhook } => {
                if present && let Ok(Outcome::Journaled(_)) = result {
                    self.marks.journaled += 1;
                    self.on_the_way(Happening::WorkerLooks(life));
                }
                if let Ok(Outcome::Webhook(done)) = &result {
                    self.marks.parked += u64::from(done.parked);
                    self.marks.repeated_updates += u64::from(done.repeated);
                }
                if self.rng.chance(self.weather.loss) {
                    self.history(Entry::Lost(token));
                } else {
                    self.on_the_way(Happening::WebhookReply { webhook, answer });
                }
            }
            _ if !present => {}
            Purpose::Apply => self.applied(),
            Purpose::Open(connect) => self.session_opened(connect, result),
            Purpose::Subscribe { connect, session, connection, dup_to } => {
                self.subscribed(connect, session, connection, dup_to, result);
            }
            Purpose::Close => {}
            Purpose::SendStart(message) => self.send_started(message, result),
            Purpose::SendEnd(message) => self.send_ended(message),
        }
    }

    /// The inbox of a user is at a new number: his connections read on (I6).
    pub(crate) fn wake(&mut self, inbox: store::InboxKey) {
        let links: Vec<u64> = match &self.node {
            Some(node) => node.conns.keys().copied().collect(),
            None => return,
        };
        for link in links {
            let device = self.node.as_ref().and_then(|node| node.conns.get(&link)).map(|conn| conn.device);
            if device.is_some_and(|device| self.inbox_of(device) == inbox) {
                self.pump(link);
            }
        }
    }

    /// Everybody looks, as after a lost notice somebody must some day.
    pub(crate) fn wake_all(&mut self) {
        let Some(node) = &self.node else { return };
        let life = node.life;
        let links: Vec<u64> = node.conns.keys().copied().collect();
        for link in links {
            self.pump(link);
        }
        self.sender_looks(life);
        self.worker_looks(life);
    }

    /// I6, I7. Reads on after what was sent, within the window.
    pub(crate) fn pump(&mut self, link: u64) {
        let hot = self.rng.chance(0.5);
        let bug = self.config.bug;
        let Some(node) = &mut self.node else { return };
        let Some(conn) = node.conns.get_mut(&link) else { return };
        // What is acknowledged early still holds its place in the window.
        let room = (conn.acked + conn.window).saturating_sub(conn.sent);
        if room == 0 {
            return;
        }
        let inbox = self.devices[conn.device].inbox;
        let (after, limit) = (Seq(conn.sent), usize::try_from(room).unwrap_or(1));
        let page = match hot.then(|| node.stepper.inbox_hot(inbox, after, limit)).flatten() {
            Some(page) => page,
            None => match node.stepper.inbox(inbox, after, limit) {
                Ok(page) => page,
                Err(error) => {
                    let why = format!("inbox of device{} cannot be read: {error}", conn.device);
                    return self.history(Entry::Verify(InvariantId::P1, why));
                }
            },
        };
        let (device, session, dup_to) = (conn.device, conn.session, conn.dup_to);
        for stored in page.events {
            let seq = stored.event.seq.unwrap_or_default().0;
            let delay = self.delay();
            let Some(conn) = self.node.as_mut().and_then(|node| node.conns.get_mut(&link)) else { return };
            conn.sent = conn.sent.max(seq);
            conn.last_arrival = conn.last_arrival.max(self.now + delay);
            let at = conn.last_arrival;
            let dup = seq <= dup_to;
            self.at(at, Happening::Delivered { device, link, dup, stored });
            if bug == Some(crate::Bug::CursorAtSend) {
                self.move_cursor(device, session, seq);
            }
        }
    }

    /// I8. A PUBACK arrives: the cursor follows the lowest that is missing.
    pub(crate) fn ack_arrives(&mut self, link: u64, seq: u64) {
        if self.cut_links.contains(&link) {
            return;
        }
        let Some(conn) = self.node.as_mut().and_then(|node| node.conns.get_mut(&link)) else { return };
        if seq > conn.acked {
            conn.early.insert(seq);
        }
        let before = conn.acked;
        while conn.early.remove(&(conn.acked + 1)) {
            conn.acked += 1;
        }
        let (device, session, acked) = (conn.device, conn.session, conn.acked);
        if acked > before {
            self.move_cursor(device, session, acked);
            self.pump(link);
        }
    }

    fn move_cursor(&mut self, device: usize, session: SessionKey, seq: u64) {
        let Some(node) = &mut self.node else { return };
        node.stepper.advance(session, store::Progress { inbox: Seq(seq), queue: 0 });
        let life = node.life;
        self.history(Entry::Cursor(crate::history::DeviceId(device), seq));
        self.turn_is_due(life);
    }
}

fn answer_of(result: &CommitResult) -> Answer {
    match result {
        Ok(Outcome::Command(done)) => {
            Answer::Command { message: done.message.as_ref().map(|m| m.id), repeated: done.repeated }
        }
        Ok(Outcome::Refused(refusal)) => Answer::Refused(refusal.code),
        Ok(Outcome::SendStarted(send)) => Answer::Started(send.is_some()),
        Ok(_) => Answer::Done,
        Err(CommitError::Unknown(_)) => Answer::Unknown,
        Err(_) => Answer::NotDone,
    }
}
