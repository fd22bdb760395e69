//! Layer `fuzz`: millions of mutated packets and sessions, thousands of mutated WebSocket streams; then the same against
//! the release binary over sockets; and `cargo xtask fuzz`.
//!
//! Some thousands run with the ordinary tests. A failing case prints the command that replays it.

use std::process::ExitCode;

use crate::context::{BINARY_VARIABLE, Context, run, run_program};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "fuzz", run: fuzz };

/// What part 3 promises to have seen.
const PACKETS: &str = "10000000";
/// What part 3 promises to have seen.
const SESSIONS: &str = "1000000";
/// A minute's worth.
const FRAMES: &str = "50000";
/// Connections to the binary.
const LIVE: &str = "100000";

/// Read by tests/tests/flow/anything.rs.
const LIVE_VARIABLE: &str = "INBOXD_FUZZ_LIVE";

const PROGRAM: [&str; 7] = ["run", "--quiet", "--release", "--locked", "--package", "fuzz", "--"];

fn fuzz(context: &Context) -> Outcome {
    let all = ["--packets", PACKETS, "--sessions", SESSIONS, "--frames", FRAMES];
    let live = || {
        let test = ["test", "--locked", "--package", "tests", "--test", "flow", "anything"];
        let mut cargo = context.cargo(test);
        run(cargo.env(BINARY_VARIABLE, context.release_binary()).env(LIVE_VARIABLE, LIVE))
    };
    run(&mut context.cargo(PROGRAM.iter().chain(&all))).and_then(|()| live()).into()
}

/// `cargo xtask fuzz …`: the options are the program's own.
pub(crate) fn program(options: &[&str]) -> ExitCode {
    run_program(&PROGRAM, options)
}
