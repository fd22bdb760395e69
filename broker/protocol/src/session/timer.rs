//! Deadlines: CONNECT, keep alive, end of the token, patience with the store.

use std::num::NonZeroU64;

use schemas::Millis;

use super::{Cause, Phase, Session, connect};
use crate::io::{Now, Output};

/// A time of [`Now::mono_ms`], or none, in half the room of an `Option`: every connection has four.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment(Option<NonZeroU64>);

impl Moment {
    pub(super) const NONE: Self = Self(None);

    pub(super) const fn at(ms: u64) -> Self {
        Self(NonZeroU64::new(ms.saturating_add(1)))
    }

    pub(super) fn get(self) -> Option<u64> {
        self.0.map(|ms| ms.get() - 1)
    }

    /// Stays what it is, if it is any.
    pub(super) fn begin(&mut self, ms: u64) {
        if self.0.is_none() {
            *self = Self::at(ms);
        }
    }
}

/// How long a client may be silent: one and a half times its keep alive.
fn patience_ms(keep_alive_s: u16) -> u64 {
    u64::from(keep_alive_s) * 1_500
}

impl Session {
    /// When [`Session::timeout`] wants to be called, in [`Now::mono_ms`]. It moves with every packet, so a driver may let
    /// an earlier timer run out and ask again.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Option<u64> {
        match &self.phase {
            Phase::Fresh { since_ms } => Some(since_ms + self.limits.connect_timeout_ms),
            Phase::Asked(asked) => Some(asked.since_ms + self.limits.connect_timeout_ms),
            Phase::Opening(opening) => (!opening.lost).then(|| opening.since_ms + self.limits.store_wait_ms),
            Phase::Online(online) => {
                let keep_alive = (online.keep_alive_s > 0)
                    .then(|| online.last_packet_ms.saturating_add(patience_ms(online.keep_alive_s)));
                let expiry = Millis::from_secs(online.claims.exp).since(now.wall());
                let token = Some(now.mono_ms.saturating_add(expiry));
                let store = online.pending.oldest_ms().map(|since| since + self.limits.store_wait_ms);
                let failed = online.read_failed_ms.get().map(|since| since + self.limits.store_wait_ms);
                let retry = online.read_retry_ms.get();
                [keep_alive, token, store, failed, retry].into_iter().flatten().min()
            }
            Phase::Ended => None,
        }
    }

    /// The driver cannot read the socket now, for reasons of its own: the client cannot be called silent.
    pub fn excuse_silence(&mut self, now: Now) {
        if let Phase::Online(online) = &mut self.phase {
            online.last_packet_ms = now.mono_ms;
        }
    }

    /// Ends what has lasted too long.
    pub fn timeout(&mut self, now: Now, out: &mut Output) {
        let store_wait = self.limits.store_wait_ms;
        let late = |since: u64, wait: u64| now.mono_ms.saturating_sub(since) >= wait;
        let accepts = self.accepts();
        let cause = match &mut self.phase {
            // [v311:U22] [v5:U22]
            Phase::Fresh { since_ms } if late(*since_ms, self.limits.connect_timeout_ms) => Cause::Foreign,
            Phase::Asked(asked) if late(asked.since_ms, self.limits.connect_timeout_ms) => Cause::Foreign,
            Phase::Opening(opening) if late(opening.since_ms, store_wait) && !opening.lost => {
                connect::refuse_unavailable(&opening.encoder, out);
                // The store's answer is still to come; the session it opens is closed then.
                opening.lost = true;
                return;
            }
            Phase::Online(online) => {
                if !accepts {
                    // What the client sent lies unread, by our choice: it cannot be called silent.
                    online.last_packet_ms = now.mono_ms;
                }
                // [v311:4.8.0-2]
                if online.pending.oldest_ms().is_some_and(|since| late(since, store_wait))
                    || online.read_failed_ms.get().is_some_and(|since| late(since, store_wait))
                {
                    Cause::StoreDown
                } else if Millis::from_secs(online.claims.exp) <= now.wall() {
                    Cause::TokenExpired
                } else if online.keep_alive_s > 0
                    && late(online.last_packet_ms, patience_ms(online.keep_alive_s))
                {
                    // [v311:3.1.2-24] [v5:3.1.2-22]
                    Cause::KeepAlive
                } else {
                    online.retry_reads(now);
                    return;
                }
            }
            _ => return,
        };
        self.end(cause, out);
    }
}
