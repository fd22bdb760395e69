//! Tables for people: one row a round.

use std::time::Duration;

use crate::disk::Disk;
use crate::load::Measured;

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The disk's own rate.
pub(crate) fn disk(disk: &Disk) {
    println!(
        "raw append + fdatasync: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms\n",
        disk.per_second,
        ms(disk.p50),
        ms(disk.p99)
    );
}

/// The table's head.
pub(crate) fn head(what: &str) {
    println!(
        "| {what} | producers | per second | ack p50 ms | ack p99 ms | appends per sync | CPU µs | bytes written |"
    );
    println!("|---|---|---|---|---|---|---|---|");
}

/// One round. CPU is of the whole process, the producers' part included.
pub(crate) fn row(name: &str, producers: usize, measured: &Measured) {
    let appends = measured.appends.max(1) as f64;
    println!(
        "| {} | {producers} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} |",
        name,
        appends / measured.elapsed.as_secs_f64(),
        ms(measured.p50),
        ms(measured.p99),
        appends / measured.groups.max(1) as f64,
        measured.cpu.as_secs_f64() * 1e6 / appends,
        measured.written_bytes as f64 / appends,
    );
}
