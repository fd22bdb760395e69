//! What the broker must be told: where to listen and its limits. Read from files by `server`, not here.

use std::net::SocketAddr;
use std::sync::Arc;

use broker_protocol::{Limits, Now};
use listener::Entrance;

/// Where the broker gets the time from; it reads no other clock.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Settings of a broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Address of the MQTT listener over TCP; port 0 picks a free one.
    pub mqtt: SocketAddr,
    /// What it asks of a connection.
    pub mqtt_entrance: Entrance,
    /// The MQTT listener over TLS, where there is one.
    pub mqtts: Option<(SocketAddr, Entrance)>,
    /// Limits of each connection.
    pub limits: Limits,
    /// Connections at once; one more is told that the server is busy.
    pub connections_max: usize,
    /// Connections at once that have not been let in. One more waits, or takes the place of the oldest.
    pub handshakes_max: usize,
    /// Time that a client may take nothing although there is something for it, in milliseconds; then its connection ends.
    pub stalled_ms: u64,
    /// Bytes that wait for all clients together, beyond which live messages are dropped for whoever has
    /// [`Limits::output_bytes_high`] waiting, and not only for whoever has [`Limits::live_bytes_high`].
    pub unsent_bytes_high: usize,
    /// What one address, account or connection may have of all this.
    pub quotas: Quotas,
    /// Changes of a user's status within this time are one change, in milliseconds (contract, section 5).
    pub status_coalesce_ms: u64,
    /// Users whose last time online is remembered after they went offline; the rest is forgotten.
    pub known_users_max: usize,
}

/// Shares; 0 = as much as there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Connections of one IPv4 address or IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// Connections of one account.
    pub connections_per_account: usize,
    /// Publishes a second of one connection.
    pub publishes_per_connection: u32,
    /// Publishes a second of all connections of one account.
    pub publishes_per_account: u32,
}

impl BrokerConfig {
    /// The defaults, listening on `mqtt`.
    #[must_use]
    pub fn new(mqtt: SocketAddr) -> Self {
        Self {
            mqtt,
            mqtt_entrance: Entrance::default(),
            mqtts: None,
            limits: Limits::default(),
            // Each costs a file descriptor and about 3 KiB.
            connections_max: 100_000,
            handshakes_max: 4_096,
            stalled_ms: 60_000,
            // As much as sixty-four clients may have each.
            unsent_bytes_high: 256 << 20,
            quotas: Quotas::default(),
            status_coalesce_ms: 5_000,
            known_users_max: 100_000,
        }
    }
}
