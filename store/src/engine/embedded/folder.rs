//! Folders that are whole or not there, and whose names outlive a power cut.
//!
//! The engine syncs what is in its folder; the folder's own name stands in the one above, and without a sync there the
//! whole store may be gone, with all that was acknowledged (P1). Not here: what is in the folder.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Is anything in the folder?
pub(super) fn holds_something(path: &Path) -> bool {
    path.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

/// Makes a folder, which must be empty or missing, as `make` fills it: under another name until it is whole. What an
/// earlier attempt left under that name goes; so does what this one leaves if it fails.
pub(super) fn make_whole<T, E>(
    path: &Path,
    meanwhile: &str,
    failed: impl Fn(io::Error) -> E,
    make: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let path = std::path::absolute(path).map_err(&failed)?;
    let partial = path.with_extension(meanwhile);
    let prepare = || {
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        path.parent().map_or(Ok(()), make_folders)?;
        // Everybody's messages come in here: its owner reads them, nobody else.
        fs::DirBuilder::new().mode(0o700).create(&partial)
    };
    prepare().map_err(&failed)?;
    let made = make(&partial).inspect_err(|_| drop(fs::remove_dir_all(&partial)))?;
    rename(&partial, &path).map_err(&failed)?;
    Ok(made)
}

/// Gives a folder that is whole its name.
pub(super) fn rename(partial: &Path, path: &Path) -> io::Result<()> {
    fs::rename(partial, path)?;
    std::path::absolute(path)?.parent().map_or(Ok(()), sync)
}

/// Makes a folder and those above it that are missing, and puts their names on disk: also of those that somebody made
/// a moment ago.
fn make_folders(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    for folder in path.ancestors() {
        match sync(folder) {
            // Somebody else's, and older than this store.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

/// Puts the names in a folder on disk.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/store");
        let plain = |error: io::Error| error;
        let failed = make_whole(&path, "making", plain, |partial| {
            fs::write(partial.join("half"), "x")?;
            Err::<(), io::Error>(io::Error::other("no"))
        });
        assert!(failed.is_err() && !holds_something(&home.path().join("a/b")));
        // What a cut left.
        fs::create_dir(path.with_extension("making")).unwrap();
        fs::write(path.with_extension("making").join("half"), "x").unwrap();
        let made = make_whole(&path, "making", plain, |partial| fs::write(partial.join("all"), "y"));
        made.unwrap();
        let names: Vec<_> = path.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["all"]);
        assert!(!path.with_extension("making").exists());
    }
}
