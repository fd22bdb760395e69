//! The front door: from an address to a stream of bytes whose sender is known. Before I1, O1 and S1.
//!
//! ```text
//!   bind ──▶ accept ──▶ Entrance: PROXY header, where a trusted proxy sends one ──▶ TLS, where it is on ──▶ Stream, Peer
//! ```
//! Shared by MQTT and HTTP. Not here: how many may come in at once and how long they may take (`broker`, `server`), what
//! they say, reading certificates from files (`server`).

mod bind;
mod entrance;
pub mod proxy;
mod stream;
mod tls;

pub use bind::{bind, concerns_one_connection};
pub use entrance::{Entrance, HandshakeError, Peer, TrustedProxies};
pub use stream::Stream;
pub use tls::{ClientCertificate, Pem, Tls, TlsError};
