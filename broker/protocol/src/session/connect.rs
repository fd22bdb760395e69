//! CONNECT: who is it (O2), open the session, CONNACK.

use schemas::topic::{self, UserTopic, UserTopicKind};
use schemas::{Claims, Encoding, ErrorCode, QoS, Role};

use super::alias::Aliases;
use super::authenticate::{self, FirstStep, Renewal};
use super::command::is_outbox;
use super::pending::Pending;
use super::publish::kept;
use super::replay::Replay;
use super::subscribe::places_of;
use super::timer::Moment;
use super::window::{Inbox, Window};
use super::{Cause, Online, Phase, Session};
use crate::codec::{ConnAck, Encoder};
use crate::io::{
    Action, Admission, Answer, ChangedFilter, Gate, Limits, Now, Opened, Output, Progress, Request, Told,
};
use crate::packet::{Connect, Version, Will};
use crate::reason::{v5, v311, websocket};

/// The token of the request that opens a session; the others count from 0.
pub(super) const OPEN_TOKEN: u64 = u64::MAX;

/// A session that the store is opening.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) encoder: Encoder,
    pub(super) since_ms: u64,
    /// The connection is gone: close the session as soon as it is open.
    pub(super) lost: bool,
    /// What notices have told meanwhile; of messages stored together with the session they come before its answer.
    pub(super) noticed: Progress,
    /// Some were lost.
    pub(super) look_again: bool,
    /// A newer connection has the session: say so as soon as CONNACK is out.
    pub(super) taken_over: bool,
    claims: Claims,
    encoding: Encoding,
    keep_alive_s: u16,
    session_expiry_s: u32,
    receive_max: u16,
    topic_alias_max: u16,
    renewal: Option<Box<Renewal>>,
    ack: ConnAck,
}

impl Session {
    pub(super) fn connect(&mut self, now: Now, gate: &dyn Gate, connect: Connect, out: &mut Output) {
        let encoder = Encoder {
            version: connect.version,
            packet_bytes_max: connect.packet_bytes_max.unwrap_or(u32::MAX),
            problem_info: connect.problem_info,
        };
        let token = match authenticate::first_step(&connect) {
            FirstStep::Token(token) => token,
            FirstStep::Ask => return self.ask_for_token(now, encoder, connect, out),
            FirstStep::UnknownMethod => {
                // [v5:4.12.0-1]
                let (v311, websocket) = (v311::NOT_AUTHORIZED, websocket::TOKEN_BAD);
                let refusal = Refusal { reason: v5::BAD_AUTH_METHOD, v311, websocket, why: None };
                return self.refuse_connect(&encoder, &refusal, out);
            }
        };
        self.admit(now, gate, encoder, connect, &token, out);
    }

    /// Lets a connection in that has brought a token, or refuses it. `[v311:3.1.4-1] [v5:3.1.4-2]`
    pub(super) fn admit(
        &mut self,
        now: Now,
        gate: &dyn Gate,
        encoder: Encoder,
        connect: Connect,
        token: &[u8],
        out: &mut Output,
    ) {
        match admit(now, gate, &connect, token) {
            Ok(admission) => self.open(now, encoder, connect, admission, out),
            Err(refusal) => self.refuse_connect(&encoder, &refusal, out),
        }
    }

    /// `[v311:3.2.2-5] [v5:3.2.2-7]`
    /// `[v311:3.1.3-9] [v5:3.1.3-8] [v311:3.1.4-5] [v5:3.1.4-6]`
    fn refuse_connect(&mut self, encoder: &Encoder, refusal: &Refusal, out: &mut Output) {
        encoder.connack_refused(&mut out.bytes, refusal.reason, Some(refusal.v311), refusal.why);
        self.phase = Phase::Ended;
        out.actions.push(Action::Close { websocket: refusal.websocket });
    }

