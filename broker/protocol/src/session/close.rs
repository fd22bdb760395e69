//! The ends of a connection: what the client is told, what is stored, the will.
//!
//! The table of refusals of the contract (section 5) for connections that were open stands here.

use schemas::ErrorCode;

use super::{Online, Phase, Session};
use crate::codec::PacketError;
use crate::io::{Action, Output, Request};
use crate::reason::{v5, websocket};

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// DISCONNECT from the client: with its will or without, with a new session expiry or without.
    Disconnected {
        /// Is the will to be published?
        will: bool,
        /// New session expiry interval.
        expiry_s: Option<u32>,
    },
    /// The socket closed or broke.
    Lost,
    /// Not MQTT, or no CONNECT in time: closed without a word.
    Foreign,
    /// A packet that breaks a rule.
    Packet(PacketError),
    /// Nothing came for one and a half times the keep alive.
    KeepAlive,
    /// The token's time is over.
    TokenExpired,
    /// The token was revoked.
    TokenRevoked,
    /// A renewed token was refused.
    Refused(ErrorCode),
    /// Another connection has the session now.
    TakenOver,
    /// Nothing could be stored or read for too long.
    StoreDown,
    /// The server stops.
    Stopping,
}

impl Cause {
    pub(super) const fn error(reason: u8, clause: &'static str, what: &'static str) -> Self {
        Self::Packet(PacketError::new(reason, clause, what))
    }

    pub(super) const fn protocol(clause: &'static str, what: &'static str) -> Self {
        Self::Packet(PacketError::protocol(clause, what))
    }

    /// MQTT 5 reason code, reason string, WebSocket close code; no reason code where nothing is sent.
    const fn told(self) -> (Option<u8>, Option<&'static str>, u16) {
        match self {
            Self::Disconnected { .. } | Self::Lost => (None, None, websocket::NORMAL),
            Self::Foreign => (None, None, websocket::PROTOCOL),
            Self::Packet(error) => (Some(error.reason), Some(error.what), websocket::PROTOCOL),
            Self::KeepAlive => (Some(v5::KEEP_ALIVE), None, websocket::PROTOCOL),
            Self::TokenExpired => {
                (Some(v5::NOT_AUTHORIZED), Some(ErrorCode::TokenExpired.as_str()), websocket::TOKEN_BAD)
            }
            Self::TokenRevoked => {
                (Some(v5::NOT_AUTHORIZED), Some(ErrorCode::TokenRevoked.as_str()), websocket::TOKEN_BAD)
            }
            Self::Refused(code) => (Some(v5::NOT_AUTHORIZED), Some(code.as_str()), websocket::TOKEN_BAD),
            Self::TakenOver => (Some(v5::TAKEN_OVER), None, websocket::TAKEN_OVER),
            Self::StoreDown => {
                (Some(v5::UNAVAILABLE), Some(ErrorCode::StoreUnavailable.as_str()), websocket::UNAVAILABLE)
            }
            Self::Stopping => (Some(v5::SHUTTING_DOWN), None, websocket::STOPPING),
        }
    }
}

/// Reason codes that a client's DISCONNECT may carry. `[v5:3.14.2-1]`
const CLIENT_DISCONNECT: [u8; 14] =
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];

/// What a client has said that leaves before all of its packets are answered.
#[derive(Debug)]
pub(super) struct Leaving {
    will: bool,
    expiry_s: Option<u32>,
}

impl Session {
    /// The client sends nothing more, but may still read. True where it is owed answers: then the end comes with the last
    /// of them, or when the store takes too long.
    pub fn half_closed(&mut self) -> bool {
        let Phase::Online(online) = &mut self.phase else {
            return false;
        };
        if online.leaving.is_none() && !online.pending.is_empty() {
            online.leaving = Some(Box::new(Leaving { will: true, expiry_s: None }));
        }
        online.leaving.is_some()
    }

