//! What a connection goes through before its first byte of MQTT or HTTP: the proxy's word, TLS.
//!
//! Waits for one connection only, so a slow one delays nobody. Not here: for how long it may last, how many at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proxy::{self, NotProxied, Progress};
use crate::{Stream, Tls};

/// Who a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address, as the trusted proxy says where there is one.
    pub address: SocketAddr,
    /// Is the way encrypted?
    pub secure: bool,
}

/// Addresses whose word about others counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Is it one of them?
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Are there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What one listener asks of a connection.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    /// Those who must say in a PROXY header whose connection it is; all others must not.
    pub proxies: Arc<TrustedProxies>,
    /// Encrypted, with these certificates.
    pub tls: Option<Arc<Tls>>,
}

/// Why a connection did not come through.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// A trusted proxy did not say whose it is.
    #[error(transparent)]
    Proxy(#[from] NotProxied),
    /// The connection broke, or its TLS handshake failed.
    #[error("the handshake failed")]
    Io(#[from] io::Error),
}

impl Entrance {
    /// Is there nothing to be waited for? Then [`Entrance::admit`] is not needed.
    #[must_use]
    pub fn is_open(&self, peer: SocketAddr) -> bool {
        self.tls.is_none() && !self.proxies.contains(peer.ip())
    }

    /// Lets a connection through: reads the PROXY header where one must stand, then does the TLS handshake.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is closed then.
    pub async fn admit(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(Stream, Peer), HandshakeError> {
        let mut address = peer;
        if self.proxies.contains(peer.ip()) {
            // The proxy speaking for itself stays who it is.
            address = read_header(&mut stream).await?.unwrap_or(peer);
        }
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Tls(Box::new(tls.acceptor().accept(stream).await?)),
        };
        let secure = stream.is_secure();
        Ok((stream, Peer { address, secure }))
    }
}

async fn read_header(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HandshakeError> {
    let mut header = Vec::new();
    loop {
        match proxy::read(&header)? {
            Progress::Done(source) => return Ok(source),
            Progress::More(more) => {
                let so_far = header.len();
                header.resize(so_far + more, 0);
                stream.read_exact(&mut header[so_far..]).await?;
            }
        }
    }
}
