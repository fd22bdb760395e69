//! O7. What an answer of the Graph API means for a send and for its number: one table, no clock, no chance.
//!
//! A 2xx with a wamid is accepted. A 4xx is a refusal, sorted by Meta's code. Everything else (5xx, cut off, timed
//! out, a 2xx that cannot be read) is unknown, because the message may have been taken (P6); with
//! `on_unknown = "resend"` a 5xx that carries a code is sorted like a 4xx.
//! Source of the codes: Meta's page "Error codes". Not here: what happens to an unknown send later (`plan`).

use schemas::message::MessageError;
use schemas::whatsapp::graph::{ErrorResponse, GraphError, SendResponse};
use schemas::{Millis, Wamid};
use store::SendResult;

use crate::config::OnUnknown;
use crate::graph::Answer;

/// Attempts before an overloaded or rate-limited WhatsApp counts as a refusal: with doubling waits this is about a
/// quarter of an hour.
pub const ATTEMPTS_MAX: u32 = 12;
/// Attempts where Meta's code may mean a passing fault or a bad request.
pub const FEW_ATTEMPTS_MAX: u32 = 3;
/// Longest time a message waits for its account to be put in order: after WhatsApp's window of 24 hours it could not
/// be delivered any more.
pub const AGE_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// First wait; doubles with each attempt.
const BACKOFF_MS: u64 = 1_000;
/// Longest wait.
const BACKOFF_MAX_MS: u64 = 5 * 60 * 1000;
/// Between two tries while the account is not in order (token, payment, permission).
const ACCOUNT_RETRY_MS: u64 = 60 * 1000;
/// Base of Meta's rule for the limit per pair: wait 4^n seconds.
const PAIR_BASE: u64 = 4;
/// Most that rule asks for here: beyond it, the window of an hour in which Meta counts has moved on.
const PAIR_WAIT_MAX_MS: u64 = 60 * 60 * 1000;
/// Longest detail taken from an answer, in characters.
const DETAIL_CHARS_MAX: usize = 500;

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What to do about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passes by itself: try again, slower and slower.
    Retry,
    /// Perhaps passes by itself.
    RetryFew,
    /// The number is too fast: try again, and slow the number down.
    SlowDown,
    /// Too fast for one person: wait 4^n seconds.
    PairWait,
    /// Passes by itself after so many milliseconds.
    Wait(u64),
    /// The number must be put in order by people: its queue waits, and they are told.
    Account,
    /// Only a template may be sent now.
    Template,
    /// Will never pass as it is.
    Never,
}

/// The table: Meta's code and its class. A code that is not in it never passes as it is.
#[must_use]
pub const fn class_of(code: i64) -> Class {
    match code {
        1 | 131_000 | 135_000 | 131_053 => Class::RetryFew,
        2 | 131_016 | 133_004 => Class::Retry,
        130_429 => Class::SlowDown,
        131_056 => Class::PairWait,
        4 | 80_007 => Class::Wait(5 * MINUTE_MS),
        131_057 | 2_494_100 => Class::Wait(2 * MINUTE_MS),
        134_101 => Class::Wait(10 * MINUTE_MS),
        131_208 | 132_069 => Class::Wait(HOUR_MS),
        131_048 | 131_064 => Class::Wait(4 * HOUR_MS),
        0 | 3 | 10 | 33 | 104 | 190 | 200..=299 | 368 => Class::Account,
        131_005 | 131_031 | 131_037 | 131_042 | 131_044 | 131_045 | 133_010 | 134_011 => Class::Account,
        131_047 => Class::Template,
        _ => Class::Never,
    }
}

/// The attempt that got an answer.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Attempts begun, this one included.
    pub attempts: u32,
    /// When the command was committed.
    pub created_at: Millis,
    /// Now.
    pub now: Millis,
    /// Spreads waits, so that what failed together does not come back together.
    pub seed: u64,
    /// The number's rule.
    pub on_unknown: OnUnknown,
}

/// What an answer says about the number it came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberHint {
    /// Nothing.
    None,
    /// It works.
    Healthy,
    /// It is too fast.
    SlowDown,
    /// It will refuse everything until somebody puts it in order.
    OutOfOrder,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// For the send.
    pub result: SendResult,
    /// For its number.
    pub hint: NumberHint,
}

impl Verdict {
    const fn of(result: SendResult) -> Self {
        Self { result, hint: NumberHint::None }
    }

    /// Label of `inboxd_bridge_sends_total`.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self.result {
            SendResult::Accepted(_) => "accepted",
            SendResult::RetryAt(_) => "retry",
            SendResult::Failed(_) => "failed",
            SendResult::Unknown => "unknown",
            SendResult::Resend(_) => "resend",
            SendResult::Release => "release",
        }
    }
}

