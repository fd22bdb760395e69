//! `inboxd backup DIR`, and what `backup` and `verify` share: the store itself where no server holds it, else the
//! admin API of the one that does; progress on standard error.
//!
//! Over the API a job answers with one JSON object a line: `progress`, then `done` or `failed`. Whoever goes away ends
//! it. Not here: what a backup is (`store::backup`), who may ask (`admin`).

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use schemas::ErrorCode;
use serde::{Deserialize, Serialize};
use store::backup::{BackupError, Reached, Snapshot, Summary};
use store::engine::{embedded, scylla};
use store::{OpenError, Store};
use tokio::sync::mpsc;

use crate::admin::problem;
use crate::cli::{self, BackupArgs};
use crate::config::Config;
use crate::data_dir::{self, Held, Holder};
use crate::{Failure, wire};

/// Time between two lines of progress where nobody watches a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Time between two changes of the line on a terminal.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// Lines of progress that may wait for a client who reads slowly; then the job waits for him.
const LINES_MAX: usize = 16;
/// Longest line that is taken from a server: the violations of `verify` are at most a thousand.
const LINE_BYTES_MAX: usize = 4 << 20;

/// A line of a job's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line<T> {
    /// How far it is, for people.
    Progress(String),
    /// The result.
    Done(T),
    /// Why there is none.
    Failed(String),
}

/// What `POST /admin/v1/backup` is asked with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Folder on the server's machine, absolute.
    pub(crate) dir: PathBuf,
}

/// `inboxd backup DIR`
pub(crate) fn run(config: Option<PathBuf>, args: &BackupArgs) -> Result<(), Failure> {
    let config = cli::load(config)?;
    let dir = match &args.admin {
        // It is a folder of another machine: what it is relative to, nobody could tell.
        Some(_) if args.dir.is_relative() => {
            return Err(Failure::Usage(
                "DIR: must be absolute with --admin: it is a folder there".to_owned(),
            ));
        }
        _ => std::path::absolute(&args.dir).map_err(|e| Failure::Usage(format!("DIR: {e}")))?,
    };
    let mut shown = Shown::new();
    let summary: Summary = match source(&config, args.admin.as_deref(), "backup")? {
        Source::Here(moment, _held) => write(&moment, &dir, &mut |text| {
            shown.progress(text);
            true
        })
        .map_err(|e| Failure::Failed(e.to_string()))?,
        Source::Server(base) => {
            let body = serde_json::to_vec(&Order { dir }).map_err(|e| Failure::Failed(e.to_string()))?;
            ask(&config, &base, "backup", body, &mut shown)?
        }
    };
    shown.end();
    cli::print(&format!("{}: {} rows, {} bytes\n", summary.file.display(), summary.rows, summary.bytes))
}

/// Where the rows come from.
pub(crate) enum Source {
    /// No server holds the store, and none can while it is read.
    Here(Snapshot, Option<Held>),
    /// Address of a server's admin listener.
    Server(String),
}

pub(crate) fn source(config: &Config, admin: Option<&str>, command: &'static str) -> Result<Source, Failure> {
    if let Some(url) = admin {
        return Ok(Source::Server(url.to_owned()));
    }
    match open_here(config, command) {
        Ok((moment, held)) => Ok(Source::Here(moment, held)),
        Err(NotHere::Server(_)) if config.listen.admin.ends_with(":0") => Err(Failure::Failed(
            "a server holds the store, at an admin port that only its ready line tells: give --admin URL"
                .to_owned(),
        )),
        Err(NotHere::Server(_)) => Ok(Source::Server(format!("http://{}", config.listen.admin))),
        Err(NotHere::Failure(failure)) => Err(failure),
    }
}

/// Why the store cannot be opened by this process.
pub(crate) enum NotHere {
    /// A server has it; its words.
    Server(String),
    /// Something else is wrong.
    Failure(Failure),
}

impl NotHere {
    /// For those who need the server stopped.
    pub(crate) fn stop_first(self, then: &str) -> Failure {
        match self {
            Self::Server(why) => Failure::Failed(format!("{why}: stop it first, then {then}")),
            Self::Failure(failure) => failure,
        }
    }
}

/// Opens the store where no server holds it: a look at it, and the hold on its folder for as long as it is used.
pub(crate) fn open_here(config: &Config, command: &'static str) -> Result<(Snapshot, Option<Held>), NotHere> {
    let held = match data_dir::hold(config, Holder::Command(command)) {
        Err(error) if error.is_server() => return Err(NotHere::Server(error.to_string())),
        held => {
            held.map_err(|held| NotHere::Failure(held.stop_first(&format!("run `inboxd {command}` again"))))?
        }
    };
    let moment = match &config.store.cluster {
        Some(url) => {
            let access = wire::access(url, &config.store.login).map_err(NotHere::Failure)?;
            scylla::snapshot(access, wire::now())
        }
        None => embedded::snapshot(&wire::store_folder(config), wire::sizes(config), wire::now()),
    };
    match moment {
        Ok(moment) => Ok((moment, held)),
        Err(OpenError::InUse { path }) => Err(NotHere::Server(format!("a server holds the store at {path}"))),
        Err(error) => Err(NotHere::Failure(wire::failed("the store")(error))),
    }
}

