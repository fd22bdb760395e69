//! `inboxd migrate --to URL`: the store copied to another engine or folder, and compared row by row. No server may be
//! running on either.
//!
//! Not here: what is done with the rows (`store::migrate`).

use std::path::PathBuf;

use store::backup::Snapshot;
use store::engine::{embedded, scylla};
use store::migrate::{Migrated, Progress, Step};
use store::url::ScyllaUrl;

use crate::backup::{self, Shown, Source, words};
use crate::cli::{self, MigrateArgs};
use crate::config::Config;
use crate::{Failure, keys, wire};

const EMBEDDED: &str = "embedded";
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
    let Source::Here(source) = backup::source(&config, None)? else {
        return Err(Failure::Failed("a server holds the store: stop it first".to_owned()));
    };
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

fn migrate(
    config: &Config,
    source: &Snapshot,
    target: Target,
    progress: &mut Progress<'_>,
) -> Result<Migrated, Failure> {
    let migrated = match target {
        Target::Embedded(data_dir) => {
            keys::create_folder(&data_dir)
                .map_err(|e| Failure::Failed(format!("{}: {e}", data_dir.display())))?;
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
