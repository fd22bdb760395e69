//! What all connections of a broker share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use auth_hook::Auth;
use broker_protocol::{Cause, Limits, LiveMessage, Now};
use schemas::topic::{UserTopic, UserTopicKind};
use schemas::{Publication, QoS};
use store::{CommitListener, Notices, Store};
use tokio::sync::Notify;

use crate::bus::{Batch, Bus, BusEvent, BusSink};
use crate::config::{BrokerConfig, Clock};
use crate::gate::Gate;
use crate::handshakes::Handshakes;
use crate::live::Live;
use crate::quota::Usage;
use crate::registry::Registry;
use crate::wheel::Wheel;

/// See the module.
pub(crate) struct Hub {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) gate: Gate,
    pub(crate) limits: Arc<Limits>,
    pub(crate) registry: Registry,
    pub(crate) live: Live,
    /// Time that a client may take nothing although there is something for it, in milliseconds.
    pub(crate) stalled_ms: u64,
    clock: Clock,
    bus: OnceLock<Arc<dyn Bus>>,
    pub(crate) handshakes: Handshakes,
    pub(crate) usage: Arc<Usage>,
    pub(crate) wheel: Wheel,
    /// Bytes that clients have not taken yet, all together, and how many are too many.
    unsent: AtomicUsize,
    unsent_high: usize,
    connections: Arc<AtomicUsize>,
    numbers: AtomicU64,
    stopping: AtomicBool,
    /// Woken whenever a connection is over.
    pub(crate) over: Notify,
}

impl Hub {
    pub(crate) fn new(
        config: &BrokerConfig,
        store: Arc<dyn Store>,
        auth: Arc<dyn Auth>,
        clock: Clock,
    ) -> Arc<Self> {
        let connections = Arc::new(AtomicUsize::new(0));
        Arc::new(Self {
            store,
            gate: Gate::new(auth, Arc::clone(&connections), config.connections_max),
            limits: Arc::new(config.limits.clone()),
            registry: Registry::new(config.known_users_max, config.status_coalesce_ms),
            live: Live::default(),
            stalled_ms: config.stalled_ms,
            clock,
            bus: OnceLock::new(),
            handshakes: Handshakes::new(config.handshakes_max),
            usage: Usage::new(config.quotas.clone()),
            wheel: Wheel::default(),
            unsent: AtomicUsize::new(0),
            unsent_high: config.unsent_bytes_high,
            connections,
            numbers: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            over: Notify::new(),
        })
    }

    /// A client that had `before` bytes waiting has `after` now.
    pub(crate) fn unsent_changed(&self, before: usize, after: usize) {
        // Wraps, as the sum of all changes does not.
        self.unsent.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Does more wait for all clients together than memory should hold?
    pub(crate) fn is_crowded(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) > self.unsent_high
    }

    pub(crate) fn now(&self) -> Now {
        (self.clock)()
    }

    pub(crate) fn set_bus(&self, bus: Arc<dyn Bus>) {
        // Set once, at the start; a second one would have nobody to listen to it.
        let _ = self.bus.set(bus);
    }

    pub(crate) fn bus(&self) -> Option<&Arc<dyn Bus>> {
        self.bus.get()
    }

    pub(crate) fn publish(&self, event: BusEvent) {
        if let Some(bus) = self.bus() {
            bus.publish(event);
        }
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn connection_begun(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_over(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.over.notify_waiters();
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// No connection is taken from now on, and those that are there end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.registry.end_all(Cause::Stopping);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// I5. From the store's writer onto the bus. The store keeps it for its life, which may be longer than the broker's.
pub(crate) struct Doorbell(pub(crate) Weak<Hub>);

impl CommitListener for Doorbell {
    fn committed(&self, notices: &Notices) {
        if let Some(hub) = self.0.upgrade()
            && let Some(bus) = hub.bus()
        {
            bus.ring(&notices.inboxes, &notices.queues);
            for will in &notices.wills {
                let (account, publisher) = (will.account.clone(), will.publisher);
                let (turn, message) = (hub.live.turn(), Arc::clone(&will.message));
                bus.publish(BusEvent::Live { account, publisher, turn, message });
            }
        }
    }
}

/// From the bus to the connections.
impl BusSink for Hub {
    fn deliver(&self, batch: Batch) {
        if !batch.inboxes.is_empty() || !batch.queues.is_empty() {
            self.registry.notice(&batch.inboxes, &batch.queues);
        }
        for event in batch.events {
            match event {
                BusEvent::Live { account, publisher, turn, message } => {
                    self.live.deliver(&account, publisher, turn, &message);
                }
                BusEvent::Signal { account, user, payload } => {
                    let kind = UserTopicKind::Signals;
                    let topic = UserTopic { user: user.clone(), kind }.to_string();
                    let message = Arc::new(Publication {
                        topic: topic.into(),
                        payload,
                        qos: QoS::AtMostOnce,
                        retain: false,
                        properties: None,
                    });
                    let message =
                        LiveMessage::Publication { message, subscription_ids: Vec::new(), retain: false };
                    self.registry.to_user(&account, &user, &message);
                }
                BusEvent::Status(change) => self.registry.tell_status(&change),
                BusEvent::Kick { account, user } => {
                    self.registry.end_user(&account, &user, Cause::TokenRevoked)
                }
            }
        }
    }

    fn lost(&self) {
        self.registry.look_again();
    }
}
