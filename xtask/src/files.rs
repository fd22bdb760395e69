//! Reading a tree: which files there are, in a fixed order, without what was built or downloaded.

use std::fs;
use std::path::Path;

/// Folders that hold nothing written by us. Their names, anywhere in the tree.
const NOT_OURS: [&str; 6] = [".git", "target", "node_modules", "dist", "inboxd-data", "test-results"];

/// Every file of ours below `root` that `wanted` accepts, as paths from `root` with `/`, sorted.
pub(crate) fn below(root: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    collect(root, "", &mut found);
    found.retain(|path| wanted(path));
    found.sort();
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    // A folder that vanishes while we read it belongs to a build that is running: nothing of ours.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        // `file_type` does not follow links, so a link in a circle ends here.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) => {
                collect(&entry.path(), &path, found);
            }
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// The text of a file, or nothing if it is not there or not UTF-8.
pub(crate) fn text(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok()
}
