//! MQTT to clients: 3.1.1 and 5, over TCP, TLS and WebSocket, with sessions whose truth is in the store.
//!
//! O1 publish · O2 gate · O4 PUBACK · I5 notice · I6 read · I7 deliver · I8 cursor. The protocol itself is the pure crate
//! `broker-protocol`; this one has the sockets, one task a connection ([`conn`]), who is online (`registry`, `live`) and
//! the live bus (`bus`).
//! Not here: the log (`store`), the rules (`auth-hook`), WhatsApp (`bridge`); they do not know each other.

mod bus;
mod config;
mod conn;
mod gate;
mod handshakes;
mod hub;
mod live;
mod metrics;
mod quota;
mod registry;
mod typing;
mod wheel;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use auth_hook::Auth;
use schemas::{AccountId, UserId};
use store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use broker_protocol::{Limits, Now};
pub use bus::BusKind;
pub use config::{BrokerConfig, Clock, Quotas};
/// The simulation (`sim/world`) speaks with the store as connections do.
pub use conn::store_io;
pub use metrics::describe as describe_metrics;

use bus::{Bus, BusEvent, BusSink};
use hub::{Doorbell, Hub};

/// The broker.
pub struct Broker;

/// Why a broker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener's address cannot be used.
    #[error("cannot listen for mqtt on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// A thread of the live bus cannot be started.
    #[error("cannot start the live bus")]
    Bus(#[source] std::io::Error),
}

impl Broker {
    /// Starts listening. Must be called inside a tokio runtime; everything runs on it but the bus's own threads.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        config: &BrokerConfig,
        store: Arc<dyn Store>,
        auth: Arc<dyn Auth>,
        clock: Clock,
        bus: BusKind,
    ) -> Result<Handle, StartError> {
        let (mqtt, mqtt_addr) = bind(config.mqtt)?;
        let mqtts = match &config.mqtts {
            Some((address, entrance)) => Some((bind(*address)?, entrance.clone())),
            None => None,
        };
        let hub = Hub::new(config, Arc::clone(&store), auth, clock);
        let bus: Arc<dyn Bus> = match bus {
            BusKind::Direct => Arc::new(bus::direct::Direct::new(&hub)),
            BusKind::Router => {
                let sink: Weak<dyn BusSink> = Arc::downgrade(&(Arc::clone(&hub) as Arc<dyn BusSink>));
                Arc::new(bus::router::RouterBus::start(sink).map_err(StartError::Bus)?)
            }
        };
        hub.set_bus(bus);
        store.listen(Arc::new(Doorbell(Arc::downgrade(&hub))));
        let entrance = config.mqtt_entrance.clone();
        let wheel = tokio::spawn(turn_wheel(Arc::clone(&hub)));
        let mut tasks = vec![tokio::spawn(conn::listener::accept(Arc::clone(&hub), mqtt, entrance))];
        let mut mqtts_addr = None;
        if let Some(((listener, address), entrance)) = mqtts {
            mqtts_addr = Some(address);
            tasks.push(tokio::spawn(conn::listener::accept(Arc::clone(&hub), listener, entrance)));
        }
        Ok(Handle { hub, mqtt_addr, mqtts_addr, accepting: tasks, wheel })
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = listener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (bound, listener) = bound.map_err(|source| StartError::Listen { address, source })?;
    Ok((listener, bound))
}

/// A running broker. Dropping it stops accepting; [`Handle::shutdown`] ends it in an orderly way.
pub struct Handle {
    hub: Arc<Hub>,
    mqtt_addr: SocketAddr,
    mqtts_addr: Option<SocketAddr>,
    accepting: Vec<JoinHandle<()>>,
    wheel: JoinHandle<()>,
}

impl Handle {
    /// Where MQTT over TCP is listened for.
    #[must_use]
    pub const fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt_addr
    }

    /// Where MQTT over TLS is listened for, if it is.
    #[must_use]
    pub const fn mqtts_addr(&self) -> Option<SocketAddr> {
        self.mqtts_addr
    }

    /// The route `/mqtt` for MQTT over WebSocket, to be merged into the HTTP server's.
    pub fn router(&self) -> axum::Router {
        conn::upgrade::router(Arc::clone(&self.hub))
    }

    /// Connections that are open now, let in or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.hub.connections()
    }

    /// Ends a user's connections: his tokens were revoked (`token_revoked`).
    pub fn kick(&self, account: AccountId, user: UserId) {
        self.hub.publish(BusEvent::Kick { account, user });
    }

    /// Stops accepting, tells every client (DISCONNECT 0x8B, WebSocket 4007), and waits until they are gone, at most
    /// `grace`. Returns how many were still there then.
    pub async fn shutdown(self, grace: Duration) -> usize {
        // The wheel goes on turning until `self` is dropped: it is what ends those who were told and do not close.
        for task in &self.accepting {
            task.abort();
        }
        self.hub.stop();
        let gone = async {
            loop {
                let over = self.hub.over.notified();
                if self.hub.connections() == 0 {
                    return;
                }
                over.await;
            }
        };
        // Whoever is left after the grace is counted below.
        let _ = tokio::time::timeout(grace, gone).await;
        if let Some(bus) = self.hub.bus() {
            bus.stop();
        }
        self.hub.connections()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
        self.wheel.abort();
    }
}

/// Wakes connections whose time has come, and tells changed statuses, those of one tick together.
async fn turn_wheel(hub: Arc<Hub>) {
    let mut tick = tokio::time::interval(Duration::from_millis(wheel::TICK_MS));
    loop {
        tick.tick().await;
        let now = hub.now();
        hub.wheel.turn(now.mono_ms);
        hub.handshakes.measure();
        for change in hub.registry.due_statuses(now.wall(), now.mono_ms) {
            hub.publish(BusEvent::Status(change));
        }
    }
}
