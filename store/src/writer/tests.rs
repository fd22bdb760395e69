//! The writer over rows that fail, hang, or have no room: what is told to whom.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use schemas::{Epoch, QoS};

use super::*;
use crate::conformance::{account_id, inbound, to_ana, user_id};
use crate::engine::memory::Memory;
use crate::engine::{Batch, Each, KeyRange, Order};
use crate::ops::{Outcome, SessionClose, SessionOpen, UserSeen, WebhookOp};
use crate::{DiskSpace, commit};

/// Longer than anything here takes; only a fault waits that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A model whose commits fail, or wait for the test, from when the test says so.
#[derive(Default)]
struct Faulty {
    memory: Memory,
    fails: AtomicBool,
    /// Held by the test: commits wait for it.
    gate: Mutex<()>,
}

impl Rows for Faulty {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.memory.get(key)
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.memory.scan(range, order, each)
    }

    fn commit(&self, batch: Batch, sync: bool) -> Result<(), CommitError> {
        let _open = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fails.load(Ordering::SeqCst) {
            return Err(CommitError::Unavailable("no space left on device".to_owned()));
        }
        self.memory.commit(batch, sync)
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

fn open(rows: &Arc<Faulty>, settings: Settings, now: &Arc<AtomicU64>) -> Arc<dyn Store> {
    let now = now.clone();
    let clock: Clock = Arc::new(move || Millis(now.load(Ordering::SeqCst)));
    Log::start(rows.clone(), settings, clock, "memory").expect("the model opens")
}

fn user(name: &str) -> Op {
    Op::UserSeen(UserSeen { account: account_id("acme"), user: user_id(name), agent: true })
}

fn webhook() -> Op {
    let updates = vec![inbound("wamid.1", "hi", Millis(1))];
    Op::Webhook(WebhookOp { body: bytes::Bytes::new(), updates, received_us: 1 })
}

#[tokio::test]
async fn a_failed_commit_ends_the_writer_and_everybody_hears_of_it() {
    let (rows, now) = (Arc::new(Faulty::default()), Arc::default());
    let store = open(&rows, Settings::new(Epoch(7)), &now);
    commit(&*store, user("alice")).await.expect("all is well");
    assert_eq!(store.health(), Ok(()));

    rows.fails.store(true, Ordering::SeqCst);
    let failed = commit(&*store, user("bob")).await;
    assert!(matches!(failed, Err(CommitError::Unknown(_))), "it may be on disk: {failed:?}");
    store.close().await;
    let why = store.health().expect_err("the writer has ended");
    assert!(why.contains("no space left on device"), "{why}");

    // Also when the disk has recovered: an engine that failed once cannot be trusted to say what is on it.
    rows.fails.store(false, Ordering::SeqCst);
    assert!(matches!(commit(&*store, user("carol")).await, Err(CommitError::Closed)));
}

#[tokio::test]
async fn a_commit_that_hangs_is_seen_and_one_that_ends_is_forgotten() {
    let (rows, now) = (Arc::new(Faulty::default()), Arc::default());
    let settings = Settings { stuck_after_ms: 1, ..Settings::new(Epoch(7)) };
    let store = open(&rows, settings, &now);
    let start = Instant::now();
    let (sink, hanging) = OneShot::pair();
    let closed = rows.gate.lock().unwrap_or_else(PoisonError::into_inner);
    store.submit(user("alice"), store.try_permit(1).expect("the queue is empty"), 0, sink);
    while store.health().is_ok() {
        assert!(start.elapsed() < DEADLINE, "nobody noticed");
        std::thread::yield_now();
    }
    assert!(store.health().is_err_and(|why| why.contains("busy with one commit")));
    drop(closed);
    hanging.await.expect("an answer").expect("it is committed in the end");
    while store.health().is_err() {
        assert!(start.elapsed() < DEADLINE, "it is still called stuck");
        tokio::task::yield_now().await;
    }
}

fn open_session() -> Op {
    let client = schemas::ClientId::new("phone").expect("a client id");
    let (account, user) = (account_id("acme"), user_id("alice"));
    Op::SessionOpen(SessionOpen {
        account,
        user,
        client,
        agent: true,
        clean: false,
        expiry_s: 60,
        will: None,
    })
}

fn send(id: &str) -> Op {
    Op::Command(crate::CommandOp {
        account: account_id("acme"),
        user: user_id("alice"),
        command: schemas::Command {
            id: id.parse().expect("an id"),
            body: crate::conformance::text_message(to_ana(), "hi"),
        },
        received_us: 1,
        report_refusal: true,
    })
}

fn publish(publisher: SessionKey) -> Op {
    let message = schemas::Publication {
        topic: "t".into(),
        payload: bytes::Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: None,
    };
    Op::Publish(crate::Publish { account: account_id("acme"), publisher, message, report_refusal: None })
}

/// With the business number, on a disk of which 100 bytes are to stay free.
fn settings_with_mark(free: &Arc<AtomicU64>) -> Settings {
    let free = free.clone();
    let disk = DiskSpace { min_free_bytes: 100, free: Arc::new(move || Some(free.load(Ordering::SeqCst))) };
    let number = crate::Number {
        id: crate::conformance::number(),
        account: account_id("acme"),
        agents: crate::Agents::All,
        triage: Vec::new(),
    };
    Settings { disk: Some(disk), numbers: vec![number], ..Settings::new(Epoch(7)) }
}

#[tokio::test]
async fn a_full_disk_refuses_what_adds_data_and_nothing_else() {
    let (rows, now) = (Arc::new(Faulty::default()), Arc::new(AtomicU64::new(1_000_000)));
    let free = Arc::new(AtomicU64::new(1_000));
    let store = open(&rows, settings_with_mark(&free), &now);
    let has_free = |bytes| {
        free.store(bytes, Ordering::SeqCst);
        now.fetch_add(1_000, Ordering::SeqCst);
    };
    let Outcome::Session(session) = commit(&*store, open_session()).await.expect("there is room") else {
        panic!("not a session")
    };
    let Outcome::Command(sent) = commit(&*store, send("c1")).await.expect("there is room") else {
        panic!("not sent")
    };
    let message = sent.message.expect("a message").id;

    has_free(99);
    for op in [webhook(), send("c2"), publish(session.session), Op::SendStart(message)] {
        let refused = commit(&*store, op).await.expect_err("there is no room");
        assert!(refused.is_retryable(), "{refused}");
        assert!(matches!(&refused, CommitError::DiskFull { .. }), "{refused:?}");
    }
    commit(&*store, open_session()).await.expect("devices may still read");
    let result = crate::SendResult::Unknown;
    commit(&*store, Op::SendEnd(crate::SendEnd { message, result })).await.expect("ends are written");
    let close = SessionClose {
        session: session.session,
        connection: session.connection,
        will: false,
        expiry_s: None,
        sent: Progress::default(),
        acked_ahead: Vec::new(),
    };
    commit(&*store, Op::SessionClose(close)).await.expect("sessions end");
    assert_eq!(store.health(), Ok(()), "a full disk is no reason to start anew");

    has_free(199);
    commit(&*store, webhook()).await.expect_err("not yet");
    has_free(200);
    commit(&*store, webhook()).await.expect("there is room again");
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let (rows, now) = (Arc::new(Faulty::default()), Arc::new(AtomicU64::new(0)));
    let newer = crate::rows::FORMAT + 1;
    let format = (crate::rows::keys::meta("format"), Some(crate::rows::encode(&newer)));
    rows.memory.commit([format].into(), true).expect("memory takes everything");
    let clock: Clock = Arc::new(move || Millis(now.load(Ordering::SeqCst)));
    match Log::start(rows, Settings::new(Epoch(7)), clock, "here").map(drop) {
        Err(OpenError::Format { found, expected, .. }) => assert_eq!((found, expected), (newer, newer - 1)),
        other => panic!("{other:?}"),
    }
}