/// Writes a backup; `progress` says in words how far it is, and ends it with `false`.
fn write(
    moment: &Snapshot,
    dir: &Path,
    progress: &mut dyn FnMut(&str) -> bool,
) -> Result<Summary, BackupError> {
    moment.backup(dir, &mut |reached| progress(&words(reached)))
}

/// How far a backup or restore is, in words.
pub(crate) fn words(reached: &Reached) -> String {
    let Reached { table, number, tables, rows, bytes } = reached;
    format!("table {table} ({number} of {tables}), {rows} rows, {} MiB", bytes >> 20)
}

/// `POST /admin/v1/backup`
pub(crate) async fn route(store: Arc<dyn Store>, body: Bytes) -> Response {
    let dir = match serde_json::from_slice::<Order>(&body) {
        Ok(Order { dir }) if dir.is_absolute() => dir,
        Ok(_) => return problem(ErrorCode::ParameterInvalid, "`dir` must be an absolute path"),
        Err(e) => return problem(ErrorCode::JsonMalformed, &format!("send {{\"dir\":\"/…\"}}: {e}")),
    };
    job(move |progress| {
        let moment = store.snapshot().map_err(|e| e.to_string())?;
        let summary = write(&moment, &dir, progress).map_err(|e| e.to_string())?;
        tracing::info!(rows = summary.rows, bytes = summary.bytes, "a backup was written");
        Ok(summary)
    })
}

/// What a job does with the place it tells its progress to.
type Work<T> = dyn FnOnce(&mut dyn FnMut(&str) -> bool) -> Result<T, String> + Send;

/// Runs a job where it may block, and answers with its lines.
pub(crate) fn job<T: Serialize + Send + 'static>(
    work: impl FnOnce(&mut dyn FnMut(&str) -> bool) -> Result<T, String> + Send + 'static,
) -> Response {
    let work: Box<Work<T>> = Box::new(work);
    let (lines, waiting) = mpsc::channel::<Bytes>(LINES_MAX);
    tokio::task::spawn_blocking(move || {
        let tell = |line: &Line<T>| {
            let mut text = serde_json::to_vec(line).unwrap_or_default();
            text.push(b'\n');
            lines.blocking_send(text.into()).is_ok()
        };
        let mut told: Option<Instant> = None;
        let result = work(&mut |text| {
            if told.is_some_and(|at| at.elapsed() < REDRAW_EVERY) {
                return !lines.is_closed();
            }
            told = Some(Instant::now());
            tell(&Line::Progress(text.to_owned()))
        });
        let _ = tell(&result.map_or_else(Line::Failed, Line::Done));
    });
    let lines = futures_util::stream::unfold(waiting, async |mut waiting| {
        let line = waiting.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), waiting))
    });
    ([(axum::http::header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Gives a job to a server and waits for its result.
pub(crate) fn ask<T: serde::de::DeserializeOwned>(
    config: &Config,
    base: &str,
    job: &str,
    body: Vec<u8>,
    shown: &mut Shown,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    runtime.block_on(ask_async(config, base, job, body, shown))
}

async fn ask_async<T: serde::de::DeserializeOwned>(
    config: &Config,
    base: &str,
    job: &str,
    body: Vec<u8>,
    shown: &mut Shown,
) -> Result<T, Failure> {
    // reqwest is built without a TLS provider of its own; a second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path = &config.admin.token_file;
    let token = std::fs::read_to_string(path)
        .map_err(|e| Failure::Failed(format!("admin.token_file {}: {e}", path.display())))?;
    let url = format!("{base}/admin/v1/{job}");
    let lost = |e: reqwest::Error| Failure::Failed(format!("{url}: {}", e.without_url()));
    let sent = reqwest::Client::new().post(&url).bearer_auth(token.trim()).body(body).send().await;
    let mut response = sent.map_err(lost)?;
    if !response.status().is_success() {
        let status = response.status();
        let why = response.text().await.map_err(lost)?;
        return Err(Failure::Failed(format!("{url}: {status}: {}", why.trim())));
    }
    let mut rest = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(lost)? {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line: Line<T> = serde_json::from_slice(&line)
                .map_err(|e| Failure::Failed(format!("{url}: not an answer of this program: {e}")))?;
            match line {
                Line::Progress(text) => shown.progress(&text),
                Line::Done(result) => return Ok(result),
                Line::Failed(why) => return Err(Failure::Failed(why)),
            }
        }
        if rest.len() > LINE_BYTES_MAX {
            return Err(Failure::Failed(format!("{url}: a line of the answer is too long")));
        }
    }
    Err(Failure::Failed(format!("{url}: the server ended before the job was done")))
}

/// Progress on standard error: one line that changes on a terminal, else a line now and then.
pub(crate) struct Shown {
    terminal: bool,
    last: Instant,
    drawn: bool,
}

impl Shown {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: Instant::now(), drawn: false }
    }

    pub(crate) fn progress(&mut self, text: &str) {
        let every = if self.terminal { REDRAW_EVERY } else { LINE_EVERY };
        if self.last.elapsed() < every {
            return;
        }
        self.last = Instant::now();
        self.drawn = self.terminal;
        // Progress that cannot be shown is no reason to stop.
        let _ = if self.terminal {
            write!(std::io::stderr(), "\r\x1b[K{text}")
        } else {
            writeln!(std::io::stderr(), "{text}")
        };
    }

    /// Before anything else is printed.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.end();
    }
}
