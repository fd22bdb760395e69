//! A store moved to another folder and back: the same rows, the same epoch, numbers go on; stopped, it goes on.
//!
//! Messages: `INBOXD_MIGRATE_MESSAGES`, default [`MESSAGES`]. Not here: a process that is killed (`server/tests`), other
//! engines (`store/tests/scylla`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::{Millis, Seq};
use store::backup::{FILE, Snapshot};
use store::conformance::{Engine, World, account_id, inbound, to_ana, user_id};
use store::engine::embedded::{Sizes, migrate, open, snapshot};
use store::migrate::{MigrateError, Migrated, Step};
use store::verify::Report;
use store::{Clock, InboxKey, InboxPage, OpenError, Settings, Store, WEBHOOK_EFFECTS_MAX};

/// Messages of a run that nobody asked for more of: several chunks.
const MESSAGES: usize = 5_000;
/// Longer than a compaction takes; only a fault waits that long.
const DEADLINE: Duration = Duration::from_secs(120);
const MESSAGES_VARIABLE: &str = "INBOXD_MIGRATE_MESSAGES";

struct Embedded(PathBuf);

impl Engine for Embedded {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        open(&self.0, Sizes::default(), settings, clock).expect("the store opens")
    }

    fn verify(&self) -> Report {
        moment(&self.0).verify(&mut |_, _, _| {}).expect("the store is readable")
    }
}

/// Of a store that was closed; a large one's threads take a while to end.
fn moment(folder: &Path) -> Snapshot {
    let started = Instant::now();
    loop {
        match snapshot(folder, Sizes::default(), Millis(1)) {
            Err(OpenError::InUse { .. }) if started.elapsed() < DEADLINE => {}
            other => return other.expect("a store that nobody has open"),
        }
    }
}

fn move_to(source: &Path, target: &Path) -> Result<Migrated, MigrateError> {
    migrate(&moment(source), target, Sizes::default(), &mut |_, _| true)
}

/// All rows as one file.
fn rows(store: &Path, folder: &Path) -> Vec<u8> {
    moment(store).backup(folder, &mut |_| true).expect("a backup");
    std::fs::read(folder.join(FILE)).expect("its file")
}

/// Inbound messages, a send, and a kept session's worth of everything else.
async fn fill(world: &World, messages: usize) {
    world.send("alice", "c1", to_ana(), "not sent yet").await;
    let numbers: Vec<usize> = (0..messages).collect();
    for part in numbers.chunks(WEBHOOK_EFFECTS_MAX) {
        let one = |n: &usize| inbound(&format!("wamid.{n}"), &format!("text {n}"), world.now());
        world.webhook(part.iter().map(one).collect()).await;
    }
}

#[tokio::test]
async fn there_and_back_is_the_same_and_goes_on() {
    let messages = match std::env::var(MESSAGES_VARIABLE) {
        Ok(text) => text.parse().expect("a number of messages"),
        Err(_) => MESSAGES,
    };
    let home = tempfile::tempdir().expect("a temporary folder");
    let [here, there, back] = ["here", "there", "back"].map(|name| home.path().join(name));
    let world = World::new(Embedded(here.clone())).await;
    fill(&world, messages).await;
    let in_use = snapshot(&here, Sizes::default(), Millis(1)).map(drop);
    assert!(matches!(in_use, Err(OpenError::InUse { .. })), "{in_use:?}");
    let head = inbox(&world).await.head;
    world.finish().await;

    let first = move_to(&here, &there).expect("it is moved");
    let second = move_to(&there, &back).expect("it is moved back");
    assert_eq!(first, second);
    assert_eq!(first.resumed_after, 0);
    let logged = first.tables.iter().find(|moved| moved.table == "log").expect("messages");
    assert_eq!(logged.rows as usize, messages + 1);
    let before = rows(&here, &home.path().join("b1"));
    assert!(before == rows(&back, &home.path().join("b2")), "every byte of every row");
    assert!(matches!(move_to(&here, &there), Err(MigrateError::Occupied(_))));

    let world = World::new(Embedded(back)).await;
    let page = inbox(&world).await;
    assert_eq!((page.epoch, page.head), (first.epoch, head), "clients go on where they were");
    assert_eq!(world.webhook(vec![inbound("wamid.1", "again", world.now())]).await.repeated, 1);
    assert_eq!(world.webhook(vec![inbound("wamid.new", "new", world.now())]).await.applied, 1);
    world.finish().await;
}

/// The first events of bob's inbox.
async fn inbox(world: &World) -> InboxPage {
    let inbox = InboxKey::of(&account_id("acme"), &user_id("bob"));
    world.store.inbox(inbox, Seq(0), 3).await.expect("the inbox is read")
}

#[tokio::test]
async fn stopped_at_any_chunk_it_goes_on_and_a_source_that_changed_is_noticed() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let here = home.path().join("here");
    let world = World::new(Embedded(here.clone())).await;
    fill(&world, MESSAGES).await;
    world.finish().await;
    let stop_after = |target: &Path, chunks: usize| {
        let mut told = 0;
        let stopped = migrate(&moment(&here), target, Sizes::default(), &mut |_, _| {
            told += 1;
            told < chunks
        });
        assert!(matches!(stopped, Err(MigrateError::Stopped)), "{stopped:?}");
        assert!(!target.exists(), "half a store has another name");
    };
    let there = home.path().join("there");
    stop_after(&there, 1);
    stop_after(&there, 3);
    let mut checked = 0;
    let migrated = migrate(&moment(&here), &there, Sizes::default(), &mut |step, _| {
        checked += usize::from(step == Step::Checking);
        true
    });
    assert!(migrated.expect("it is moved").resumed_after > 0 && checked > 0);
    assert!(rows(&here, &home.path().join("b1")) == rows(&there, &home.path().join("b2")));

    let other = home.path().join("other");
    stop_after(&other, 2);
    let world = World::new(Embedded(here.clone())).await;
    world.webhook(vec![inbound("wamid.new", "new", world.now())]).await;
    world.finish().await;
    let changed = move_to(&here, &other);
    assert!(matches!(changed, Err(MigrateError::Changed(_))), "{changed:?}");
}
