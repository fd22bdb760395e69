//! O2. Enhanced authentication of MQTT 5 with the method `JWT`: the token comes as authentication data, with CONNECT or
//! when asked for, and may be renewed in place.
//!
//! ```text
//!  CONNECT(JWT, token) ─▶ CONNACK(JWT)
//!  CONNECT(JWT) ─▶ AUTH 0x18 ◀─ ─▶ AUTH 0x18(token) ─▶ CONNACK(JWT)
//!  online: AUTH 0x19(token) ─▶ AUTH 0x00 ◀─, or DISCONNECT; without a token it is asked for likewise
//! ```
//! Not here: what a token must be (`auth-hook`, asked through the gate).

use schemas::ClientId;

use super::{Cause, Online, Phase, Session};
use crate::codec::Encoder;
use crate::io::{Action, Gate, Now, Output};
use crate::packet::{Auth, Connect, Incoming};
use crate::reason::{v5, v311, websocket};

/// The only method there is (contract, section 4).
pub(super) const METHOD: &str = "JWT";

/// A connection that has named the method and not brought a token.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) since_ms: u64,
    pub(super) encoder: Encoder,
    connect: Connect,
}

/// What a connection that authenticated by the method keeps for its renewal.
#[derive(Debug)]
pub(super) struct Renewal {
    /// A renewed token must allow the same client id.
    client: ClientId,
    /// AUTH 0x19 came without a token, which was asked for.
    asked: bool,
}

impl Renewal {
    pub(super) const fn of(client: ClientId) -> Self {
        Self { client, asked: false }
    }
}

/// What to do with a CONNECT.
pub(super) enum FirstStep {
    /// Here is the token; empty: there is none.
    Token(Vec<u8>),
    /// Ask for it.
    Ask,
    /// A method that is not ours.
    UnknownMethod,
}

pub(super) fn first_step(connect: &Connect) -> FirstStep {
    match (connect.auth_method.as_deref(), &connect.auth_data) {
        (None, _) => FirstStep::Token(connect.password.clone()),
        (Some(METHOD), Some(token)) => FirstStep::Token(token.clone()),
        (Some(METHOD), None) if connect.password.is_empty() => FirstStep::Ask,
        (Some(METHOD), None) => FirstStep::Token(connect.password.clone()),
        (Some(_), _) => FirstStep::UnknownMethod,
    }
}

impl Session {
    /// `[v5:4.12.0-2]`
    pub(super) fn ask_for_token(&mut self, now: Now, encoder: Encoder, connect: Connect, out: &mut Output) {
        encoder.auth(&mut out.bytes, v5::CONTINUE_AUTH, METHOD);
        self.phase = Phase::Asked(Box::new(Asked { since_ms: now.mono_ms, encoder, connect }));
    }

    /// A packet of a client that was asked for its token.
    pub(super) fn answered(&mut self, now: Now, gate: &dyn Gate, packet: Incoming, out: &mut Output) {
        let Phase::Asked(asked) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        let Asked { encoder, connect, .. } = *asked;
        match packet {
            Incoming::Auth(auth) if is_continued(&auth) => {
                let token = auth.data.unwrap_or_default();
                self.admit(now, gate, encoder, connect, &token, out);
            }
            Incoming::Disconnect { .. } => out.actions.push(Action::Close { websocket: websocket::NORMAL }),
            // [v5:3.1.2-30] [v5:4.12.0-3] [v5:4.12.0-4] [v5:3.14.0-1]: CONNACK, for there is no DISCONNECT before it.
            _ => {
                encoder.connack_refused(&mut out.bytes, v5::PROTOCOL_ERROR, Some(v311::NOT_AUTHORIZED), None);
                out.actions.push(Action::Close { websocket: websocket::PROTOCOL });
            }
        }
    }
}

/// `[v5:4.12.0-5] [v5:U29]`
fn is_continued(auth: &Auth) -> bool {
    auth.reason == v5::CONTINUE_AUTH && auth.method.as_deref() == Some(METHOD)
}

impl Online {
    /// AUTH: a new token for the same user, without a new connection. `[v5:4.12.1-1] [v5:4.12.1-2]`
    pub(super) fn renew(
        &mut self,
        now: Now,
        gate: &dyn Gate,
        auth: Auth,
        out: &mut Output,
    ) -> Result<(), Cause> {
        let Some(renewal) = &mut self.renewal else {
            // [v5:4.12.0-7]
            return Err(Cause::protocol("v5:4.12.0-7", "AUTH without an authentication method in CONNECT"));
        };
        if auth.method.as_deref() != Some(METHOD) {
            return Err(Cause::protocol("v5:4.12.1-1", "another authentication method than in CONNECT"));
        }
        let expected = if renewal.asked { v5::CONTINUE_AUTH } else { v5::RE_AUTHENTICATE };
        if auth.reason != expected {
            // [v5:3.15.2-1]
            return Err(Cause::protocol("v5:3.15.2-1", "AUTH out of turn"));
        }
        let Some(token) = auth.data else {
            if renewal.asked {
                return Err(Cause::error(v5::NOT_AUTHORIZED, "v5:4.12.1-2", "no token"));
            }
            renewal.asked = true;
            self.encoder.auth(&mut out.bytes, v5::CONTINUE_AUTH, METHOD);
            return Ok(());
        };
        renewal.asked = false;
        let admission = gate
            .admit(&token, renewal.client.as_str(), now)
            .map_err(|refused| Cause::Refused(refused.code))?;
        let (new, old) = (&admission.claims, &self.claims);
        if (&new.account, &new.user, &admission.client) != (&old.account, &old.user, &renewal.client) {
            return Err(Cause::error(v5::NOT_AUTHORIZED, "v5:4.12.1-2", "the token is another user's"));
        }
        self.claims = admission.claims;
        self.encoder.auth(&mut out.bytes, v5::SUCCESS, METHOD);
        Ok(())
    }
}
