//! The load: producers in a closed loop on the embedded store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use schemas::message::Kind as MessageKind;
use schemas::{AccountId, ClientId, Epoch, Millis, NumberId, Publication, QoS, Subscription, UserId, Wamid};
use store::engine::embedded::{Sizes, open};
use store::{
    Agents, CommitListener, Inbound, Notices, Number, Op, Outcome, Person, Progress, Publish, SessionKey,
    SessionOpen, Settings, Store, Subscribe, Update, WebhookOp, commit,
};

use crate::Error;
use crate::disk::percentile;

/// How long each round runs.
const TIME: Duration = Duration::from_secs(3);
/// Bytes of a message's text or payload.
const BYTES: usize = 200;
/// Owners that messages are spread over.
pub(crate) const OWNERS: usize = 1_000;
/// The business number of the load.
const NUMBER: &str = "100000000000001";

/// What is appended.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A webhook with one text for one agent: journal, log, wamid, inbox, conversation and its place in the list.
    Webhook,
    /// A general message for one persistent session: its queue row.
    Publish,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Publish, Self::Webhook];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Publish => "publish",
        }
    }
}

/// What a round showed.
pub(crate) struct Measured {
    pub(crate) appends: usize,
    pub(crate) elapsed: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) groups: u64,
    pub(crate) cpu: Duration,
    pub(crate) written_bytes: u64,
}

/// Counts the groups that told somebody something: each had one sync.
#[derive(Default)]
struct Groups(AtomicU64);

impl CommitListener for Groups {
    fn committed(&self, notices: &Notices) {
        if *notices != Notices::default() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One round in a fresh store.
pub(crate) async fn run(path: &Path, sizes: Sizes, kind: Kind, producers: usize) -> Result<Measured, Error> {
    let store = open(path, sizes, settings()?, Arc::new(now))?;
    let sessions = prepare(&*store).await?;
    on(store, sessions, kind, producers).await
}

/// One round on a store that is open and prepared; closes it.
pub(crate) async fn on(
    store: Arc<dyn Store>,
    sessions: Arc<[SessionKey]>,
    kind: Kind,
    producers: usize,
) -> Result<Measured, Error> {
    let groups = Arc::new(Groups::default());
    store.listen(groups.clone());
    let (cpu, written, started) = (cpu_time()?, written_bytes()?, Instant::now());
    let mut tasks = Vec::new();
    for producer in 0..producers {
        let (store, sessions) = (store.clone(), sessions.clone());
        tasks.push(tokio::spawn(async move { produce(&*store, &sessions, kind, producer, started).await }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let (elapsed, cpu, written_bytes) = (started.elapsed(), cpu_time()? - cpu, written_bytes()? - written);
    store.close().await;
    times.sort_unstable();
    Ok(Measured {
        appends: times.len(),
        elapsed,
        p50: percentile(&times, 0.50),
        p99: percentile(&times, 0.99),
        groups: groups.0.load(Ordering::Relaxed),
        cpu,
        written_bytes,
    })
}

type Produced = Result<Vec<Duration>, Error>;

async fn produce(
    store: &dyn Store,
    sessions: &[SessionKey],
    kind: Kind,
    producer: usize,
    started: Instant,
) -> Produced {
    let mut times = Vec::new();
    let mut n = producer;
    while started.elapsed() < TIME {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let owner = n % OWNERS;
        let op = match kind {
            Kind::Publish => publish(owner)?,
            Kind::Webhook => webhook(owner, &format!("wamid.{producer}.{}", times.len()))?,
        };
        let before = Instant::now();
        commit(store, op).await?;
        times.push(before.elapsed());
        if let Kind::Publish = kind {
            // As a device does: what is delivered is acknowledged, cursors ride along.
            store.advance(
                sessions[owner],
                Progress { queue: times.len() as u64 / OWNERS as u64, ..Progress::default() },
            );
        }
    }
    Ok(times)
}

fn publish(owner: usize) -> Result<Op, schemas::ids::IdError> {
    let message = Publication {
        topic: format!("t/{owner}").into(),
        payload: vec![b'x'; BYTES].into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: None,
    };
    Ok(Op::Publish(Publish {
        account: AccountId::new("acme")?,
        publisher: SessionKey(0),
        message,
        report_refusal: None,
    }))
}

fn webhook(owner: usize, wamid: &str) -> Result<Op, schemas::ids::IdError> {
    // A webhook's body is about this much longer than its text.
    let body = vec![b' '; BYTES + 500].into();
    let updates = vec![inbound(owner, wamid)?];
    Ok(Op::Webhook(WebhookOp { body, updates, received_us: 0 }))
}

/// A text of one of the owners.
pub(crate) fn inbound(owner: usize, wamid: &str) -> Result<Update, schemas::ids::IdError> {
    let inbound = Inbound {
        number: NumberId::new(NUMBER)?,
        person: Person { phone: Some(format!("+1555{owner:07}")), ..Person::default() },
        wamid: Wamid::new(wamid)?,
        at: now(),
        kind: MessageKind::Text,
        text: Some("x".repeat(BYTES)),
        media: None,
        payload: None,
        reply_to: None,
    };
    Ok(Update::Message(Box::new(inbound)))
}

pub(crate) async fn prepare(store: &dyn Store) -> Result<Arc<[SessionKey]>, Error> {
    let mut sessions = Vec::new();
    for owner in 0..OWNERS {
        let open = SessionOpen {
            account: AccountId::new("acme")?,
            user: UserId::new(&format!("user-{owner}"))?,
            client: ClientId::new("device")?,
            agent: false,
            clean: false,
            expiry_s: u32::MAX,
            will: None,
        };
        let Outcome::Session(state) = commit(store, Op::SessionOpen(open)).await? else {
            return Err("a session was not opened".into());
        };
        let filter = Subscription {
            filter: format!("t/{owner}").into(),
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
            id: None,
        };
        let subscribe = Subscribe { session: state.session, filters: vec![filter], inbox_after: None };
        commit(store, Op::Subscribe(subscribe)).await?;
        sessions.push(state.session);
    }
    Ok(sessions.into())
}

/// One number with one agent.
pub(crate) fn settings() -> Result<Settings, Error> {
    let mut settings = Settings::new(Epoch(1));
    settings.numbers = vec![Number {
        id: NumberId::new(NUMBER)?,
        account: AccountId::new("acme")?,
        agents: Agents::Named(vec![UserId::new("alice")?]),
        triage: Vec::new(),
    }];
    Ok(settings)
}

/// The time.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// CPU time of the whole process, of producers and of threads that have ended as well, in steps of ten milliseconds.
pub(crate) fn cpu_time() -> Result<Duration, Error> {
    /// `USER_HZ` is 100 on every Linux.
    const TICK_MS: u64 = 10;
    /// Place of `utime` behind the command, which stands in brackets and may hold blanks; `stime` follows.
    const UTIME: usize = 11;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(UTIME).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}

/// Bytes that the process had written to the disk.
fn written_bytes() -> Result<u64, Error> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap_or("0");
    Ok(line.parse()?)
}
