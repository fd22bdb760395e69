//! The engine on ScyllaDB or Cassandra passes the suite, each case in a keyspace of its own; and what only it promises.
//!
//! Needs a server: `SCYLLA_URI=scylla://127.0.0.1:9042 cargo test -p store --test scylla -- --test-threads 2`. Without it
//! every test is skipped, which is said once.
#![cfg(feature = "scylla")]

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{SystemTime, UNIX_EPOCH};

use schemas::{AccountId, Epoch, ErrorCode, EventData, Millis, Seq, UserId};
use store::conformance::Engine;
use store::engine::scylla::{Access, Faults, drop_keyspace, open, verify};
use store::verify::Report;
use store::{Clock, CommitError, InboxKey, Op, Outcome, ReportFailure, Settings, Store, UserSeen, commit};

/// The address of the server, without a keyspace.
fn server() -> Option<String> {
    let uri = std::env::var("SCYLLA_URI").ok().filter(|uri| !uri.is_empty());
    static SAID: Once = Once::new();
    if uri.is_none() {
        // Not `eprintln`, which is shown for failed tests only.
        SAID.call_once(|| {
            let text = "SKIPPED: the tests of the scylla engine need SCYLLA_URI=scylla://host:port\n";
            let _ = std::io::stderr().write_all(text.as_bytes());
        });
    }
    uri
}

/// A keyspace that no other test has; dropped with this, since a small server has no room for many.
struct Keyspace(Access);

impl Keyspace {
    fn new(server: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let keyspace = format!("t{}_{number}", since.as_millis());
        // One slot: checking a store reads every partition that there may be.
        let url = format!("{}/{keyspace}?rf=1&slots=1", server.trim_end_matches('/'));
        Self(Access::new(url.parse().expect("SCYLLA_URI is scylla://host[:port]")))
    }

    /// Another process with faults of its own.
    fn process(&self) -> (Access, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        (Access { faults: faults.clone(), ..self.0.clone() }, faults)
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        if let Err(error) = drop_keyspace(&self.0) {
            eprintln!("{}: {error}", self.0.url.keyspace);
        }
    }
}

impl Engine for Keyspace {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        open(self.0.clone(), settings, clock).expect("the store opens")
    }

    fn verify(&self) -> Report {
        verify(self.0.clone(), &mut |_, _, _| {}).expect("the store is readable")
    }
}

store::conformance_suite!(match server() {
    Some(server) => Keyspace::new(&server),
    None => return,
});

fn account() -> AccountId {
    AccountId::new("acme").expect("an account id")
}

fn user() -> UserId {
    UserId::new("alice").expect("a user id")
}

fn start(access: &Access) -> Arc<dyn Store> {
    let clock: Clock = Arc::new(|| Millis(1_795_000_000_000));
    open(access.clone(), Settings::new(Epoch(7)), clock).expect("the store opens")
}

/// One event of alice's inbox, told apart by its text.
fn event(text: &str) -> Op {
    Op::ReportFailure(ReportFailure {
        account: account(),
        user: user(),
        id: None,
        code: ErrorCode::CommandMalformed,
        detail: text.to_owned(),
        topic: None,
    })
}

async fn new_inbox(store: &dyn Store) {
    let seen = UserSeen { account: account(), user: user(), agent: false };
    commit(store, Op::UserSeen(seen)).await.expect("the user is committed");
}

async fn texts(store: &dyn Store) -> Vec<String> {
    let page =
        store.inbox(InboxKey::of(&account(), &user()), Seq(0), 1_000).await.expect("the inbox is read");
    let texts = page.events.iter().map(|stored| match &stored.event.data {
        EventData::CommandFailed { detail, .. } => detail.clone(),
        other => panic!("not an event of this test: {other:?}"),
    });
    texts.collect()
}