    /// Ends the connection. The session is over afterwards, unless the store is just opening it: then its answer is
    /// still wanted ([`Session::has_ended`]).
    /// `[v311:4.8.0-1] [v311:3.14.4-1] [v311:3.14.4-2] [v5:3.14.4-2] [v5:U45]`
    pub fn end(&mut self, cause: Cause, out: &mut Output) {
        let cause = match &self.phase {
            // It has gone, whatever has come in between.
            Phase::Online(online) => online.leaving.as_ref().map_or(cause, |leaving| leaving.cause()),
            _ => cause,
        };
        let (reason, why, websocket) = cause.told();
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Fresh { .. } => out.actions.push(Action::Close { websocket }),
            Phase::Asked(asked) => {
                // [v5:3.14.0-1] no DISCONNECT before CONNACK.
                // [v5:3.2.2-8] CONNACK has no code for a server that stops.
                if let Some(reason) =
                    reason.map(|code| if code == v5::SHUTTING_DOWN { v5::UNAVAILABLE } else { code })
                {
                    asked.encoder.connack_refused(&mut out.bytes, reason, None, why);
                }
                out.actions.push(Action::Close { websocket });
            }
            Phase::Opening(mut opening) if cause == Cause::TakenOver && !opening.lost => {
                // There is no DISCONNECT before CONNACK [v5:3.14.0-1], and none but DISCONNECT says "taken over": a
                // client that is told "unavailable" would come back at once and take over in its turn.
                opening.taken_over = true;
                self.phase = Phase::Opening(opening);
            }
            Phase::Opening(mut opening) => {
                if !opening.lost && cause != Cause::Lost {
                    // [v5:3.14.0-1] no DISCONNECT before CONNACK.
                    super::connect::refuse_unavailable(&opening.encoder, out);
                }
                opening.lost = true;
                self.phase = Phase::Opening(opening);
            }
            Phase::Online(mut online) => {
                if let Some(reason) = reason {
                    // [v5:3.14.4-1] [v5:4.13.2-1]
                    online.encoder.disconnect(&mut out.bytes, reason, why);
                }
                // [v311:3.1.2-8] [v311:3.14.4-3] [v5:3.1.2-8] [v5:3.14.4-3]
                let (will, expiry_s) = match cause {
                    Cause::Disconnected { will, expiry_s } => (will, expiry_s),
                    _ => (true, None),
                };
                let expiry_s = expiry_s.map(|s| s.min(self.limits.session_expiry_max_s));
                online.advance(out);
                let (sent, acked_ahead) = (online.progress(), online.acked_ahead());
                let close = Request::Close { expiry_s, will, sent, acked_ahead };
                out.actions.push(Action::Submit { token: u64::MAX, request: Box::new(close) });
                out.actions.push(Action::Close { websocket });
            }
            Phase::Ended => {}
        }
    }
}

impl Leaving {
    const fn cause(&self) -> Cause {
        Cause::Disconnected { will: self.will, expiry_s: self.expiry_s }
    }
}

impl Online {
    /// DISCONNECT. What was sent before it is answered first: each of those packets must be
    /// (`[v311:3.8.4-1] [v5:3.8.4-1] [v311:3.10.4-4] [v5:3.10.4-4] [v311:3.3.4-1] [v5:3.3.4-1]`).
    pub(super) fn goodbye(&mut self, reason: u8, expiry_s: Option<u32>) -> Result<(), Cause> {
        match self.disconnected(reason, expiry_s) {
            Cause::Disconnected { will, expiry_s } if !self.pending.is_empty() => {
                self.leaving = Some(Box::new(Leaving { will, expiry_s }));
                Ok(())
            }
            cause => Err(cause),
        }
    }

    /// What a DISCONNECT of the client means.
    /// `[v5:U27]`
    fn disconnected(&self, reason: u8, expiry_s: Option<u32>) -> Cause {
        // [v5:3.14.2-1]
        if !CLIENT_DISCONNECT.contains(&reason) {
            return Cause::protocol("v5:3.14.2-1", "a reason code that clients do not have");
        }
        // [v5:U26]
        if self.session_expiry_s == 0 && expiry_s.is_some_and(|s| s > 0) {
            return Cause::protocol("v5:U26", "a session expiry although CONNECT had none");
        }
        Cause::Disconnected { will: reason != v5::SUCCESS, expiry_s }
    }
}
