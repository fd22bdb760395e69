//! Keys and tokens that the server makes for itself at first start: files in `data_dir`, readable by their owner only.
//!
//! Not here: keys that the operator brings (`config`), what they are used for (`auth-hook`, `admin`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

/// Name of the key that signs tokens, in `data_dir`: an Ed25519 private key, PEM.
pub(crate) const AUTH_KEY_FILE: &str = "auth.key";
/// Random bytes of an admin token: as hard to guess as a key.
const ADMIN_TOKEN_BYTES: usize = 32;
/// Read and write for the owner, nothing for others.
const OWNER_ONLY: u32 = 0o600;
/// The same for a folder.
const OWNER_ONLY_FOLDER: u32 = 0o700;

/// Makes `data_dir` where it is missing, closed to other users: it holds messages.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(OWNER_ONLY_FOLDER)
        .create(folder)
}

/// Reads a file that was made before; `None` where there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    if fs::metadata(path)?.mode() & !OWNER_ONLY & 0o777 != 0 {
        tracing::warn!(file = %path.display(), "this secret file is open to other users: chmod 600 it");
    }
    Ok(Some(bytes))
}

/// Reads a file, or makes it with what `make` returns. A crash leaves either no file or a whole one: half a key
/// would be read, and refuse every token, for ever.
pub(crate) fn read_or_create(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<Vec<u8>> {
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() {
        create_folder(folder)?;
    }
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OWNER_ONLY)
        .open(&draft)?;
    file.write_all(make()?.as_bytes())?;
    file.sync_all()?;
    // A link, unlike a rename, does not replace what another process made meanwhile: its key is in use already.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()?;
    fs::read(path)
}

/// A new admin token: one line.
pub(crate) fn new_admin_token() -> io::Result<String> {
    let mut bytes = [0; ADMIN_TOKEN_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the operating system gave no randomness"))?;
    Ok(format!("{}\n", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/auth.key");
        assert_eq!(read(&path).unwrap(), None);
        let first = read_or_create(&path, || Ok("one".into())).unwrap();
        let second = read_or_create(&path, || Ok("two".into())).unwrap();
        assert_eq!((first.as_slice(), second.as_slice()), (&b"one"[..], &b"one"[..]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, OWNER_ONLY);
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777,
            OWNER_ONLY_FOLDER
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no draft is left"
        );
    }

    #[test]
    fn what_another_process_made_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.key");
        let ours = read_or_create(&path, || fs::write(&path, "theirs").map(|()| "ours".into()));
        assert_eq!(ours.unwrap(), b"theirs");
    }

    #[test]
    fn an_empty_key_is_an_error_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.key");
        fs::write(&path, "").unwrap();
        assert!(read_or_create(&path, || Ok("one".into())).is_err());
    }

    #[test]
    fn admin_tokens_differ_and_are_one_line() {
        let (one, other) = (new_admin_token().unwrap(), new_admin_token().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.lines().count(), 1);
    }
}
