//! Layer `powercut`: every image that a power cut may leave of a recorded run, flipped bits, and the change from one
//! journal to the next; and `cargo xtask powercut`.
//!
//! A part of it runs with the ordinary tests (`sim/powercut/tests`). A failing image stays where the output says.

use std::process::ExitCode;

use crate::context::{Context, run, run_program};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "powercut", run: powercut };

/// Bits of each file.
const FLIPS: &str = "100";
/// Images around the change of journals: each holds 64 MB.
const ROTATION_IMAGES: &str = "60";

const PROGRAM: [&str; 7] = ["run", "--quiet", "--release", "--locked", "--package", "powercut", "--"];

fn powercut(context: &Context) -> Outcome {
    let runs: [&[&str]; 3] = [&[], &["--flips", FLIPS], &["--rotation", "--images", ROTATION_IMAGES]];
    runs.iter().try_for_each(|options| run(&mut context.cargo(PROGRAM.iter().chain(*options)))).into()
}

/// `cargo xtask powercut …`: the options are the program's own.
pub(crate) fn program(options: &[&str]) -> ExitCode {
    run_program(&PROGRAM, options)
}
