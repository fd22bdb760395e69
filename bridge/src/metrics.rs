//! Metrics of this crate: names in one place, labels from closed sets.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const WEBHOOKS: &str = "inboxd_webhooks_total";
const UPDATES: &str = "inboxd_bridge_updates_total";
const TO_DURABLE: &str = "inboxd_webhook_to_durable_seconds";
const BACKLOG: &str = "inboxd_bridge_journal_backlog_webhooks";
const ACCEPT: &str = "inboxd_outbound_accept_seconds";
const DEPTH: &str = "inboxd_bridge_queue_depth";
const OLDEST: &str = "inboxd_bridge_queue_oldest_seconds";
const SENDS: &str = "inboxd_bridge_sends_total";
const PAUSED: &str = "inboxd_bridge_numbers_paused";

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// Tells the recorder what the metrics of this crate mean.
pub fn describe() {
    describe_counter!(WEBHOOKS, "Webhooks, by what became of them");
    describe_counter!(UPDATES, "Updates in webhooks, by what became of them");
    describe_histogram!(TO_DURABLE, "From a webhook's first byte until it is on disk");
    describe_gauge!(BACKLOG, "Journaled webhooks that are not worked off");
    describe_histogram!(ACCEPT, "From a command's first byte until WhatsApp's wamid is on disk");
    describe_gauge!(DEPTH, "Messages to WhatsApp that have not ended; at least so many when it is very long");
    describe_gauge!(OLDEST, "Age of the oldest of them");
    describe_counter!(SENDS, "Attempts to send, by outcome");
    describe_gauge!(PAUSED, "Numbers whose sending is paused because WhatsApp refused them");
    register();
}

/// All of them are there from the start: `increase()` does not see a counter's first step if it begins at 1.
fn register() {
    for outcome in WebhookOutcome::ALL {
        counter!(WEBHOOKS, "outcome" => outcome.as_str()).increment(0);
    }
    for outcome in ["accepted", "retry", "failed", "unknown"] {
        counter!(SENDS, "outcome" => outcome).increment(0);
    }
    let _ = (histogram!(TO_DURABLE), histogram!(ACCEPT));
    set_queue(0, 0, 0);
    set_backlog(0);
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebhookOutcome {
    /// On disk with its effects.
    Applied,
    /// On disk, effects follow.
    Journaled,
    /// On disk, but nothing in it could be read.
    Unreadable,
    /// Refused: signature.
    BadSignature,
    /// Refused: larger than the limit.
    TooLarge,
    /// Refused: did not arrive whole.
    Broken,
    /// Not taken: the store cannot write, or too much is under way. Meta sends it again.
    Unavailable,
}

impl WebhookOutcome {
    const ALL: [Self; 7] = [
        Self::Applied,
        Self::Journaled,
        Self::Unreadable,
        Self::BadSignature,
        Self::TooLarge,
        Self::Broken,
        Self::Unavailable,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Journaled => "journaled",
            Self::Unreadable => "unreadable",
            Self::BadSignature => "bad_signature",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::Unavailable => "unavailable",
        }
    }
}

pub(crate) fn count_webhook(outcome: WebhookOutcome) {
    counter!(WEBHOOKS, "outcome" => outcome.as_str()).increment(1);
}

/// `outcome`: one of a handful of literals.
pub(crate) fn count_updates(outcome: &'static str, count: u32) {
    if count > 0 {
        counter!(UPDATES, "outcome" => outcome).increment(count.into());
    }
}

pub(crate) fn observe_durable(micros: u64) {
    histogram!(TO_DURABLE).record(micros as f64 / MICROS);
}

pub(crate) fn set_backlog(webhooks: usize) {
    gauge!(BACKLOG).set(webhooks as f64);
}

pub(crate) fn observe_accept(micros: u64) {
    histogram!(ACCEPT).record(micros as f64 / MICROS);
}

pub(crate) fn count_send(outcome: &'static str) {
    counter!(SENDS, "outcome" => outcome).increment(1);
}

pub(crate) fn set_queue(depth: usize, oldest_ms: u64, paused: usize) {
    gauge!(DEPTH).set(depth as f64);
    gauge!(OLDEST).set(oldest_ms as f64 / 1e3);
    gauge!(PAUSED).set(paused as f64);
}