/// What this answer means.
#[must_use]
pub fn judge(answer: &Answer, attempt: &Attempt) -> Verdict {
    match answer {
        // Not a byte left this machine: certain, and no reason ever to give up but age.
        Answer::NotSent(why) if attempt.is_too_old() => Verdict::of(SendResult::Failed(MessageError {
            code: "whatsapp_unreachable".to_owned(),
            title: "WhatsApp could not be reached for 24 hours".to_owned(),
            detail: Some(cut(why)),
            meta_code: None,
        })),
        Answer::NotSent(_) => Verdict::of(SendResult::RetryAt(attempt.backoff())),
        Answer::Lost(_) => Verdict::of(SendResult::Unknown),
        Answer::Http { status, body } => judge_http(*status, body, attempt),
    }
}

fn judge_http(status: u16, body: &[u8], attempt: &Attempt) -> Verdict {
    match status {
        200..=299 => match wamid(body) {
            Some(wamid) => Verdict { result: SendResult::Accepted(wamid), hint: NumberHint::Healthy },
            None => Verdict::of(SendResult::Unknown),
        },
        // A time-out of something on the way, which knows as little as we do.
        408 => Verdict::of(SendResult::Unknown),
        400..=499 => match error(body) {
            Some(error) => judge_error(&error, attempt),
            None => judge_bare(status, attempt),
        },
        500..=599 if attempt.on_unknown == OnUnknown::Resend => match error(body) {
            Some(error) => judge_error(&error, attempt),
            None => Verdict::of(SendResult::Unknown),
        },
        _ => Verdict::of(SendResult::Unknown),
    }
}

fn wamid(body: &[u8]) -> Option<Wamid> {
    let response: SendResponse = serde_json::from_slice(body).ok()?;
    Wamid::new(response.messages.into_iter().next()?.id.as_deref()?).ok()
}

fn error(body: &[u8]) -> Option<GraphError> {
    let response: ErrorResponse = serde_json::from_slice(body).ok()?;
    response.error.filter(|error| error.code.is_some())
}

fn judge_error(error: &GraphError, attempt: &Attempt) -> Verdict {
    let code = error.code.unwrap_or_default();
    let class = match class_of(code) {
        Class::Never if error.is_transient.as_deref() == Some("true") => Class::RetryFew,
        class => class,
    };
    let failed = || {
        Verdict::of(SendResult::Failed(MessageError {
            code: format!("whatsapp_{code}"),
            title: error.message.as_deref().map_or_else(|| "WhatsApp refused the message".to_owned(), cut),
            detail: error.error_data.as_ref().and_then(|data| data.details.as_deref()).map(cut),
            meta_code: Some(code),
        }))
    };
    attempt.verdict(class, failed)
}

/// A refusal without Meta's words: of a proxy, or of a wrong `graph_url`.
fn judge_bare(status: u16, attempt: &Attempt) -> Verdict {
    let class = match status {
        429 => Class::SlowDown,
        401 | 403 | 404 | 407 => Class::Account,
        _ => Class::Never,
    };
    let failed = || {
        Verdict::of(SendResult::Failed(MessageError {
            code: format!("whatsapp_http_{status}"),
            title: format!("refused with HTTP {status} and without a reason"),
            detail: None,
            meta_code: None,
        }))
    };
    attempt.verdict(class, failed)
}

impl Attempt {
    fn verdict(&self, class: Class, failed: impl Fn() -> Verdict) -> Verdict {
        let retry = |due, hint| Verdict { result: SendResult::RetryAt(due), hint };
        match class {
            Class::Retry if self.attempts < ATTEMPTS_MAX => retry(self.backoff(), NumberHint::None),
            Class::RetryFew if self.attempts < FEW_ATTEMPTS_MAX => retry(self.backoff(), NumberHint::None),
            Class::SlowDown if !self.is_too_old() => retry(self.backoff(), NumberHint::SlowDown),
            Class::PairWait if !self.is_too_old() => retry(self.now.plus(self.pair_wait()), NumberHint::None),
            Class::Wait(wait) if !self.is_too_old() => {
                retry(self.now.plus(wait + self.spread(wait / 8)), NumberHint::None)
            }
            Class::Account if !self.is_too_old() => {
                retry(self.now.plus(ACCOUNT_RETRY_MS), NumberHint::OutOfOrder)
            }
            Class::Account => Verdict { hint: NumberHint::OutOfOrder, ..failed() },
            _ => failed(),
        }
    }

    fn is_too_old(&self) -> bool {
        self.now.since(self.created_at) > AGE_MAX_MS
    }

    /// Doubling waits, of which the seed takes off up to a half.
    fn backoff(&self) -> Millis {
        let doublings = self.attempts.saturating_sub(1).min(u64::BITS - 1);
        let wait = BACKOFF_MS.saturating_mul(1 << doublings.min(16)).min(BACKOFF_MAX_MS);
        self.now.plus(wait - self.spread(wait / 2))
    }

    fn pair_wait(&self) -> u64 {
        let power = PAIR_BASE.saturating_pow(self.attempts.saturating_sub(1));
        power.saturating_mul(1000).min(PAIR_WAIT_MAX_MS)
    }

    /// 0 to `most`, by the seed.
    const fn spread(&self, most: u64) -> u64 {
        self.seed % (most + 1)
    }
}

fn cut(text: &str) -> String {
    text.chars().take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
