//! O7–O9. How long WhatsApp takes from wamid to delivered: attempts note, webhooks ask.
//!
//! In memory and bounded: a metric is not worth a row. Messages of a former process are not measured.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use schemas::MessageId;

/// Most messages remembered: at 80 a second, twenty minutes' worth. Later deliveries are not measured.
const REMEMBERED_MAX: usize = 100_000;

/// When messages were accepted.
#[derive(Default)]
pub(crate) struct Accepted(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    at_us: BTreeMap<MessageId, u64>,
    order: VecDeque<MessageId>,
}

impl Accepted {
    /// Accepted at this time, microseconds since the Unix epoch.
    pub(crate) fn note(&self, message: MessageId, at_us: u64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.at_us.insert(message, at_us);
        inner.order.push_back(message);
        if inner.order.len() > REMEMBERED_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.at_us.remove(&oldest);
        }
    }

    /// When it was accepted; the first time it is asked for.
    pub(crate) fn take(&self, message: MessageId) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at_us.remove(&message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{ConversationId, Pos};

    #[test]
    fn measured_once_and_bounded() {
        let accepted = Accepted::default();
        let id = |n| MessageId { conversation: ConversationId(1), pos: Pos(n) };
        for n in 0..=REMEMBERED_MAX as u64 {
            accepted.note(id(n), n);
        }
        assert_eq!(accepted.take(id(0)), None, "forgotten");
        assert_eq!((accepted.take(id(1)), accepted.take(id(1))), (Some(1), None));
    }
}
