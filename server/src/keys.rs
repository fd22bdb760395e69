//! Keys and tokens that the server makes for itself at first start: files in `data_dir`, readable by their owner only.
//!
//! Not here: keys that the operator brings (`config`), what they are used for (`auth-hook`, `admin`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use auth_hook::Signer;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ulid::Ulid;

use crate::Failure;
use crate::config::{AuthKeys, Config};

/// Name of the key that signs tokens, in `data_dir`: an Ed25519 private key, PEM.
const AUTH_KEY_FILE: &str = "auth.key";
/// Random bytes of a secret of ours: as hard to guess as a key.
const SECRET_BYTES: usize = 32;
/// Read and write for the owner, nothing for others.
const OWNER_ONLY: u32 = 0o600;
/// The same for a folder.
const OWNER_ONLY_FOLDER: u32 = 0o700;

/// Makes `data_dir` where it is missing, closed to other users: it holds messages.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(OWNER_ONLY_FOLDER).create(folder)
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
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&draft)?;
    file.write_all(make()?.as_bytes())?;
    file.sync_all()?;
    // A link, unlike a rename, does not replace what another process made meanwhile: its key is in use already.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()?;
    fs::read(path)
}

/// Whether a key that is missing is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// By the server, at its first start.
    Make,
    /// By nobody else: a key made in the wrong folder would sign tokens that no server takes.
    Fail,
}

/// The key that tokens are signed and verified with.
pub(crate) fn signer(config: &Config, missing: Missing) -> Result<Signer, Failure> {
    signer_of(&config.auth, &config.data_dir, missing)
}

/// The same from the few keys that it needs.
pub(crate) fn signer_of(auth: &AuthKeys, data_dir: &Path, missing: Missing) -> Result<Signer, Failure> {
    match auth {
        AuthKeys::Hs256(secret) => Signer::hs256(secret.bytes()).map_err(|e| Failure::Failed(e.to_string())),
        AuthKeys::Jwks(url) => Err(Failure::Failed(format!(
            "tokens come from {url}: get one there; its signing key is not here"
        ))),
        AuthKeys::Own => {
            let path = data_dir.join(AUTH_KEY_FILE);
            let failed =
                |what: &dyn std::fmt::Display| Failure::Failed(format!("{}: {what}", path.display()));
            let pem = match missing {
                Missing::Make => {
                    read_or_create(&path, || auth_hook::generate_ed25519().map_err(io::Error::other))
                        .map(Some)
                }
                Missing::Fail => read(&path),
            };
            let pem = pem
                .map_err(|e| failed(&e))?
                .ok_or_else(|| failed(&"there is no key yet; the server makes it at its first start"))?;
            Signer::ed25519_pem(&pem).map_err(|e| failed(&e))
        }
    }
}

/// A new secret: 43 characters of base64url.
pub(crate) fn new_secret() -> io::Result<String> {
    random::<SECRET_BYTES>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// A new ULID of this moment.
pub(crate) fn new_ulid() -> io::Result<Ulid> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    random().map(|bytes| Ulid::from_parts(millis, u128::from_be_bytes(bytes)))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map(|()| bytes)
        .map_err(|_| io::Error::other("the operating system gave no randomness"))
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
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, OWNER_ONLY_FOLDER);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
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
    fn secrets_and_ulids_differ() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 43);
        assert_ne!(new_ulid().unwrap(), new_ulid().unwrap());
    }

    fn config(text: &str) -> Config {
        let sources = crate::config::Sources {
            file: Some(("/nowhere/inboxd.toml".into(), text.into())),
            ..Default::default()
        };
        Config::read(&sources, &|path| fs::read(path)).unwrap()
    }

    #[test]
    fn without_a_key_here_it_fails_and_says_why() {
        for (text, expected) in [
            ("[auth]\njwks_url = \"https://id.example.com/k\"", "https://id.example.com/k"),
            ("", "first start"),
        ] {
            let failure = signer(&config(text), Missing::Fail).unwrap_err();
            assert!(matches!(&failure, Failure::Failed(why) if why.contains(expected)), "{failure}");
        }
    }

    #[test]
    fn the_servers_own_key_is_made_once_and_read_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&format!("data_dir = {:?}", folder.path()));
        let jwks = |missing| signer(&config, missing).unwrap().verifier().jwks();
        let made = jwks(Missing::Make);
        assert_eq!((jwks(Missing::Make), jwks(Missing::Fail)), (made.clone(), made));
    }
}
