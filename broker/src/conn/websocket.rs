//! MQTT over WebSocket at `/mqtt`, subprotocol `mqtt`. Whoever comes without is told in HTTP's way, as everywhere.

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use listener::Peer;
use schemas::problem::{CONTENT_TYPE, Problem};
use schemas::{Encoding, ErrorCode};

use super::driver::Connection;
use super::guest::Guest;
use super::transport::Ws;
use crate::hub::Hub;
use crate::metrics::{self, TurnedAway};

/// Name of the subprotocol. `[v311:6.0.0-3] [v311:6.0.0-4] [v5:6.0.0-3] [v5:6.0.0-4]`
const SUBPROTOCOL: &str = "mqtt";
/// Read buffer of a WebSocket, in bytes: it belongs to the connection, so it is small.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// WebSocket messages need not be aligned with packets; a client that packs several into one gets this much room beyond
/// the largest packet.
const MESSAGE_SLACK_BYTES: usize = 64 << 10;

/// The route.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new().route("/mqtt", any(upgrade)).layer(DefaultBodyLimit::max(0)).with_state(hub)
}

async fn upgrade(
    State(hub): State<Arc<Hub>>,
    peer: Option<Extension<Peer>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(WebSocketUpgradeRejection::MethodNotGet(_)) => {
            let mut refused = problem(ErrorCode::MethodNotAllowed, "a WebSocket begins with GET");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            return refused;
        }
        Err(rejection) => return problem(ErrorCode::WebsocketExpected, rejection.body_text()),
    };
    let offered = |offer: &axum::http::HeaderValue| offer.as_bytes() == SUBPROTOCOL.as_bytes();
    if !upgrade.requested_protocols().any(offered) {
        return problem(ErrorCode::WebsocketExpected, "the WebSocket subprotocol `mqtt` is not offered");
    }
    let Some(guest) = Guest::new(&hub) else {
        metrics::count_turned_away(TurnedAway::HandshakesFull);
        return problem(ErrorCode::Overloaded, "too many connections are being opened");
    };
    let peer = peer.map(|Extension(peer)| peer);
    let secure = peer.is_some_and(|peer| peer.secure);
    let message_max = hub.limits.packet_bytes_max + MESSAGE_SLACK_BYTES;
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(message_max)
        .max_frame_size(message_max)
        // Where the upgrade fails, the guest is dropped with the function.
        .on_upgrade(move |socket: WebSocket| {
            Connection::new(guest, Ws::new(socket, secure), peer.map(|peer| peer.address.ip())).run()
        })
}

/// A request that does not become a connection (contract, section 6).
fn problem(code: ErrorCode, detail: impl Into<String>) -> Response {
    let problem = Problem::new(code, detail);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], Encoding::Json.write(&problem)).into_response()
}
