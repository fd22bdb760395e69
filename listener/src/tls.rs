//! TLS: a certificate, its key, whose client certificates are believed; replaced while connections are open.
//!
//! A connection keeps what it began with, so a new certificate ends none of them. Not here: files, and when they are
//! looked at (`server`).

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Session tickets of one handshake: a phone that comes back uses one. The default of two serves browsers that open
/// several connections.
const TICKETS: usize = 1;

/// Texts of PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pem {
    /// The certificate, followed by those that lead to its root.
    pub certificates: Vec<u8>,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: Vec<u8>,
    /// Whose client certificates are believed; `None`: clients are not asked for any.
    pub clients: Option<(Vec<u8>, ClientCertificate)>,
}

/// Must a client show a certificate?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It may; a bad one is refused.
    Optional,
    /// It must.
    Required,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate in the text.
    #[error("there is no certificate in it, or it is broken")]
    Certificates,
    /// No private key in the text.
    #[error("there is no private key in it, or it is broken")]
    Key,
    /// The key is of a kind that we do not have, or of another certificate.
    #[error("the private key does not fit the certificate")]
    Pair(#[source] rustls::Error),
    /// The roots for client certificates.
    #[error("there is no certificate of a client authority in it, or it is broken")]
    Clients,
    /// The parts do not go together.
    #[error("the certificates cannot be used")]
    Config(#[source] rustls::Error),
}

/// What TLS connections begin with.
#[derive(Debug)]
pub struct Tls {
    protocols: Vec<Vec<u8>>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// `protocols` for ALPN, in order of preference; none: whatever a client offers is fine.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(pem: &Pem, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let config = config(pem, &protocols)?;
        Ok(Self { protocols, current: RwLock::new(config) })
    }

    /// From now on connections begin with these. Those that are open stay as they are.
    ///
    /// # Errors
    /// [`TlsError`]; then nothing changes.
    pub fn replace(&self, pem: &Pem) -> Result<(), TlsError> {
        let config = config(pem, &self.protocols)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn config(pem: &Pem, protocols: &[Vec<u8>]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = certificates(&pem.certificates).ok_or(TlsError::Certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| TlsError::Key)?;
    let pair = CertifiedKey::from_der(certificates, key, &provider).map_err(TlsError::Pair)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?;
    let builder = match &pem.clients {
        None => builder.with_no_client_auth(),
        Some((roots, wanted)) => {
            let roots = Arc::new(roots_of(roots).ok_or(TlsError::Clients)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match wanted {
                ClientCertificate::Optional => verifier.allow_unauthenticated(),
                ClientCertificate::Required => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|_| TlsError::Clients)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Always(Arc::new(pair))));
    config.alpn_protocols = protocols.to_vec();
    config.send_tls13_tickets = TICKETS;
    // Resumption without memory of ours: the client carries its session, encrypted.
    config.ticketer = ring::Ticketer::new().map_err(TlsError::Config)?;
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|certificates| !certificates.is_empty())
}

fn roots_of(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).ok()?;
    }
    Some(roots)
}

/// One certificate, whatever name the client asks for: a client that wanted another will say so.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
