//! TLS to the database: a tunnel for each node, from an address of this machine's loopback.
//!
//! ```text
//! driver ─plain─▶ 127.0.0.1:port ─▶ tunnel (this process) ─TLS─▶ node
//! ```
//! The driver's own TLS feature asks for rustls with its default provider, aws-lc, which `deny.toml` forbids, and cargo
//! offers no way to ask for less. So what the driver takes for a node's address is a tunnel's: the contact points are
//! given as such, and addresses that nodes tell of others are translated. Whoever may open sockets on this machine may
//! use the tunnels too: he still needs the user and password of the database.
//! Not here: what is said through a tunnel (`session`).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use scylla::errors::{CustomTranslationError, TranslationError};
use scylla::policies::address_translator::{AddressTranslator, UntranslatedPeer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::session::{CqlError, cql};

/// A node that has not shaken hands by then is passed over.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that sign the nodes', PEM.
    pub authorities: Vec<u8>,
    /// A name that all nodes' certificates hold. Without it a node must be named as it is reached: by the host of the
    /// address for the first ones, by its IP address for those that they tell of.
    pub server_name: Option<String>,
}

/// See the module. They end with the threads of the engine that made them.
pub(super) struct Tunnels {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
    /// The CQL port of nodes that others tell of: that of the first host.
    port: u16,
    open: tokio::sync::Mutex<BTreeMap<String, SocketAddr>>,
}

impl Tunnels {
    pub(super) fn new(tls: &Tls, hosts: &[String]) -> Result<Self, CqlError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&tls.authorities) {
            roots.add(certificate.map_err(cql)?).map_err(cql)?;
        }
        if roots.is_empty() {
            return Err(CqlError("the file of TLS authorities holds no certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(cql)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server_name = tls.server_name.clone().map(ServerName::try_from).transpose().map_err(cql)?;
        let (_, port) = hosts.first().and_then(|host| split(host)).ok_or(CqlError("no host".to_owned()))?;
        Ok(Self {
            connector: Arc::new(config).into(),
            server_name,
            port,
            open: tokio::sync::Mutex::default(),
        })
    }

    /// The tunnels to the contact points, at least one of which must be reached: its tunnel would break without a word.
    pub(super) async fn contact_points(&self, hosts: &[String]) -> Result<Vec<SocketAddr>, CqlError> {
        let mut points = Vec::new();
        let mut reached = Err(CqlError("no host".to_owned()));
        for host in hosts {
            if reached.is_err() {
                let end = self.end(host).map_err(cql)?;
                let failed = |error: io::Error| CqlError(format!("TLS to {host}: {error}"));
                reached = end.connect().await.map(drop).map_err(failed);
            }
            points.push(self.to(host).await.map_err(cql)?);
        }
        reached.map(|()| points)
    }

    /// The tunnel to a node, made where there is none.
    pub(super) async fn to(&self, host: &str) -> io::Result<SocketAddr> {
        let mut open = self.open.lock().await;
        if let Some(address) = open.get(host) {
            return Ok(*address);
        }
        let end = Arc::new(self.end(host)?);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, end));
        open.insert(host.to_owned(), address);
        Ok(address)
    }

    fn end(&self, host: &str) -> io::Result<End> {
        let (name, _) = split(host).ok_or_else(|| io::Error::other(format!("{host} is not host:port")))?;
        let named =
            || ServerName::try_from(name.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other);
        let server_name = self.server_name.clone().map_or_else(named, Ok)?;
        Ok(End { connector: self.connector.clone(), host: host.to_owned(), server_name })
    }
}

fn split(host: &str) -> Option<(&str, u16)> {
    let (name, port) = host.rsplit_once(':')?;
    Some((name, port.parse().ok()?))
}

/// The far end of a tunnel.
struct End {
    connector: TlsConnector,
    host: String,
    server_name: ServerName<'static>,
}

impl End {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let shaken = async {
            let stream = TcpStream::connect(&self.host).await?;
            stream.set_nodelay(true)?;
            self.connector.connect(self.server_name.clone(), stream).await
        };
        tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await?
    }
}

async fn accept(listener: TcpListener, end: Arc<End>) {
    while let Ok((near, _)) = listener.accept().await {
        let end = end.clone();
        tokio::spawn(async move {
            if let Err(error) = carry(near, &end).await {
                // A connection that breaks is the driver's to notice; one that cannot be made says why here.
                tracing::warn!(%error, node = end.host, "the TLS connection to the database ended");
            }
        });
    }
}

async fn carry(mut near: TcpStream, end: &End) -> io::Result<()> {
    near.set_nodelay(true)?;
    let mut far = end.connect().await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop)
}

#[async_trait::async_trait]
impl AddressTranslator for Tunnels {
    async fn translate_address(&self, peer: &UntranslatedPeer) -> Result<SocketAddr, TranslationError> {
        let node = SocketAddr::new(peer.untranslated_address().ip(), self.port);
        let tunnel = self.to(&node.to_string()).await;
        tunnel.map_err(|error| CustomTranslationError::new(error).into())
    }
}
