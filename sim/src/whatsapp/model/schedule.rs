//! What waits to be told to inboxd, and when it is due (I1, O8): a queue ordered by time, then by arrival.
//!
//! Not in here: chances (they are drawn where an update is pushed, but for batching, which depends on what is due
//! together), signing, delivery.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::whatsapp::envelope::{self, BATCH_MAX, BusinessNumber, Update};
use crate::whatsapp::faults::DeliveryStatus;
use crate::whatsapp::rng::Rng;

/// Updates waiting; some 500 bytes each. When full, customers cannot write and sends are answered "overloaded":
/// nothing is dropped.
const PENDING_MAX: usize = 200_000;
/// A webhook is tried again for so long, as Meta's overview says.
const RETRY_FOR_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// One delivery to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Counts webhooks from 1; the same for every try.
    pub id: u64,
    /// The number it is about (`phone_number_id`).
    pub phone_number_id: String,
    /// The raw body; sign and send exactly these bytes.
    pub body: Bytes,
    /// What is in it.
    pub carries: Vec<Carried>,
    /// How often it was tried before.
    pub attempt: u32,
    /// When it was first handed out, in Unix milliseconds.
    pub first_ms: u64,
}

/// One update within a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried {
    /// A customer's message.
    Message {
        /// Its id.
        wamid: String,
    },
    /// A status of a message to a customer.
    Status {
        /// That message.
        wamid: String,
        /// How far it is.
        status: DeliveryStatus,
    },
}

/// What follows a delivery that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is due again at this time (Unix milliseconds).
    At(u64),
    /// It was tried long enough; Meta drops it, and so do we.
    GaveUp,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    updates: BTreeMap<(u64, u64), (usize, Update)>,
    retries: BTreeMap<(u64, u64), Webhook>,
    withheld: Vec<(usize, Update)>,
    /// Updates inside `retries`.
    retrying: usize,
    /// Second half of the keys: what is due at one time goes out in the order it came.
    pushed: u64,
    webhooks: u64,
}

impl Schedule {
    pub(super) fn has_room(&self) -> bool {
        self.pending() < PENDING_MAX
    }

    /// Nothing will become due by itself: withheld updates do not count.
    pub(super) fn is_idle(&self) -> bool {
        self.updates.is_empty() && self.retries.is_empty()
    }

    pub(super) fn pending(&self) -> usize {
        self.updates.len() + self.withheld.len() + self.retrying
    }

    pub(super) fn push(&mut self, due_ms: u64, number: usize, update: Update) {
        let key = self.key(due_ms);
        self.updates.insert(key, (number, update));
    }

    pub(super) fn withhold(&mut self, number: usize, update: Update) {
        self.withheld.push((number, update));
    }

    pub(super) fn release(&mut self, now_ms: u64) {
        for (number, update) in std::mem::take(&mut self.withheld) {
            self.push(now_ms, number, update);
        }
    }

    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let update = self.updates.first_key_value().map(|(key, _)| key.0);
        let retry = self.retries.first_key_value().map(|(key, _)| key.0);
        [update, retry].into_iter().flatten().min()
    }

    pub(super) fn take_due(
        &mut self,
        now_ms: u64,
        limit: usize,
        numbers: &[BusinessNumber],
        rng: &mut Rng,
        batch: f64,
    ) -> Vec<Webhook> {
        let mut webhooks = Vec::new();
        while webhooks.len() < limit {
            let webhook = match self.take_retry(now_ms) {
                Some(webhook) => webhook,
                None => match self.take_updates(now_ms, rng, batch) {
                    Some((number, updates)) => self.webhook(now_ms, &numbers[number], &updates),
                    None => break,
                },
            };
            webhooks.push(webhook);
        }
        webhooks
    }

    /// The pauses are the first and the longest.
    pub(super) fn again(
        &mut self,
        now_ms: u64,
        mut webhook: Webhook,
        (first_ms, longest_ms): (u64, u64),
    ) -> Retry {
        let doublings = 1_u64.checked_shl(webhook.attempt).unwrap_or(u64::MAX);
        let pause_ms = first_ms.max(1).saturating_mul(doublings).min(longest_ms);
        let due_ms = now_ms + pause_ms;
        if due_ms > webhook.first_ms + RETRY_FOR_MS {
            return Retry::GaveUp;
        }
        webhook.attempt += 1;
        self.retrying += webhook.carries.len();
        let key = self.key(due_ms);
        self.retries.insert(key, webhook);
        Retry::At(due_ms)
    }

    fn key(&mut self, due_ms: u64) -> (u64, u64) {
        self.pushed += 1;
        (due_ms, self.pushed)
    }

    fn take_retry(&mut self, now_ms: u64) -> Option<Webhook> {
        let first = self.retries.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let webhook = first.remove();
        self.retrying -= webhook.carries.len();
        Some(webhook)
    }

    /// The first due update, and by chance those of the same number that are due right after it.
    fn take_updates(&mut self, now_ms: u64, rng: &mut Rng, batch: f64) -> Option<(usize, Vec<Update>)> {
        let first = self.updates.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let (number, update) = first.remove();
        let mut updates = vec![update];
        while updates.len() < BATCH_MAX {
            let next =
                self.updates.first_entry().filter(|next| next.key().0 <= now_ms && next.get().0 == number);
            let Some(next) = next else { break };
            if !rng.chance(batch) {
                break;
            }
            updates.push(next.remove().1);
        }
        Some((number, updates))
    }

    fn webhook(&mut self, now_ms: u64, number: &BusinessNumber, updates: &[Update]) -> Webhook {
        self.webhooks += 1;
        Webhook {
            id: self.webhooks,
            phone_number_id: number.phone_number_id.clone(),
            body: Bytes::from(envelope::batch(number, updates)),
            carries: updates.iter().map(carried).collect(),
            attempt: 0,
            first_ms: now_ms,
        }
    }
}

fn carried(update: &Update) -> Carried {
    match update {
        Update::Message(message) => Carried::Message { wamid: message.wamid.clone() },
        Update::Status(status) => Carried::Status { wamid: status.wamid.clone(), status: status.status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(attempt: u32) -> Webhook {
        Webhook {
            id: 1,
            phone_number_id: "1".to_owned(),
            body: Bytes::new(),
            carries: Vec::new(),
            attempt,
            first_ms: 0,
        }
    }

    #[test]
    fn i1_retries_come_ever_more_seldom_and_end() {
        const LONGEST: u64 = 3_600_000;
        let mut schedule = Schedule::default();
        let pauses: Vec<Retry> =
            (0..4).map(|attempt| schedule.again(0, webhook(attempt), (500, LONGEST))).collect();
        assert_eq!(pauses, [Retry::At(500), Retry::At(1_000), Retry::At(2_000), Retry::At(4_000)]);
        for attempt in [30, 63, 64, 1_000] {
            assert_eq!(schedule.again(0, webhook(attempt), (500, LONGEST)), Retry::At(LONGEST), "{attempt}");
        }
        assert_eq!(schedule.again(RETRY_FOR_MS, webhook(3), (500, LONGEST)), Retry::GaveUp);
    }
}
