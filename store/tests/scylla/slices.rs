//! The log's slices: they end by size, go when they are applied and noted, and a start replays no more than it must.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use store::commit;
use store::conformance::Engine as _;
use store::engine::scylla::{LogSizes, log_slices};

use crate::{Keyspace, event, new_inbox, server, start, texts};

/// A slice of a few entries, noted and deleted as soon as a sign of life is given.
const SMALL: LogSizes = LogSizes {
    slice_bytes: 10_000,
    slice_time: Duration::from_secs(600),
    slice_kept: Duration::ZERO,
    applied_lag: Duration::ZERO,
};
/// Events, each of a third of a slice.
const EVENTS: usize = 30;
/// Only a fault takes longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn slices_end_and_go_and_what_is_left_is_replayed() {
    let Some(server) = server() else { return };
    let mut keyspace = Keyspace::new(&server);
    keyspace.0.log = SMALL;
    let (access, faults) = keyspace.process();
    let store = start(&access);
    new_inbox(&*store).await;
    let text = |n: usize| format!("{n} {}", "x".repeat(3_000));
    let mut expected = Vec::new();
    for n in 0..EVENTS {
        expected.push(text(n));
        commit(&*store, event(&expected[n])).await.expect("the event is committed");
    }
    let begin = Instant::now();
    let (first, last) = loop {
        let slices = log_slices(&access).expect("the log is readable");
        let (first, last) = (slices[0], slices[slices.len() - 1]);
        if slices.len() <= 2 && last >= EVENTS as i64 / 4 {
            break (first, last);
        }
        assert!(begin.elapsed() < DEADLINE, "applied slices stay: {slices:?}");
        let _ = tokio::time::timeout(LOOK_AGAIN, std::future::pending::<()>()).await;
    };
    assert!(first > 0 && first <= last);

    // Killed with entries in several slices that are in no row.
    faults.dead.store(true, Ordering::SeqCst);
    for n in EVENTS..EVENTS + 9 {
        expected.push(text(n));
        commit(&*store, event(&expected[n])).await.expect("the event is committed");
    }
    drop(store);
    let store = start(&keyspace.process().0);
    assert_eq!(texts(&*store).await, expected);
    store.close().await;
    drop(store);
    assert_eq!(keyspace.verify().violations, []);
}
