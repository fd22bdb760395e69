//! A layer of the tests: its name, how it runs, how it ended, and the report over all of them.
//!
//! A layer that could not run says so and why; nothing here turns that into success (a green run that left out
//! the browser would be believed).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::context::Context;

/// How a layer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran, and everything held.
    Pass,
    /// It ran; the text says what did not hold.
    Fail(String),
    /// It did not run; the text says what was missing.
    Skipped(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Fail, |()| Self::Pass)
    }
}

/// One row of `cargo xtask ci`.
#[derive(Clone, Copy)]
pub(crate) struct Layer {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// Runs it to the end, output shown as it comes.
    pub(crate) run: fn(&Context) -> Outcome,
}

/// What became of every layer, in the order they ran.
pub(crate) struct Report {
    rows: Vec<(&'static str, Duration, Outcome)>,
}

impl Report {
    /// Runs all layers, also after one failed: one run should show everything that is wrong.
    pub(crate) fn of(layers: &[Layer], context: &Context) -> Self {
        let mut rows = Vec::new();
        for layer in layers {
            println!("=== {}", layer.name);
            let start = Instant::now();
            let outcome = (layer.run)(context);
            let row = (layer.name, start.elapsed(), outcome);
            println!("{}", line(&row));
            rows.push(row);
        }
        Self { rows }
    }

    /// All rows once more, since a skipped layer in the middle of a long log is not seen.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        if self.rows.len() > 1 {
            text.push_str("=== summary\n");
            for row in &self.rows {
                let _ = writeln!(text, "{}", line(row));
            }
        }
        text
    }

    /// Whether the run as a whole may be called good. `strict`: a skipped layer is a failure.
    pub(crate) fn holds(&self, strict: bool) -> bool {
        self.rows.iter().all(|(_, _, outcome)| match outcome {
            Outcome::Pass => true,
            Outcome::Skipped(_) => !strict,
            Outcome::Fail(_) => false,
        })
    }
}

fn line((name, took, outcome): &(&'static str, Duration, Outcome)) -> String {
    let seconds = took.as_secs_f64();
    match outcome {
        Outcome::Pass => format!("PASS     {name:<12} {seconds:7.1} s"),
        Outcome::Fail(why) => format!("FAIL     {name:<12} {seconds:7.1} s  {why}"),
        Outcome::Skipped(why) => format!("SKIPPED  {name:<12} {seconds:7.1} s  !! {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[Outcome]) -> Report {
        Report { rows: outcomes.iter().map(|o| ("layer", Duration::ZERO, o.clone())).collect() }
    }

    #[test]
    fn a_skipped_layer_is_shown_with_its_reason_and_fails_a_strict_run() {
        let report = report(&[Outcome::Pass, Outcome::Skipped("no chromium".into())]);
        assert!(report.summary().contains("SKIPPED"));
        assert!(report.summary().contains("no chromium"));
        assert!(report.holds(false));
        assert!(!report.holds(true));
    }

    #[test]
    fn one_failed_layer_fails_the_run() {
        assert!(report(&[Outcome::Pass, Outcome::Pass]).holds(true));
        assert!(!report(&[Outcome::Fail("clippy".into()), Outcome::Pass]).holds(false));
    }
}
