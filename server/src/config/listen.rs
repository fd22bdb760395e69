//! The keys of the front door: `[listen]`, `[tls]`, `[limits]`. See `sections` for the others.

use std::path::PathBuf;

use super::Origin;
use super::reader::Reader;
use super::sections::{DAY_MS, PACKET_BYTES_MAX};

/// `[listen]`: addresses as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// MQTT over TCP.
    pub(crate) mqtt: String,
    /// MQTT over TLS.
    pub(crate) mqtts: Option<String>,
    /// HTTP and WebSocket.
    pub(crate) http: String,
    /// Is `http` encrypted?
    pub(crate) http_tls: bool,
    /// Whose word about others counts.
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    /// Where they give it in a PROXY header.
    pub(crate) proxy_protocol: Vec<ProxiedListener>,
    /// Metrics, health, administration.
    pub(crate) admin: String,
    /// Most connections to `http` at once.
    pub(crate) http_connections_max: usize,
}

/// A listener that proxies may stand in front of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxiedListener {
    /// `mqtt`
    Mqtt,
    /// `mqtts`
    Mqtts,
    /// `http`
    Http,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The certificate and those that lead to its root.
    pub(crate) cert_file: PathBuf,
    /// Its private key.
    pub(crate) key_file: PathBuf,
    /// Whose client certificates are believed, and whether a client must show one.
    pub(crate) clients: Option<(PathBuf, listener::ClientCertificate)>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most connections at once that have not been let in.
    pub(crate) handshakes_max: usize,
    /// Time for PROXY header and TLS, and again for CONNECT, milliseconds.
    pub(crate) handshake_timeout_ms: u64,
    /// Largest CONNECT, bytes.
    pub(crate) connect_bytes_max: usize,
    /// Most subscriptions of one session.
    pub(crate) subscriptions_per_session: usize,
    /// Output kept for a client that does not take it, bytes.
    pub(crate) output_bytes_max: usize,
    /// The same for live messages, bytes.
    pub(crate) live_bytes_max: usize,
    /// Output kept for all clients together before live messages are dropped earlier, bytes.
    pub(crate) unsent_bytes_max: usize,
    /// How long a client may take nothing, milliseconds.
    pub(crate) stalled_timeout_ms: u64,
    /// What one of many may have.
    pub(crate) shares: Shares,
}

/// Of `[limits]`, what one address, account or connection may have of it all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Most connections of one address; 0: no limit.
    pub(crate) connections_per_address: usize,
    /// Most connections of one account; 0: no limit.
    pub(crate) connections_per_account: usize,
    /// Most publishes a second of one connection; 0: no limit.
    pub(crate) publishes_per_connection: u32,
    /// Most publishes a second of one account; 0: no limit.
    pub(crate) publishes_per_account: u32,
}

impl Listen {
    pub(super) fn take(r: &mut Reader<'_>) -> Self {
        Self {
            mqtt: r.parsed(
                "listen.mqtt",
                "0.0.0.0:1883",
                "MQTT 3.1.1 and 5 over plain TCP, the registered port. Port 0 picks a free one; the ready line says which.",
                address,
            ),
            mqtts: r.optional(
                "listen.mqtts",
                "0.0.0.0:8883",
                "The same over TLS, the registered port. Off unless set; needs [tls].",
                address,
            ),
            http: r.parsed(
                "listen.http",
                "0.0.0.0:8080",
                "/mqtt (WebSocket), /v1, /webhooks/whatsapp, the web inbox.",
                address,
            ),
            http_tls: r.choice(
                "listen.http_tls",
                &[("off", false), ("on", true)],
                "on: this listener speaks https and wss only, with the certificate of [tls]. off: put a proxy with TLS in front of it.",
            ),
            admin: r.parsed(
                "listen.admin",
                "127.0.0.1:9464",
                "/metrics, /healthz, /readyz without a token, /admin/v1 with one. For this machine and the monitoring only; the port is OpenTelemetry's for Prometheus.",
                address,
            ),
            http_connections_max: r.number(
                "listen.http_connections_max",
                10_000,
                1,
                1_000_000,
                "HTTP connections at once, WebSockets not counted; more wait. Each may hold a file descriptor and 64 KiB.",
            ),
            trusted_proxies: r
                .list(
                    "listen.trusted_proxies",
                    None,
                    "[]",
                    "Addresses or networks of your proxies and load balancers, such as \"10.0.0.0/8\": their word about whose connection they pass on counts, in a PROXY header or, on http, in X-Forwarded-For. Limits per address need it.",
                    network,
                )
                .unwrap_or_default(),
            proxy_protocol: Self::proxy_protocol(r),
        }
    }