    fn open(&mut self, now: Now, encoder: Encoder, connect: Connect, admission: Admission, out: &mut Output) {
        let Admission { claims, client, assigned } = admission;
        let limits = &self.limits;
        let expiry_s = connect.session_expiry_s.min(limits.session_expiry_max_s);
        let keep_alive = keep_alive(limits, &connect);
        let ack = ConnAck {
            present: false,
            announces: true,
            // [v5:U28]
            session_expiry_s: (expiry_s != connect.session_expiry_s).then_some(expiry_s),
            receive_max: limits.receive_max,
            packet_bytes_max: u32::try_from(limits.packet_bytes_max).unwrap_or(u32::MAX),
            assigned_client_id: assigned.then(|| client.as_str().to_owned()),
            topic_alias_max: limits.topic_alias_max,
            server_keep_alive_s: (keep_alive != connect.keep_alive_s).then_some(keep_alive),
            auth_method: connect.auth_method.is_some().then_some(authenticate::METHOD),
        };
        let enhanced = connect.auth_method.is_some();
        let renewal = enhanced.then(|| Box::new(Renewal::of(client.clone())));
        let request = Request::Open {
            account: claims.account.clone(),
            user: claims.user.clone(),
            client,
            agent: claims.role == Role::Agent,
            clean: connect.clean,
            expiry_s,
            will: connect.will.and_then(|will| stored_will(*will, out)),
            version: connect.version,
        };
        self.phase = Phase::Opening(Box::new(Opening {
            encoder,
            since_ms: now.mono_ms,
            lost: false,
            noticed: Progress::default(),
            look_again: false,
            taken_over: false,
            claims,
            encoding: connect.encoding,
            keep_alive_s: keep_alive,
            session_expiry_s: expiry_s,
            receive_max: connect.receive_max,
            topic_alias_max: connect.topic_alias_max,
            renewal,
            ack,
        }));
        out.actions.push(Action::Submit { token: OPEN_TOKEN, request: Box::new(request) });
    }

    pub(super) fn opened(&mut self, now: Now, answer: Answer, out: &mut Output) {
        let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        let Answer::Opened(opened) = answer else {
            if !opening.lost {
                refuse_unavailable(&opening.encoder, out);
            }
            return;
        };
        if opening.lost {
            let close =
                Request::Close { expiry_s: None, will: false, sent: opened.sent, acked_ahead: Vec::new() };
            out.actions.push(Action::Submit { token: 0, request: Box::new(close) });
            return;
        }
        // [v311:3.2.0-1] [v5:3.2.0-1] [v311:3.2.2-2] [v5:3.2.2-3]: first of all, and true about the session.
        // [v311:3.1.4-4] [v5:3.1.4-5] [v5:3.2.0-2] [v311:3.2.2-3]
        let mut ack = ConnAck { present: opened.present, ..opening.ack.clone() };
        // [v5:3.1.2-24]
        if !opening.encoder.connack(&mut out.bytes, &ack) {
            ack.announces = false;
            if !opening.encoder.connack(&mut out.bytes, &ack) {
                return refuse_too_small(&opening.encoder, &opened, out);
            }
        }
        out.actions.push(Action::Online);
        let (taken_over, noticed, look_again) = (opening.taken_over, opening.noticed, opening.look_again);
        let mut online = Box::new(go_online(&self.limits, now, *opening, &opened));
        online.announced &= ack.announces;
        online.restore(&opened, out);
        if !opened.subscriptions.is_empty() {
            out.actions.push(Action::Listen(opened.subscriptions.clone()));
            let changed = |subscription| ChangedFilter { subscription, existed: true };
            out.actions.push(Action::Subscribed(opened.subscriptions.into_iter().map(changed).collect()));
        }
        self.phase = Phase::Online(online);
        self.notice(noticed);
        if look_again {
            self.look_again();
        }
        if taken_over {
            self.end(Cause::TakenOver, out);
        }
    }
}

/// Not even the shortest CONNACK fits the client.
fn refuse_too_small(encoder: &Encoder, opened: &Opened, out: &mut Output) {
    encoder.connack_refused(&mut out.bytes, v5::TOO_LARGE, None, None);
    let close = Request::Close { expiry_s: None, will: false, sent: opened.sent, acked_ahead: Vec::new() };
    out.actions.push(Action::Submit { token: 0, request: Box::new(close) });
    out.actions.push(Action::Close { websocket: websocket::PROTOCOL });
}

/// CONNACK for a store that does not answer.
pub(super) fn refuse_unavailable(encoder: &Encoder, out: &mut Output) {
    let why = Some(ErrorCode::StoreUnavailable.as_str());
    encoder.connack_refused(&mut out.bytes, v5::UNAVAILABLE, Some(v311::UNAVAILABLE), why);
    out.actions.push(Action::Close { websocket: websocket::UNAVAILABLE });
}

