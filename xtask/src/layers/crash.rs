//! Layer `crash`: the release binary is killed in the middle of its work, many times; what it acknowledged must be
//! there afterwards (P1, P3, P4).

use crate::context::{BINARY_VARIABLE, Context, run};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "crash", run: crash };

/// How many kills one full run makes. A fault that shows in one kill of twenty is found in nine runs of ten.
const ROUNDS: &str = "50";

/// Read by tests/tests/crash.
const ROUNDS_VARIABLE: &str = "INBOXD_CRASH_ROUNDS";

fn crash(context: &Context) -> Outcome {
    let binary = context.release_binary();
    if !context.has_target("tests", "test", "crash") {
        return Outcome::Skipped("the crate `tests` has no test target `crash`".into());
    }
    if !binary.is_file() {
        return Outcome::Skipped(format!("{} is not built", binary.display()));
    }
    let mut cargo = context.cargo(["test", "--locked", "--package", "tests", "--test", "crash"]);
    run(cargo.env(BINARY_VARIABLE, &binary).env(ROUNDS_VARIABLE, ROUNDS)).into()
}
