//! Sessions in the simulation: fixed seeds on both engines, exact replay, the proof that each planted mistake is found,
//! and histories written by hand for the checker itself.
//!
//! Thousands of seeds are `cargo xtask sim --mqtt`'s.

use schemas::invariant::InvariantId;
use world::Engine;
use world::mqtt::check::check;
use world::mqtt::{Bug, Entry, Marks, What, run};

/// Seeds of the model in an ordinary test run.
const MODEL_SEEDS: u64 = 120;
/// The embedded engine syncs for real, so fewer.
const EMBEDDED_SEEDS: u64 = 4;

fn passes(engine: Engine, seeds: std::ops::RangeInclusive<u64>) -> Marks {
    let mut marks = Marks::default();
    for seed in seeds {
        let run = run(seed, engine, None).expect("the engine opens");
        let shown: Vec<String> = run.violations.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "seed {seed} on {engine:?}: {shown:#?}");
        marks.add(&run.marks);
    }
    marks
}

#[test]
fn sessions_keep_the_promises_and_every_fault_happens() {
    for (name, count) in passes(Engine::Model, 1..=MODEL_SEEDS).all() {
        assert!(count > 0, "{name} never happened: the simulation proves nothing about it");
    }
}

#[test]
fn sessions_keep_them_on_the_embedded_engine() {
    let marks = passes(Engine::Embedded, 1..=EMBEDDED_SEEDS);
    assert!(marks.messages > 0, "{marks:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 1..=3 {
        let text = |engine| run(seed, engine, None).expect("the engine opens").text();
        let first = text(Engine::Model);
        assert!(first.len() > 2_000, "something happened");
        assert!(first == text(Engine::Model), "seed {seed} is not exact");
        assert!(first == text(Engine::Embedded), "the engines differ in what can be seen of them");
    }
}

/// Runs seeds with a planted mistake until one breaks one of the promises that it should break.
fn found(bug: Bug, promises: &[InvariantId]) {
    for seed in 1..=MODEL_SEEDS {
        let run = run(seed, Engine::Model, Some(bug)).expect("the model opens");
        if run.violations.iter().any(|violation| violation.promise.is_some_and(|p| promises.contains(&p))) {
            return;
        }
    }
    panic!("{bug:?} was not found as a breach of {promises:?} in {MODEL_SEEDS} seeds");
}

#[test]
fn acknowledging_before_the_commit_is_found() {
    found(Bug::AcknowledgeBeforeCommit, &[InvariantId::P1]);
}

#[test]
fn a_cursor_that_moves_at_the_send_is_found() {
    found(Bug::CursorAtSend, &[InvariantId::P3]);
}

#[test]
fn a_packet_identifier_freed_at_pubrec_is_found() {
    found(Bug::IdFreedAtPubRec, &[InvariantId::P3, InvariantId::P4]);
}

#[test]
fn a_pubrel_that_is_not_stored_is_found() {
    found(Bug::PubRelNotStored, &[InvariantId::P3, InvariantId::P4]);
}

#[test]
fn a_takeover_without_a_fence_is_found() {
    found(Bug::TakeoverWithoutFence, &[InvariantId::P3, InvariantId::P4]);
}

#[test]
fn a_missing_dup_is_found() {
    found(Bug::DupNotSet, &[InvariantId::P3]);
}

fn event(device: usize, seq: u64, qos: u8, dup: bool) -> Entry {
    Entry::Delivered(device, What::Event(seq, None), qos, dup)
}

fn message(device: usize, key: u64, qos: u8, dup: bool) -> Entry {
    Entry::Delivered(device, What::Message { topic: "t/a".to_owned(), by: 2, key }, qos, dup)
}

fn publish(key: u64, qos: u8) -> Entry {
    Entry::Publish(2, key, "t/a".to_owned(), qos, false)
}

/// What the checker finds in a history: the promises that are broken.
fn judged(history: &[Entry]) -> Vec<Option<InvariantId>> {
    check(history).into_iter().map(|violation| violation.promise).collect()
}

#[test]
fn a_good_history_passes() {
    let history = [
        Entry::Ready,
        publish(1, 2),
        Entry::Stored(2, 1),
        event(0, 1, 1, false),
        event(0, 2, 1, false),
        Entry::Acked(0, 1),
        Entry::Cursor(0, 1),
        Entry::Crash,
        event(0, 2, 1, true),
        event(1, 1, 2, false),
        event(1, 2, 2, false),
        message(0, 1, 1, false),
        message(0, 1, 1, true),
        message(1, 1, 2, false),
        message(2, 1, 2, false),
        Entry::Rest,
    ];
    assert_eq!(check(&history), []);
}

/// Name, history, what is found in it.
type Case = (&'static str, Vec<Entry>, Vec<Option<InvariantId>>);

#[test]
fn each_breach_in_a_history_is_found() {
    use InvariantId::{P1, P2, P3, P4};
    let command = |seq| Entry::Delivered(0, What::Event(seq, Some("c1".to_owned())), 1, false);
    let will = || Entry::Delivered(0, What::Will(7), 2, false);
    let connected = |link| Entry::Connected(0, link);
    let cases: Vec<Case> = vec![
        ("a gap", vec![event(0, 1, 1, false), event(0, 3, 1, false)], vec![Some(P3)]),
        ("again without DUP", vec![event(0, 1, 1, false), event(0, 1, 1, false)], vec![Some(P3)]),
        ("twice at QoS 2", vec![event(0, 1, 2, false), event(0, 1, 2, true)], vec![Some(P3)]),
        ("a cursor ahead", vec![event(0, 1, 1, false), Entry::Cursor(0, 1)], vec![Some(P3)]),
        ("a command twice", vec![command(1), command(2)], vec![Some(P4)]),
        ("a will twice", vec![will(), will()], vec![Some(P4)]),
        (
            "a publish twice",
            vec![publish(1, 2), message(0, 1, 2, false), message(0, 1, 2, false)],
            vec![Some(P4)],
        ),
        ("from nobody", vec![message(0, 1, 1, false)], vec![Some(P1)]),
        (
            "out of order",
            vec![publish(1, 1), publish(2, 1), message(0, 2, 1, false), message(0, 1, 1, false)],
            vec![Some(P2)],
        ),
        (
            "acknowledged and lost",
            vec![
                publish(1, 1),
                Entry::Stored(2, 1),
                event(0, 1, 1, false),
                event(1, 1, 1, false),
                Entry::Rest,
            ],
            vec![Some(P1), Some(P1)],
        ),
        (
            "two inboxes of one user",
            vec![event(0, 1, 1, false), event(1, 1, 1, false), event(1, 2, 1, false), Entry::Rest],
            vec![Some(P3)],
        ),
        (
            "a will that never came",
            vec![Entry::Ready, connected(1), connected(2), Entry::Rest],
            vec![Some(P1)],
        ),
        ("no rest", vec![Entry::NoRest("why".to_owned())], vec![None]),
        ("the standard", vec![Entry::Broken(0, "what".to_owned())], vec![Some(P3)]),
        ("rows", vec![Entry::Verify(P2, "what".to_owned())], vec![Some(P2)]),
    ];
    for (name, history, expected) in cases {
        assert_eq!(judged(&history), expected, "{name}");
    }
}
