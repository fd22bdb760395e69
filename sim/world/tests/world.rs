//! Fixed seeds on both engines, exact replay, and the proof that the checker finds what it is there for.
//!
//! Thousands of seeds are `cargo xtask sim`'s; here as many as a test run can pay for.

use schemas::invariant::InvariantId;
use world::{Bug, Config, Engine, Marks, run};

/// Seeds of the model in an ordinary test run.
const MODEL_SEEDS: u64 = 70;
/// The embedded engine syncs for real, so fewer.
const EMBEDDED_SEEDS: u64 = 6;
/// A planted mistake must be found within so many seeds: three times what the rarest of them needs today.
const BUG_SEEDS: u64 = MODEL_SEEDS;

fn passes(engine: Engine, seeds: std::ops::RangeInclusive<u64>) -> Marks {
    let mut marks = Marks::default();
    for seed in seeds {
        let run = run(seed, Config::new(engine, None)).expect("the engine opens");
        let shown: Vec<String> = run.violations.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "seed {seed} on {engine:?}: {shown:#?}");
        marks.add(&run.marks);
    }
    marks
}

/// Runs seeds with a planted mistake until one breaks the promise that it should break. Without it the same seeds
/// pass: [`the_model_keeps_its_promises_and_every_fault_happens`].
fn found(bug: Bug, promise: InvariantId) {
    for seed in 1..=BUG_SEEDS {
        let run = run(seed, Config::new(Engine::Model, Some(bug))).expect("the model opens");
        if run.violations.iter().any(|violation| violation.promise == Some(promise)) {
            return;
        }
    }
    panic!("{bug:?} was not found as a breach of {promise:?} in {BUG_SEEDS} seeds");
}

#[test]
fn the_model_keeps_its_promises_and_every_fault_happens() {
    for (name, count) in passes(Engine::Model, 1..=MODEL_SEEDS).all() {
        assert!(count > 0, "{name} never happened: the simulation proves nothing about it");
    }
}

#[test]
fn the_embedded_engine_keeps_its_promises() {
    let marks = passes(Engine::Embedded, 1..=EMBEDDED_SEEDS);
    assert!(marks.crashes > 0 && marks.lost_batches > 0, "{marks:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 1..=10 {
        let text = |engine| run(seed, Config::new(engine, None)).expect("the engine opens").history.text();
        let first = text(Engine::Model);
        assert!(first.len() > 10_000, "something happened");
        assert!(first == text(Engine::Model), "seed {seed} is not exact");
        if seed <= 3 {
            assert!(first == text(Engine::Embedded), "the engines differ in what can be seen of them");
        }
    }
}

#[test]
fn acknowledging_before_the_commit_is_found() {
    found(Bug::AcknowledgeBeforeCommit, InvariantId::P1);
}

#[test]
fn a_cursor_that_moves_at_the_send_is_found() {
    found(Bug::CursorAtSend, InvariantId::P3);
}

#[test]
fn a_lost_dedupe_key_is_found() {
    found(Bug::DedupeLost, InvariantId::P4);
}

#[test]
fn numbers_given_again_after_an_aborted_commit_are_found() {
    found(Bug::SeqReused, InvariantId::P2);
}

#[test]
fn an_overwritten_status_is_found() {
    found(Bug::StatusOverwritten, InvariantId::P5);
}

#[test]
fn a_post_before_its_attempt_is_on_disk_is_found() {
    found(Bug::PostBeforeStart, InvariantId::P6);
}

#[test]
fn an_ignored_fence_is_found() {
    found(Bug::FenceIgnored, InvariantId::P1);
}
