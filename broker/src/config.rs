//! What the broker must be told: where to listen and its limits. Read from files by `server`, not here.

use std::net::SocketAddr;
use std::sync::Arc;

use broker_protocol::{Limits, Now};

/// Where the broker gets the time from; it reads no other clock.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Settings of a broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Address of the MQTT listener over TCP; port 0 picks a free one.
    pub mqtt: SocketAddr,
    /// Limits of each connection.
    pub limits: Limits,
    /// Connections at once; one more is told that the server is busy.
    pub connections_max: usize,
    /// Connections at once that have not been let in; one more is closed before it can say anything, so that a flood of
    /// half-open ones leaves room for the others.
    pub handshakes_max: usize,
    /// Changes of a user's status within this time are one change, in milliseconds (contract, section 5).
    pub status_coalesce_ms: u64,
    /// Users whose last time online is remembered after they went offline; the rest is forgotten.
    pub known_users_max: usize,
}

impl BrokerConfig {
    /// The defaults, listening on `mqtt`.
    #[must_use]
    pub fn new(mqtt: SocketAddr) -> Self {
        Self {
            mqtt,
            limits: Limits::default(),
            // Each costs a file descriptor and about 3 KiB.
            connections_max: 100_000,
            handshakes_max: 4_096,
            status_coalesce_ms: 5_000,
            known_users_max: 100_000,
        }
    }
}
