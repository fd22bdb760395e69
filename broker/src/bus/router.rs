//! rumqttd's `Router` as the live bus: one publisher link and one subscriber link, each on its own thread.
//!
//! ```text
//!  writer, sessions ──▶ waiting news ──▶ publisher thread ──live/<shard>──▶ router thread ──▶ subscriber thread ──▶ sessions
//! ```
//! One router message carries all that waited, so under load a commit group, or several, cost one. Its topic is one of 64
//! names that we make: no client's bytes or topics ever reach the router, for some would kill it. It loses messages
//! silently once more is undelivered than its segments hold, so no more than that is ever handed to it, and each message
//! has a number that shows a gap. Its links block, so nothing asynchronous calls them. When anything of it fails, all of
//! it is built anew, and every session looks into its inbox again.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use rumqttd::local::{LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet};
use rumqttd::{Broker, Config, Notification, RouterConfig};
use schemas::Seq;
use store::{InboxKey, SessionKey, shard_of};

use super::{Batch, Bus, BusEvent, BusSink, wire};
use crate::metrics::{self, Dropped};

/// Router messages handed in and not delivered: measured as lossless.
const UNDELIVERED_MAX: u64 = 1_000;
/// Bytes of them: half of what the segments hold.
const UNDELIVERED_BYTES_MAX: usize = 16 << 20;
/// Bytes of a segment of the router's log.
const SEGMENT_BYTES: usize = 8 << 20;
/// Segments of the router's log.
const SEGMENTS: usize = 4;
/// Events that wait for the publisher thread; beyond it they are dropped, as QoS 0 may be.
const WAITING_EVENTS_MAX: usize = 8_192;
/// Bytes of those events.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Heads that wait; beyond it only the newest of each is kept.
const WAITING_HEADS_MAX: usize = 65_536;
/// After a failure, before the router is built anew: a router that dies at once shall not keep a core busy.
const REBUILD_AFTER: Duration = Duration::from_millis(100);
/// What the subscriber link listens to.
const FILTER: &str = "live/+";

/// See the module.
pub(crate) struct RouterBus {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Batch,
    waiting_bytes: usize,
    undelivered: u64,
    undelivered_bytes: usize,
    /// Which router is in use; threads of an older one end.
    generation: u64,
    stopping: bool,
    /// The next message goes to a topic that kills the router.
    #[cfg(test)]
    kill: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the threads of a router end.
#[derive(Debug, thiserror::Error)]
enum BusError {
    #[error("link of the router: {0}")]
    Link(Box<LinkError>),
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the router has closed a link")]
    Closed,
}

impl From<LinkError> for BusError {
    fn from(error: LinkError) -> Self {
        Self::Link(Box::new(error))
    }
}

impl RouterBus {
    /// Starts the router and its threads.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub(crate) fn start(sink: Weak<dyn BusSink>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let supervised = Arc::clone(&shared);
        std::thread::Builder::new().name("bus".to_owned()).spawn(move || supervise(&supervised, &sink))?;
        Ok(Self { shared })
    }
}

