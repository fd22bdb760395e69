//! One connection's machine. `connect` opens it, `publish` (O1, O4) takes messages, `subscribe` filters, `deliver` (I7)
//! sends what is numbered, `live` what is not, `acknowledge` (I8) hears what of it arrived, `timer` and `close` end it.
//!
//! ```text
//!  Fresh ──CONNECT─(Asked)─▶ Opening ──session stored──▶ Online ──▶ Ended
//!    └────────────────────┴──refused, lost, late───────────▲
//! ```
//! Not here: bytes (`codec`), sockets and the store (`broker`).

mod acknowledge;
mod alias;
mod authenticate;
mod close;
mod command;
mod connect;
mod deliver;
mod live;
mod pending;
mod publish;
mod replay;
mod subscribe;
mod timer;
mod window;

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::BytesMut;
use schemas::{Claims, Encoding};

use crate::codec::{self, Encoder, Frame, Opening as FirstPacket, PacketError, decode};
use crate::io::{Action, Answer, Gate, Limits, LiveMessage, Now, Output, Told};
use crate::packet::{Incoming, Version};
use crate::reason::{v5, v311, websocket};

use alias::Aliases;
use authenticate::{Asked, Renewal};
pub use close::Cause;
use close::Leaving;
use connect::Opening;
use pending::{Pending, Waiting};
use replay::Replay;
use timer::Moment;
use window::{Inbox, Statuses, Window};

/// One connection.
#[derive(Debug)]
pub struct Session {
    limits: Arc<Limits>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// No CONNECT yet.
    Fresh { since_ms: u64 },
    /// The token of enhanced authentication was asked for.
    Asked(Box<Asked>),
    /// The store opens the session.
    Opening(Box<Opening>),
    /// CONNACK is out.
    Online(Box<Online>),
    /// Over; nothing more comes out.
    Ended,
}

/// What an open session knows.
#[derive(Debug)]
struct Online {
    encoder: Encoder,
    /// CONNACK told our limits, so that breaking them is an error.
    announced: bool,
    /// A refused publish ends the connection: 3.1.1 has no other way to say no.
    close_on_refusal: bool,
    /// Encoding of inbox events.
    encoding: Encoding,
    claims: Claims,
    /// 0 = none.
    keep_alive_s: u16,
    last_packet_ms: u64,
    /// What CONNECT said, shortened by our limit; DISCONNECT may not raise it from 0.
    session_expiry_s: u32,
    /// It authenticated by the method `JWT`.
    renewal: Option<Box<Renewal>>,
    /// Requests that the store has not answered, and the acknowledgements behind them.
    pending: Pending,
    /// Packet identifiers of publishes at QoS 2 that PUBCOMP has not ended, of an MQTT 5 client: they count against its
    /// Receive Maximum.
    receiving: Option<Box<Receiving>>,
    /// From the first that the client gave, or may be given.
    aliases: Option<Box<Aliases>>,
    /// Places that its subscriptions take, for the limit.
    subscriptions: u32,
    /// The user's own signals are subscribed, with this subscription identifier.
    signals: Option<Option<u32>>,
    /// From the first that it follows.
    statuses: Option<Box<Statuses>>,
    inbox: Inbox,
    queue: Window,
    /// Retained messages that its subscriptions have not got.
    replay: Replay,
    /// What is retained for a new subscription stands in the queue and was not read to its end.
    settling: bool,
    /// Live messages that wait for SUBACK, and for what was retained before them.
    held: Option<Box<Held>>,
    /// The client has said good-bye, and waits for the answers to what it sent before.
    leaving: Option<Box<Leaving>>,
    /// Messages of the queue that are gone and not announced yet.
    missed: u64,
    /// Deliveries in flight that the client takes, or we allow.
    window_max: u16,
    /// Which of the two sources was asked first the last time: they take turns.
    queue_first: bool,
    /// When a refused topic was last reported in the inbox.
    reported_ms: Moment,
    /// Since when reading the store fails.
    read_failed_ms: Moment,
    /// When it is tried again; none once it is.
    read_retry_ms: Moment,
    /// Since when a backlog is worked off.
    catching_up_ms: Moment,
    opened_us: u64,
}

#[derive(Debug, Default)]
struct Held(Vec<LiveMessage>);

