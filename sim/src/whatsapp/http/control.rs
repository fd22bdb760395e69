//! Control routes for tests in other processes, JSON in and out, under `/_sim/`:
//!
//! | route | does |
//! |---|---|
//! | `POST /_sim/customers/{phone}/say` `{"text","name"?,"number"?,"reply_to"?}` | a customer writes: `{"wamid"}` |
//! | `POST /_sim/customers/{phone}/react` `{"message_id","emoji"?,"number"?}` | reacts; without emoji takes it back |
//! | `POST /_sim/customers/{phone}/send` `{"message":{"type",…},"name"?,"number"?,"hide_phone"?}` | any message type |
//! | `GET`, `POST /_sim/faults` | [`Faults`]; what is left out has its default |
//! | `POST /_sim/scripted` | a [`Script`], or a list of them |
//! | `GET /_sim/posts` | `{"total","items":[…]}`, every POST to a `messages` path |
//! | `GET /_sim/deliveries` | `{"items":[…]}`, every try to deliver a webhook |
//! | `POST /_sim/deliver-raw` `{"body"` or `"body_base64","signature"?:"correct\|wrong\|missing"}` | `{"status","body"}` of the receiver |
//! | `POST /_sim/webhook` `{"url"}` | where webhooks go |
//! | `GET /_sim/state` | `{"pending","in_flight","idle"}` |
//!
//! Errors are `{"error"}` with 400, or 502 where the receiver did not answer. There is no authentication.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Shared, deliver};
use crate::whatsapp::envelope::Content;
use crate::whatsapp::faults::{Faults, Script};
use crate::whatsapp::model::CustomerAction;
use crate::whatsapp::sign::Signature;

/// The largest control request: room for a webhook body well above what any receiver takes, in base64.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

type Shell = State<Arc<Shared>>;

/// The routes. The limit on bodies is theirs alone.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sim/customers/{phone}/say", post(say))
        .route("/_sim/customers/{phone}/react", post(react))
        .route("/_sim/customers/{phone}/send", post(send))
        .route("/_sim/faults", get(faults).post(set_faults))
        .route("/_sim/scripted", post(scripted))
        .route("/_sim/posts", get(posts))
        .route("/_sim/deliveries", get(deliveries))
        .route("/_sim/deliver-raw", post(deliver_raw))
        .route("/_sim/webhook", post(webhook))
        .route("/_sim/state", get(state))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    text: String,
    name: Option<String>,
    number: Option<String>,
    /// A wamid.
    reply_to: Option<String>,
}

async fn say(State(shared): Shell, Path(phone): Path<String>, Json(say): Json<Say>) -> Response {
    let mut content = Content::text(&say.text);
    if let Some(wamid) = say.reply_to {
        content = content.with("context", json!({ "id": wamid }));
    }
    let action = CustomerAction { phone, name: say.name, number: say.number, hide_phone: false, content };
    customer_writes(&shared, action)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct React {
    message_id: String,
    emoji: Option<String>,
    number: Option<String>,
}

async fn react(State(shared): Shell, Path(phone): Path<String>, Json(react): Json<React>) -> Response {
    let content = Content::reaction(&react.message_id, react.emoji.as_deref());
    let action = CustomerAction { phone, name: None, number: react.number, hide_phone: false, content };
    customer_writes(&shared, action)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    message: Map<String, Value>,
    name: Option<String>,
    number: Option<String>,
    #[serde(default)]
    hide_phone: bool,
}

async fn send(State(shared): Shell, Path(phone): Path<String>, Json(send): Json<Send>) -> Response {
    let Some(content) = Content::from_json(&send.message) else {
        return error(StatusCode::BAD_REQUEST, "the message has no type");
    };
    let Send { name, number, hide_phone, .. } = send;
    customer_writes(&shared, CustomerAction { phone, name, number, hide_phone, content })
}

fn customer_writes(shared: &Shared, action: CustomerAction) -> Response {
    match shared.change(|world, now_ms| world.model.customer_writes(now_ms, action)) {
        Ok(wamid) => Json(json!({ "wamid": wamid })).into_response(),
        Err(refused) => error(StatusCode::BAD_REQUEST, &refused.to_string()),
    }
}

async fn faults(State(shared): Shell) -> Json<Faults> {
    Json(shared.world().model.faults().clone())
}

async fn set_faults(State(shared): Shell, Json(faults): Json<Faults>) -> Json<Faults> {
    shared.change(|world, _| world.model.set_faults(faults.clone()));
    Json(faults)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scripts {
    Many(Vec<Script>),
    One(Script),
}

async fn scripted(State(shared): Shell, Json(scripts): Json<Scripts>) -> StatusCode {
    let scripts = match scripts {
        Scripts::Many(scripts) => scripts,
        Scripts::One(script) => vec![script],
    };
    shared.change(|world, now_ms| {
        for script in scripts {
            world.model.script(now_ms, script);
        }
    });
    StatusCode::NO_CONTENT
}

async fn posts(State(shared): Shell) -> Json<Value> {
    let world = shared.world();
    let items: Vec<_> = world.model.posts().collect();
    Json(json!({ "total": world.model.posts_total(), "items": items }))
}

async fn deliveries(State(shared): Shell) -> Json<Value> {
    Json(json!({ "items": shared.world().deliveries }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliverRaw {
    body: Option<String>,
    body_base64: Option<String>,
    #[serde(default)]
    signature: Signature,
}

async fn deliver_raw(State(shared): Shell, Json(raw): Json<DeliverRaw>) -> Response {
    let body = match (raw.body, raw.body_base64.map(|text| STANDARD.decode(text))) {
        (Some(text), None) => Bytes::from(text),
        (None, Some(Ok(bytes))) => Bytes::from(bytes),
        (None, Some(Err(_))) => return error(StatusCode::BAD_REQUEST, "body_base64 is not base64"),
        _ => return error(StatusCode::BAD_REQUEST, "exactly one of body and body_base64"),
    };
    match deliver::deliver_raw(&shared, body, raw.signature).await {
        Ok(answer) => Json(answer).into_response(),
        Err(no_answer @ deliver::DeliverRawError::NoWebhookUrl) => {
            error(StatusCode::BAD_REQUEST, &no_answer.to_string())
        }
        Err(no_answer) => error(StatusCode::BAD_GATEWAY, &no_answer.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookUrl {
    url: String,
}

async fn webhook(State(shared): Shell, Json(webhook): Json<WebhookUrl>) -> StatusCode {
    shared.change(|world, _| world.webhook_url = Some(webhook.url));
    StatusCode::NO_CONTENT
}

async fn state(State(shared): Shell) -> Json<Value> {
    let world = shared.world();
    let idle = world.model.is_idle() && world.in_flight == 0;
    Json(json!({ "pending": world.model.pending(), "in_flight": world.in_flight, "idle": idle }))
}

fn error(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": what }))).into_response()
}
