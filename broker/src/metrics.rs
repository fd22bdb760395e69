//! Metrics of this crate (contract, section 7). Labels are closed sets; never a user, a topic, an id.

use broker_protocol::{Origin, Told, Version};
use schemas::ErrorCode;
use schemas::invariant::InvariantId;

const CONNECTIONS: &str = "inboxd_broker_connections";
const BACKLOG: &str = "inboxd_broker_backlog_events";
const CATCHUP: &str = "inboxd_session_catchup_seconds";
const DELIVERY: &str = "inboxd_delivery_seconds";
const REFUSED: &str = "inboxd_broker_publishes_refused_total";
const DROPPED: &str = "inboxd_broker_dropped_total";
const MISSED: &str = "inboxd_broker_missed_messages_total";
const TURNED_AWAY: &str = "inboxd_broker_connections_refused_total";
const HANDSHAKES: &str = "inboxd_broker_handshakes";
const THROTTLED: &str = "inboxd_broker_throttled_total";
const STALLED: &str = "inboxd_broker_connections_stalled_total";
const PANICS: &str = "inboxd_broker_connection_panics_total";
const VIOLATIONS: &str = "inboxd_invariant_violations_total";
const WHATSAPP_TO_DEVICE: &str = "whatsapp_to_device";
const DEVICE_TO_DEVICE: &str = "device_to_device";
const BUS_REBUILDS: &str = "inboxd_broker_bus_rebuilds_total";

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportKind {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
}

impl TransportKind {
    const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::WebSocket, Self::SecureWebSocket];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// It had not said CONNECT while others waited.
    HandshakeEvicted,
    /// Its PROXY header or TLS handshake was bad, or took too long.
    HandshakeFailed,
    /// Too many WebSockets were being opened.
    HandshakesFull,
    /// As many connections as there may be.
    Server,
    /// Its address has as many as it may.
    Address,
    /// Its account has as many as it may.
    Account,
}

impl TurnedAway {
    const ALL: [Self; 6] = [
        Self::HandshakeEvicted,
        Self::HandshakeFailed,
        Self::HandshakesFull,
        Self::Server,
        Self::Address,
        Self::Account,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::HandshakeEvicted => "handshake_evicted",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakesFull => "handshakes_full",
            Self::Server => "server_full",
            Self::Address => "address_full",
            Self::Account => "account_full",
        }
    }
}

/// Why something was dropped that nobody was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// A QoS 0 publish that is not allowed or not understood.
    QoS0,
    /// A QoS 0 delivery to a client that is too slow.
    Slow,
    /// A packet larger than the client takes.
    TooLarge,
    /// A will that could not be published.
    Will,
    /// A typing signal while the one before it is being passed on.
    Typing,
    /// A QoS 0 message while the bus is full.
    Bus,
}

impl Dropped {
    const fn as_str(self) -> &'static str {
        match self {
            Self::QoS0 => "qos0_refused",
            Self::Slow => "slow_client",
            Self::TooLarge => "too_large",
            Self::Will => "will",
            Self::Typing => "typing",
            Self::Bus => "bus_full",
        }
    }
}

/// Tells the recorder what the metrics of this crate mean.
pub fn describe() {
    metrics::describe_gauge!(CONNECTIONS, "Connected MQTT clients, by transport and version");
    metrics::describe_gauge!(
        BACKLOG,
        "Numbered events and messages that connected clients have not acknowledged"
    );
    metrics::describe_histogram!(
        CATCHUP,
        metrics::Unit::Seconds,
        "From CONNECT until a backlog was acknowledged"
    );
    metrics::describe_histogram!(
        DELIVERY,
        metrics::Unit::Seconds,
        "First byte received until a device's PUBACK"
    );
    metrics::describe_counter!(REFUSED, "Publishes refused for good, by code");
    metrics::describe_counter!(
        MISSED,
        "General messages that retention removed before their session got them"
    );
    metrics::describe_counter!(DROPPED, "Messages dropped that nobody was promised, by reason");
    metrics::describe_counter!(TURNED_AWAY, "Connections not let in, by reason");
    metrics::describe_gauge!(HANDSHAKES, "Connections that have not been let in yet");
    metrics::describe_counter!(
        THROTTLED,
        "Times a client that published too quickly was not read for a while"
    );
    metrics::describe_counter!(STALLED, "Connections ended because the client took nothing for too long");
    metrics::describe_counter!(PANICS, "Connections ended by a panic of ours");
    metrics::describe_counter!(BUS_REBUILDS, "Times the live bus failed and was built anew");
    register();
}

