//! P8. How much memory this process, or another, holds: from /proc, in bytes.

/// Bytes of a page: 4 KiB on every machine that we build for.
const PAGE_BYTES: u64 = 4_096;

/// Resident memory of a process; `None` for this one. 0 where the system does not say.
#[must_use]
pub fn resident_bytes(process: Option<u32>) -> u64 {
    let path = process.map_or("/proc/self/statm".to_owned(), |id| format!("/proc/{id}/statm"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}