#[derive(Debug, Default)]
struct Receiving(Vec<NonZeroU16>);

impl Session {
    /// A connection that has just been made.
    #[must_use]
    pub fn new(limits: Arc<Limits>, now: Now) -> Self {
        Self { limits, phase: Phase::Fresh { since_ms: now.mono_ms } }
    }

    /// The version, once it is known.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match &self.phase {
            Phase::Fresh { .. } | Phase::Ended => None,
            Phase::Asked(asked) => Some(asked.encoder.version),
            Phase::Opening(opening) => Some(opening.encoder.version),
            Phase::Online(online) => Some(online.encoder.version),
        }
    }

    /// Is CONNACK out and the connection not over?
    #[must_use]
    pub const fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online(_))
    }

    /// Is it over, with nothing left to wait for?
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Numbered events and messages that wait for the client or for its acknowledgement.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        match &self.phase {
            Phase::Online(online) => online.inbox.backlog() + online.queue.backlog(),
            _ => 0,
        }
    }

    /// May more bytes be handed in? While not, the socket is not to be read: back-pressure, not memory (P8).
    #[must_use]
    pub fn accepts(&self) -> bool {
        match &self.phase {
            Phase::Fresh { .. } | Phase::Asked(_) => true,
            Phase::Online(online) => {
                online.leaving.is_none() && online.pending.accepts(online.announced, self.limits.receive_max)
            }
            Phase::Opening(_) | Phase::Ended => false,
        }
    }

    /// Takes all whole packets off the front of `input`, as long as it accepts any. What is left is the start of a
    /// packet, or waits until [`Session::accepts`] again.
    pub fn receive(&mut self, now: Now, gate: &dyn Gate, input: &mut BytesMut, out: &mut Output) {
        while self.accepts() && !input.is_empty() {
            let (limit, version) = match &self.phase {
                Phase::Fresh { .. } => (self.limits.connect_bytes_max, None),
                Phase::Asked(_) => (self.limits.connect_bytes_max, self.version()),
                _ => (self.limits.packet_bytes_max, self.version()),
            };
            match codec::frame(input, version, limit) {
                Ok(Frame::Incomplete) => {
                    // A first byte that is no CONNECT shall not have to wait for its end.
                    if version.is_none() && input[0] != 0x10 {
                        self.end(Cause::Foreign, out);
                    }
                    return;
                }
                Ok(Frame::Complete { header, total }) => {
                    let frame = input.split_to(total);
                    self.frame(now, gate, frame, header, out);
                }
                Err(error) => return self.bad_frame(input, error, out),
            }
        }
    }

    /// A length that is wrong or too large. Of a CONNECT with room for it, the answer can say so.
    fn bad_frame(&mut self, input: &[u8], error: PacketError, out: &mut Output) {
        let fresh = matches!(self.phase, Phase::Fresh { .. });
        match codec::opening_of_part(input) {
            Some(version) if fresh => self.bad_connect(version, error, out),
            _ => self.end(Cause::Packet(error), out),
        }
    }

    fn frame(&mut self, now: Now, gate: &dyn Gate, frame: BytesMut, header: usize, out: &mut Output) {
        let version = match self.version() {
            Some(version) => version,
            None => match codec::opening(&frame, header) {
                FirstPacket::Version(version) => version,
                FirstPacket::Unsupported { answer } => return self.unsupported(answer, out),
                FirstPacket::Foreign(_) => return self.end(Cause::Foreign, out),
            },
        };
        match decode::decode(version, frame, header) {
            Ok(packet) => self.packet(now, gate, packet, out),
            Err(error) if self.is_online() => self.end(Cause::Packet(error), out),
            Err(error) => self.bad_connect(version, error, out),
        }
    }

    /// A decoded packet.
    pub fn packet(&mut self, now: Now, gate: &dyn Gate, packet: Incoming, out: &mut Output) {
        let limits = Arc::clone(&self.limits);
        let online = match &mut self.phase {
            Phase::Fresh { .. } => {
                return match packet {
                    Incoming::Connect(connect) => self.connect(now, gate, *connect, out),
                    // [v311:3.1.0-1] [v5:3.1.0-1]
                    _ => self.end(Cause::Foreign, out),
                };
            }
            Phase::Asked(_) => return self.answered(now, gate, packet, out),
            Phase::Online(online) => online,
            Phase::Opening(_) | Phase::Ended => return,
        };
        online.last_packet_ms = now.mono_ms;
        let result = match packet {
            // [v311:3.1.0-2] [v5:3.1.0-2]
            Incoming::Connect(_) => Err(Cause::protocol("v5:3.1.0-2", "a second CONNECT")),
            Incoming::Publish(publish) => online.publish(&limits, now, gate, *publish, out),
            Incoming::PubAck(id) => {
                online.acknowledge(now, id, out);
                Ok(())
            }
            Incoming::PubRec { id, reason } => {
                online.receive(now, id, reason, out);
                Ok(())
            }
            Incoming::PubRel(id) => {
                online.released(now, id, out);
                Ok(())
            }
            Incoming::PubComp(id) => {
                online.complete(id, out);
                Ok(())
            }
            Incoming::Subscribe(subscribe) => online.subscribe(&limits, now, gate, *subscribe, out),
            Incoming::Unsubscribe { id, filters } => {
                online.unsubscribe(now, id, filters, out);
                Ok(())
            }
            Incoming::PingReq => online.ping(now, out),
            Incoming::Disconnect { reason, expiry_s } => online.goodbye(reason, expiry_s),
            Incoming::Auth(auth) => online.renew(now, gate, *auth, out),
        };
        if let Err(cause) = result {
            self.end(cause, out);
        }
    }

    /// The answer to a request.
    pub fn answer(&mut self, now: Now, token: u64, answer: Answer, out: &mut Output) {
        match &mut self.phase {
            Phase::Opening(_) if token == connect::OPEN_TOKEN => self.opened(now, answer, out),
            Phase::Online(online) if token == replay::REPLAY_TOKEN => online.replayed(now, &answer),
            Phase::Online(online) => {
                online.pending.answer(token, answer);
                let settled = online.settle(now, out);
                let done = online.leaving.is_some() && online.pending.is_empty();
                match settled {
                    Err(cause) => self.end(cause, out),
                    Ok(()) if done => self.end(Cause::Lost, out),
                    Ok(()) => {}
                }
            }
            _ => {}
        }
    }

    /// Does what has become possible: asks for events and messages, moves cursors. To be called once after everything
    /// that came in at one time, and again after pages it asked for were handed in.
    pub fn flush(&mut self, now: Now, out: &mut Output) {
        if let Phase::Online(online) = &mut self.phase {
            online.flush(now, &self.limits, out);
        }
    }

    fn unsupported(&mut self, answer: Version, out: &mut Output) {
        let encoder = Encoder { version: answer, packet_bytes_max: u32::MAX, problem_info: true };
        encoder.connack_refused(&mut out.bytes, v5::UNSUPPORTED_VERSION, Some(v311::VERSION), None);
        self.phase = Phase::Ended;
        out.actions.push(Action::Close { websocket: websocket::PROTOCOL });
    }

    /// A CONNECT that breaks a rule. `[v311:3.1.4-1]`: 3.1.1 gets no CONNACK, but for a refused client id.
    fn bad_connect(&mut self, version: Version, error: PacketError, out: &mut Output) {
        let encoder = Encoder { version, packet_bytes_max: u32::MAX, problem_info: true };
        let code = (error.reason == v5::CLIENT_ID).then_some(v311::CLIENT_ID);
        encoder.connack_refused(&mut out.bytes, error.reason, code, None);
        self.phase = Phase::Ended;
        out.actions.push(Action::Close { websocket: websocket::PROTOCOL });
    }
}

impl Online {
    /// In the order of its packet: a client that asks whether we are there may want to know whether all before is done.
    fn ping(&mut self, now: Now, out: &mut Output) -> Result<(), Cause> {
        self.pending.push_answered(now.mono_ms, Waiting::Ping, Answer::Done);
        self.settle(now, out)
    }

    fn tell(out: &mut Output, told: Told) {
        out.actions.push(Action::Told(told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an open session is made of, in bytes: there are as many as devices (P8). What few connections have, or have
    /// for a moment, stands in a box of its own.
    #[test]
    fn p8_an_open_session_is_small() {
        assert!(size_of::<Online>() <= 512, "{} bytes", size_of::<Online>());
    }
}