/// All of them are there from the start: `increase()` does not see a counter's first step if it begins at 1.
fn register() {
    for transport in TransportKind::ALL {
        for version in [Version::V311, Version::V5] {
            connected(transport, version, 0.0);
        }
    }
    metrics::gauge!(BACKLOG).set(0.0);
    handshakes(0);
    let _ = metrics::histogram!(CATCHUP);
    for path in [WHATSAPP_TO_DEVICE, DEVICE_TO_DEVICE] {
        let _ = metrics::histogram!(DELIVERY, "path" => path);
    }
    for why in TurnedAway::ALL {
        metrics::counter!(TURNED_AWAY, "reason" => why.as_str()).increment(0);
    }
    for counter in [PANICS, BUS_REBUILDS, MISSED, THROTTLED, STALLED] {
        metrics::counter!(counter).increment(0);
    }
    for why in [Dropped::QoS0, Dropped::Slow, Dropped::TooLarge, Dropped::Will, Dropped::Typing, Dropped::Bus]
    {
        metrics::counter!(DROPPED, "reason" => why.as_str()).increment(0);
    }
    // The most likely ones; the others begin when they happen.
    for code in [ErrorCode::AclDenied, ErrorCode::JsonMalformed, ErrorCode::CommandMalformed] {
        metrics::counter!(REFUSED, "code" => code.as_str()).increment(0);
    }
    for id in InvariantId::ALL {
        metrics::counter!(VIOLATIONS, "id" => id.as_str()).increment(0);
    }
}

pub(crate) fn connected(transport: TransportKind, version: Version, by: f64) {
    metrics::gauge!(CONNECTIONS, "transport" => transport.as_str(), "version" => version.as_str())
        .increment(by);
}

/// By how much one connection's backlog has changed.
pub(crate) fn backlog_changed(before: u64, now: u64) {
    if before != now {
        #[expect(clippy::cast_precision_loss, reason = "a gauge; 2^53 events are out of reach")]
        metrics::gauge!(BACKLOG).increment(now as f64 - before as f64);
    }
}

pub(crate) fn told(told: Told) {
    match told {
        Told::Delivered { origin, took_us } => {
            let path = match origin {
                Origin::Whatsapp => WHATSAPP_TO_DEVICE,
                Origin::Device => DEVICE_TO_DEVICE,
            };
            #[expect(clippy::cast_precision_loss, reason = "a duration")]
            metrics::histogram!(DELIVERY, "path" => path).record(took_us as f64 / 1e6);
        }
        Told::CaughtUp { took_ms } => {
            #[expect(clippy::cast_precision_loss, reason = "a duration")]
            metrics::histogram!(CATCHUP).record(took_ms as f64 / 1e3);
        }
        Told::DroppedQoS0 => count_dropped(Dropped::QoS0),
        Told::Refused(code) => count_refused(code),
        Told::TooLarge => count_dropped(Dropped::TooLarge),
        Told::DroppedSlow => count_dropped(Dropped::Slow),
        Told::OutOfOrder => {
            metrics::counter!(VIOLATIONS, "id" => InvariantId::P2.as_str()).increment(1);
        }
        Told::Missed { count } => metrics::counter!(MISSED).increment(count),
        Told::DroppedWill => count_dropped(Dropped::Will),
    }
}

fn count_refused(code: ErrorCode) {
    metrics::counter!(REFUSED, "code" => code.as_str()).increment(1);
}

pub(crate) fn count_dropped(why: Dropped) {
    metrics::counter!(DROPPED, "reason" => why.as_str()).increment(1);
}

pub(crate) fn count_turned_away(why: TurnedAway) {
    metrics::counter!(TURNED_AWAY, "reason" => why.as_str()).increment(1);
}

pub(crate) fn handshakes(open: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge of thousands")]
    metrics::gauge!(HANDSHAKES).set(open as f64);
}

pub(crate) fn count_throttled() {
    metrics::counter!(THROTTLED).increment(1);
}

pub(crate) fn count_stalled() {
    metrics::counter!(STALLED).increment(1);
}

pub(crate) fn count_panic() {
    metrics::counter!(PANICS).increment(1);
}

pub(crate) fn count_bus_rebuild() {
    metrics::counter!(BUS_REBUILDS).increment(1);
}
