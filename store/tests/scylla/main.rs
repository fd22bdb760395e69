//! The engine on ScyllaDB or Cassandra passes the suite, each case in a keyspace of its own; and what only it promises.
//!
//! Needs a server: `SCYLLA_URI=scylla://127.0.0.1:9042 cargo test -p store --test scylla -- --test-threads 2`. Without it
//! every test is skipped, which is said once.
#![cfg(feature = "scylla")]

mod backup;
mod owners;
mod proxy;
mod secure;
mod slices;

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{SystemTime, UNIX_EPOCH};

use schemas::{AccountId, Epoch, ErrorCode, EventData, Millis, Seq, UserId};
use store::conformance::Engine;
use store::engine::scylla::{Access, Faults, drop_keyspace, open, verify};
use store::verify::Report;
use store::{Clock, InboxKey, Op, ReportFailure, Settings, Store, UserSeen, commit};

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
