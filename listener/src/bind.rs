//! Listening sockets. Not here: what happens to an accepted connection (`entrance`).

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel holds for us between two accepts: a fleet of devices comes back at the same moment. Linux
/// takes the smaller of this and `net.core.somaxconn` (4,096 since 5.4); who finds it full tries again after a second.
const BACKLOG: u32 = 16_384;

/// Binds and listens. Must be called inside a tokio runtime.
///
/// # Errors
/// As the system says: address in use, not permitted.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Is a failed accept only about the connection that it would have been? It went away meanwhile: nobody else's business.
#[must_use]
pub fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        // The last two: a socket that is closed already takes no options.
        ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | InvalidInput
    )
}
