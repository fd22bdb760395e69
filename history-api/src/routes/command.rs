//! S4, O1, O3. Commands over HTTP: the same as on an outbox, with the same ids, and stored before they are answered
//! (P1, P4).
//!
//! The id comes in `Idempotency-Key`, in the body, or in both alike. 201 for the first time, 200 with the same body
//! for every repetition. Not here: what a command does (the store's commit plan).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::{Command, CommandBody, Encoding, ErrorCode, Message, MessageId};
use serde::Serialize;
use serde_json::Value;
use store::{CommandOp, Op, Outcome};

use super::read::conversation_id;
use crate::App;
use crate::auth::Bearer;
use crate::error::ApiError;
use crate::page;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest time a body may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

const SEND: &str = "message.send";
const READ: &str = "message.read";

#[derive(Serialize)]
struct Made {
    /// The message the command made; null for commands that make none.
    message: Option<Message>,
}

pub(crate) async fn send(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    request: Request,
) -> Result<Response, ApiError> {
    let received_us = (app.clock)();
    let (headers, mut body) = read_body(&app, request).await?;
    take_id(&headers, &mut body)?;
    let command = Command::from_value(&body, Some(SEND))?;
    if !matches!(command.body, CommandBody::MessageSend(_)) {
        return Err(malformed("type", "this route takes `message.send` only"));
    }
    carry_out(&app, &bearer, command, received_us).await
}

pub(crate) async fn read_up_to(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let received_us = (app.clock)();
    let conversation = conversation_id(&id)?;
    let (headers, mut body) = read_body(&app, request).await?;
    take_id(&headers, &mut body)?;
    if let Some(fields) = body.as_object_mut() {
        let given = fields.insert("conversation".to_owned(), conversation.to_string().into());
        if given.is_some_and(|given| given != conversation.to_string()) {
            return Err(malformed("conversation", "is another one than the address names"));
        }
        // Reading up to a place is the same however often it is done: without an id, the place is the id.
        if fields.get("id").is_none_or(Value::is_null) {
            let up_to = fields.get("up_to").and_then(Value::as_str).map(MessageId::named);
            let up_to = up_to.ok_or_else(|| malformed("up_to", "must be the id of a message"))?;
            fields.insert("id".to_owned(), format!("read:{up_to}").into());
        }
    }
    let command = Command::from_value(&body, Some(READ))?;
    if !matches!(command.body, CommandBody::MessageRead { .. }) {
        return Err(malformed("type", "this route takes `message.read` only"));
    }
    carry_out(&app, &bearer, command, received_us).await
}

async fn carry_out(
    app: &App,
    bearer: &Bearer,
    command: Command,
    received_us: u64,
) -> Result<Response, ApiError> {
    let asker = bearer.asker();
    let op =
        CommandOp { account: asker.account, user: asker.user, command, received_us, report_refusal: false };
    match store::within_answer_wait(store::commit(&*app.store, Op::Command(op))).await? {
        Outcome::Command(done) => {
            let status = if done.repeated { StatusCode::OK } else { StatusCode::CREATED };
            Ok((status, page::json(&Made { message: done.message })).into_response())
        }
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Err(ApiError::plain(ErrorCode::Internal)),
    }
}

/// The body as a JSON object, from JSON or MessagePack.
async fn read_body(app: &App, request: Request) -> Result<(HeaderMap, Value), ApiError> {
    let headers = request.headers().clone();
    let bytes = match tokio::time::timeout(READ_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)))) => {
            let detail = format!("at most {} bytes", app.config.command_bytes_max);
            return Err(ApiError::new(ErrorCode::BodyTooLarge, detail));
        }
        Ok(Err(_)) | Err(_) => {
            return Err(ApiError::new(ErrorCode::JsonMalformed, "the body did not arrive whole in time"));
        }
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type =
        content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let encoding = Encoding::detect(content_type.as_deref(), &bytes);
    let body: Value =
        encoding.read(&bytes).map_err(|error| ApiError::new(ErrorCode::JsonMalformed, error.to_string()))?;
    if body.is_object() {
        Ok((headers, body))
    } else {
        Err(ApiError::new(ErrorCode::CommandMalformed, "the body must be an object"))
    }
}

/// Puts the id of the header into the body, where it has none.
fn take_id(headers: &HeaderMap, body: &mut Value) -> Result<(), ApiError> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(()) };
    let key =
        key.to_str().map_err(|_| malformed("Idempotency-Key", "holds a character that is not allowed"))?;
    // Some libraries quote it, as the draft of its standard says.
    let key = key.trim().strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key.trim());
    match body.get("id") {
        None | Some(Value::Null) => {
            body["id"] = key.into();
            Ok(())
        }
        Some(Value::String(id)) if id == key => Ok(()),
        Some(_) => Err(ApiError::plain(ErrorCode::IdConflict)),
    }
}

fn malformed(field: &str, why: &str) -> ApiError {
    ApiError::new(ErrorCode::CommandMalformed, format!("field `{field}`: {why}"))
}
