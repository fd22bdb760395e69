//! O6 from Meta's side, on the wire: the few Graph paths a bridge needs.
//!
//! Not in here: what is answered (the model decides), media, templates, registration. Unknown paths get Graph's own
//! error, so that a bridge sees what it would see at Meta.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;
use super::listener::Connection;
use crate::whatsapp::graph_error::{self, INVALID_PARAMETER, TOKEN_INVALID};
use crate::whatsapp::model::{Reply, SendRequest};

/// An answer that waits for a status to be delivered first waits no longer than this: with a receiver that is down the
/// sender's own time limit must be what ends it, and that is shorter.
const STATUS_FIRST_WAIT_MAX: Duration = Duration::from_secs(60);
/// What `fbtrace_id` is on answers the model has no part in.
const TRACE_ID: &str = "ASimulator";

/// Serves every path outside `/_sim/`.
pub(super) async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match (method.as_str(), path_parts(uri.path()).as_slice()) {
        ("POST", [id, "messages"]) => {
            let request = SendRequest { phone_number_id: id, authorization, body: &body };
            send(&shared, &connection, request).await
        }
        ("GET", [id]) => number(&shared, authorization, id),
        _ => unknown_path(&method, uri.path()),
    }
}

/// The path's parts without the version: `/v25.0/1/messages` and `/1/messages` are the same.
fn path_parts(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_version = |part: &str| {
        let number = part.strip_prefix('v').and_then(|rest| rest.split_once('.'));
        number.is_some_and(|(major, minor)| major.parse::<u16>().is_ok() && minor.parse::<u16>().is_ok())
    };
    if parts.first().is_some_and(|first| is_version(first)) {
        parts.remove(0);
    }
    parts
}

async fn send(shared: &Shared, connection: &Connection, request: SendRequest<'_>) -> Response {
    let answer = shared.change(|world, now_ms| {
        let answer = world.model.post_message(now_ms, request);
        // In the same breath: the status may be delivered before this task runs again.
        world.awaited.extend(answer.after_status_of.clone());
        answer
    });
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(answer.after_ms)) => {}
        () = shared.stopped() => {}
    }
    if let Some(wamid) = answer.after_status_of {
        let delivered =
            shared.wait_for(STATUS_FIRST_WAIT_MAX, |world| (!world.awaited.contains(&wamid)).then_some(()));
        if delivered.await.is_none() {
            shared.world().awaited.remove(&wamid);
        }
    }
    match answer.reply {
        Reply::Http { status, body } => json_response(status, body),
        Reply::Cut => {
            connection.cut();
            StatusCode::INTERNAL_SERVER_ERROR.into_response() // never written
        }
    }
}

/// `GET /{phone_number_id}`: enough for a bridge that asks at start whether its settings are right.
fn number(shared: &Shared, authorization: Option<&str>, id: &str) -> Response {
    let world = shared.world();
    if !world.model.authorizes(authorization) {
        return error(TOKEN_INVALID, "The access token is missing or not valid.");
    }
    let Some(number) = world.model.numbers().iter().find(|number| number.phone_number_id == id) else {
        return error(
            INVALID_PARAMETER,
            &format!("Unsupported get request. Object with ID '{id}' does not exist."),
        );
    };
    let info = json!({
        "id": number.phone_number_id,
        "display_phone_number": number.display_phone_number,
        "verified_name": "Simulated Shop",
        "quality_rating": "GREEN",
        "code_verification_status": "VERIFIED",
        "platform_type": "CLOUD_API",
        "throughput": { "level": "STANDARD" },
    });
    json_response(200, info.to_string().into_bytes())
}

fn unknown_path(method: &Method, path: &str) -> Response {
    error(INVALID_PARAMETER, &format!("Unsupported {} request: {path}", method.as_str().to_lowercase()))
}

fn error(code: u32, details: &str) -> Response {
    let body = graph_error::body(code, Some(details), TRACE_ID);
    json_response(graph_error::lookup(code).http, body.to_string().into_bytes())
}

fn json_response(status: u16, body: Vec<u8>) -> Response {
    // A script may ask for a number that is no HTTP status; that is a 500, as good as any.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::path_parts;

    #[test]
    fn o6_any_version_or_none_names_the_same_path() {
        for path in ["/v25.0/1/messages", "/v17.0/1/messages", "/1/messages", "//v25.0/1/messages/"] {
            assert_eq!(path_parts(path), ["1", "messages"], "{path}");
        }
        assert_eq!(path_parts("/v/1"), ["v", "1"]);
        assert_eq!(path_parts("/version.x/1"), ["version.x", "1"]);
    }
}
