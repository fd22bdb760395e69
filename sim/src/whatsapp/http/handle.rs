//! The simulator in the hands of a test or of `inboxd demo`: everything the control routes can do, without HTTP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::task::JoinSet;

use super::deliver::{self, DeliverRawError, RawAnswer};
use super::{Delivery, Shared};
use crate::whatsapp::customers::{Customers, CustomersConfig};
use crate::whatsapp::faults::{Faults, Script, ScriptedSend};
use crate::whatsapp::model::{CustomerAction, CustomerError, Post};
use crate::whatsapp::sign::Signature;

/// How long a stop waits for answers under way; then they are cut.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What was waited for did not happen in time, or the simulator stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not within {within:?}: {what}")]
pub struct TimedOut {
    /// What was waited for, and what was there instead.
    pub what: String,
    /// How long.
    pub within: Duration,
}

/// The simulated customers are there already; two sets would answer for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated customers are running already")]
pub struct CustomersRunning;

/// A running simulator. Cheap to clone; stops with [`Handle::stop`], or when the last clone is dropped.
#[derive(Clone)]
pub struct Handle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    has_customers: Arc<AtomicBool>,
}

impl Handle {
    pub(super) fn new(addr: SocketAddr, shared: Arc<Shared>, tasks: JoinSet<()>) -> Self {
        Self { addr, shared, tasks: Arc::new(Mutex::new(tasks)), has_customers: Arc::default() }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What belongs into `whatsapp.graph_url`.
    pub fn graph_url(&self) -> String {
        format!("http://{}/v25.0", self.addr)
    }

    /// Says where webhooks go from now on, the waiting ones included.
    pub fn set_webhook_url(&self, url: &str) {
        self.shared.change(|world, _| world.webhook_url = Some(url.to_owned()));
    }

    /// Where webhooks go, if anybody said so.
    pub fn webhook_url(&self) -> Option<String> {
        self.shared.world().webhook_url.clone()
    }

    /// A customer writes; gives the wamid.
    ///
    /// # Errors
    /// See [`CustomerError`].
    pub fn customer_writes(&self, action: CustomerAction) -> Result<String, CustomerError> {
        self.shared.change(|world, now_ms| world.model.customer_writes(now_ms, action))
    }

    /// A customer writes a text to the first number; gives the wamid.
    ///
    /// # Errors
    /// See [`CustomerError`].
    pub fn say(&self, phone: &str, text: &str) -> Result<String, CustomerError> {
        self.customer_writes(CustomerAction::text(phone, text))
    }

    /// What goes wrong by chance at the moment.
    pub fn faults(&self) -> Faults {
        self.shared.world().model.faults().clone()
    }

    /// Changes what goes wrong by chance.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.change(|world, _| world.model.set_faults(faults));
    }

    /// Gives an exact order.
    pub fn script(&self, script: Script) {
        self.shared.change(|world, now_ms| world.model.script(now_ms, script));
    }

    /// Says how to treat the next send.
    pub fn next_send(&self, send: ScriptedSend) {
        self.script(Script::NextSend(send));
    }

    /// From now on no status leaves.
    pub fn withhold_statuses(&self) {
        self.script(Script::WithholdStatuses);
    }

    /// All withheld statuses leave now.
    pub fn release_statuses(&self) {
        self.script(Script::ReleaseStatuses);
    }

    /// The last 100,000 POSTs to a `messages` path, oldest first.
    pub fn posts(&self) -> Vec<Post> {
        self.shared.world().model.posts().cloned().collect()
    }

    /// The last 100,000 tries to deliver a webhook, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.world().deliveries.iter().cloned().collect()
    }

    /// Waits until there were at least `count` POSTs; gives all.
    ///
    /// # Errors
    /// [`TimedOut`] if there are fewer after `within`.
    pub async fn wait_for_posts(&self, count: u64, within: Duration) -> Result<Vec<Post>, TimedOut> {
        let enough = |world: &mut super::World| (world.model.posts_total() >= count).then_some(());
        match self.shared.wait_for(within, enough).await {
            Some(()) => Ok(self.posts()),
            None => {
                let what = format!("{count} posts, there are {}", self.shared.world().model.posts_total());
                Err(TimedOut { what, within })
            }
        }
    }

    /// Waits until a try to deliver was made that `wanted` accepts; gives the first such.
    ///
    /// # Errors
    /// [`TimedOut`] if there is none after `within`.
    pub async fn wait_for_delivery(
        &self,
        within: Duration,
        wanted: impl Fn(&Delivery) -> bool + Send,
    ) -> Result<Delivery, TimedOut> {
        let found =
            |world: &mut super::World| world.deliveries.iter().find(|delivery| wanted(delivery)).cloned();
        let delivery = self.shared.wait_for(within, found).await;
        delivery.ok_or_else(|| TimedOut { what: "a delivery of that kind".to_owned(), within })
    }

    /// Waits until every webhook was delivered and none will come by itself; withheld statuses do not count.
    ///
    /// # Errors
    /// [`TimedOut`] if some are left after `within`.
    pub async fn wait_until_idle(&self, within: Duration) -> Result<(), TimedOut> {
        let idle = |world: &mut super::World| (world.model.is_idle() && world.in_flight == 0).then_some(());
        let waited = self.shared.wait_for(within, idle).await;
        waited.ok_or_else(|| {
            let what =
                format!("nothing left to deliver, {} updates wait", self.shared.world().model.pending());
            TimedOut { what, within }
        })
    }

    /// Sends a webhook body as it is, once, at once, signed as said; gives the receiver's answer.
    ///
    /// # Errors
    /// See [`DeliverRawError`].
    pub async fn deliver_raw(
        &self,
        body: impl Into<Bytes>,
        sign: Signature,
    ) -> Result<RawAnswer, DeliverRawError> {
        deliver::deliver_raw(&self.shared, body.into(), sign).await
    }

    /// Lets the simulated customers write and answer until the simulator stops; gives phone (digits) and name of each.
    ///
    /// # Errors
    /// [`CustomersRunning`] the second time.
    pub fn run_customers(&self, config: CustomersConfig) -> Result<Vec<(String, String)>, CustomersRunning> {
        if self.has_customers.swap(true, Ordering::SeqCst) {
            return Err(CustomersRunning);
        }
        let customers = Customers::new(self.shared.now_ms(), config);
        let people = customers.people().map(|(phone, name)| (phone.to_owned(), name.to_owned())).collect();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(play(Arc::clone(&self.shared), customers));
        Ok(people)
    }

    /// Stops: nothing is accepted or delivered any more, answers under way get five seconds. A second stop does nothing.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let finish = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
            tracing::warn!("simulator stopped with answers under way");
        }
    }
}

/// Carries between the customers and the model.
async fn play(shared: Arc<Shared>, mut customers: Customers) {
    /// With nothing planned: wait for a change.
    const NOTHING_PLANNED: Duration = Duration::from_secs(3_600);
    let mut changed = shared.changed.subscribe();
    let stopped = shared.stopped();
    tokio::pin!(stopped);
    loop {
        changed.borrow_and_update();
        let received = shared.world().model.take_received();
        for message in received {
            customers.received(message);
        }
        for action in customers.due(shared.now_ms()) {
            if let Err(error) = shared.change(|world, now_ms| world.model.customer_writes(now_ms, action)) {
                tracing::warn!(%error, "simulated customer could not write");
            }
        }
        let wait = customers
            .next_due_ms()
            .map_or(NOTHING_PLANNED, |due_ms| Duration::from_millis(due_ms.saturating_sub(shared.now_ms())));
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(wait) => {}
            () = &mut stopped => return,
        }
    }
}