impl Bus for RouterBus {
    fn ring(&self, inboxes: &[(InboxKey, Seq)], queues: &[(SessionKey, u64)]) {
        let mut state = self.shared.state();
        state.waiting.inboxes.extend_from_slice(inboxes);
        state.waiting.queues.extend_from_slice(queues);
        if state.waiting.inboxes.len() + state.waiting.queues.len() > WAITING_HEADS_MAX {
            state.waiting.keep_newest();
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn publish(&self, event: BusEvent) {
        let mut state = self.shared.state();
        let bytes = event.bytes();
        if state.waiting.events.len() >= WAITING_EVENTS_MAX || state.waiting_bytes + bytes > WAITING_BYTES_MAX
        {
            metrics::count_dropped(Dropped::Bus);
            return;
        }
        state.waiting_bytes += bytes;
        state.waiting.events.push(event);
        drop(state);
        self.shared.changed.notify_all();
    }

    fn stop(&self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for RouterBus {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Batch {
    /// Heads only ever rise, so the newest of each says it all.
    fn keep_newest(&mut self) {
        let inboxes: BTreeMap<_, _> = self.inboxes.drain(..).collect();
        let queues: BTreeMap<_, _> = self.queues.drain(..).collect();
        self.inboxes = inboxes.into_iter().collect();
        self.queues = queues.into_iter().collect();
    }

    /// The shard it is published under: that of its first number.
    fn shard(&self) -> u8 {
        let inbox = self.inboxes.first().map(|(key, _)| key.0);
        let queue = self.queues.first().map(|(key, _)| key.0);
        inbox.or(queue).map_or(0, shard_of)
    }
}

impl BusEvent {
    fn bytes(&self) -> usize {
        match self {
            Self::Live { message, .. } => message.topic.len() + message.payload.len(),
            Self::Signal { payload, .. } => payload.len(),
            Self::Status(change) => change.payload.len(),
            Self::Kick { .. } => 0,
        }
    }
}

/// Builds a router, waits until it fails, builds the next one.
fn supervise(shared: &Arc<Shared>, sink: &Weak<dyn BusSink>) {
    loop {
        let (failed, failures) = channel();
        match build(shared, sink, &failed) {
            Ok(()) => wait_for_failure(shared, &failures),
            Err(error) => tracing::error!(%error, "the live bus cannot be built"),
        }
        let mut state = shared.state();
        // Threads of this router end when they see it.
        state.generation += 1;
        (state.undelivered, state.undelivered_bytes) = (0, 0);
        if state.stopping || sink.strong_count() == 0 {
            shared.changed.notify_all();
            return;
        }
        drop(state);
        shared.changed.notify_all();
        metrics::count_bus_rebuild();
        if let Some(sink) = sink.upgrade() {
            sink.lost();
        }
        // Woken early when it is to stop.
        let state = shared.state();
        drop(shared.changed.wait_timeout_while(state, REBUILD_AFTER, |state| !state.stopping));
    }
}

fn wait_for_failure(shared: &Shared, failures: &Receiver<BusError>) {
    match failures.recv() {
        Ok(error) if !shared.state().stopping => {
            tracing::error!(%error, "the live bus failed and is built anew")
        }
        _ => {}
    }
}

fn build(shared: &Arc<Shared>, sink: &Weak<dyn BusSink>, failed: &Sender<BusError>) -> Result<(), BusError> {
    let broker = Broker::new(Config {
        router: RouterConfig {
            max_connections: 2,
            max_outgoing_packet_count: 200,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        ..Config::default()
    });
    let generation = shared.state().generation;
    let (mut subscriber, rx) = broker.link("subscriber")?;
    subscriber.subscribe(FILTER)?;
    let (tx, _unused) = broker.link("publisher")?;
    let (publishing, publish_failed) = (Arc::clone(shared), failed.clone());
    std::thread::Builder::new().name("bus-publish".to_owned()).spawn(move || {
        let result = publish(&publishing, generation, tx);
        // Nobody waits where the bus was stopped.
        let _ = publish_failed.send(result.err().unwrap_or(BusError::Closed));
        disconnect(subscriber);
    })?;
    let (receiving, sink, failed) = (Arc::clone(shared), Weak::clone(sink), failed.clone());
    std::thread::Builder::new().name("bus-receive".to_owned()).spawn(move || {
        let result = receive(&receiving, generation, rx, &sink);
        let _ = failed.send(result.err().unwrap_or(BusError::Closed));
    })?;
    Ok(())
}

/// A link that is merely dropped leaks what the router keeps for it.
fn disconnect(mut link: LinkTx) {
    let reason_code = DisconnectReasonCode::NormalDisconnection;
    // The future does not wait: it hands over and is ready. An error means that the router is gone.
    let _ = link.send(Packet::Disconnect(Disconnect { reason_code }, None)).now_or_never();
}

fn publish(shared: &Shared, generation: u64, mut link: LinkTx) -> Result<(), BusError> {
    let mut number = 0_u64;
    while let Some(batch) = next_batch(shared, generation) {
        let topic = format!("live/{}", batch.shard());
        #[cfg(test)]
        let topic = if std::mem::take(&mut shared.state().kill) { "été/x".to_owned() } else { topic };
        let payload = wire::encode(number, &batch);
        number += 1;
        {
            let mut state = shared.state();
            state.undelivered += 1;
            state.undelivered_bytes += payload.len();
        }
        link.publish(topic, payload)?;
    }
    disconnect(link);
    Ok(())
}

/// Waits for news and for room in the router; `None` at the end.
fn next_batch(shared: &Shared, generation: u64) -> Option<Batch> {
    let mut state = shared.state();
    loop {
        if state.stopping || state.generation != generation {
            return None;
        }
        let room = state.undelivered < UNDELIVERED_MAX && state.undelivered_bytes < UNDELIVERED_BYTES_MAX;
        if room && !state.waiting.is_empty() {
            state.waiting_bytes = 0;
            return Some(std::mem::take(&mut state.waiting));
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn receive(
    shared: &Shared,
    generation: u64,
    mut link: LinkRx,
    sink: &Weak<dyn BusSink>,
) -> Result<(), BusError> {
    let mut expected = 0;
    loop {
        let Some(notification) = link.recv()? else {
            continue;
        };
        if shared.state().generation != generation {
            return Ok(());
        }
        match notification {
            Notification::Forward(forward) => {
                let payload = forward.publish.payload;
                let sink = sink.upgrade().ok_or(BusError::Closed)?;
                {
                    let mut state = shared.state();
                    state.undelivered = state.undelivered.saturating_sub(1);
                    state.undelivered_bytes = state.undelivered_bytes.saturating_sub(payload.len());
                }
                shared.changed.notify_all();
                match wire::decode(&payload) {
                    Some((number, batch)) => {
                        if number != expected {
                            sink.lost();
                        }
                        expected = number + 1;
                        sink.deliver(batch);
                    }
                    None => sink.lost(),
                }
            }
            // The router pauses a link that has 200 notifications until it is told to go on.
            Notification::Unschedule => link.ready()?,
            Notification::Disconnect(..) => return Err(BusError::Closed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// How long a wait may take before the test has failed.
    const DEADLINE: Duration = Duration::from_secs(10);

    #[derive(Default)]
    struct Ears {
        heard: Mutex<(Vec<(InboxKey, Seq)>, usize)>,
        news: Condvar,
    }

    impl BusSink for Ears {
        fn deliver(&self, batch: Batch) {
            self.heard.lock().unwrap().0.extend(batch.inboxes);
            self.news.notify_all();
        }

        fn lost(&self) {
            self.heard.lock().unwrap().1 += 1;
            self.news.notify_all();
        }
    }

    impl Ears {
        fn wait(
            &self,
            until: impl Fn(&(Vec<(InboxKey, Seq)>, usize)) -> bool,
        ) -> (Vec<(InboxKey, Seq)>, usize) {
            let end = Instant::now() + DEADLINE;
            let mut heard = self.heard.lock().unwrap();
            while !until(&heard) {
                let left = end.saturating_duration_since(Instant::now());
                assert!(!left.is_zero(), "not heard in time");
                heard = self.news.wait_timeout(heard, left).unwrap().0;
            }
            heard.clone()
        }
    }

    fn start() -> (RouterBus, Arc<Ears>) {
        let ears = Arc::new(Ears::default());
        let sink: Weak<dyn BusSink> = Arc::downgrade(&(Arc::clone(&ears) as Arc<dyn BusSink>));
        (RouterBus::start(sink).unwrap(), ears)
    }

    /// More than the router holds, faster than it delivers: nothing is lost, and all comes in order.
    #[test]
    fn every_ring_is_heard_in_order() {
        const RINGS: u64 = 20_000;
        let (bus, ears) = start();
        for n in 1..=RINGS {
            bus.ring(&[(InboxKey(u128::from(n) << 100), Seq(n))], &[]);
        }
        let (heard, lost) = ears.wait(|(heard, _)| heard.last().is_some_and(|(_, seq)| seq.0 == RINGS));
        assert_eq!((heard.len() as u64, lost), (RINGS, 0));
        assert!(heard.is_sorted_by_key(|(_, seq)| *seq));
    }

    /// A router that dies is built anew; everybody is told that something may be missing, and rings are heard again.
    #[test]
    fn a_router_that_dies_is_replaced() {
        let (bus, ears) = start();
        bus.ring(&[(InboxKey(1), Seq(1))], &[]);
        ears.wait(|(heard, _)| !heard.is_empty());
        bus.shared.state().kill = true;
        bus.ring(&[(InboxKey(1), Seq(2))], &[]);
        ears.wait(|(_, lost)| *lost > 0);
        bus.ring(&[(InboxKey(1), Seq(3))], &[]);
        ears.wait(|(heard, _)| heard.last().is_some_and(|(_, seq)| seq.0 == 3));
    }
}
