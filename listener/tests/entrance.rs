//! The entrance over real sockets: TLS with rustls on the other side, PROXY headers, certificates that change.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, also in a helper")]

use std::net::SocketAddr;
use std::sync::Arc;

use listener::{
    ClientCertificate, Entrance, HandshakeError, Peer, Pem, Stream, Tls, TlsError, TrustedProxies,
};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "mqtt.test";

/// An authority, and what it signed.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    fn server(&self) -> Pem {
        let (certificate, key) = self.sign();
        Pem { certificates: certificate.pem().into(), key: key.serialize_pem().into(), clients: None }
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into()
    }

    /// A client that believes this authority, with a certificate of another or without.
    fn client(&self, own: Option<&Self>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let (certificate, key) = authority.sign();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

fn trusting(network: &str) -> Arc<TrustedProxies> {
    Arc::new(TrustedProxies::new(vec![network.parse().unwrap()]))
}

/// Both ends of a connection on which the client has said `first`.
async fn connection(first: &[u8]) -> (TcpStream, TcpStream, SocketAddr) {
    let listener = listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut client = TcpStream::connect(local(&listener)).await.unwrap();
    client.write_all(first).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    (client, server, peer)
}

fn local(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap()
}

type Admitted = Result<(Stream, Peer), HandshakeError>;

/// A TLS connection through the entrance: what the server got, what the client got.
async fn handshake(
    entrance: &Entrance,
    client: &TlsConnector,
) -> (Admitted, std::io::Result<TlsStream<TcpStream>>) {
    let (socket, server, peer) = connection(b"").await;
    let name = ServerName::try_from(NAME).unwrap();
    tokio::join!(entrance.admit(server, peer), client.connect(name, socket))
}

async fn says(from: &mut (impl AsyncWriteExt + Unpin), to: &mut (impl AsyncReadExt + Unpin), text: &[u8]) {
    from.write_all(text).await.unwrap();
    from.flush().await.unwrap();
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text);
}

fn with(tls: &Arc<Tls>) -> Entrance {
    Entrance { tls: Some(Arc::clone(tls)), ..Entrance::default() }
}

fn shown(client: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_ends_none() {
    let authority = Authority::new();
    let tls = Arc::new(Tls::new(&authority.server(), &[]).unwrap());
    let (entrance, connector) = (with(&tls), authority.client(None));
    let (server, client) = handshake(&entrance, &connector).await;
    let ((mut server, peer), mut client) = (server.unwrap(), client.unwrap());
    assert!(peer.secure);

    // A half-written file changes nothing.
    let broken = Pem { key: Authority::new().server().key, ..authority.server() };
    assert!(matches!(tls.replace(&broken), Err(TlsError::Pair(_))));
    assert!(matches!(tls.replace(&Pem { certificates: Vec::new(), ..broken }), Err(TlsError::Certificates)));
    let (_, same) = handshake(&entrance, &authority.client(None)).await;
    assert_eq!(shown(&same.unwrap()), shown(&client));

    tls.replace(&authority.server()).unwrap();
    let (_, other) = handshake(&entrance, &authority.client(None)).await;
    assert_ne!(shown(&other.unwrap()), shown(&client));
    says(&mut client, &mut server, b"as before").await;
    says(&mut server, &mut client, b"in both directions").await;
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_configured() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    for (wanted, own, expected) in [
        (ClientCertificate::Optional, None, true),
        (ClientCertificate::Optional, Some(&clients), true),
        (ClientCertificate::Optional, Some(&strangers), false),
        (ClientCertificate::Required, None, false),
        (ClientCertificate::Required, Some(&clients), true),
        (ClientCertificate::Required, Some(&strangers), false),
    ] {
        let pem = Pem { clients: Some((clients.pem(), wanted)), ..authority.server() };
        let entrance = with(&Arc::new(Tls::new(&pem, &[]).unwrap()));
        let (server, _) = handshake(&entrance, &authority.client(own)).await;
        assert_eq!(server.is_ok(), expected, "{wanted:?}, a certificate: {}", own.is_some());
    }
}

#[tokio::test]
async fn the_proxys_word_counts_and_what_follows_is_left_alone() {
    let authority = Authority::new();
    let tls = Arc::new(Tls::new(&authority.server(), &[]).unwrap());
    for tls in [None, Some(tls)] {
        let secure = tls.is_some();
        let entrance = Entrance { proxies: trusting("127.0.0.0/8"), tls };
        let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 4321 8883\r\n";
        if secure {
            let (client, server, peer) = connection(header).await;
            assert!(!entrance.is_open(peer));
            let name = ServerName::try_from(NAME).unwrap();
            let connector = authority.client(None);
            let (admitted, client) =
                tokio::join!(entrance.admit(server, peer), connector.connect(name, client));
            let ((mut server, peer), mut client) = (admitted.unwrap(), client.unwrap());
            assert_eq!(peer, Peer { address: "203.0.113.7:4321".parse().unwrap(), secure: true });
            says(&mut client, &mut server, b"after the header").await;
        } else {
            let (mut client, server, peer) = connection(&[&header[..], b"and more"].concat()).await;
            let (mut server, peer) = entrance.admit(server, peer).await.unwrap();
            assert_eq!(peer, Peer { address: "203.0.113.7:4321".parse().unwrap(), secure: false });
            says(&mut client, &mut server, b"").await;
            let mut rest = [0; 8];
            server.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"and more");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_refused_and_a_stranger_is_not_asked() {
    let connect = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06abcdef";
    let entrance = Entrance { proxies: trusting("127.0.0.1/32"), tls: None };
    let (_client, server, peer) = connection(connect).await;
    assert!(matches!(entrance.admit(server, peer).await, Err(HandshakeError::Proxy(_))));

    let entrance = Entrance { proxies: trusting("10.0.0.0/8"), tls: None };
    let (_client, server, peer) = connection(b"PROXY TCP4 203.0.113.7 10.0.0.1 4321 1883\r\n").await;
    assert!(entrance.is_open(peer));
    let (mut server, told) = entrance.admit(server, peer).await.unwrap();
    assert_eq!(told, Peer { address: peer, secure: false });
    let mut first = [0; 5];
    server.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"PROXY");
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_the_same_proxy() {
    let proxies = trusting("192.0.2.0/24");
    assert!(proxies.contains("::ffff:192.0.2.9".parse().unwrap()));
    assert!(!proxies.contains("192.0.3.1".parse().unwrap()));
}
