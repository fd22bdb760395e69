//! I1 → I3. A delivery: read, signature, translation, one commit, 200. Nothing is answered with 2xx before it is on
//! disk (P1), and nothing that is rightly signed is refused for its content: Meta would send it for days.
//!
//! Not here: what a body means (`translate`), effects (the store's commit plan).

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use schemas::{ErrorCode, Millis};
use store::{CommitError, CommitResult, JournalOp, Op, Outcome, Store, Update, WebhookDone, WebhookOp};

use super::backlog::{Backlog, Submitted, guarded};
use super::body::Room;
use super::problem::problem;
use super::signature::{self, AppSecrets};
use crate::Clock;
use crate::config::Secret;
use crate::metrics::{self, WebhookOutcome};
use crate::translate::{Ignored, Translation};

/// What receiving needs.
pub(crate) struct Receiver {
    store: Arc<dyn Store>,
    clock: Clock,
    secrets: AppSecrets,
    verify_token: Secret,
    backlog: Arc<Backlog>,
    room: Room,
}

impl Receiver {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        secrets: AppSecrets,
        verify_token: Secret,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self { store, clock, secrets, verify_token, backlog, room: Room::new() }
    }
}

/// `GET` and `POST /webhooks/whatsapp`.
pub(crate) fn router(receiver: Arc<Receiver>) -> Router {
    Router::new().route("/webhooks/whatsapp", get(verify).post(deliver)).with_state(receiver)
}

/// The pairs of a query; `hub.` keys may come in any order.
type Pairs = Query<Vec<(String, String)>>;

async fn verify(State(receiver): State<Arc<Receiver>>, query: Result<Pairs, QueryRejection>) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    super::challenge::answer(&query, &receiver.verify_token)
}

async fn deliver(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let received_us = (receiver.clock)();
    let (outcome, response) = receiver.deliver(request, received_us).await;
    metrics::count_webhook(outcome);
    response
}

impl Receiver {
    async fn deliver(&self, request: Request, received_us: u64) -> (WebhookOutcome, Response) {
        let (parts, body) = request.into_parts();
        let body = match self.room.read(body).await {
            Ok(body) => body,
            Err(refused) => return (refused.outcome(), refused.response()),
        };
        let header = parts.headers.get(signature::HEADER).map(|value| value.as_bytes());
        let scopes = self.secrets.verify(header, &body.bytes);
        if scopes.is_empty() {
            let detail = "`X-Hub-Signature-256` is missing, or no app secret configured here made it";
            return (WebhookOutcome::BadSignature, problem(ErrorCode::SignatureInvalid, detail));
        }
        let translation = guarded(body.bytes.clone(), Millis(received_us / 1000)).await;
        let readable = translation.is_ok();
        let Translation { updates, ignored } = translation.unwrap_or_default();
        if !signature::covers(&scopes, &updates) {
            let detail = "the app secret that made the signature does not speak for a number in the body";
            return (WebhookOutcome::BadSignature, problem(ErrorCode::SignatureInvalid, detail));
        }
        count_ignored(ignored);
        let (outcome, response) = self.store(body.bytes.clone(), updates, received_us).await;
        let unread = outcome == WebhookOutcome::Applied && !readable;
        (if unread { WebhookOutcome::Unreadable } else { outcome }, response)
    }

    async fn store(&self, body: Bytes, updates: Vec<Update>, received_us: u64) -> (WebhookOutcome, Response) {
        let webhook = WebhookOp { body: body.clone(), updates, received_us };
        let (taken, committed) = match self.backlog.submit(&*self.store, webhook).await {
            Submitted::Whole(committed) => (WebhookOutcome::Applied, committed),
            Submitted::Alone(committed) => (WebhookOutcome::Journaled, committed),
            Submitted::Full => return unavailable("too many webhooks wait to be worked off"),
        };
        let answer = async { committed.await.unwrap_or(Err(CommitError::Closed)) };
        match store::within_answer_wait(answer).await {
            Ok(outcome) => {
                if let Outcome::Webhook(done) = outcome {
                    count_done(done);
                }
                self.durable(taken, received_us)
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "a webhook cannot be stored now, WhatsApp will send it again");
                not_stored(&error)
            }
            Err(error) => {
                tracing::error!(%error, "a webhook cannot be carried out, its body alone is kept for a replay");
                self.keep(body, received_us).await
            }
        }
    }

    /// The body alone: a row that cannot be read must not make Meta send the same webhook for days.
    async fn keep(&self, body: Bytes, received_us: u64) -> (WebhookOutcome, Response) {
        let result: CommitResult = store::within_answer_wait(store::commit(
            &*self.store,
            Op::Journal(JournalOp { body, received_us }),
        ))
        .await;
        match result {
            Ok(_) => self.durable(WebhookOutcome::Journaled, received_us),
            Err(error) => not_stored(&error),
        }
    }

    fn durable(&self, outcome: WebhookOutcome, received_us: u64) -> (WebhookOutcome, Response) {
        metrics::observe_durable((self.clock)().saturating_sub(received_us));
        (outcome, StatusCode::OK.into_response())
    }
}

fn unavailable(detail: &str) -> (WebhookOutcome, Response) {
    (WebhookOutcome::Unavailable, problem(ErrorCode::StoreUnavailable, detail))
}

fn not_stored(error: &CommitError) -> (WebhookOutcome, Response) {
    let code = match error {
        CommitError::DiskFull { .. } => ErrorCode::DiskFull,
        _ => ErrorCode::StoreUnavailable,
    };
    (WebhookOutcome::Unavailable, problem(code, "the webhook cannot be stored now"))
}

fn count_ignored(ignored: Ignored) {
    metrics::count_updates("unreadable", ignored.unreadable);
    metrics::count_updates("unknown_status", ignored.status);
    metrics::count_updates("other_field", ignored.field);
}

pub(super) fn count_done(done: WebhookDone) {
    metrics::count_updates("applied", done.applied);
    metrics::count_updates("repeated", done.repeated);
    metrics::count_updates("parked", done.parked);
    metrics::count_updates("unknown_number", done.unknown_number);
}
