//! I7. Retained messages for new subscriptions: the store puts them into the session's queue a page at a time, the first
//! with the subscription, each next one when it is asked to, which is when all before is read and the window has room.
//!
//! Not here: which messages these are (the store's plan), how a queue is delivered (`deliver`).

use super::Online;
use crate::io::{Action, Answer, Now, Output, Request};

/// The token of the request for a page. Tokens of requests that are answered to the client count from 0.
pub(super) const REPLAY_TOKEN: u64 = u64::MAX - 1;

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Replay {
    /// There are none.
    #[default]
    None,
    /// There are more.
    Wanted,
    /// They are asked for.
    Asked,
}

impl Online {
    pub(super) fn want_replay(&mut self) {
        if self.replay == Replay::None {
            self.replay = Replay::Wanted;
        }
    }

    /// Asks for the next page, if it is time.
    pub(super) fn ask_replay(&mut self, out: &mut Output) {
        if self.replay == Replay::Wanted && self.room() > 0 && self.queue.is_read() {
            self.replay = Replay::Asked;
            out.actions.push(Action::Submit { token: REPLAY_TOKEN, request: Box::new(Request::Replay) });
        }
    }

    /// A page is in the queue.
    pub(super) fn replayed(&mut self, now: Now, answer: &Answer) {
        self.replay = match answer {
            Answer::Replayed { more: false } => Replay::None,
            Answer::Replayed { more: true } => Replay::Wanted,
            _ => {
                self.note_failed_read(now);
                return self.replay = Replay::Wanted;
            }
        };
        // Whether or not the bus rings.
        self.queue.unknown = true;
        self.settling = true;
    }
}