fn go_online(limits: &Limits, now: Now, opening: Opening, opened: &Opened) -> Online {
    let mut online = Online {
        close_on_refusal: limits.refused_publish_311_closes && opening.encoder.version == Version::V311,
        announced: opening.encoder.version == Version::V5,
        encoder: opening.encoder,
        encoding: opening.encoding,
        claims: opening.claims,
        keep_alive_s: opening.keep_alive_s,
        last_packet_ms: now.mono_ms,
        session_expiry_s: opening.session_expiry_s,
        renewal: opening.renewal,
        pending: Pending::default(),
        receiving: None,
        aliases: Aliases::new(opening.topic_alias_max),
        subscriptions: opened.subscriptions.iter().map(|known| places_of(&known.filter)).sum(),
        signals: None,
        statuses: None,
        inbox: Inbox::new(opened.sent.inbox),
        queue: Window::at(opened.queue_acked, opened.sent.queue),
        replay: Replay::None,
        settling: false,
        held: None,
        leaving: None,
        missed: 0,
        window_max: opening.receive_max.min(limits.window_max),
        queue_first: false,
        reported_ms: Moment::NONE,
        read_failed_ms: Moment::NONE,
        read_retry_ms: Moment::NONE,
        catching_up_ms: Moment::NONE,
        opened_us: now.wall_us,
    };
    // A session that never subscribed to a general topic has no queue to look into. What is in it comes also after
    // UNSUBSCRIBE. [v311:3.10.4-3] [v5:3.10.4-3]
    if opened.replay {
        online.want_replay();
    }
    let reads_queue = opened.replay
        || opened.queue_head > opened.queue_acked
        || opened.subscriptions.iter().any(|s| is_queued(&s.filter, s.qos));
    online.queue.set_wanted(reads_queue);
    // The store has just said how far it goes, and every notice since then comes to this connection: an empty queue need
    // not be read to know that.
    online.queue.unknown = opened.queue_head > opened.queue_acked;
    for subscription in &opened.subscriptions {
        online.follow(subscription);
        let inbox = UserTopic::parse(&subscription.filter).is_some_and(|t| t.kind == UserTopicKind::Inbox);
        if let (true, Some(cursor)) = (inbox, opened.inbox) {
            online.inbox.resume(subscription, cursor, opened.sent.inbox);
        }
    }
    online
}

/// Does a subscription put messages into the session's queue?
pub(super) fn is_queued(filter: &str, qos: QoS) -> bool {
    // What a shared subscription gets is always stored first, because the store says who gets it.
    topic::split_share(filter).is_some() || (qos != QoS::AtMostOnce && !topic::is_reserved(filter))
}

impl Online {
    /// What was sent so far of the two sources.
    pub(super) fn progress(&self) -> Progress {
        Progress { inbox: self.inbox.window.sent(), queue: self.queue.sent() }
    }
}

/// A CONNECT refused.
struct Refusal {
    reason: u8,
    v311: u8,
    websocket: u16,
    why: Option<&'static str>,
}

impl Refusal {
    /// The contract's table of refusals.
    const fn of(code: ErrorCode) -> Self {
        let (v311, websocket) = match code {
            ErrorCode::TokenMissing => (v311::NOT_AUTHORIZED, websocket::TOKEN_MISSING),
            ErrorCode::AccountBlocked | ErrorCode::UserBlocked => (v311::NOT_AUTHORIZED, websocket::BLOCKED),
            ErrorCode::ClientIdMismatch => (v311::CLIENT_ID, websocket::TOKEN_BAD),
            ErrorCode::StoreUnavailable | ErrorCode::QuotaExceeded => {
                (v311::UNAVAILABLE, websocket::UNAVAILABLE)
            }
            _ => (v311::NOT_AUTHORIZED, websocket::TOKEN_BAD),
        };
        let reason = match code {
            // A full server is busy; a quota (0x97) is about what one client does.
            ErrorCode::QuotaExceeded => v5::BUSY,
            _ => code.mqtt(),
        };
        Self { reason, v311, websocket, why: Some(code.as_str()) }
    }
}

fn admit(now: Now, gate: &dyn Gate, connect: &Connect, token: &[u8]) -> Result<Admission, Refusal> {
    let admission =
        gate.admit(token, &connect.client_id, now).map_err(|refused| Refusal::of(refused.code))?;
    if let Some(will) = &connect.will {
        check_will(gate, &admission.claims, will)?;
    }
    Ok(admission)
}

fn check_will(gate: &dyn Gate, claims: &Claims, will: &Will) -> Result<(), Refusal> {
    let message = &will.message;
    gate.publish(claims, &message.topic, message.qos, message.retain)
        .map_err(|_| Refusal { websocket: websocket::TOKEN_BAD, ..Refusal::of(ErrorCode::AclDenied) })
}

/// A will as it is stored. One to the outbox at QoS 0 could only be typing, which is over when the connection is.
fn stored_will(will: Will, out: &mut Output) -> Option<Box<Will>> {
    if is_outbox(&will.message.topic) && will.message.qos == QoS::AtMostOnce {
        Online::tell(out, Told::DroppedWill);
        return None;
    }
    Some(Box::new(Will { message: kept(will.message), ..will }))
}

/// The keep alive in force, in seconds. 3.1.1 cannot be told another one.
/// `[v5:3.2.2-21] [v5:3.2.2-22]`
fn keep_alive(limits: &Limits, connect: &Connect) -> u16 {
    let most = limits.keep_alive_max_s;
    let longer = connect.keep_alive_s == 0 || connect.keep_alive_s > most;
    // [v5:3.1.2-21]
    if connect.version == Version::V5 && most > 0 && longer { most } else { connect.keep_alive_s }
}
