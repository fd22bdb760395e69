//! The composition root: makes every part and hands each the others that it needs. The only file that knows all.
//!
//! Not here: what a part does, the order of a process's life (`serve`).

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth_hook::{AccountExists, Auth, Hook};
use listener::{Entrance, Tls, TrustedProxies};
use metrics_exporter_prometheus::PrometheusHandle;
use schemas::{AccountId, Epoch, Millis};
use store::Store;
use store::engine::{embedded, scylla};
use store::url::ScyllaUrl;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::Admin;
use crate::config::{
    AuthKeys, Config, ENV_PREFIX, Login, OnUnknown, ProxiedListener, Refused311, Retention, Secret,
};
use crate::data_dir::{self, Held, Holder};
use crate::keys::{self, Missing};
use crate::shutdown::{self, Trigger};
use crate::tls::Certificates;
use crate::{Failure, http, web};

/// The store's folder in `data_dir`.
pub(crate) const STORE_FOLDER: &str = "store";
/// How often the store is asked whether its writer lives. It can only be cured by a new start, so the process ends.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// How long an HTTP connection may wait for its next request. Longer than the 60 s after which common proxies give up
/// a connection to their server: who gives up first must be the one who would otherwise send a request into the void.
const HTTP_IDLE: Duration = Duration::from_secs(75);
/// Connections to the admin listener: a monitoring system, a few operators, their scripts.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// Where the listeners are; the port is the real one also where the configuration says 0.
pub(crate) struct Addresses {
    pub(crate) mqtt: SocketAddr,
    pub(crate) mqtts: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// A running server.
pub(crate) struct Server {
    addresses: Addresses,
    trigger: Trigger,
    listeners: JoinSet<()>,
    broker: broker::Handle,
    bridge: bridge::Handle,
    store: Arc<dyn Store>,
    /// Given back last, when the store is closed.
    _data_dir: Option<Held>,
}

/// Starts everything, the store first: whoever accepts something must be able to keep it. When it returns, every
/// listener accepts.
pub(crate) async fn start(config: &Config, metrics: PrometheusHandle) -> Result<Server, Failure> {
    let data_dir = hold_data_dir(config)?;
    // What needs no undoing comes before what does: an address in use must not leave half a server behind.
    let http = listen("http", &config.listen.http).await?;
    let admin = listen("admin", &config.listen.admin).await?;
    let certificates = Certificates::load(config)?;
    let broker = broker_config(config, certificates.as_ref()).await?;
    let admin_token = admin_token(config)?;
    let store = open_store(config)?;
    let hook = Hook::new(keys::signer(config, Missing::Make)?.verifier(), account_exists(config));
    let page = web::router(&hook.jwks());
    let auth: Arc<dyn Auth> = Arc::new(hook);
    let bridge = bridge::Bridge::start(bridge_config(config)?, Arc::clone(&store), Arc::new(now_micros))
        .await
        .map_err(failed("cannot start the bridge"))?;
    let broker = broker::Broker::start(
        &broker,
        Arc::clone(&store),
        Arc::clone(&auth),
        broker_clock(),
        broker::BusKind::Router,
    )
    .map_err(|e| match e {
        broker::StartError::Listen { address, source } => {
            let of_mqtts = broker.mqtts.as_ref().is_some_and(|(mqtts, _)| *mqtts == address);
            cannot_listen(if of_mqtts { "mqtts" } else { "mqtt" }, &address.to_string(), &source)
        }
        other => failed("cannot start the broker")(other),
    })?;
    let addresses = Addresses {
        mqtt: broker.mqtt_addr(),
        mqtts: broker.mqtts_addr(),
        http: address(&http)?,
        admin: address(&admin)?,
    };
    let history = history_api::Config::default();
    let history = history_api::router(history, Arc::clone(&store), auth, Arc::new(now_micros));
    let routes = bridge.router().merge(broker.router()).merge(history).merge(page);
    let healthy = Arc::clone(&store);
    let administration = Admin::new(metrics, Arc::new(move || healthy.readiness()), &admin_token);
    let administration = administration.with_store(Arc::clone(&store));
    let (trigger, stop) = shutdown::channel();
    let mut listeners = JoinSet::new();
    let of_http = http_door(config, certificates.as_ref());
    listeners.spawn(http::serve("http", http, routes, of_http, stop.clone()));
    let of_admin = http::Door {
        entrance: Entrance::default(),
        proxies: Arc::default(),
        limits: http_limits(config, ADMIN_CONNECTIONS_MAX),
    };
    listeners.spawn(http::serve("admin", admin, administration.router(), of_admin, stop.clone()));
    if let Some(certificates) = certificates {
        listeners.spawn(certificates.watch(stop));
    }
    Ok(Server { addresses, trigger, listeners, broker, bridge, store, _data_dir: data_dir })
}

impl Server {
    pub(crate) const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Waits for a part that ends although nobody told it to; does not return while all is well.
    pub(crate) async fn failed(&mut self) -> Failure {
        let mut ticks = tokio::time::interval(HEALTH_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if let Err(why) = self.store.health() {
                        return Failure::Failed(format!("the store cannot go on: {why}"));
                    }
                }
                _ = self.listeners.join_next() => {
                    return Failure::Failed("a listener ended".to_owned());
                }
            }
        }
    }

    /// Stops accepting, says good-bye, lets what is in flight end, syncs. The store closes last: everything before it
    /// may still have something to write.
    pub(crate) async fn stop(mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.trigger.stop();
        let drained = async { while self.listeners.join_next().await.is_some() {} };
        let (left, drained) =
            tokio::join!(self.broker.shutdown(grace), tokio::time::timeout_at(deadline, drained));
        if left > 0 || drained.is_err() {
            tracing::warn!(mqtt = left, "some connections did not end in time");
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        if !self.bridge.shutdown(rest).await {
            tracing::warn!("some sends did not end in time; the next start settles them as unknown");
        }
        // Not under the deadline: it commits what was acknowledged already, which takes one sync.
        self.store.close().await;
    }
}

