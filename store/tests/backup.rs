//! Backup and restore of the embedded store: what was acknowledged before is in it, whatever goes on meanwhile; what
//! comes back is whole, has another epoch, and posts nothing twice; and no damaged file becomes a store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use schemas::{Epoch, EventData, EventId, Millis};
use store::backup::{BackupError, FILE, Restored, Snapshot};
use store::conformance::{Engine, World, inbound, to_ana};
use store::engine::embedded::{Sizes, open, restore, snapshot, verify};
use store::verify::Report;
use store::{Clock, Op, OpenError, SendState, Settings, Store, WebhookOp, commit};

struct Embedded(PathBuf);

impl Engine for Embedded {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        open(&self.0, Sizes::default(), settings, clock).expect("the store opens")
    }

    fn verify(&self) -> Report {
        verify(&self.0, Sizes::default(), &mut |_, _, _| {}).expect("the store is readable")
    }
}

const NEW_EPOCH: Epoch = Epoch(8);
/// Messages acknowledged before the backup begins, and at least as many again while it is taken.
const MESSAGES: u64 = 300;

fn back_up(moment: &Snapshot, folder: &Path) -> Result<store::backup::Summary, BackupError> {
    moment.backup(folder, &mut |_| true)
}

fn bring_back(backup: &Path, folder: &Path) -> Result<Restored, BackupError> {
    restore(backup, folder, Sizes::default(), NEW_EPOCH, &mut |_| true)
}

async fn texts(world: &World) -> BTreeSet<String> {
    let events = world.events("acme", "alice").await;
    events
        .into_iter()
        .filter_map(|event| match event.data {
            EventData::MessageCreated(message) => message.text.clone(),
            _ => None,
        })
        .collect()
}

/// Ids of all events of alice's and bob's inboxes, in order.
async fn ids(world: &World) -> [Vec<EventId>; 2] {
    let of = async |user| world.events("acme", user).await.into_iter().map(|event| event.id).collect();
    [of("alice").await, of("bob").await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_all_that_was_acknowledged_before() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let world = World::new(Embedded(home.path().join("store"))).await;
    let queued = world.send("alice", "c1", to_ana(), "queued").await;
    let (next, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, next, stop) = (world.store.clone(), next.clone(), stop.clone());
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let updates = vec![inbound(&format!("wamid.{n}"), &n.to_string(), Millis(n))];
                    let op = WebhookOp { body: vec![7; 2_000].into(), updates, received_us: 1 };
                    commit(&*store, Op::Webhook(op)).await.expect("it is committed");
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let reach = async |count: u64| {
        while acknowledged.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    };
    reach(MESSAGES).await;
    let before: BTreeSet<_> = texts(&world).await;
    assert!(before.len() as u64 >= MESSAGES);
    let moment = world.store.snapshot().expect("a snapshot");
    reach(2 * MESSAGES).await;
    assert_eq!(moment.verify(&mut |_, _, _| {}).expect("readable").violations, [], "while the store works");
    let folder = home.path().join("backup");
    let summary = back_up(&moment, &folder).expect("a backup");
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.expect("no writer failed");
    }
    assert_eq!(summary.bytes, std::fs::metadata(&summary.file).expect("the file").len());
    assert!(matches!(back_up(&moment, &folder), Err(BackupError::Exists(_))), "none is overwritten");
    drop(moment);
    let all = texts(&world).await;
    let history = ids(&world).await;
    world.finish().await;

    let restored = bring_back(&folder, &home.path().join("again")).expect("a store");
    assert_eq!((restored.report.violations, restored.backup.rows), (vec![], summary.rows));
    let world = World::new(Embedded(home.path().join("again"))).await;
    let events = world.events("acme", "alice").await;
    assert!(events.iter().all(|event| event.epoch == NEW_EPOCH), "clients take a snapshot");
    let back = texts(&world).await;
    for (found, whole) in ids(&world).await.iter().zip(&history) {
        // Opening it settled the send that was queued, which is an event of its own.
        let known = found.iter().take_while(|id| whole.contains(id)).count();
        assert_eq!(found[..known], whole[..known], "a moment is a beginning of the whole, without a gap");
        assert!(found.len() - known <= 1, "nothing else is in it");
    }
    assert!(before.is_subset(&back) && back.is_subset(&all), "{} {} {}", before.len(), back.len(), all.len());
    assert!(back.len() < all.len(), "later messages are not in it, or this test shows nothing");
    let open = world.store.open_sends(None, 9).await.expect("sends are read");
    assert_eq!(open.iter().map(|send| send.message).collect::<Vec<_>>(), [queued.id]);
    assert!(matches!(open[0].state, SendState::Attempting { .. }), "it may have been posted since (P6)");
    assert_eq!(world.webhook(vec![inbound("wamid.new", "new", world.now())]).await.applied, 1);
    assert_eq!(world.events("acme", "alice").await.len(), events.len() + 1, "numbers go on");
    world.finish().await;
}

#[tokio::test]
async fn no_damaged_file_becomes_a_store() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let world = World::new(Embedded(home.path().join("store"))).await;
    for n in 0..3 {
        world.webhook(vec![inbound(&format!("wamid.{n}"), "hi", world.now())]).await;
    }
    let folder = home.path().join("backup");
    back_up(&world.store.snapshot().expect("a snapshot"), &folder).expect("a backup");
    world.finish().await;

    let file = folder.join(FILE);
    let whole = std::fs::read(&file).expect("the backup");
    let target = home.path().join("again");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&file, bytes).expect("the backup is overwritten");
        let error = bring_back(&folder, &target).expect_err(what);
        assert!(matches!(error, BackupError::Damaged { .. } | BackupError::Format { .. }), "{what}: {error}");
        assert!(!target.exists() && !target.with_extension("restoring").exists(), "{what}");
    };
    // Every part of the file: a step that is no divisor of anything in it.
    for at in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        refused(&bytes, &format!("a flipped bit at {at}"));
        refused(&whole[..at], &format!("cut off at {at}"));
    }
    refused(&[&whole[..], b"x"].concat(), "something behind the end");

    std::fs::write(&file, &whole).expect("the backup is whole again");
    bring_back(&folder, &target).expect("a store");
    let again = bring_back(&folder, &target);
    assert!(matches!(again, Err(BackupError::Occupied(_))), "a store is never overwritten");
}

#[tokio::test]
async fn a_backup_that_nobody_waits_for_ends_and_leaves_nothing() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let world = World::new(Embedded(home.path().join("store"))).await;
    let body = vec![7; 1 << 20];
    for _ in 0..3 {
        let op = WebhookOp { body: body.clone().into(), updates: vec![], received_us: 1 };
        commit(&*world.store, Op::Webhook(op)).await.expect("it is committed");
    }
    let folder = home.path().join("backup");
    let stopped = world.store.snapshot().expect("a snapshot").backup(&folder, &mut |_| false);
    assert!(matches!(stopped, Err(BackupError::Stopped)), "{stopped:?}");
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0);

    let in_use = snapshot(&home.path().join("store"), Sizes::default(), Millis(1)).map(drop);
    assert!(matches!(in_use, Err(OpenError::InUse { .. })), "{in_use:?}");
    let none = snapshot(&home.path().join("nothing"), Sizes::default(), Millis(1)).map(drop);
    assert!(matches!(none, Err(OpenError::Engine { .. })), "{none:?}");
    assert!(!home.path().join("nothing").exists(), "looking makes no store");
    world.finish().await;
}
