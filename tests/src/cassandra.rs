//! The node beneath a store on `scylla://`, for tests that kill it: `tests/cassandra.sh` under its folder.
//!
//! Not here: starting it for a whole run (`xtask`, layer `cassandra-flow`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::store::STORE_VARIABLE;

/// Folder of the node that [`STORE_VARIABLE`] names; it was started with the environment of this process.
const FOLDER_VARIABLE: &str = "INBOXD_TEST_CASSANDRA";

/// A node that runs, and that this test may kill.
pub struct Node {
    folder: PathBuf,
}

impl Node {
    /// The node of this run; `None`, and a line that says so, where there is none.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let folder = std::env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty());
        if folder.is_none() || std::env::var_os(STORE_VARIABLE).is_none() {
            eprintln!("SKIPPED: needs a node to kill, {STORE_VARIABLE} and {FOLDER_VARIABLE}");
            return None;
        }
        folder.map(|folder| Self { folder: folder.into() })
    }

    /// `kill -9`.
    pub async fn kill(&self) {
        self.script("kill").await;
    }

    /// Starts it on the same data; it answers when this returns.
    pub async fn start(&self) {
        self.script("start").await;
    }

    async fn script(&self, verb: &'static str) {
        let mut command = Command::new("bash");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("cassandra.sh")).arg(verb).arg(&self.folder);
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("no panic").expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb}: {said}");
    }
}
