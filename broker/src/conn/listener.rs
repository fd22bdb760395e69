//! The MQTT listener over TCP. Accepting waits for nobody's handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::driver::Connection;
use super::transport::Tcp;
use crate::hub::Hub;
use crate::metrics;

/// Connections the kernel holds for us between two accepts: a fleet of devices comes back at the same moment.
const BACKLOG: u32 = 4_096;
/// After an accept failed for lack of descriptors or memory: until then others may have been closed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Binds the listener.
///
/// # Errors
/// As the system says: address in use, not permitted.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the broker stops.
pub(crate) async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    while !hub.is_stopping() {
        match listener.accept().await {
            Ok((stream, _)) => begin(&hub, stream),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn begin(hub: &Arc<Hub>, stream: TcpStream) {
    if !hub.begin_handshake() {
        metrics::count_turned_away();
        return;
    }
    // Acknowledgements are small and must not wait for more. A socket that refuses it is closed already.
    let _ = stream.set_nodelay(true);
    tokio::spawn(Connection::new(Arc::clone(hub), Tcp::new(stream)).run());
}
