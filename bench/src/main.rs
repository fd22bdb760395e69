//! What the store costs, without network (I3, O3, S3): `cargo run --release -p bench -- [WHAT] [FOLDER]`.
//!
//! - `append` (default): appends per second, p50 and p99 of the acknowledgement, syncs, CPU and bytes per append, with 1,
//!   16, 256 and 1,024 producers in a closed loop, beside the disk's own fdatasync rate.
//! - `write-set`: the same with one, three and all of a message's rows in the synced batch, in turn.
//! - `grow`, `grow-large`: a store of 10,000 to 1 million (5 million) messages: appends and reads side by side, start,
//!   bytes, and what is left after retention; each with the exponent of its growth.
//! - `cql scylla://HOST:PORT PID`: requests and the database's CPU per message (PID is its process on this machine), beside
//!   plain inserts of the same rows.
//!
//! Not here: the broker's own load (bench/compare.sh).

mod cql;
mod disk;
mod grow;
mod load;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use store::engine::embedded::{Sizes, WriteSet};

/// Producers of the rounds: one alone, a small office, a busy one, more than a group holds.
const PRODUCERS: [usize; 4] = [1, 16, 256, 1_024];
/// Producers where write sets are compared.
const BUSY: usize = 256;
/// Rounds in turn where they are compared: one alone says little on a machine that others use.
const ROUNDS: usize = 3;
/// Messages in the store at each look.
const MESSAGES: [usize; 3] = [10_000, 100_000, 1_000_000];
/// And one more, for `grow-large`.
const MESSAGES_LARGE: usize = 5_000_000;

/// As the product has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let what = args.next().unwrap_or_else(|| "append".into());
    let place = args.next().map(PathBuf::from);
    let done = if what == "cql" {
        cql::run(place.and_then(|server| server.into_os_string().into_string().ok()), args.next())
    } else {
        run(&what.to_string_lossy(), &place.unwrap_or_else(std::env::temp_dir))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: &str, folder: &Path) -> Result<(), Error> {
    let folder = tempfile::tempdir_in(folder)?;
    eprintln!("measuring in {} (give another folder as second argument)", folder.path().display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    match what {
        "append" => runtime.block_on(append(folder.path())),
        "write-set" => runtime.block_on(write_set(folder.path())),
        "grow" => runtime.block_on(grow::run(folder.path(), &MESSAGES)),
        "grow-large" => {
            runtime.block_on(grow::run(folder.path(), &[&MESSAGES[..], &[MESSAGES_LARGE]].concat()))
        }
        other => Err(format!("there is no bench `{other}`: append, write-set, grow, grow-large, cql").into()),
    }
}

async fn append(folder: &Path) -> Result<(), Error> {
    report::disk(&disk::fdatasync_rate(&folder.join("raw"))?);
    report::head("append");
    for kind in load::Kind::ALL {
        for producers in PRODUCERS {
            let path = folder.join(format!("{}-{producers}", kind.name()));
            let result = load::run(&path, Sizes::default(), kind, producers).await?;
            report::row(kind.name(), producers, &result);
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

async fn write_set(folder: &Path) -> Result<(), Error> {
    report::head("webhook, synced rows");
    for _ in 0..ROUNDS {
        for (name, write_set) in [("one", WriteSet::One), ("three", WriteSet::Three), ("all", WriteSet::All)]
        {
            let path = folder.join(name);
            let sizes = Sizes { write_set, ..Sizes::default() };
            let result = load::run(&path, sizes, load::Kind::Webhook, BUSY).await?;
            report::row(name, BUSY, &result);
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}