    fn proxy_protocol(r: &mut Reader<'_>) -> Vec<ProxiedListener> {
        let key = "listen.proxy_protocol";
        let names = r.list(
            key,
            None,
            "[]",
            "Listeners, of \"mqtt\", \"mqtts\" and \"http\", at which trusted proxies send the PROXY protocol, version 2 or 1. There it is required of them, and from anybody else it is not understood.",
            proxied_listener,
        );
        let names = names.unwrap_or_default();
        let trusted = r.origin("listen.trusted_proxies") != Origin::Nowhere;
        if !names.is_empty() && !trusted {
            r.problem(
                r.origin(key),
                key,
                "stands without `listen.trusted_proxies`: nobody's header would be believed",
            );
        }
        names
    }
}

impl Tls {
    pub(super) fn take(r: &mut Reader<'_>, listen: &Listen) -> Option<Self> {
        let cert = r.optional_path(
            "tls.cert_file",
            "server.crt",
            "PEM: the certificate, then those that lead to its root. Read again when it changes, or at SIGHUP; connections stay.",
        );
        let key = r.optional_path(
            "tls.key_file",
            "server.key",
            "PEM: its private key. Readable by the server only.",
        );
        let ca = r.optional_path(
            "tls.client_ca_file",
            "clients.crt",
            "PEM: authorities whose client certificates are believed. A token is needed all the same. Set: clients are asked for one.",
        );
        let wanted = r.choice(
            "tls.client_certificate",
            &[
                ("required", listener::ClientCertificate::Required),
                ("optional", listener::ClientCertificate::Optional),
            ],
            "With client_ca_file. required: no connection without one. optional: whoever shows none comes in too, a bad one never.",
        );
        let user = [("listen.mqtts", listen.mqtts.is_some()), ("listen.http_tls", listen.http_tls)];
        let user = user.into_iter().find(|(_, used)| *used).map(|(key, _)| key);
        match (cert, key) {
            (Some(cert_file), Some(key_file)) => {
                Some(Self { cert_file, key_file, clients: ca.map(|ca| (ca, wanted)) })
            }
            (Some(_), None) => {
                r.problem(r.origin("tls.cert_file"), "tls.cert_file", "stands without `tls.key_file`");
                None
            }
            (None, Some(_)) => {
                r.problem(r.origin("tls.key_file"), "tls.key_file", "stands without `tls.cert_file`");
                None
            }
            (None, None) => {
                if let Some(user) = user {
                    r.problem(r.origin(user), user, "needs `tls.cert_file` and `tls.key_file`");
                }
                None
            }
        }
    }
}

