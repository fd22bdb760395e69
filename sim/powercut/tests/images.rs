//! A bounded part of what `cargo xtask powercut` does in full: one recorded run, some of its images, some bits.
//!
//! Needs strace; where there is none, this is skipped aloud, and with `INBOXD_CI_STRICT=1` it fails.

use std::path::Path;

use powercut::campaign::{Plan, last_image, run};
use powercut::flips;
use powercut::load::Size;
use powercut::record::{has_strace, memory, record};
use powercut::steps::Step;

/// About half a minute on one busy core.
const IMAGES: usize = 200;
/// Of each file.
const FLIPS: usize = 8;
const SIZE: Size = Size { seed: 7, acts: 120, ballast_bytes: 0 };
/// Set where everything was installed beforehand.
const STRICT_VARIABLE: &str = "INBOXD_CI_STRICT";

/// A recorded run in a folder; `None`: it cannot be recorded here.
fn recorded(folder: &Path) -> Option<Vec<Step>> {
    if !has_strace() {
        eprintln!("SKIPPED images of a power cut: there is no strace");
        let strict = std::env::var_os(STRICT_VARIABLE).is_some_and(|value| value == "1");
        assert!(!strict, "{STRICT_VARIABLE}=1 and images of a power cut were skipped");
        return None;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_powercut"));
    Some(record(program, folder, SIZE).expect("a recorded run"))
}

#[test]
fn p1_p2_p4_p5_whatever_a_power_cut_leaves_opens_with_all_that_was_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(steps) = recorded(folder.path()) else { return };
    let plan =
        Plan { recorded: folder.path(), work: &memory(), size: SIZE, most: Some(IMAGES), from_call: 0 };
    let summary = run(&steps, plan, &mut |_| {}).expect("images");
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert!(summary.cuts > 100 && summary.images > IMAGES / 2, "{summary:?}");
    assert!(summary.acknowledged > SIZE.acts / 2, "cuts fall where something was told: {summary:?}");
}

#[test]
fn every_flipped_bit_is_told_with_its_file_or_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(steps) = recorded(folder.path()) else { return };
    let work = tempfile::tempdir().expect("a temporary folder");
    let summary =
        flips::run(&last_image(&steps, folder.path()), work.path(), FLIPS, SIZE.seed).expect("flips");
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert!(summary.flips > 100 && summary.found > summary.flips / 2, "{summary:?}");
}
