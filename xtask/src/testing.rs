//! For the tests of this crate: a throw-away tree with planted files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own for one test, removed when dropped.
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// An empty tree.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("xtask-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(&root).expect("a folder below the temporary folder");
        Self { root }
    }

    /// Adds a file, with the folders it needs.
    pub(crate) fn with(self, path: &str, text: &str) -> Self {
        let file = self.root.join(path);
        fs::create_dir_all(file.parent().expect("a path inside the tree"))
            .expect("folders of a planted file");
        fs::write(file, text).expect("a planted file");
        self
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