impl Limits {
    pub(super) fn take(r: &mut Reader<'_>) -> Self {
        Self {
            handshakes_max: r.number(
                "limits.handshakes_max",
                4_096,
                1,
                1_000_000,
                "Connections at once that nobody has been let in on yet, over all listeners. One more waits in the kernel's queue, or takes the place of the oldest if that has had a second: half-open ones keep nobody out.",
            ),
            handshake_timeout_ms: r.number(
                "limits.handshake_timeout_ms",
                10_000,
                1,
                DAY_MS,
                "Time for a PROXY header and TLS, and as long again for CONNECT. Slow mobile networks need a few seconds.",
            ),
            connect_bytes_max: r.number(
                "limits.connect_bytes_max",
                128 << 10,
                1024,
                PACKET_BYTES_MAX,
                "Largest CONNECT. Whoever sends it is not known yet, so it is small: room for a token (at most 8 KiB) and for one field of 64 KiB, as a will may have.",
            ),
            subscriptions_per_session: r.number(
                "limits.subscriptions_per_session",
                1_000,
                1,
                1_000_000,
                "More are refused (0x97, in 3.1.1 0x80). Each is a row and about 100 bytes of memory as long as the session lives. A filter longer than 1 KiB counts once more for each.",
            ),
            output_bytes_max: r.number(
                "limits.output_bytes_max",
                128 << 10,
                4 << 10,
                PACKET_BYTES_MAX,
                "Bytes waiting for a client that does not take them; beyond, nothing more is read from it or written for it until it does. One packet may exceed it. What is queued for it waits in the store.",
            ),
            live_bytes_max: r.number(
                "limits.live_bytes_max",
                4 << 20,
                4 << 10,
                PACKET_BYTES_MAX,
                "The same for messages at QoS 0, which wait nowhere else: beyond, they are dropped for this client.",
            ),
            unsent_bytes_max: r.number(
                "limits.unsent_bytes_max",
                256 << 20,
                1 << 20,
                1 << 40,
                "Bytes waiting for all clients together. Beyond, messages at QoS 0 are dropped for every client that has `output_bytes_max` waiting: memory is for those that take what they get.",
            ),
            stalled_timeout_ms: r.number(
                "limits.stalled_timeout_ms",
                60_000,
                1_000,
                DAY_MS,
                "A client that takes nothing for so long although something waits for it is cut off. Its session stays.",
            ),
            shares: Shares::take(r),
        }
    }
}

impl Shares {
    fn take(r: &mut Reader<'_>) -> Self {
        Self {
            connections_per_address: r.number(
                "limits.connections_per_address",
                0,
                0,
                10_000_000,
                "MQTT connections of one IPv4 address, or of one /64 of IPv6; more are refused (0x89). 0: no limit, for an office or a mobile carrier is one address.",
            ),
            connections_per_account: r.number(
                "limits.connections_per_account",
                0,
                0,
                10_000_000,
                "MQTT connections of one account; more are refused (0x89). 0: as many as the server has. Set it where accounts do not trust each other.",
            ),
            publishes_per_connection: r.number(
                "limits.publishes_per_connection",
                0,
                0,
                1_000_000,
                "Publishes a second of one connection, a second's worth at once. Who is quicker is not read for a while; nothing is refused or lost. 0: as quick as the store is.",
            ),
            publishes_per_account: r.number(
                "limits.publishes_per_account",
                0,
                0,
                1_000_000,
                "The same for all connections of an account together: one account's storm leaves room for the others.",
            ),
        }
    }
}

/// `host:port`, where the host may be a name, an IPv4 address or an IPv6 address in brackets.
fn address(text: &str) -> Result<String, String> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        let host_is_whole =
            !host.is_empty() && (host.starts_with('[') && host.ends_with(']') || !host.contains(':'));
        host_is_whole && port.parse::<u16>().is_ok()
    });
    if good {
        Ok(text.to_owned())
    } else {
        Err("must be an address and a port, such as 127.0.0.1:1883".to_owned())
    }
}

/// An address, or a network such as 10.0.0.0/8.
fn network(text: &str) -> Result<ipnet::IpNet, String> {
    let address = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
    address
        .or_else(|_| text.parse::<ipnet::IpNet>())
        .map_err(|_| "must hold addresses such as 10.0.0.5, or networks such as 10.0.0.0/8".to_owned())
}

fn proxied_listener(text: &str) -> Result<ProxiedListener, String> {
    match text {
        "mqtt" => Ok(ProxiedListener::Mqtt),
        "mqtts" => Ok(ProxiedListener::Mqtts),
        "http" => Ok(ProxiedListener::Http),
        _ => Err("must hold names of listeners: \"mqtt\", \"mqtts\", \"http\"".to_owned()),
    }
}
