//! Snapshots of a working store: what they show does not move, and a backup of one becomes a store on either engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::{Epoch, EventData, Millis, Seq, Status};
use store::backup::{BackupError, Restored, Snapshot};
use store::conformance::{Engine, World, account_id, inbound, status, to_ana, user_id};
use store::engine::{embedded, scylla};
use store::migrate::MigrateError;
use store::verify::Report;
use store::{Clock, InboxKey, Settings, Store};

use crate::{Keyspace, server};

/// Messages before the moment, and as many again after it.
const MESSAGES: u64 = 40;
/// Longer than an inbox is kept.
const MONTH_MS: u64 = 31 * 86_400_000;
/// Longer than retention takes on a busy machine; only a fault waits that long.
const DEADLINE: Duration = Duration::from_secs(60);

fn back_up(moment: &Snapshot, folder: &Path) -> Vec<u8> {
    let summary = moment.backup(folder, &mut |_| true).expect("the backup is written");
    std::fs::read(summary.file).expect("the backup is read")
}

fn to_embedded(backup: &Path, folder: &Path) -> Restored {
    embedded::restore(backup, folder, embedded::Sizes::default(), Epoch(8), &mut |_| true)
        .expect("it comes back")
}

async fn receive(world: &World, numbers: std::ops::Range<u64>) {
    for n in numbers {
        world.webhook(vec![inbound(&format!("wamid.{n}"), &n.to_string(), world.now())]).await;
    }
}

async fn texts(world: &World) -> Vec<String> {
    let events = world.events("acme", "alice").await.into_iter();
    events
        .filter_map(|event| match event.data {
            EventData::MessageCreated(message) => message.text.clone(),
            _ => None,
        })
        .collect()
}

/// A month passes; waits until retention has removed the events of all messages so far.
async fn forget_the_first(world: &World) {
    world.pass(MONTH_MS);
    let inbox = InboxKey::of(&account_id("acme"), &user_id("alice"));
    let all = world.events("acme", "alice").await.len() as u64;
    let start = Instant::now();
    for n in 2 * MESSAGES.. {
        // Retention makes a step when a commit is done.
        receive(world, n..n + 1).await;
        let page = world.store.inbox(inbox, Seq(all), 1).await.expect("the inbox is read");
        if page.oldest.0 > all {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "only up to {}", page.oldest.0);
    }
}

/// A backup of an idle store and one written while its rows are changed, removed and added to: the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_stands_still_whatever_is_committed_and_removed_meanwhile() {
    let Some(server) = server() else { return };
    let home = tempfile::tempdir().expect("a temporary folder");
    let world = World::new(Keyspace::new(&server)).await;
    receive(&world, 0..MESSAGES).await;
    let sent = world.send("alice", "c1", to_ana(), "sent before, delivered after").await;
    let expected = texts(&world).await;
    let idle = world.store.snapshot().expect("a moment");
    let before = back_up(&idle, &home.path().join("idle"));
    let under_load = world.store.snapshot().expect("the same moment");

    receive(&world, MESSAGES..2 * MESSAGES).await;
    world.webhook(vec![status("wamid.out", Some(sent.id), Status::Delivered, world.now())]).await;
    forget_the_first(&world).await;
    let checked = under_load.verify(&mut |_, _, _| {}).expect("the moment is readable");
    assert_eq!(checked.violations, []);
    let after = back_up(&under_load, &home.path().join("under load"));
    assert!(after == before, "the moment moved: {} and {} bytes", before.len(), after.len());
    drop((idle, under_load));

    let restored = to_embedded(&home.path().join("idle"), &home.path().join("store"));
    assert_eq!(restored.report.violations, []);
    let again = Keyspace::new(&server);
    let into = || scylla::restore(&home.path().join("idle"), again.0.clone(), Epoch(9), &mut |_| true);
    let restored = into().expect("it comes back on the cluster too");
    assert_eq!(restored.report.violations, []);
    assert!(matches!(into(), Err(BackupError::Occupied(_))), "a store is never overwritten");
    let copy = World::new(again).await;
    assert_eq!(texts(&copy).await, expected);
    copy.finish().await;
    world.finish().await;
}

/// From the embedded store to the cluster and back, and stopped on the way: every row, byte for byte, under one epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_to_the_cluster_and_back() {
    let Some(server) = server() else { return };
    let home = tempfile::tempdir().expect("a temporary folder");
    let (here, back) = (home.path().join("here"), home.path().join("back"));
    // More rows than a chunk, so that it can be stopped on the way.
    let messages =
        std::env::var("INBOXD_MIGRATE_MESSAGES").map_or(32 * MESSAGES, |n| n.parse().expect("a number"));
    let world = World::new(Embedded(here.clone())).await;
    let updates = |part: &[u64]| {
        part.iter().map(|n| inbound(&format!("wamid.{n}"), &n.to_string(), world.now())).collect()
    };
    for part in (0..messages).collect::<Vec<_>>().chunks(store::WEBHOOK_EFFECTS_MAX) {
        world.webhook(updates(part)).await;
    }
    world.finish().await;
    let sizes = embedded::Sizes::default;
    let moment = || embedded::snapshot(&here, sizes(), Millis(1)).expect("a store");
    let keyspace = Keyspace::new(&server);
    let stopped = scylla::migrate(&moment(), keyspace.0.clone(), &mut |_, _| false);
    assert!(matches!(stopped, Err(MigrateError::Stopped)), "{stopped:?}");
    let half = scylla::snapshot(keyspace.0.clone(), Millis(1)).map(drop);
    assert!(half.as_ref().is_err_and(|error| error.to_string().contains("migrate")), "{half:?}");

    let there = scylla::migrate(&moment(), keyspace.0.clone(), &mut |_, _| true).expect("it is moved");
    let again = scylla::migrate(&moment(), keyspace.0.clone(), &mut |_, _| true);
    assert!(matches!(again, Err(MigrateError::Occupied(_))), "{again:?}");
    let of_cluster = scylla::snapshot(keyspace.0.clone(), Millis(1)).expect("a store");
    let home_again =
        embedded::migrate(&of_cluster, &back, sizes(), &mut |_, _| true).expect("it is moved back");
    assert_eq!((there.tables, there.epoch), (home_again.tables, home_again.epoch));
    drop(of_cluster);
    let of_back = embedded::snapshot(&back, sizes(), Millis(1)).expect("a store");
    let (first, last) =
        (back_up(&moment(), &home.path().join("b1")), back_up(&of_back, &home.path().join("b2")));
    assert!(first == last, "every byte of every row");
}

struct Embedded(PathBuf);

impl Engine for Embedded {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        embedded::open(&self.0, embedded::Sizes::default(), settings, clock).expect("the store opens")
    }

    fn verify(&self) -> Report {
        let sizes = embedded::Sizes::default();
        embedded::verify(&self.0, sizes, &mut |_, _, _| {}).expect("the store is readable")
    }
}
