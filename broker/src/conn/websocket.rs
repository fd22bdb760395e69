//! MQTT over WebSocket at `/mqtt`, subprotocol `mqtt`.

use std::sync::Arc;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use listener::Peer;

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
    upgrade: WebSocketUpgrade,
) -> Response {
    let offered = |offer: &axum::http::HeaderValue| offer.as_bytes() == SUBPROTOCOL.as_bytes();
    if !upgrade.requested_protocols().any(offered) {
        return (StatusCode::BAD_REQUEST, "offer the WebSocket subprotocol `mqtt`\n").into_response();
    }
    let Some(guest) = Guest::new(&hub) else {
        metrics::count_turned_away(TurnedAway::HandshakesFull);
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections are being opened, try again\n")
            .into_response();
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
