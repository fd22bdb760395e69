//! O4. Requests that the store has not answered, in the order of their packets, and what is to be sent once it has.
//!
//! Acknowledgements leave in the order of the packets they belong to (`[v311:4.6.0-2] [v5:4.6.0-2]`), so one that is ready
//! waits behind those that are not. What the store did not take stays at the front and stops the rest: its packet is
//! never acknowledged, and the client sends it again on its next connection.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use schemas::{CommandId, Publication, QoS, Subscription};

use crate::io::{Answer, Delivered};

/// Packets other than PUBLISH that may wait beside a full window of them.
const OTHERS_MAX: usize = 16;

/// The queue.
/// `[v311:4.6.0-3] [v5:4.6.0-3]`
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Token of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Counts are at most a Receive Maximum and [`OTHERS_MAX`].
    publishes: u32,
    /// Those of them at QoS 2.
    exactly_once: u32,
    subscribes: u32,
    /// Something was not stored: nothing more is taken in, and the front's deadline closes the connection.
    stalled: bool,
}

#[derive(Debug)]
struct Entry {
    since_ms: u64,
    what: Waiting,
    answer: Option<Answer>,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Waiting {
    /// PUBACK or PUBREC.
    Publish(Publishing),
    /// PUBCOMP.
    Release {
        /// For this packet.
        id: NonZeroU16,
    },
    /// PUBREL.
    Receive {
        /// For this packet.
        id: NonZeroU16,
        /// What it delivered.
        delivered: Delivered,
    },
    /// SUBACK.
    Subscribe(Box<Subscribing>),
    /// PINGRESP.
    Ping,
    /// Nothing: a message at QoS 0 is retained.
    Retain,
    /// UNSUBACK.
    Unsubscribe {
        /// For this packet.
        id: NonZeroU16,
        /// Filters in order.
        filters: Vec<String>,
    },
}

/// A PUBLISH on its way.
#[derive(Debug)]
pub(super) struct Publishing {
    /// Its packet identifier.
    pub(super) id: NonZeroU16,
    /// QoS 2.
    pub(super) exactly_once: bool,
    /// A stored message that online sessions with QoS 0 subscriptions get once it is stored.
    pub(super) live: Option<Arc<Publication>>,
    /// Who wants to know what becomes of it.
    pub(super) reply: Option<Box<Reply>>,
}

impl Publishing {
    pub(super) const fn of(id: NonZeroU16, qos: QoS) -> Self {
        Self { id, exactly_once: matches!(qos, QoS::ExactlyOnce), live: None, reply: None }
    }
}

/// A result that is wanted.
#[derive(Debug)]
pub(super) struct Reply {
    /// Response topic.
    pub(super) topic: Arc<str>,
    /// The topic is the user's own signals.
    pub(super) own: bool,
    /// The topic is not his to publish to: nothing goes there, and the acknowledgement says so.
    pub(super) denied: bool,
    /// Correlation data.
    pub(super) correlation: Option<Bytes>,
    /// The command's id, where it could be read.
    pub(super) id: Option<CommandId>,
    /// What is wrong with it, where that is known already.
    pub(super) detail: Option<String>,
}

/// A SUBSCRIBE on its way.
#[derive(Debug)]
pub(super) struct Subscribing {
    /// For this packet.
    pub(super) id: NonZeroU16,
    /// Code of each filter.
    pub(super) codes: Vec<u8>,
    /// What is to be said of a refused one.
    pub(super) why: Option<&'static str>,
    /// The granted ones, in order.
    pub(super) granted: Vec<Subscription>,
}

impl Pending {
    pub(super) fn accepts(&self, announced: bool, receive_max: u16) -> bool {
        // Clients that know the limit may not break it; those that do not, as in 3.1.1, are not read further.
        let publishes_fit = announced || self.publishes < u32::from(receive_max);
        !self.stalled && publishes_fit && self.entries.len() < usize::from(receive_max) + OTHERS_MAX
    }

    /// Is everything answered?
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Publishes at QoS 1 in flight.
    pub(super) const fn at_least_once(&self) -> usize {
        (self.publishes - self.exactly_once) as usize
    }

    /// Does a SUBSCRIBE wait for its SUBACK?
    pub(super) const fn is_subscribing(&self) -> bool {
        self.subscribes > 0
    }

    /// Adds one that the store is asked about; its token.
    pub(super) fn push(&mut self, now_ms: u64, what: Waiting) -> u64 {
        self.push_entry(now_ms, what, None)
    }

    /// Adds one whose answer is known already.
    pub(super) fn push_answered(&mut self, now_ms: u64, what: Waiting, answer: Answer) {
        self.push_entry(now_ms, what, Some(answer));
    }

    fn push_entry(&mut self, since_ms: u64, what: Waiting, answer: Option<Answer>) -> u64 {
        self.publishes += u32::from(matches!(what, Waiting::Publish(_)));
        self.exactly_once +=
            u32::from(matches!(&what, Waiting::Publish(publishing) if publishing.exactly_once));
        self.subscribes += u32::from(matches!(what, Waiting::Subscribe(_)));
        self.entries.push_back(Entry { since_ms, what, answer });
        self.first + (self.entries.len() as u64 - 1)
    }

    /// Notes an answer. One for a token that is not waiting is ignored.
    pub(super) fn answer(&mut self, token: u64, answer: Answer) {
        let index = token.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            self.stalled |= answer == Answer::Unavailable;
            entry.answer = Some(answer);
        }
    }

    /// Takes the first one if it is answered and was stored.
    pub(super) fn pop(&mut self) -> Option<(Waiting, Answer)> {
        match self.entries.front()?.answer {
            None | Some(Answer::Unavailable) => None,
            Some(_) => {
                let entry = self.entries.pop_front()?;
                self.first += 1;
                self.publishes -= u32::from(matches!(entry.what, Waiting::Publish(_)));
                let exactly_once =
                    matches!(&entry.what, Waiting::Publish(publishing) if publishing.exactly_once);
                self.exactly_once -= u32::from(exactly_once);
                self.subscribes -= u32::from(matches!(entry.what, Waiting::Subscribe(_)));
                if self.entries.is_empty() {
                    // An idle connection holds no memory for what once waited.
                    self.entries = VecDeque::new();
                }
                Some((entry.what, entry.answer?))
            }
        }
    }

    /// Since when the first one waits.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.since_ms)
    }
}
