//! O6, O7. One attempt: on record before the POST, its end on record after it; and nothing POSTed twice in between.
//!
//! ```text
//!  SendStart committed ──▶ POST ──▶ judged ──▶ SendEnd committed (again and again until it is)
//!   └ a crash from here on leaves `attempting`, which the next start settles as unknown (P6)
//! ```
//! Not here: which message (`plan`), what an answer means (`outcome`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::{MessageId, NumberId};
use store::{CommitError, Op, OpenSend, Outcome, SendEnd, SendResult, Store};

use super::outcome::{self, NumberHint, Verdict};
use crate::config::OnUnknown;
use crate::graph::Graph;
use crate::{Clock, metrics, millis};

/// Between two tries to record something while the store cannot write.
const RECORD_RETRY: Duration = Duration::from_secs(1);

/// What attempts need.
pub(crate) struct Attempts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) graph: Arc<dyn Graph>,
    pub(crate) clock: Clock,
    pub(crate) on_unknown: BTreeMap<NumberId, OnUnknown>,
}

/// An action is done; its send is to be read again.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) message: MessageId,
    pub(crate) started: bool,
    pub(crate) hint: NumberHint,
}

impl Attempts {
    /// Makes an attempt.
    pub(crate) async fn start(&self, message: MessageId) -> Done {
        let done = |hint| Done { message, started: true, hint };
        match store::commit(&*self.store, Op::SendStart(message)).await {
            Ok(Outcome::SendStarted(Some(send))) => done(self.post(&send).await),
            // Settled or done meanwhile: nothing to send any more.
            Ok(_) => done(NumberHint::None),
            Err(error @ CommitError::Unknown(_)) => {
                tracing::warn!(message = %message, %error, "the record of an attempt is uncertain, nothing was sent");
                // Nothing was sent, so it may go again whether the record is there or not.
                self.record(message, SendResult::RetryAt(millis(&self.clock))).await;
                done(NumberHint::None)
            }
            Err(error) => {
                tracing::warn!(message = %message, %error, "an attempt cannot be recorded, nothing was sent");
                tokio::time::sleep(RECORD_RETRY).await;
                done(NumberHint::None)
            }
        }
    }

    /// Records an end of an attempt that is not under way here.
    pub(crate) async fn settle(&self, message: MessageId, result: SendResult) -> Done {
        let verdict = Verdict { result, hint: NumberHint::None };
        metrics::count_send(verdict.outcome());
        tracing::info!(message = %message, outcome = verdict.outcome(), "an open attempt is settled");
        self.record(message, verdict.result).await;
        Done { message, started: false, hint: NumberHint::None }
    }

    async fn post(&self, send: &OpenSend) -> NumberHint {
        let answer = self.graph.send(send).await;
        let now = millis(&self.clock);
        let attempt = outcome::Attempt {
            attempts: send.attempts,
            created_at: send.created_at,
            now,
            seed: seed(send.message, send.attempts),
            on_unknown: self.on_unknown.get(&send.number).copied().unwrap_or_default(),
        };
        let verdict = outcome::judge(&answer, &attempt);
        log(send, &verdict);
        metrics::count_send(verdict.outcome());
        let accepted = matches!(verdict.result, SendResult::Accepted(_));
        self.record(send.message, verdict.result).await;
        if accepted {
            metrics::observe_accept((self.clock)().saturating_sub(send.received_us));
        }
        verdict.hint
    }

    /// Records the end of an attempt, however long it takes; never anything is POSTed again for it. Gives up only
    /// where the store is closed: then the next start finds the attempt open and calls it unknown.
    async fn record(&self, message: MessageId, result: SendResult) {
        loop {
            let end = SendEnd { message, result: result.clone() };
            match store::commit(&*self.store, Op::SendEnd(end)).await {
                Ok(_) => return,
                Err(CommitError::Closed) => {
                    tracing::warn!(message = %message, "the store closed before the end of an attempt was recorded");
                    return;
                }
                Err(error) => {
                    tracing::error!(message = %message, %error, "the end of an attempt cannot be recorded, trying again");
                    tokio::time::sleep(RECORD_RETRY).await;
                }
            }
        }
    }
}

/// Different for each message and attempt, the same for the same: waits are spread without a source of chance.
fn seed(message: MessageId, attempts: u32) -> u64 {
    let parts: [&[u8]; 3] =
        [&message.conversation.0.to_be_bytes(), &message.pos.0.to_be_bytes(), &attempts.to_be_bytes()];
    schemas::ids::hash128("send attempt", &parts) as u64
}

fn log(send: &OpenSend, verdict: &Verdict) {
    let (message, number, attempt) = (send.message, &send.number, send.attempts);
    let outcome = verdict.outcome();
    match (&verdict.result, verdict.hint) {
        (_, NumberHint::OutOfOrder) => {
            tracing::error!(%message, %number, attempt, outcome, "WhatsApp refuses the number; check its token, permissions and payment");
        }
        (SendResult::Accepted(wamid), _) => {
            tracing::debug!(%message, %number, attempt, %wamid, "accepted by WhatsApp")
        }
        (SendResult::Failed(error), _) => {
            tracing::info!(%message, %number, attempt, code = error.code, "refused by WhatsApp");
        }
        (SendResult::Unknown, _) => {
            tracing::warn!(%message, %number, attempt, "no certain answer from WhatsApp")
        }
        _ => tracing::info!(%message, %number, attempt, outcome, "not accepted by WhatsApp yet"),
    }
}
