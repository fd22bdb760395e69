//! `cargo xtask`: the chores of this repository, one command each, with no other tool than cargo to call them.
//!
//! `tidy` checks the house rules that a compiler does not; `ci` runs every layer of tests in turn and says of each
//! one PASS, FAIL or SKIPPED. No step of the message flow lives here, and no product code depends on this crate.

mod context;
mod deploy;
mod files;
mod layer;
mod layers;
#[cfg(test)]
mod testing;
mod tidy;

use std::process::ExitCode;

use context::Context;
use layer::{Layer, Report};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci            every ordinary layer: fmt, clippy, tidy, test, cassandra, release, flow, web, e2e, deploy
  ci --full     the same, then simulation, mutations, crash rounds, the flow on Cassandra, a real Prometheus and bench; a
                skipped layer fails the run
  layer NAME…   single layers by the names that `ci --full` shows, in the given order
  tidy          house rules: arrows between crates, headers, sizes, forbidden calls, documents, clauses
  protocol      writes docs/protocol.md: clause of MQTT → check → test
  deploy-check  what deploy/ holds: Prometheus rules and their tests, dashboards, the systemd unit
  web           the web inbox: npm ci (if its lock file changed), checks, build
  sim [--mqtt] --seeds N [--from S] [--embedded] [--bug NAME] [--show]
                seeds of the simulated world, or of MQTT sessions in it; a failing one prints the command that replays it
  powercut [--images N] [--flips N] [--rotation]
                images that a power cut may leave of a recorded run, or flipped bits; needs strace
  fuzz [--packets N] [--sessions N] [--frames N] [--from SEED]
                mutated packets, sessions, WebSocket frames; a failing one prints the command that replays it
  e2e           the web inbox in a real Chromium against the release binary

Layers that need a missing tool are SKIPPED, loudly; with INBOXD_CI_STRICT=1 that is a failure.
Example: cargo xtask tidy";

/// sysexits.h `EX_USAGE`, the same code the product uses for a wrong command line.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["sim", options @ ..] = words.as_slice() {
        return layers::sim::seeds(options);
    }
    if let ["fuzz", options @ ..] = words.as_slice() {
        return layers::fuzz::program(options);
    }
    if let ["powercut", options @ ..] = words.as_slice() {
        return layers::powercut::program(options);
    }
    let (layers, full): (Vec<Layer>, bool) = match words.as_slice() {
        ["ci"] => (layers::ordinary(), false),
        ["ci", "--full"] => (layers::full(), true),
        ["layer", names @ ..] if !names.is_empty() => match layers::named(names) {
            Ok(layers) => (layers, false),
            Err(unknown) => {
                eprintln!("xtask: there is no layer `{unknown}`");
                return ExitCode::from(EXIT_USAGE);
            }
        },
        ["protocol"] => (Vec::new(), false),
        ["tidy"] => (vec![layers::tidy::LAYER], false),
        ["deploy-check"] => (layers::deploy::LAYERS.to_vec(), false),
        ["web"] => (vec![layers::web::LAYER], false),
        ["e2e"] => (vec![layers::web::LAYER, layers::release::LAYER, layers::e2e::LAYER], false),
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let context = match Context::find() {
        Ok(context) => context,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            return ExitCode::FAILURE;
        }
    };
    if words == ["protocol"] {
        return write_table(&context);
    }
    let report = Report::of(&layers, &context);
    print!("{}", report.summary());
    if report.holds(full || context.strict) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `docs/protocol.md` anew.
fn write_table(context: &Context) -> ExitCode {
    let table = tidy::clauses::table(&context.root).unwrap_or_default();
    match std::fs::write(context.root.join(tidy::clauses::TABLE), table) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
