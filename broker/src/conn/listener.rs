//! The MQTT listeners over TCP and TLS. Accepting waits for nobody's handshake. Not here: what a handshake is
//! (`listener`), what follows CONNECT (`driver`).
//! `[v311:7.1.1-1] [v5:4.2-1]`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use listener::{Entrance, Stream, concerns_one_connection};
use tokio::net::{TcpListener, TcpStream};

use super::driver::Connection;
use super::guest::Guest;
use super::transport::Raw;
use crate::hub::Hub;
use crate::metrics::{self, TransportKind, TurnedAway};

/// After an accept failed for lack of descriptors or memory: until then others may have been closed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// While nobody can be let in: how soon to look whether the oldest handshake has had its time.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// Accepts until the broker stops.
pub(crate) async fn accept(hub: Arc<Hub>, listener: TcpListener, entrance: Entrance) {
    let entrance = Arc::new(entrance);
    while !hub.is_stopping() {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(guest) = room(&hub).await else {
                    return;
                };
                // Acknowledgements are small and must not wait for more. A socket that refuses it is closed already.
                let _ = stream.set_nodelay(true);
                begin(guest, stream, peer, &entrance);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// A place for one that is not let in yet. Until there is one, the rest waits in the kernel's queue. `None`: the broker
/// stops.
async fn room(hub: &Arc<Hub>) -> Option<Guest> {
    loop {
        if let Some(guest) = Guest::new(hub) {
            return Some(guest);
        }
        if hub.is_stopping() {
            return None;
        }
        // Which of the two it was does not matter.
        let _ = tokio::time::timeout(FULL_RETRY, hub.handshakes.one_is_over()).await;
    }
}

fn begin(guest: Guest, stream: TcpStream, peer: SocketAddr, entrance: &Arc<Entrance>) {
    if entrance.is_open(peer) {
        let transport = Raw::new(stream, TransportKind::Tcp);
        tokio::spawn(Connection::new(guest, transport, Some(peer.ip())).run());
    } else {
        // A task of its own: the connection's is small and stays so.
        tokio::spawn(shake_hands(guest, stream, peer, Arc::clone(entrance)));
    }
}

async fn shake_hands(guest: Guest, stream: TcpStream, peer: SocketAddr, entrance: Arc<Entrance>) {
    let limit = Duration::from_millis(guest.hub.limits.connect_timeout_ms);
    let admitted = tokio::select! {
        admitted = tokio::time::timeout(limit, entrance.admit(stream, peer)) => admitted,
        // To make room, or because the broker stops.
        () = guest.sent_away() => return,
    };
    match admitted {
        Ok(Ok((stream, peer))) => {
            let address = Some(peer.address.ip());
            match stream {
                Stream::Plain(stream) => {
                    let transport = Raw::new(stream, TransportKind::Tcp);
                    tokio::spawn(Connection::new(guest, transport, address).run());
                }
                Stream::Tls(stream) => {
                    let transport = Raw::new(stream, TransportKind::Tls);
                    tokio::spawn(Connection::new(guest, transport, address).run());
                }
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(conn = guest.number(), %error, "a handshake failed");
            metrics::count_turned_away(TurnedAway::HandshakeFailed);
        }
        Err(_) => metrics::count_turned_away(TurnedAway::HandshakeFailed),
    }
}
