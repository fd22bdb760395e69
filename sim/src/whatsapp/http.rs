//! The model of WhatsApp on two wires: serves the Graph API (O6) and delivers signed webhooks (I1, O8), with control
//! routes under `/_sim/` for tests in other processes.
//!
//! Here are the clock, the sockets and the waiting; every decision is the model's. Plain HTTP only, meant for
//! loopback: the control routes have no authentication.
//!
//! | file | does |
//! |---|---|
//! | `graph` | `POST /[vN.N/]{phone_number_id}/messages`, `GET /[vN.N/]{phone_number_id}` |
//! | `deliver` | takes due webhooks to the configured URL, again and again where need be |
//! | `control` | `/_sim/…` |
//! | `handle` | the same abilities in-process |
//! | `listener` | connections that can be cut without an answer |

mod control;
mod deliver;
mod graph;
mod handle;
mod listener;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use deliver::{DeliverRawError, RawAnswer};
pub use handle::{CustomersRunning, Handle, TimedOut};

use super::envelope::BusinessNumber;
use super::faults::Faults;
use super::model::{Carried, Model, ModelConfig};
use listener::{Connection, CuttableListener};

/// Deliveries at a time, unless configured; Meta delivers concurrently.
const DELIVERY_CONCURRENCY: usize = 16;
/// Deliveries remembered for tests to look at; beyond this the oldest is forgotten.
const DELIVERIES_MAX: usize = 100_000;

/// Where time comes from, in Unix milliseconds.
pub trait Clock: Send + Sync {
    /// Now.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since_epoch.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// What a running simulator is made from.
#[derive(Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where webhooks go. While absent they wait; see [`Handle::set_webhook_url`].
    pub webhook_url: Option<String>,
    /// Signs webhooks.
    pub app_secret: String,
    /// The bearer token Graph calls must carry.
    pub access_token: String,
    /// The business' numbers; the first is where customers write unless they name another.
    pub numbers: Vec<BusinessNumber>,
    /// What goes wrong by chance.
    pub faults: Faults,
    /// Decides all chances.
    pub seed: u64,
    /// Deliveries at a time, at least 1. With 1, webhooks arrive in exactly the model's order.
    pub delivery_concurrency: usize,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl SimConfig {
    /// One number, on a free port of loopback, nothing going wrong, no webhook URL yet.
    pub fn new(number: BusinessNumber, app_secret: &str, access_token: &str) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            webhook_url: None,
            app_secret: app_secret.to_owned(),
            access_token: access_token.to_owned(),
            numbers: vec![number],
            faults: Faults::default(),
            seed: 1,
            delivery_concurrency: DELIVERY_CONCURRENCY,
            clock: Arc::new(SystemClock),
        }
    }
}

/// The simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address could not be bound.
    #[error("cannot listen on {listen}")]
    Listen {
        /// What was asked for.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The HTTP client for webhooks could not be made.
    #[error("cannot make an HTTP client")]
    Client(#[from] reqwest::Error),
    /// The TLS settings of that client were refused.
    #[error("cannot make TLS settings")]
    Tls(#[from] rustls::Error),
}

/// The simulator; see [`WhatsAppSim::start`].
#[derive(Clone, Copy, Debug)]
pub struct WhatsAppSim;

impl WhatsAppSim {
    /// Starts serving and delivering on the current tokio runtime. The address is bound when this returns.
    ///
    /// ```
    /// use sim::whatsapp::{BusinessNumber, ScriptedSend, SimConfig, WhatsAppSim};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let config = SimConfig::new(BusinessNumber::example(), "app-secret", "graph-token");
    /// let sim = WhatsAppSim::start(config).await?;
    /// // Start the program under test with `sim.graph_url()` as its Graph URL, then:
    /// sim.set_webhook_url("http://127.0.0.1:8080/webhooks/whatsapp");
    /// sim.say("15550000002", "Is my order on its way?")?;
    /// sim.next_send(ScriptedSend::http_500_but_accepted());
    /// assert_eq!(sim.posts().len(), 0);
    /// sim.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: SimConfig) -> Result<Handle, StartError> {
        let listen = config.listen;
        let cannot_listen = |source| StartError::Listen { listen, source };
        let tcp = TcpListener::bind(listen).await.map_err(cannot_listen)?;
        let addr = tcp.local_addr().map_err(cannot_listen)?;
        let shared = Arc::new(Shared {
            client: deliver::client()?,
            app_secret: config.app_secret.into_bytes(),
            clock: config.clock,
            changed: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            world: Mutex::new(World {
                model: Model::new(ModelConfig {
                    numbers: config.numbers,
                    access_token: config.access_token,
                    faults: config.faults,
                    seed: config.seed,
                }),
                webhook_url: config.webhook_url,
                awaited: BTreeSet::new(),
                in_flight: 0,
                deliveries: VecDeque::new(),
            }),
        });
        let app = control::router().fallback(graph::serve).with_state(Arc::clone(&shared));
        let service = app.into_make_service_with_connect_info::<Connection>();
        let stopped = shared.stopped();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let served = axum::serve(CuttableListener(tcp), service).with_graceful_shutdown(stopped).await;
            if let Err(error) = served {
                tracing::error!(%error, "simulator stopped serving");
            }
        });
        tasks.spawn(deliver::run(Arc::clone(&shared), config.delivery_concurrency.max(1)));
        tracing::info!(%addr, "simulator of whatsapp is up");
        Ok(Handle::new(addr, shared, tasks))
    }
}

/// One try to deliver a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// When the try ended, in Unix milliseconds.
    pub at_ms: u64,
    /// The webhook's number; the same for every try.
    pub webhook: u64,
    /// How often it was tried before.
    pub attempt: u32,
    /// The HTTP status of the answer; absent if there was none.
    pub status: Option<u16>,
    /// What was in it.
    pub carries: Vec<Carried>,
}

/// What all tasks share.
struct Shared {
    world: Mutex<World>,
    /// Counts changes of the world; whoever waits for something looks again when it moves.
    changed: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    clock: Arc<dyn Clock>,
    app_secret: Vec<u8>,
    client: reqwest::Client,
}

struct World {
    model: Model,
    webhook_url: Option<String>,
    /// Messages whose answer waits until a status of theirs was delivered.
    awaited: BTreeSet<String>,
    /// Deliveries under way.
    in_flight: usize,
    deliveries: VecDeque<Delivery>,
}

impl World {
    fn note_delivery(&mut self, delivery: Delivery) {
        if self.deliveries.len() == DELIVERIES_MAX {
            self.deliveries.pop_front();
        }
        self.deliveries.push_back(delivery);
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Looks at the world. A panic of another holder does not matter: the model is plain data, and a simulator that
    /// goes on is worth more to a failing test than one that panics everywhere.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world, then wakes everybody who waits for a change.
    fn change<T>(&self, with: impl FnOnce(&mut World, u64) -> T) -> T {
        let now_ms = self.now_ms();
        let result = with(&mut self.world(), now_ms);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Waits until `found` finds something in the world; `None` if that takes longer than `within`, or on a stop.
    async fn wait_for<T>(
        &self,
        within: Duration,
        mut found: impl FnMut(&mut World) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let search = async {
            loop {
                changed.borrow_and_update();
                if let Some(it) = found(&mut self.world()) {
                    return Some(it);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::select! {
            it = search => it,
            () = tokio::time::sleep(within) => None,
            () = self.stopped() => None,
        }
    }

    /// Ends when the simulator stops.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.subscribe();
        async move {
            // The sender lives in `Shared`; if it is gone everything has stopped anyway.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

#[cfg(test)]
mod tests;
