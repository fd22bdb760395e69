//! What a durable append costs: `cargo run --release -p bench`.
//!
//! Measures the embedded store alone (I3/O3, no network): appends per second, acknowledgement p50 and p99, syncs and
//! CPU per append with 1, 16 and 256 producers, beside the disk's own fdatasync rate in the same run. Closed loop:
//! each producer waits for its acknowledgement. Not here: the broker's own load (bench/compare.sh).

mod disk;
mod load;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

/// Producers of the three rounds: one alone, a small office, a busy one.
const PRODUCERS: [usize; 3] = [1, 16, 256];

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    match run(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir_in(folder)?;
    eprintln!("measuring in {} (give another folder as argument)", folder.path().display());
    let disk = disk::fdatasync_rate(&folder.path().join("raw"))?;
    report::disk(&disk);
    report::head();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    for kind in load::Kind::ALL {
        for producers in PRODUCERS {
            let path = folder.path().join(format!("{}-{producers}", kind.name()));
            let result = runtime.block_on(load::run(&path, kind, producers))?;
            report::row(kind, producers, &result);
        }
    }
    Ok(())
}
