//! `inboxd verify`: every invariant of the store, checked row by row; exit code 1 where one is broken.
//!
//! Not here: what is checked (`store::verify`), how a running server is asked (`backup`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::Store;
use store::backup::Snapshot;
use store::verify::Report;

use crate::Failure;
use crate::backup::{self, Shown, Source};
use crate::cli::{self, VerifyArgs};

/// A report as it goes over the API.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    rows: BTreeMap<String, u64>,
    /// All broken promises; those named are at most `store::verify::NAMED_MAX`.
    count: u64,
    violations: Vec<String>,
}

impl From<Report> for Found {
    fn from(report: Report) -> Self {
        let named = report.violations.iter();
        let violations = named.map(|v| format!("{} {} {}: {}", v.invariant.as_str(), v.table, v.key, v.what));
        Self {
            violations: violations.collect(),
            rows: report.rows.into_iter().map(|(table, rows)| (table.to_owned(), rows)).collect(),
            count: report.count,
        }
    }
}

/// `inboxd verify`
pub(crate) fn run(config: Option<PathBuf>, args: &VerifyArgs) -> Result<(), Failure> {
    let config = cli::load(config)?;
    let mut shown = Shown::new();
    let found = match backup::source(&config, args.admin.as_deref(), "verify")? {
        Source::Here(moment, _held) => {
            check(&moment, &mut |text| shown.progress(text)).map_err(Failure::Failed)?
        }
        Source::Server(base) => backup::ask(&config, &base, "verify", Vec::new(), &mut shown)?,
    };
    shown.end();
    tell(&found)
}

/// Prints what was found; broken promises are a failure.
pub(crate) fn tell(found: &Found) -> Result<(), Failure> {
    let mut text: String = found.violations.iter().map(|line| format!("{line}\n")).collect();
    let rows: u64 = found.rows.values().sum();
    text.push_str(&format!("{rows} rows, {} broken promises\n", found.count));
    cli::print(&text)?;
    match found.count {
        0 => Ok(()),
        count => {
            Err(Failure::Failed(format!("{count} broken promises; docs/invariants.md says what each means")))
        }
    }
}

fn check(moment: &Snapshot, progress: &mut dyn FnMut(&str)) -> Result<Found, String> {
    let checked = moment.verify(&mut |done, tables, rows| {
        progress(&format!("{done} of {tables} tables, {rows} rows"));
    });
    checked.map(Found::from).map_err(|e| e.to_string())
}

/// `POST /admin/v1/verify`
pub(crate) fn route(store: Arc<dyn Store>) -> Response {
    backup::job(move |progress| {
        let moment = store.snapshot().map_err(|e| e.to_string())?;
        check(&moment, &mut |text| {
            // A check cannot be stopped half-way; it ends by itself.
            let _ = progress(text);
        })
    })
}
