//! Layer `sim`: many seeds of the simulated world, on the model and on the embedded engine; and `cargo xtask sim`.
//!
//! A failing seed prints the command that replays it. The seeds of a full run are the same each time, so that a
//! failure is not a matter of luck; other seeds are `--from`'s.

use std::process::ExitCode;

use crate::context::{Context, run, run_program};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "sim", run: sim };

/// Half a minute's worth on a laptop.
const MODEL_SEEDS: &str = "2000";
/// These sync for real.
const EMBEDDED_SEEDS: &str = "100";

const PROGRAM: [&str; 7] = ["run", "--quiet", "--release", "--locked", "--package", "world", "--"];

fn sim(context: &Context) -> Outcome {
    let with = |options: &[&str]| run(&mut context.cargo(PROGRAM.iter().chain(options)));
    let model = ["--seeds", MODEL_SEEDS];
    let embedded = ["--seeds", EMBEDDED_SEEDS, "--embedded"];
    let runs: [&[&str]; 4] = [
        &model,
        &embedded,
        &["--mqtt", model[0], model[1]],
        &["--mqtt", embedded[0], embedded[1], embedded[2]],
    ];
    runs.iter().try_for_each(|options| with(options)).into()
}

/// `cargo xtask sim …`: the options are the program's own.
pub(crate) fn seeds(options: &[&str]) -> ExitCode {
    run_program(&PROGRAM, options)
}
