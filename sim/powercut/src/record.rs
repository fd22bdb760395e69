//! One recorded run: this program, under strace, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::Size;
use crate::steps::{self, Step};
use crate::trace;

/// The file that strace writes.
const TRACE: &str = "trace";

const STRACE: &str = "strace";

/// Can strace be run?
#[must_use]
pub fn has_strace() -> bool {
    Command::new(STRACE).arg("-V").output().is_ok_and(|output| output.status.success())
}

/// Memory instead of a disk, where there is some: an image that is opened need not be synced.
#[must_use]
pub fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Records a run of `program record FOLDER …` and reads what it did to the files of its store.
///
/// # Errors
/// The run failed, or its trace cannot be read.
pub fn record(program: &Path, folder: &Path, size: Size) -> Result<Vec<Step>, String> {
    let output = folder.join(TRACE);
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("{what}: {why}");
    let run = Command::new(STRACE)
        .args([
            "-f",
            "--seccomp-bpf",
            "-s",
            trace::STRING_BYTES,
            "-e",
            trace::CALLS,
            "-e",
            "signal=none",
            "-o",
        ])
        .arg(&output)
        .arg(program)
        .arg("record")
        .arg(folder)
        .args([size.seed.to_string(), size.acts.to_string(), size.ballast_bytes.to_string()])
        .output()
        .map_err(|e| failed("strace", &e))?;
    if !run.status.success() {
        return Err(format!("the recorded run failed: {}", String::from_utf8_lossy(&run.stderr)));
    }
    let text = std::fs::read_to_string(&output).map_err(|e| failed("the trace", &e))?;
    steps::read(&trace::read(&text)?, folder, &folder.join(crate::MARKS))
}
