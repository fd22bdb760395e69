//! What may go wrong between inboxd and WhatsApp, as named chances ([`Faults`]) and as exact orders for a test
//! ([`Script`]). Both are plain data with a JSON form, for the control routes.
//!
//! inboxd must survive every one of these without losing or doubling an effect (promises P5 and P6).
//! Not in here: their application; see `model`.

use serde::{Deserialize, Serialize};

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
}

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

/// An exact order to the model, for a test that wants one thing to happen now and not by chance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// The next send that fits and is well-formed is treated so. Several wait in line.
    NextSend(ScriptedSend),
    /// From now on no status leaves, until `ReleaseStatuses`.
    WithholdStatuses,
    /// All withheld statuses become due now, in order, and new ones go out as usual again.
    ReleaseStatuses,
    /// Forget every `NextSend` still waiting.
    Clear,
}

/// How to treat a send, whatever the [`Faults`] say. Made by one of the named functions, or from JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedSend {
    /// For so many sends; 0 counts as 1.
    pub times: u32,
    /// Only for sends to this phone number or business-scoped user id; any, if absent.
    pub to: Option<String>,
    /// What the HTTP client sees.
    pub answer: ScriptedAnswer,
    /// Whether WhatsApp accepts the message. Absent: exactly if the answer is `ok`.
    pub accepted: Option<bool>,
    /// When the answer is given (or the connection cut). Absent: as `Faults::answer_ms` says.
    pub after_ms: Option<u64>,
    /// The answer waits until a first status has been delivered and answered with 200.
    pub status_before_answer: bool,
    /// Which statuses follow an accepted message.
    pub statuses: StatusPlan,
}

/// What the HTTP client sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptedAnswer {
    /// HTTP 200 with the wamid.
    #[default]
    Ok,
    /// An error of Meta's form.
    Error {
        /// HTTP status.
        http: u16,
        /// `error.code`.
        code: u32,
    },
    /// The connection ends without a byte.
    Cut,
}

/// Which statuses follow an accepted message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusPlan {
    /// sent, delivered, read.
    #[default]
    Normal,
    /// None, ever.
    Never,
    /// As `Normal`, but kept back until `Script::ReleaseStatuses`.
    Withheld,
    /// `failed` with this code, and nothing else.
    Failed(u32),
    /// Exactly these, in this order and with the usual pauses between them.
    Exactly(Vec<DeliveryStatus>),
}

/// The `status` of a status webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// WhatsApp's servers have it.
    Sent,
    /// The person's device has it.
    Delivered,
    /// The person saw it.
    Read,
    /// The person played it (voice messages).
    Played,
    /// It will not arrive.
    Failed,
}

impl DeliveryStatus {
    /// As Meta writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
            Self::Failed => "failed",
        }
    }
}

impl Default for ScriptedSend {
    fn default() -> Self {
        Self {
            times: 1,
            to: None,
            answer: ScriptedAnswer::Ok,
            accepted: None,
            after_ms: None,
            status_before_answer: false,
            statuses: StatusPlan::Normal,
        }
    }
}

impl ScriptedSend {
    /// HTTP 500, not accepted.
    pub fn http_500() -> Self {
        Self::error(500, graph_error::UNKNOWN_ERROR)
    }

    /// HTTP 500, although accepted: statuses follow.
    pub fn http_500_but_accepted() -> Self {
        Self {
            accepted: Some(true),
            ..Self::http_500()
        }
    }

    /// An error answer with this HTTP status and Meta code; not accepted.
    pub fn error(http: u16, code: u32) -> Self {
        Self {
            answer: ScriptedAnswer::Error { http, code },
            ..Self::default()
        }
    }

    /// The connection is cut without an answer; not accepted.
    pub fn cut() -> Self {
        Self {
            answer: ScriptedAnswer::Cut,
            ..Self::default()
        }
    }

    /// The connection is cut without an answer, although accepted: statuses follow.
    pub fn cut_but_accepted() -> Self {
        Self {
            accepted: Some(true),
            ..Self::cut()
        }
    }

    /// Accepted, answered after so many milliseconds; statuses do not wait for it.
    pub fn answered_after(ms: u64) -> Self {
        Self {
            after_ms: Some(ms),
            ..Self::default()
        }
    }

    /// Accepted and answered, no status ever.
    pub fn no_statuses() -> Self {
        Self {
            statuses: StatusPlan::Never,
            ..Self::default()
        }
    }

    /// Accepted and answered; statuses wait for `Script::ReleaseStatuses`.
    pub fn withheld_statuses() -> Self {
        Self {
            statuses: StatusPlan::Withheld,
            ..Self::default()
        }
    }

    /// Accepted and answered, then a `failed` status with this code.
    pub fn failing_later(code: u32) -> Self {
        Self {
            statuses: StatusPlan::Failed(code),
            ..Self::default()
        }
    }

    /// Accepted; the first status is delivered before the answer.
    pub fn status_first() -> Self {
        Self {
            status_before_answer: true,
            ..Self::default()
        }
    }

    /// The same for so many sends.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Only for sends to this phone number or business-scoped user id.
    pub fn only_to(self, to: &str) -> Self {
        Self {
            to: Some(to.to_owned()),
            ..self
        }
    }

    /// Whether WhatsApp takes the message on.
    pub fn is_accepted(&self) -> bool {
        self.accepted.unwrap_or(self.answer == ScriptedAnswer::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_take_partial_json_and_refuse_unknown_names() {
        let some: Faults = serde_json::from_str(r#"{"repeat":0.5,"delay_ms":[1,2]}"#).expect("partial");
        assert_eq!(
            some,
            Faults {
                repeat: 0.5,
                delay_ms: MsRange::new(1, 2),
                ..Faults::default()
            }
        );
        assert!(serde_json::from_str::<Faults>(r#"{"repaet":0.5}"#).is_err());
    }

    #[test]
    fn scripts_have_the_documented_json() {
        let json = r#"{"next_send":{"answer":{"error":{"http":500,"code":131000}},"accepted":true}}"#;
        let script: Script = serde_json::from_str(json).expect("script");
        assert_eq!(script, Script::NextSend(ScriptedSend::http_500_but_accepted()));
        let script: Script = serde_json::from_str(r#""release_statuses""#).expect("script");
        assert_eq!(script, Script::ReleaseStatuses);
        let json = r#"{"next_send":{"statuses":{"exactly":["sent","read"]}}}"#;
        let script: Script = serde_json::from_str(json).expect("script");
        let want = StatusPlan::Exactly(vec![DeliveryStatus::Sent, DeliveryStatus::Read]);
        assert_eq!(
            script,
            Script::NextSend(ScriptedSend {
                statuses: want,
                ..ScriptedSend::default()
            })
        );
    }

    #[test]
    fn acceptance_follows_the_answer_unless_said() {
        assert!(ScriptedSend::default().is_accepted());
        assert!(!ScriptedSend::cut().is_accepted());
        assert!(ScriptedSend::cut_but_accepted().is_accepted());
        assert!(!ScriptedSend::error(400, 131_047).is_accepted());
    }
}
