//! The disk's own rate: append a little, fdatasync, again. What no store that syncs can pass with one producer.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it is measured.
const TIME: Duration = Duration::from_secs(2);
/// Bytes of one append: about what a group of one message writes.
const BYTES: usize = 512;

/// The disk's answer.
pub(crate) struct Disk {
    /// Appends with a sync each, per second.
    pub(crate) per_second: f64,
    /// Median and 99th percentile of one.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Appends and syncs for a while.
pub(crate) fn fdatasync_rate(path: &Path) -> std::io::Result<Disk> {
    let mut file = File::create(path)?;
    let bytes = [7; BYTES];
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < TIME {
        let before = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(before.elapsed());
    }
    let elapsed = started.elapsed();
    times.sort_unstable();
    Ok(Disk {
        per_second: times.len() as f64 / elapsed.as_secs_f64(),
        p50: percentile(&times, 0.50),
        p99: percentile(&times, 0.99),
    })
}

/// A percentile of sorted times; zero where there are none.
pub(crate) fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
