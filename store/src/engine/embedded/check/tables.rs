//! Manifests and tables: do they have the checksums under which they were written?
//!
//! ```text
//!  version                "FJL" 3
//!  keyspaces/N/current    version8 hash16 kind1                      of the manifest, which the engine does not check
//!  keyspaces/N/vVERSION   … "TOC!" count4 (at8 len8 name-len2 name)* "SFA!" version1 kind1 hash16 toc-at8 toc-len8
//!     section "tables":   levels1 (runs1 (tables4 (id8 kind1 hash16 seqno8)*)*)*
//!  keyspaces/N/tables/ID
//! ```
//! Numbers are little-endian, hashes XXH3 of 128 bits over a whole file. A manifest names the tables that count and
//! from which sequence number on: a flipped bit in one can take rows away that nobody then misses.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{Depth, Refusal};

const KEYSPACES: &str = "keyspaces";
const CURRENT: &str = "current";
const TABLES: &str = "tables";
/// Bytes at the end of a manifest that say where its sections are listed.
const TRAILER_BYTES: usize = 38;
/// Bytes of a table that are read at a time.
const PIECE: usize = 1 << 20;

/// What the engine writes first of all: its name and the version of its layout.
const VERSION: &str = "version";
const VERSION_BYTES: &[u8] = b"FJL\x03";

pub(super) fn check(folder: &Path, depth: Depth) -> Result<(), Refusal> {
    let keyspaces = folder.join(KEYSPACES);
    let entries = match keyspaces.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| Refusal::Io(keyspaces.clone(), e))?,
    };
    let version = folder.join(VERSION);
    if !version.exists() || read(&version)? != VERSION_BYTES {
        return Err(damaged(&version, "it does not name this engine and its version"));
    }
    for entry in entries {
        let keyspace = entry.map_err(|e| Refusal::Io(keyspaces.clone(), e))?.path();
        // One that was being made has no manifest yet: the engine makes it anew.
        if keyspace.join(CURRENT).exists() {
            check_keyspace(&keyspace, depth)?;
        }
    }
    Ok(())
}

fn damaged(file: &Path, why: impl Into<String>) -> Refusal {
    Refusal::Damaged { file: file.to_owned(), why: why.into() }
}

fn read(file: &Path) -> Result<Vec<u8>, Refusal> {
    fs::read(file).map_err(|e| Refusal::Io(file.to_owned(), e))
}

fn check_keyspace(keyspace: &Path, depth: Depth) -> Result<(), Refusal> {
    let current = keyspace.join(CURRENT);
    let bytes = read(&current)?;
    let mut fields = Fields(&bytes);
    let (Some(version), Some(hash), Some(0), true) =
        (fields.u64(), fields.u128(), fields.number(1), fields.0.is_empty())
    else {
        return Err(damaged(&current, "it does not name a manifest"));
    };
    let manifest = keyspace.join(format!("v{version}"));
    if !manifest.exists() {
        return Err(damaged(&current, format!("it names the manifest v{version}, which is not there")));
    }
    let bytes = read(&manifest)?;
    if xxh3_128(&bytes) != hash {
        return Err(damaged(&manifest, format!("it has not the checksum that {} says", current.display())));
    }
    let tables = tables(&bytes).ok_or_else(|| damaged(&manifest, "its layout is not known"))?;
    for (id, hash) in tables {
        check_table(&keyspace.join(TABLES).join(id.to_string()), hash, depth)?;
    }
    Ok(())
}

fn check_table(table: &PathBuf, hash: u128, depth: Depth) -> Result<(), Refusal> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => damaged(table, "it is missing"),
        _ => Refusal::Io(table.clone(), e),
    };
    let mut file = File::open(table).map_err(failed)?;
    if depth == Depth::Start {
        return Ok(());
    }
    let mut found = Xxh3::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => break,
            count => found.update(&piece[..count]),
        }
    }
    if found.digest128() == hash { Ok(()) } else { Err(damaged(table, "its checksum does not match")) }
}

/// Tables of a manifest, with their checksums.
fn tables(manifest: &[u8]) -> Option<Vec<(u64, u128)>> {
    let trailer = manifest.len().checked_sub(TRAILER_BYTES)?;
    let mut fields = Fields(&manifest[trailer..]);
    fields.expect(b"SFA!\x01\0")?;
    let (_hash, at, len) = (fields.u128()?, fields.u64()?, fields.u64()?);
    let mut contents = Fields(slice(manifest, at, len)?);
    contents.expect(b"TOC!")?;
    let mut section = None;
    for _ in 0..contents.number(4)? {
        let (at, len, name_len) = (contents.u64()?, contents.u64()?, contents.number(2)?);
        if contents.take(usize::try_from(name_len).ok()?)? == TABLES.as_bytes() {
            section = Some(slice(manifest, at, len)?);
        }
    }
    let mut fields = Fields(section?);
    let mut found = Vec::new();
    for _level in 0..fields.number(1)? {
        for _run in 0..fields.number(1)? {
            for _table in 0..fields.number(4)? {
                let (id, kind, hash, _seqno) =
                    (fields.u64()?, fields.number(1)?, fields.u128()?, fields.u64()?);
                if kind != 0 {
                    return None;
                }
                found.push((id, hash));
            }
        }
    }
    Some(found)
}

fn slice(bytes: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(usize::try_from(len).ok()?)?)
}

/// Bytes read one field after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.0.split_off(..count)
    }

    fn expect(&mut self, bytes: &[u8]) -> Option<()> {
        (self.take(bytes.len())? == bytes).then_some(())
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn u64(&mut self) -> Option<u64> {
        self.number(8)
    }

    fn u128(&mut self) -> Option<u128> {
        Some(u128::from_le_bytes(self.take(16)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fjall::{Database, KeyspaceCreateOptions};

    /// A store of the real engine with a table.
    fn store(folder: &Path) {
        let db = Database::builder(folder).open().unwrap();
        let keyspace = db.keyspace("log", KeyspaceCreateOptions::default).unwrap();
        keyspace.insert("key", "value").unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
    }

    fn flip(file: &Path, at: usize) {
        let mut bytes = fs::read(file).unwrap();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    }

    #[test]
    fn the_engines_layout_is_understood_and_every_file_is_covered() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path());
        let keyspace = folder.path().join("keyspaces/1");
        check(folder.path(), Depth::All).unwrap();
        let version = u64::from_le_bytes(fs::read(keyspace.join(CURRENT)).unwrap()[..8].try_into().unwrap());
        let manifest = keyspace.join(format!("v{version}"));
        let found = tables(&fs::read(&manifest).unwrap()).unwrap();
        assert_eq!(found.len(), 1, "the flush made a table");
        let table = keyspace.join(TABLES).join(found[0].0.to_string());
        let shallow = [folder.path().join(VERSION), keyspace.join(CURRENT), manifest];
        for (file, deepest) in shallow.map(|file| (file, false)).into_iter().chain([(table.clone(), true)]) {
            for at in 0..fs::metadata(&file).unwrap().len() as usize {
                flip(&file, at);
                let told = |depth| matches!(check(folder.path(), depth), Err(Refusal::Damaged { .. }));
                assert!(told(Depth::All), "{}, byte {at}", file.display());
                assert!(deepest || told(Depth::Start), "{}, byte {at}", file.display());
                flip(&file, at);
            }
        }
        fs::remove_file(&table).unwrap();
        assert!(
            matches!(check(folder.path(), Depth::Start), Err(Refusal::Damaged { file, .. }) if file == table)
        );
    }
}