/// Before anything else: what a second server would touch, the first one has.
fn hold_data_dir(config: &Config) -> Result<Option<Held>, Failure> {
    make_data_dir(config)?;
    let another = "start this one again, or give it another data_dir";
    data_dir::hold(config, Holder::Server).map_err(|held| held.stop_first(another))
}

pub(crate) fn make_data_dir(config: &Config) -> Result<(), Failure> {
    let folder = &config.data_dir;
    keys::create_folder(folder).map_err(failed(&format!("data_dir {}", folder.display())))
}

async fn listen(key: &str, address: &str) -> Result<TcpListener, Failure> {
    let resolved = resolve(key, address).await?;
    listener::bind(resolved).map_err(|e| cannot_listen(key, address, &e))
}

/// The first address of a name.
async fn resolve(key: &str, address: &str) -> Result<SocketAddr, Failure> {
    let mut found = tokio::net::lookup_host(address).await.map_err(|e| cannot_listen(key, address, &e))?;
    let none = || cannot_listen(key, address, &io::Error::other("the name has no address"));
    found.next().ok_or_else(none)
}

fn cannot_listen(key: &str, address: &str, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "; another program has it: choose another port with listen.{key} or {}, 0 picks a free one",
            format_args!("{ENV_PREFIX}LISTEN__{}", key.to_uppercase())
        ),
        _ => String::new(),
    };
    Failure::Failed(format!("cannot listen on {address} (listen.{key}): {error}{hint}"))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(failed("a listener has no address"))
}

/// What a listener asks of a connection.
fn entrance(config: &Config, which: ProxiedListener, tls: Option<&Arc<Tls>>) -> Entrance {
    let proxied = config.listen.proxy_protocol.contains(&which);
    let proxies = if proxied { config.listen.trusted_proxies.clone() } else { Vec::new() };
    Entrance { proxies: Arc::new(TrustedProxies::new(proxies)), tls: tls.map(Arc::clone) }
}

const fn http_limits(config: &Config, connections_max: usize) -> http::Limits {
    let handshake = Duration::from_millis(config.limits.handshake_timeout_ms);
    http::Limits { connections_max, handshake, idle: HTTP_IDLE }
}

fn http_door(config: &Config, certificates: Option<&Certificates>) -> http::Door {
    let listen = &config.listen;
    let tls = certificates.map(|certificates| &certificates.http).filter(|_| listen.http_tls);
    http::Door {
        entrance: entrance(config, ProxiedListener::Http, tls),
        proxies: Arc::new(TrustedProxies::new(listen.trusted_proxies.clone())),
        limits: http_limits(config, listen.http_connections_max),
    }
}

