//! What may go wrong between inboxd and WhatsApp (I1, O6, O8), as named chances ([`Faults`]) and as exact orders for a
//! test ([`Script`]). Both are plain data with a JSON form, for the control routes.
//!
//! inboxd must survive every one of these without losing or doubling an effect (promises P5 and P6).
//! Not in here: their application; see `model`.

mod script;

use serde::{Deserialize, Serialize};

pub use script::{DeliveryStatus, Script, ScriptedAnswer, ScriptedSend, StatusPlan};

use super::graph_error;

/// A range of milliseconds, both ends included. In JSON: `[min, max]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct MsRange {
    /// The least.
    pub min: u64,
    /// The most; below `min` it counts as `min`.
    pub max: u64,
}

impl MsRange {
    /// `min..=max`.
    pub const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }
}

impl From<(u64, u64)> for MsRange {
    fn from((min, max): (u64, u64)) -> Self {
        Self { min, max }
    }
}

impl From<MsRange> for (u64, u64) {
    fn from(range: MsRange) -> Self {
        (range.min, range.max)
    }
}

/// How WhatsApp behaves by chance. Probabilities are in 0..=1; times are milliseconds.
///
/// In JSON every key may be left out and then has its default; unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// From an event until its webhook is first delivered.
    pub delay_ms: MsRange,
    /// From a send until its HTTP answer.
    pub answer_ms: MsRange,
    /// From `sent` until `delivered`.
    pub delivered_after_ms: MsRange,
    /// From `delivered` until `read`.
    pub read_after_ms: MsRange,

    /// An update is delivered again, later, in a webhook of its own (and again, with the same chance, a few times).
    pub repeat: f64,
    /// How much later.
    pub repeat_after_ms: MsRange,
    /// An update is held back, so that later ones overtake it.
    pub shuffle: f64,
    /// How long.
    pub shuffle_ms: MsRange,
    /// An update that is due rides in the same body as the one before it.
    pub batch: f64,
    /// An inbound message comes without phone number: no `from`, no `wa_id`, only the business-scoped user id.
    pub bsuid_only: f64,

    /// A send is refused with 130429.
    pub rate_limit_130429: f64,
    /// A send is refused with `fail_code_is`, with the HTTP status Meta gives that code.
    pub fail_code: f64,
    /// See `fail_code`.
    pub fail_code_is: u32,
    /// A send is answered HTTP 500 and was not accepted.
    pub fail_5xx: f64,
    /// A send is answered HTTP 500 although it was accepted.
    pub fail_5xx_after_accept: f64,
    /// The connection is cut without an answer, and the send was not accepted.
    pub drop_connection_before_accept: f64,
    /// The connection is cut without an answer, although the send was accepted.
    pub drop_connection_after_accept: f64,
    /// The first status is delivered before the answer to its send.
    pub status_before_answer: f64,

    /// An accepted send never gets a status.
    pub no_statuses: f64,
    /// An accepted send fails later: a `failed` status with `fail_later_code`.
    pub fail_later: f64,
    /// See `fail_later`.
    pub fail_later_code: u32,
    /// `read` comes without `delivered`.
    pub skip_delivered: f64,
    /// The person never reads it.
    pub unread: f64,

    /// Free-form messages to somebody who has not written for 24 hours fail with 131047, as they really do. Off by
    /// default so that a test may start with an outbound message.
    pub enforce_window: bool,
    /// From a webhook delivery that was not answered 200 until it is tried again; doubles with each further try.
    pub retry_first_ms: u64,
    /// The longest time between two tries.
    pub retry_longest_ms: u64,
}

/// An hour: Meta is said to try ever more seldom for days.
const RETRY_LONGEST_MS: u64 = 60 * 60 * 1_000;

impl Default for Faults {
    /// Nothing goes wrong, and quickly: what most tests want.
    fn default() -> Self {
        Self {
            delay_ms: MsRange::new(0, 20),
            answer_ms: MsRange::new(0, 5),
            delivered_after_ms: MsRange::new(20, 60),
            read_after_ms: MsRange::new(50, 150),
            repeat: 0.0,
            repeat_after_ms: MsRange::new(50, 500),
            shuffle: 0.0,
            shuffle_ms: MsRange::new(50, 500),
            batch: 0.0,
            bsuid_only: 0.0,
            rate_limit_130429: 0.0,
            fail_code: 0.0,
            fail_code_is: graph_error::UNDELIVERABLE,
            fail_5xx: 0.0,
            fail_5xx_after_accept: 0.0,
            drop_connection_before_accept: 0.0,
            drop_connection_after_accept: 0.0,
            status_before_answer: 0.0,
            no_statuses: 0.0,
            fail_later: 0.0,
            fail_later_code: graph_error::UNDELIVERABLE,
            skip_delivered: 0.0,
            unread: 0.0,
            enforce_window: false,
            retry_first_ms: 500,
            retry_longest_ms: RETRY_LONGEST_MS,
        }
    }
}

impl Faults {
    /// Nothing goes wrong, at the pace of people: for `inboxd demo`.
    pub fn demo() -> Self {
        Self {
            delay_ms: MsRange::new(40, 200),
            answer_ms: MsRange::new(60, 250),
            delivered_after_ms: MsRange::new(300, 900),
            read_after_ms: MsRange::new(900, 2_500),
            ..Self::default()
        }
    }

    /// Everything goes wrong sometimes, and nothing so often that work stops: for seeded tests.
    pub fn storm() -> Self {
        Self {
            delay_ms: MsRange::new(0, 200),
            answer_ms: MsRange::new(0, 100),
            repeat: 0.2,
            shuffle: 0.2,
            batch: 0.3,
            bsuid_only: 0.1,
            rate_limit_130429: 0.05,
            fail_code: 0.02,
            fail_5xx: 0.05,
            fail_5xx_after_accept: 0.05,
            drop_connection_before_accept: 0.05,
            drop_connection_after_accept: 0.05,
            status_before_answer: 0.1,
            no_statuses: 0.05,
            fail_later: 0.05,
            skip_delivered: 0.1,
            unread: 0.1,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_take_partial_json_and_refuse_unknown_names() {
        let some: Faults = serde_json::from_str(r#"{"repeat":0.5,"delay_ms":[1,2]}"#).expect("partial");
        assert_eq!(some, Faults { repeat: 0.5, delay_ms: MsRange::new(1, 2), ..Faults::default() });
        assert!(serde_json::from_str::<Faults>(r#"{"repaet":0.5}"#).is_err());
    }
}