/// P1, P2: whoever was taken over commits nothing more, and learns why.
#[tokio::test]
async fn an_owner_that_was_taken_over_is_refused_and_leaves_no_row() {
    let Some(server) = server() else { return };
    let keyspace = Keyspace::new(&server);
    let (first, faults) = keyspace.process();
    let old = start(&first);
    new_inbox(&*old).await;
    commit(&*old, event("of the first owner")).await.expect("the first owner commits");
    // No sign of life from here on, as if it were cut off; it does not know.
    faults.dead.store(true, Ordering::SeqCst);
    let new = start(&keyspace.process().0);
    commit(&*new, event("of the second")).await.expect("the second owner commits");
    let inbox = InboxKey::of(&account(), &user());
    let read =
        old.inbox(inbox, Seq(0), 10).await.expect_err("an owner that is cut off must not serve old rows");
    assert!(read.to_string().contains("no sign of life"), "{read}");
    // A process that was suspended between looking at its clock and writing: only the fence can stop it.
    faults.frozen.store(true, Ordering::SeqCst);
    let refused = commit(&*old, event("of the first, too late")).await;
    let expected = "another process has taken this store over (fence 2, ours is 1)";
    assert!(matches!(&refused, Err(CommitError::Unknown(why)) if why.contains(expected)), "{refused:?}");
    old.close().await; // returns when its writer has ended
    assert!(old.health().is_err(), "its process has to end");
    assert_eq!(texts(&*new).await, ["of the first owner", "of the second"]);
    drop(old);
    new.close().await;
    drop(new);
    assert_eq!(keyspace.verify().violations, []);
}

/// P1: killed behind its commit point, before a single row was applied.
#[tokio::test]
async fn what_is_in_the_log_and_not_in_the_rows_is_replayed() {
    let Some(server) = server() else { return };
    let keyspace = Keyspace::new(&server);
    let (access, faults) = keyspace.process();
    let store = start(&access);
    new_inbox(&*store).await;
    commit(&*store, event("applied")).await.expect("the event is committed");
    faults.dead.store(true, Ordering::SeqCst);
    // Larger than a batch of the log: parts of it are written ahead of its commit point.
    let large = "x".repeat(9 << 20);
    for text in ["in the log only", &large, "the last"] {
        commit(&*store, event(text)).await.expect("the event is committed");
    }
    assert_eq!(texts(&*store).await.len(), 4, "a reader sees what is committed");
    drop(store);
    let store = start(&keyspace.process().0);
    assert_eq!(texts(&*store).await, ["applied", "in the log only", &large, "the last"]);
    commit(&*store, event("after the replay")).await.expect("the event is committed");
    assert_eq!(texts(&*store).await.len(), 5);
    store.close().await;
    drop(store);
    assert_eq!(keyspace.verify().violations, []);
}

/// P1, P2: a commit without an answer is settled, whether or not the database carried it out.
#[tokio::test]
async fn a_commit_without_an_answer_has_the_effect_of_once() {
    let Some(server) = server() else { return };
    let keyspace = Keyspace::new(&server);
    let (access, faults) = keyspace.process();
    let store = start(&access);
    new_inbox(&*store).await;
    let mut expected = Vec::new();
    for (n, lost) in [&faults.lose_answers, &faults.lose_requests].into_iter().cycle().take(6).enumerate() {
        lost.store(1, Ordering::SeqCst);
        let text = format!("event {n}");
        let outcome = commit(&*store, event(&text)).await.expect("the event is committed");
        assert!(matches!(outcome, Outcome::Done));
        assert_eq!(lost.load(Ordering::SeqCst), 0, "the fault struck");
        expected.push(text);
        // With an answer: it goes to the place behind, which is free only if the one before is taken.
        let text = format!("behind {n}");
        commit(&*store, event(&text)).await.expect("the event is committed");
        expected.push(text);
    }
    assert_eq!(texts(&*store).await, expected);
    store.close().await;
    drop(store);
    let store = start(&keyspace.process().0);
    assert_eq!(texts(&*store).await, expected);
    store.close().await;
    drop(store);
    assert_eq!(keyspace.verify().violations, []);
}

/// While the owner lives, another process is told so.
#[tokio::test]
async fn a_store_in_use_is_not_taken() {
    let Some(server) = server() else { return };
    let keyspace = Keyspace::new(&server);
    let store = start(&keyspace.0);
    let clock: Clock = Arc::new(|| Millis(1_795_000_000_000));
    let second = open(keyspace.process().0, Settings::new(Epoch(8)), clock);
    let refused = second.err().expect("the store is in use").to_string();
    assert!(refused.contains("another process uses this store: pid"), "{refused}");
    commit(&*store, event("still the owner")).await.expect("the event is committed");
    store.close().await;
}