async fn broker_config(
    config: &Config,
    certificates: Option<&Certificates>,
) -> Result<broker::BrokerConfig, Failure> {
    let mut broker = broker::BrokerConfig::new(resolve("mqtt", &config.listen.mqtt).await?);
    broker.mqtt_entrance = entrance(config, ProxiedListener::Mqtt, None);
    if let (Some(mqtts), Some(certificates)) = (&config.listen.mqtts, certificates) {
        let entrance = entrance(config, ProxiedListener::Mqtts, Some(&certificates.mqtts));
        broker.mqtts = Some((resolve("mqtts", mqtts).await?, entrance));
    }
    let keys = &config.mqtt;
    broker.connections_max = keys.connections_max;
    broker.limits.packet_bytes_max = keys.max_packet_bytes;
    broker.limits.receive_max = keys.receive_maximum;
    broker.limits.keep_alive_max_s = keys.keep_alive_max_s;
    broker.limits.store_wait_ms = keys.store_wait_ms;
    broker.limits.refused_publish_311_closes = keys.refused_publish_311 == Refused311::Close;
    let limits = &config.limits;
    broker.handshakes_max = limits.handshakes_max;
    broker.limits.connect_timeout_ms = limits.handshake_timeout_ms;
    broker.limits.connect_bytes_max = limits.connect_bytes_max;
    broker.limits.subscriptions_max = limits.subscriptions_per_session;
    broker.limits.output_bytes_high = limits.output_bytes_max;
    broker.limits.live_bytes_high = limits.live_bytes_max;
    broker.unsent_bytes_high = limits.unsent_bytes_max;
    broker.stalled_ms = limits.stalled_timeout_ms;
    broker.quotas = broker::Quotas {
        connections_per_address: limits.shares.connections_per_address,
        connections_per_account: limits.shares.connections_per_account,
        publishes_per_connection: limits.shares.publishes_per_connection,
        publishes_per_account: limits.shares.publishes_per_account,
    };
    Ok(broker)
}

