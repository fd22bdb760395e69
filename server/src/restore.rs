//! `inboxd restore DIR`: a store made of a backup, where there is none. No server may be running.
//!
//! Not here: what is done with the rows (`store::backup`).

use std::path::PathBuf;

use schemas::Epoch;
use store::engine::{embedded, scylla};

use crate::backup::{Shown, words};
use crate::cli::{self, RestoreArgs};
use crate::data_dir::{self, Holder};
use crate::{Failure, keys, verify, wire};

pub(crate) fn run(config: Option<PathBuf>, args: &RestoreArgs) -> Result<(), Failure> {
    let config = cli::load(config)?;
    let folder = wire::store_folder(&config);
    wire::make_data_dir(&config)?;
    // First of all: also where a store is in the way, its server is what has to go first.
    let _held = data_dir::hold(&config, Holder::Command("restore"))
        .map_err(|held| held.stop_first("run `inboxd restore` again"))?;
    let epoch = keys::new_ulid().map_err(|e| Failure::Failed(format!("cannot make an epoch: {e}")))?;
    let mut shown = Shown::new();
    let progress = &mut |reached: &store::backup::Reached| {
        shown.progress(&words(reached));
        true
    };
    let epoch = Epoch(epoch.0);
    let (place, restored) = match &config.store.cluster {
        Some(url) => {
            let place = format!("keyspace {}", url.keyspace);
            (place, scylla::restore(&args.dir, wire::access(url, &config.store.login)?, epoch, progress))
        }
        None => {
            let sizes = wire::sizes(&config);
            let place = folder.display().to_string();
            (place, embedded::restore(&args.dir, &folder, sizes, epoch, progress))
        }
    };
    let restored = restored.map_err(|e| Failure::Failed(e.to_string()))?;
    shown.end();
    let rows = restored.backup.rows;
    cli::print(&format!("{place}: {rows} rows; clients will take a snapshot\n"))?;
    verify::tell(&restored.report.into())
}
