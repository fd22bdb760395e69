//! WhatsApp Cloud API, both ways: webhooks in (I1, I2, O8), messages out (O5–O7).
//!
//! ```text
//!  Meta ──POST──▶ webhook ──translate──▶ STORE ──notice──▶ sender ──POST──▶ Graph API
//! ```
//! [`Bridge::start`] needs a running tokio runtime. Nothing here knows a broker, a device or a file.
//! Not here: what an update does (the store's commit plan), fetching media, templates' approval.

pub mod config;
mod error;
pub mod graph;
pub mod metrics;
pub mod sender;
pub mod translate;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use schemas::Millis;
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use config::{BridgeConfig, NumberConfig, OnUnknown, Secret};
pub use error::StartError;

use graph::{Graph, HttpGraph};
use sender::attempt::Attempts;
use sender::plan::Planner;
use sender::run::{Doorbell, Sender};
use webhook::backlog::Backlog;
use webhook::receive::{self, Receiver};
use webhook::signature::AppSecrets;

/// Where the bridge gets the time from: microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

fn millis(clock: &Clock) -> Millis {
    Millis(clock() / 1000)
}

/// WhatsApp, both ways.
pub struct Bridge;

/// A running bridge.
pub struct Handle {
    receiver: Arc<Receiver>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Bridge {
    /// Starts with the Graph API over HTTP.
    ///
    /// # Errors
    /// [`StartError`]: configuration, TLS, or a journal that cannot be read.
    pub async fn start(
        config: BridgeConfig,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Handle, StartError> {
        let graph = Arc::new(HttpGraph::new(&config)?);
        Self::start_with(config, store, clock, graph).await
    }

    /// Starts with a given Graph API.
    ///
    /// # Errors
    /// [`StartError::Journal`].
    pub async fn start_with(
        config: BridgeConfig,
        store: Arc<dyn Store>,
        clock: Clock,
        graph: Arc<dyn Graph>,
    ) -> Result<Handle, StartError> {
        metrics::describe();
        // Before anything can be received: what a former process left comes first.
        let backlog = Arc::new(Backlog::of(store.open_journal().await?));
        let doorbell = Arc::new(Doorbell::default());
        store.listen(Arc::clone(&doorbell) as Arc<dyn store::CommitListener>);
        let attempts = Attempts {
            store: Arc::clone(&store),
            graph,
            clock: Arc::clone(&clock),
            on_unknown: config.numbers.iter().map(|number| (number.id.clone(), number.on_unknown)).collect(),
        };
        let sender = Sender::new(Planner::new(&config.numbers), Arc::new(attempts), doorbell);
        let secrets = AppSecrets::new(&config);
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(sender.run(stopped.clone())),
            tokio::spawn(Arc::clone(&backlog).work(Arc::clone(&store), stopped)),
        ];
        let receiver = Arc::new(Receiver::new(store, clock, secrets, config.verify_token, backlog));
        Ok(Handle { receiver, stop, tasks })
    }
}

impl Handle {
    /// The routes of section 6 of the contract that belong to WhatsApp.
    pub fn router(&self) -> axum::Router {
        receive::router(Arc::clone(&self.receiver))
    }

    /// Starts nothing new and waits for what is under way, at most `grace`. True: everything is on record. What is
    /// not is settled as unknown by the next start. The store must be closed after this, not before.
    pub async fn shutdown(self, grace: Duration) -> bool {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + grace;
        let mut whole = true;
        for mut task in self.tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                whole = false;
            }
        }
        whole
    }
}
