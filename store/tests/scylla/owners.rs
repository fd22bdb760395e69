//! One owner: whoever is taken over writes nothing more, what it committed is replayed, and an unknown outcome is settled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use schemas::{Epoch, Millis, Seq};
use store::conformance::Engine as _;
use store::engine::scylla::{open, snapshot};
use store::{Clock, CommitError, InboxKey, OpenError, Outcome, Settings, commit};

use crate::{Keyspace, account, event, new_inbox, server, start, texts, user};

/// Processes that start together.
const RACERS: usize = 4;

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
    assert!(refused.contains("(pid ") && refused.contains("is in use by another process"), "{refused}");
    commit(&*store, event("still the owner")).await.expect("the event is committed");
    store.close().await;
}

/// Migrations run once, by one of those that start together; the others wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_make_the_tables_at_once() {
    let Some(server) = server() else { return };
    let keyspace = Keyspace::new(&server);
    let racers: Vec<_> = (0..RACERS)
        .map(|_| {
            let access = keyspace.process().0;
            tokio::task::spawn_blocking(move || snapshot(access, Millis::default()).map(drop))
        })
        .collect();
    for racer in racers {
        match racer.await.expect("no panic") {
            Err(OpenError::InUse { .. }) => {}
            Err(OpenError::Engine { why, .. }) if why == "there is no store" => {}
            other => panic!("{other:?}"),
        }
    }
    let store = start(&keyspace.0);
    new_inbox(&*store).await;
    commit(&*store, event("after the race")).await.expect("the event is committed");
    store.close().await;
    drop(store);
    assert_eq!(keyspace.verify().violations, []);
}
