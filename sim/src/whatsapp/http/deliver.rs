//! I1 and O8 from Meta's side, on the wire: takes due webhooks to the configured URL, several at a time, signed. What
//! is not answered 200 goes back to the model, which says when it comes again.
//!
//! Not in here: order and delay (the model's), the receiver.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Delivery, Shared, StartError};
use crate::whatsapp::model::{Carried, Retry, Webhook};
use crate::whatsapp::sign::{SIGNATURE_HEADER, Signature};

/// A delivery that takes longer counts as not answered. Meta names no figure; receivers are asked for 250 ms.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
/// What Meta's deliveries say they are.
const USER_AGENT: &str = "facebookexternalua";

/// The answer to a delivery made by [`super::Handle::deliver_raw`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// Body, lossily as text.
    pub body: String,
}

/// A raw delivery got no answer.
#[derive(Debug, thiserror::Error)]
pub enum DeliverRawError {
    /// Nobody said where webhooks go.
    #[error("no webhook url is set")]
    NoWebhookUrl,
    /// The receiver could not be reached, or hung up, or took too long.
    #[error("the receiver did not answer")]
    NoAnswer(#[from] reqwest::Error),
}

/// The client for deliveries. It never asks the environment for a proxy, follows nothing, and trusts no certificate
/// authority: webhook URLs of a simulator are plain HTTP.
pub(super) fn client() -> Result<reqwest::Client, StartError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT)
        .timeout(ANSWER_WAIT_MAX)
        .build()?;
    Ok(client)
}

/// Delivers until the simulator stops; at most `concurrency` at a time.
pub(super) async fn run(shared: Arc<Shared>, concurrency: usize) {
    let permits = Arc::new(Semaphore::new(concurrency));
    let mut changed = shared.changed.subscribe();
    let stopped = shared.stopped();
    tokio::pin!(stopped);
    let mut deliveries = JoinSet::new();
    loop {
        while deliveries.try_join_next().is_some() {} // or finished ones pile up
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = &mut stopped => return,
        };
        let Ok(permit) = permit else { return };
        changed.borrow_and_update();
        if let Some((url, webhook)) = take_due(&shared) {
            let shared = Arc::clone(&shared);
            deliveries.spawn(async move {
                deliver(&shared, &url, webhook).await;
                drop(permit);
            });
            continue;
        }
        drop(permit);
        let wait = time_to_next(&shared);
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(wait) => {}
            () = &mut stopped => return,
        }
    }
}

/// Sends a body as it is, without the model knowing.
pub(super) async fn deliver_raw(
    shared: &Shared,
    body: Bytes,
    sign: Signature,
) -> Result<RawAnswer, DeliverRawError> {
    let url = shared.world().webhook_url.clone().ok_or(DeliverRawError::NoWebhookUrl)?;
    let response = post(shared, &url, body, sign).await?;
    let status = response.status().as_u16();
    let body = String::from_utf8_lossy(&response.bytes().await?).into_owned();
    Ok(RawAnswer { status, body })
}

fn take_due(shared: &Shared) -> Option<(String, Webhook)> {
    let now_ms = shared.now_ms();
    let mut world = shared.world();
    let url = world.webhook_url.clone()?;
    let webhook = world.model.due(now_ms, 1).pop()?;
    world.in_flight += 1;
    Some((url, webhook))
}

fn time_to_next(shared: &Shared) -> Duration {
    /// Also the longest sleep, for clocks that jump.
    const NOTHING_DUE: Duration = Duration::from_secs(60);
    let world = shared.world();
    match world.model.next_due_ms().filter(|_| world.webhook_url.is_some()) {
        // At least a millisecond: a due webhook that could not be taken must not spin.
        Some(due_ms) => Duration::from_millis(due_ms.saturating_sub(shared.now_ms()).max(1)).min(NOTHING_DUE),
        None => NOTHING_DUE,
    }
}

async fn deliver(shared: &Shared, url: &str, webhook: Webhook) {
    let answer = post(shared, url, webhook.body.clone(), Signature::Correct).await;
    let status = match &answer {
        Ok(response) => Some(response.status().as_u16()),
        Err(error) => {
            tracing::debug!(webhook = webhook.id, attempt = webhook.attempt, %error, "webhook not answered");
            None
        }
    };
    shared.change(|world, now_ms| {
        world.in_flight -= 1;
        let carries = webhook.carries.clone();
        let delivered = status == Some(200);
        if delivered {
            for carried in &carries {
                if let Carried::Status { wamid, .. } = carried {
                    world.awaited.remove(wamid);
                }
            }
        }
        let (id, attempt) = (webhook.id, webhook.attempt);
        world.note_delivery(Delivery { at_ms: now_ms, webhook: id, attempt, status, carries });
        if !delivered && world.model.not_delivered(now_ms, webhook) == Retry::GaveUp {
            tracing::warn!(webhook = id, attempt, "webhook given up");
        }
    });
}

async fn post(
    shared: &Shared,
    url: &str,
    body: Bytes,
    sign: Signature,
) -> reqwest::Result<reqwest::Response> {
    let mut request = shared.client.post(url).header("Content-Type", "application/json");
    if let Some(signature) = sign.header(&shared.app_secret, &body) {
        request = request.header(SIGNATURE_HEADER, signature);
    }
    request.body(body).send().await
}
