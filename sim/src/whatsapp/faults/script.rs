//! Exact orders to the model (O6, O8): this send, and no other, is treated so. For tests that want one thing to happen
//! now and not by chance.

use serde::{Deserialize, Serialize};

use crate::whatsapp::graph_error;

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

/// How to treat a send, whatever the [`Faults`](super::Faults) say. Made by one of the named functions, or from JSON.
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
        Self { accepted: Some(true), ..Self::http_500() }
    }

    /// An error answer with this HTTP status and Meta code; not accepted.
    pub fn error(http: u16, code: u32) -> Self {
        Self { answer: ScriptedAnswer::Error { http, code }, ..Self::default() }
    }

    /// The connection is cut without an answer; not accepted.
    pub fn cut() -> Self {
        Self { answer: ScriptedAnswer::Cut, ..Self::default() }
    }

    /// The connection is cut without an answer, although accepted: statuses follow.
    pub fn cut_but_accepted() -> Self {
        Self { accepted: Some(true), ..Self::cut() }
    }

    /// Accepted, answered after so many milliseconds; statuses do not wait for it.
    pub fn answered_after(ms: u64) -> Self {
        Self { after_ms: Some(ms), ..Self::default() }
    }

    /// Accepted and answered, no status ever.
    pub fn no_statuses() -> Self {
        Self { statuses: StatusPlan::Never, ..Self::default() }
    }

    /// Accepted and answered; statuses wait for `Script::ReleaseStatuses`.
    pub fn withheld_statuses() -> Self {
        Self { statuses: StatusPlan::Withheld, ..Self::default() }
    }

    /// Accepted and answered, then a `failed` status with this code.
    pub fn failing_later(code: u32) -> Self {
        Self { statuses: StatusPlan::Failed(code), ..Self::default() }
    }

    /// Accepted; the first status is delivered before the answer.
    pub fn status_first() -> Self {
        Self { status_before_answer: true, ..Self::default() }
    }

    /// The same for so many sends.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Only for sends to this phone number or business-scoped user id.
    pub fn only_to(self, to: &str) -> Self {
        Self { to: Some(to.to_owned()), ..self }
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
    fn scripts_have_the_documented_json() {
        let json = r#"{"next_send":{"answer":{"error":{"http":500,"code":131000}},"accepted":true}}"#;
        let script: Script = serde_json::from_str(json).expect("script");
        assert_eq!(script, Script::NextSend(ScriptedSend::http_500_but_accepted()));
        let script: Script = serde_json::from_str(r#""release_statuses""#).expect("script");
        assert_eq!(script, Script::ReleaseStatuses);
        let json = r#"{"next_send":{"statuses":{"exactly":["sent","read"]}}}"#;
        let script: Script = serde_json::from_str(json).expect("script");
        let want = StatusPlan::Exactly(vec![DeliveryStatus::Sent, DeliveryStatus::Read]);
        assert_eq!(script, Script::NextSend(ScriptedSend { statuses: want, ..ScriptedSend::default() }));
    }

    #[test]
    fn acceptance_follows_the_answer_unless_said() {
        assert!(ScriptedSend::default().is_accepted());
        assert!(!ScriptedSend::cut().is_accepted());
        assert!(ScriptedSend::cut_but_accepted().is_accepted());
        assert!(!ScriptedSend::error(400, 131_047).is_accepted());
    }
}
