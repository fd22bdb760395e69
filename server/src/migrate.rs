//! `inboxd migrate --to URL`: the store copied to another engine or folder, and compared row by row. No server may be
//! running on either.
//!
//! Not here: what is done with the rows (`store::migrate`).

use std::path::{Path, PathBuf};

use store::backup::Snapshot;
use store::engine::{embedded, scylla};
use store::migrate::{Migrated, Progress, Step};
use store::url::ScyllaUrl;

use crate::backup::{self, Shown, words};
use crate::cli::{self, MigrateArgs};
use crate::config::Config;
use crate::data_dir::{self, Held, Holder};
use crate::{Failure, keys, wire};

const EMBEDDED: &str = "embedded";
/// As others are told who holds a folder.
const COMMAND: &str = "migrate";
const AGAIN: &str = "run `inboxd migrate` again";
/// Digits of a hash that people compare.
const HASH_SHOWN: usize = 16;

/// Where to.
enum Target {
    /// A folder that is somebody's `data_dir`.
    Embedded(PathBuf),
    Scylla(ScyllaUrl),
}

fn target(config: &Config, to: &str) -> Result<Target, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--to {to}: {why}"));
    if to == EMBEDDED {
        return Ok(Target::Embedded(config.data_dir.clone()));
    }
    if let Some(folder) = to.strip_prefix("embedded:") {
        if folder.is_empty() {
            return Err(wrong("names no folder".to_owned()));
        }
        return Ok(Target::Embedded(PathBuf::from(folder)));
    }
    let url = to.parse().map_err(|e: store::url::UrlError| wrong(e.to_string()))?;
    Ok(Target::Scylla(url))
}

/// `inboxd migrate --to URL`
pub(crate) fn run(config: Option<PathBuf>, args: &MigrateArgs) -> Result<(), Failure> {
    let config = cli::load(config)?;
    let target = target(&config, &args.to)?;
    let opened = backup::open_here(&config, COMMAND).map_err(|elsewhere| elsewhere.stop_first(AGAIN))?;
    let (source, _held) = opened;
    let _held_there = hold_target(&config, &target)?;
    let mut shown = Shown::new();
    let mut progress = |step: Step, reached: &store::backup::Reached| {
        let step = match step {
            Step::Checking => "looking at what is there",
            Step::Copying => "copying",
            Step::Comparing => "comparing",
        };
        shown.progress(&format!("{step}: {}", words(reached)));
        true
    };
    let migrated = migrate(&config, &source, target, &mut progress)?;
    shown.end();
    cli::print(&if args.json { json(&migrated)? } else { report(&migrated, &args.to) })
}

/// Also the folder it goes to may be a server's, whose store was moved away. Our own is ours already.
fn hold_target(config: &Config, target: &Target) -> Result<Option<Held>, Failure> {
    let Target::Embedded(folder) = target else {
        return Ok(None);
    };
    keys::create_folder(folder).map_err(|e| Failure::Failed(format!("{}: {e}", folder.display())))?;
    let is_source = config.store.cluster.is_none() && same_folder(folder, &config.data_dir);
    if is_source {
        return Ok(None);
    }
    let held = data_dir::hold_folder(folder, Holder::Command(COMMAND));
    held.map_err(|held| held.stop_first(AGAIN))
}

fn same_folder(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn migrate(
    config: &Config,
    source: &Snapshot,
    target: Target,
    progress: &mut Progress<'_>,
) -> Result<Migrated, Failure> {
    let migrated = match target {
        Target::Embedded(data_dir) => {
            let folder = data_dir.join(wire::STORE_FOLDER);
            embedded::migrate(source, &folder, wire::sizes(config), progress)
        }
        Target::Scylla(url) => scylla::migrate(source, wire::access(&url, &config.store.login)?, progress),
    };
    migrated.map_err(|e| Failure::Failed(e.to_string()))
}

fn json(migrated: &Migrated) -> Result<String, Failure> {
    let text = serde_json::to_string(migrated).map_err(|e| Failure::Failed(e.to_string()))?;
    Ok(format!("{text}\n"))
}

/// For people: what is equal in both.
fn report(migrated: &Migrated, to: &str) -> String {
    let mut text = String::new();
    for moved in migrated.tables.iter().filter(|moved| moved.rows > 0) {
        let hash = moved.hash.get(..HASH_SHOWN).unwrap_or(&moved.hash);
        text.push_str(&format!("{:<14} {:>12} rows  sha256 {hash}…  equal\n", moved.table, moved.rows));
    }
    let (rows, mib) = (migrated.rows, migrated.bytes >> 20);
    text.push_str(&format!("{to}: {rows} rows, {mib} MiB, epoch {} as before", migrated.epoch));
    if migrated.resumed_after > 0 {
        text.push_str(&format!("; {} rows were there from an earlier attempt", migrated.resumed_after));
    }
    text.push_str("\nset store.url (or data_dir) to it before the next start; the old store is as it was\n");
    text
}