/// The wall clock for what is written down, a monotonic one for time-outs.
fn broker_clock() -> broker::Clock {
    let start = Instant::now();
    Arc::new(move || broker::Now {
        wall_us: now_micros(),
        mono_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// An error of starting, in front of its causes.
pub(crate) fn failed<E: std::error::Error>(what: &str) -> impl Fn(E) -> Failure {
    move |error| {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Failure::Failed(text)
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn now_micros() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn now() -> Millis {
    Millis(now_micros() / 1000)
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    match &config.store.cluster {
        Some(url) => open_cluster(config, url),
        None => open_embedded(config),
    }
}

fn store_settings(config: &Config) -> Result<store::Settings, Failure> {
    let epoch = keys::new_ulid().map_err(failed("cannot make an epoch"))?;
    Ok(store::Settings {
        numbers: config.whatsapp.numbers.iter().map(store_number).collect(),
        fanout_max: config.conversations.fanout_max,
        cursor_flush_ms: config.mqtt.cursor_flush_ms,
        retention: retention(&config.retention),
        ..store::Settings::new(Epoch(epoch.0))
    })
}

/// Where the cluster is, and as whom to go there.
pub(crate) fn access(url: &ScyllaUrl, login: &Login) -> Result<scylla::Access, Failure> {
    let mut access = scylla::Access::new(url.clone());
    if let Some((user, password)) = &login.credentials {
        let password = std::str::from_utf8(password.bytes())
            .map_err(|_| Failure::Usage("store.password: is not UTF-8".to_owned()))?;
        access.credentials = Some((user.clone(), password.to_owned()));
    }
    if let Some(file) = &login.tls_ca_file {
        let authorities = std::fs::read(file)
            .map_err(|e| Failure::Usage(format!("store.tls_ca_file {}: {e}", file.display())))?;
        access.tls = Some(scylla::Tls { authorities, server_name: login.tls_server_name.clone() });
    }
    Ok(access)
}

fn open_cluster(config: &Config, url: &ScyllaUrl) -> Result<Arc<dyn Store>, Failure> {
    let access = access(url, &config.store.login)?;
    scylla::open(access, store_settings(config)?, Arc::new(now)).map_err(failed("the store"))
}

fn open_embedded(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let folder = store_folder(config);
    keys::create_folder(&folder).map_err(failed(&format!("data_dir {}", config.data_dir.display())))?;
    let settings = store::Settings {
        disk: Some(disk_space(&folder, config.store.min_free_bytes)),
        ..store_settings(config)?
    };
    embedded::open(&folder, sizes(config), settings, Arc::new(now)).map_err(failed("the store"))
}

/// Where the embedded store is.
pub(crate) fn store_folder(config: &Config) -> PathBuf {
    config.data_dir.join(STORE_FOLDER)
}

/// The embedded store's sizes.
pub(crate) fn sizes(config: &Config) -> embedded::Sizes {
    embedded::Sizes {
        journal_max_bytes: config.store.journal_max_bytes,
        memtable_max_bytes: config.store.memtable_max_bytes,
        ..embedded::Sizes::default()
    }
}

/// The disk of the store's folder, as `df` sees it for a user without privileges.
fn disk_space(folder: &Path, min_free_bytes: u64) -> store::DiskSpace {
    let folder = folder.to_owned();
    let free = move || {
        let disk = rustix::fs::statvfs(&folder).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    };
    store::DiskSpace { min_free_bytes, free: Arc::new(free) }
}

const fn retention(keys: &Retention) -> store::Retention {
    store::Retention {
        inbox_days: keys.inbox_days,
        inbox_max_events: keys.inbox_max_events,
        messages_days: keys.messages_days,
        dedupe_days: keys.dedupe_days,
        journal_days: keys.journal_days,
        retained_max_messages: keys.retained_max_messages,
        retained_max_bytes: keys.retained_max_bytes,
    }
}

fn store_number(number: &crate::config::WhatsAppNumber) -> store::Number {
    store::Number {
        id: number.phone_number_id.clone(),
        account: number.account.clone(),
        agents: number.agents.clone().map_or(store::Agents::All, store::Agents::Named),
        triage: number.triage.clone(),
    }
}

fn bridge_config(config: &Config) -> Result<bridge::BridgeConfig, Failure> {
    let whatsapp = &config.whatsapp;
    let verify_token = match &whatsapp.verify_token {
        Some(token) => secret("whatsapp.verify_token", token)?,
        // A word that nobody knows refuses every verification.
        None => bridge::Secret::new(keys::new_secret().map_err(failed("cannot make a secret"))?),
    };
    let mut numbers = Vec::with_capacity(whatsapp.numbers.len());
    for number in &whatsapp.numbers {
        let app_secret = number.app_secret.as_ref().map(|s| secret("whatsapp.number.app_secret", s));
        numbers.push(bridge::NumberConfig {
            id: number.phone_number_id.clone(),
            access_token: secret("whatsapp.number.access_token", &number.access_token)?,
            app_secret: app_secret.transpose()?,
            on_unknown: match number.on_unknown {
                OnUnknown::Hold => bridge::OnUnknown::Hold,
                OnUnknown::Resend => bridge::OnUnknown::Resend,
            },
            unknown_after_ms: number.unknown_after_s.saturating_mul(1000),
        });
    }
    let app_secret = whatsapp.app_secret.as_ref().map(|s| secret("whatsapp.app_secret", s));
    Ok(bridge::BridgeConfig {
        graph_url: whatsapp.graph_url.clone(),
        verify_token,
        app_secrets: app_secret.transpose()?.into_iter().collect(),
        numbers,
    })
}

fn secret(key: &str, secret: &Secret) -> Result<bridge::Secret, Failure> {
    match std::str::from_utf8(secret.bytes()) {
        Ok(text) => Ok(bridge::Secret::new(text)),
        Err(_) => Err(Failure::Usage(format!("{key}: is not UTF-8"))),
    }
}

/// The accounts that exist: those that a number names.
fn account_exists(config: &Config) -> AccountExists {
    let numbers = &config.whatsapp.numbers;
    let accounts: std::collections::BTreeSet<AccountId> = numbers.iter().map(|n| n.account.clone()).collect();
    if accounts.is_empty() {
        tracing::warn!("no account exists yet, so no token is accepted: configure a [[whatsapp.number]]");
    }
    if let AuthKeys::Hs256(secret) = &config.auth
        && secret.bytes().len() < auth_hook::keys::HS256_SECRET_BYTES_ADVISED
    {
        tracing::warn!(
            "the HS256 secret is short and can be guessed from any token: use 32 random bytes or more"
        );
    }
    Arc::new(move |account| accounts.contains(account))
}

/// The admin token, made at first start.
fn admin_token(config: &Config) -> Result<Vec<u8>, Failure> {
    let path = &config.admin.token_file;
    let make = || keys::new_secret().map(|secret| format!("{secret}\n"));
    keys::read_or_create(path, make).map_err(failed(&format!("admin token {}", path.display())))
}
