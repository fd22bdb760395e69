//! The composition root: makes every part and hands each the others that it needs. The only file that knows all.
//!
//! Not here: what a part does, the order of a process's life (`serve`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth_hook::{AccountExists, Auth, Hook};
use metrics_exporter_prometheus::PrometheusHandle;
use schemas::{AccountId, Epoch, Millis};
use store::Store;
use store::engine::embedded;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::config::{AuthKeys, Config, OnUnknown, Secret};
use crate::keys::{self, Missing};
use crate::shutdown::{self, Shutdown, Trigger};
use crate::{Failure, web};

/// The store's folder in `data_dir`.
const STORE_FOLDER: &str = "store";
/// How often the store is asked whether its writer lives. It can only be cured by a new start, so the process ends.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// Bound, not yet accepting.
pub(crate) struct Listeners {
    pub(crate) mqtt: TcpListener,
    pub(crate) http: TcpListener,
    pub(crate) admin: TcpListener,
}

/// Where they are; the port is the real one also where the configuration says 0.
pub(crate) struct Addresses {
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Listeners {
    pub(crate) fn addresses(&self) -> Result<Addresses, Failure> {
        let address =
            |listener: &TcpListener| listener.local_addr().map_err(failed("a listener has no address"));
        Ok(Addresses { mqtt: address(&self.mqtt)?, http: address(&self.http)?, admin: address(&self.admin)? })
    }
}

/// A running server.
pub(crate) struct Server {
    trigger: Trigger,
    listeners: JoinSet<()>,
    bridge: bridge::Handle,
    store: Arc<dyn Store>,
}

/// Starts everything, the store first: whoever accepts something must be able to keep it. When it returns, every
/// listener accepts.
pub(crate) async fn start(
    config: &Config,
    listeners: Listeners,
    metrics: PrometheusHandle,
) -> Result<Server, Failure> {
    let Listeners { mqtt, http, admin } = listeners;
    let store = open_store(config)?;
    let hook = Hook::new(keys::signer(config, Missing::Make)?.verifier(), account_exists(config));
    let page = web::router(&hook.jwks());
    let auth: Arc<dyn Auth> = Arc::new(hook);
    let bridge = bridge::Bridge::start(bridge_config(config)?, Arc::clone(&store), Arc::new(now_micros))
        .await
        .map_err(failed("cannot start the bridge"))?;
    let _ = mqtt;
    let (trigger, stop) = shutdown::channel();
    let mut tasks = JoinSet::new();
    let history = history_api::Config::default();
    let routes = bridge
        .router()
        .merge(history_api::router(history, Arc::clone(&store), auth, Arc::new(now_micros)))
        .merge(page);
    spawn_http(&mut tasks, http, routes, stop.clone());
    let healthy = Arc::clone(&store);
    let admin_routes =
        Admin::new(metrics, Arc::new(move || healthy.health()), &admin_token(config)?).router();
    spawn_http(&mut tasks, admin, admin_routes, stop);
    Ok(Server { trigger, listeners: tasks, bridge, store })
}

impl Server {
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

    /// Stops accepting, lets what is in flight end, syncs. The store closes last: everything before it may still have
    /// something to write.
    pub(crate) async fn stop(mut self, grace: Duration) {
        let deadline = tokio::time::Instant::now() + grace;
        self.trigger.stop();
        let drained = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, drained).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !self.bridge.shutdown(left).await {
            tracing::warn!("some sends did not end in time; the next start settles them as unknown");
        }
        // Not under the deadline: it commits what was acknowledged already, which takes one sync.
        self.store.close().await;
    }
}

/// An error of starting, in front of its causes.
fn failed<E: std::error::Error>(what: &str) -> impl Fn(E) -> Failure {
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

fn now() -> Millis {
    Millis(now_micros() / 1000)
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let folder = config.data_dir.join(STORE_FOLDER);
    keys::create_folder(&config.data_dir)
        .and_then(|()| keys::create_folder(&folder))
        .map_err(failed(&format!("data_dir {}", config.data_dir.display())))?;
    let epoch = keys::new_ulid().map_err(failed("cannot make an epoch"))?;
    let settings = store::Settings {
        numbers: config.whatsapp.numbers.iter().map(store_number).collect(),
        fanout_max: config.conversations.fanout_max,
        cursor_flush_ms: config.mqtt.cursor_flush_ms,
        ..store::Settings::new(Epoch(epoch.0))
    };
    let sizes = embedded::Sizes {
        journal_max_bytes: config.store.journal_max_bytes,
        memtable_max_bytes: config.store.memtable_max_bytes,
    };
    embedded::open(&folder, sizes, settings, Arc::new(now)).map_err(failed("the store"))
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

fn spawn_http(tasks: &mut JoinSet<()>, listener: TcpListener, router: axum::Router, mut stop: Shutdown) {
    tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { stop.requested().await });
        if let Err(e) = served.await {
            tracing::error!(error = %e, "an http listener ended");
        }
    });
}
