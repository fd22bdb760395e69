//! Judges a history by what inboxd promises (P1–P6) and by nothing else: it knows no plan, no rows, no groups.
//!
//! An answer "unknown", or none, means that the op may or may not have happened, at most once. Everything else is
//! definite. Not here: what rows alone can break (`store::verify`, whose findings stand in the history).

mod devices;
mod inboxes;
mod messages;

use std::fmt;

use schemas::invariant::InvariantId;

use crate::history::{Entry, History};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which; `None`: what was under way did not come to an end in calm weather.
    pub promise: Option<InvariantId>,
    /// Line of the history, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promise = self.promise.map_or("REST", InvariantId::as_str);
        write!(f, "{promise} at line {}: {}", self.line, self.what)
    }
}

/// Findings of the parts, in the order of the history.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, promise: InvariantId, line: usize, what: String) {
        self.0.push(Violation { promise: Some(promise), line, what });
    }
}

/// Everything in a history that breaks a promise.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut findings = Findings::default();
    let mut devices = devices::Devices::default();
    let mut inboxes = inboxes::Inboxes::default();
    let mut messages = messages::Messages::default();
    for (index, (_, entry)) in history.lines.iter().enumerate() {
        let line = index + 1;
        match entry {
            Entry::Verify(promise, what) => findings.add(*promise, line, what.clone()),
            Entry::NoRest(why) => {
                findings.0.push(Violation { promise: None, line, what: why.clone() });
            }
            _ => {}
        }
        devices.see(line, entry, &mut findings);
        inboxes.see(line, entry, &mut findings);
        messages.see(line, entry, &mut findings);
    }
    let rested = history.lines.iter().any(|(_, entry)| matches!(entry, Entry::Rest));
    if rested {
        devices.end(history.lines.len(), inboxes.heads(), &mut findings);
        messages.end(history.lines.len(), &mut findings);
    }
    findings.0
}
