//! MQTT over WebSocket at `/mqtt`, subprotocol `mqtt`.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::driver::Connection;
use super::transport::Ws;
use crate::hub::Hub;
use crate::metrics;

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

async fn upgrade(State(hub): State<Arc<Hub>>, upgrade: WebSocketUpgrade) -> Response {
    let offered = |offer: &axum::http::HeaderValue| offer.as_bytes() == SUBPROTOCOL.as_bytes();
    if !upgrade.requested_protocols().any(offered) {
        return (StatusCode::BAD_REQUEST, "offer the WebSocket subprotocol `mqtt`\n").into_response();
    }
    if !hub.begin_handshake() {
        metrics::count_turned_away();
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections are being opened, try again\n")
            .into_response();
    }
    let message_max = hub.limits.packet_bytes_max + MESSAGE_SLACK_BYTES;
    let failed = Arc::clone(&hub);
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(message_max)
        .max_frame_size(message_max)
        .on_failed_upgrade(move |_| {
            failed.handshake_over();
            failed.connection_over();
        })
        .on_upgrade(move |socket: WebSocket| Connection::new(hub, Ws::new(socket)).run())
}
