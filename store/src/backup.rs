//! Backup: all rows of one moment as one file, read while the store works; and a store made of it.
//!
//! ```text
//! "INBOXDBK" version4 header-length4 header(JSON)            numbers are little-endian
//! chunk*:  length4 rows4 (key-length4 value-length4 key value)*  hash32
//! end:     0 4    0 4    chunks8 rows8                           hash32
//! ```
//! Each hash is SHA-256 over the hash before it and all that stands between them, so that a byte that changed, a chunk
//! that is missing or stands elsewhere, and a file that was cut off are all noticed. Rows are in key order.
//! Not here: which process does it (`server`), where the file is kept then.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemas::{Epoch, Millis};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{Batch, KeyRange, Order, Rows};
use crate::error::ReadError;
use crate::plan::send::{ATTEMPTING, QUEUED};
use crate::rows::{FORMAT, Key, OLDEST_FORMAT, OpenRow, Table, decode, encode, keys};

/// The file in the folder of a backup.
pub const FILE: &str = "inboxd.backup";
/// While it is written; what has this name is no backup.
const PARTIAL: &str = "inboxd.backup.partial";
const MAGIC: &[u8; 8] = b"INBOXDBK";
/// Version of the file's frame; the rows in it have the store's format.
const VERSION: u32 = 1;
/// Bytes of rows after which a chunk is closed.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest chunk that is read: a chunk and the largest row (a webhook of 4 MiB), with room. A damaged
/// length must not take all memory.
const CHUNK_BYTES_MAX: usize = 64 << 20;
/// Longest header that is read.
const HEADER_BYTES_MAX: usize = 64 << 10;
const HASH_BYTES: usize = 32;

/// How far it is. Heard after every chunk; `false` ends it.
pub type Progress<'a> = dyn FnMut(&Reached) -> bool + 'a;

/// How far a backup or restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Table under way.
    pub table: &'static str,
    /// Its number, from 1.
    pub number: usize,
    /// Tables in all.
    pub tables: usize,
    /// Rows done.
    pub rows: u64,
    /// Bytes of the file done.
    pub bytes: u64,
}

/// A backup that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The file.
    pub file: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The moment it shows, milliseconds since the Unix epoch.
    pub taken_at: Millis,
    /// Epoch of its inboxes.
    pub epoch: Epoch,
}

/// Why there is no backup, or no store from one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is one already, and none is ever overwritten.
    #[error("{0} is there already; choose another folder")]
    Exists(String),
    /// There is a store already, and none is ever overwritten.
    #[error("there is a store at {0}; move it away, or name another data_dir")]
    Occupied(String),
    /// The engine cannot open the store that is being made.
    #[error("cannot open {path}: {why}")]
    Engine {
        /// Folder.
        path: String,
        /// The engine's words.
        why: String,
    },
    /// The file is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which.
        path: String,
        /// Where and what.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{path} has {what} {found}, this program reads {expected}")]
    Format {
        /// Which.
        path: String,
        /// What of it.
        what: &'static str,
        /// Found.
        found: u32,
        /// Expected.
        expected: u32,
    },
    /// The one who asked went away.
    #[error("stopped before it was complete")]
    Stopped,
    /// Rows could not be read.
    #[error("cannot read the store: {0}")]
    Read(#[from] ReadError),
    /// The store that is being made could not be written.
    #[error("cannot write the store: {0}")]
    Commit(#[from] crate::CommitError),
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.display().to_string();
    move |source| BackupError::Io { path: path.clone(), source }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    epoch: Epoch,
    taken_at: Millis,
}

/// All rows as they were at one moment, while the store goes on. Holds back the engine's clean-up while it lives.
pub struct Snapshot {
    pub(crate) rows: Arc<dyn Rows>,
    pub(crate) epoch: Epoch,
    pub(crate) taken_at: Millis,
}

impl Snapshot {
    /// Checks every invariant of that moment. Blocks; `progress` as [`crate::verify`]'s.
    ///
    /// # Errors
    /// [`ReadError`] where rows cannot be read at all.
    pub fn verify(
        &self,
        progress: &mut dyn FnMut(usize, usize, u64),
    ) -> Result<crate::verify::Report, ReadError> {
        crate::verify::verify(&*self.rows, progress)
    }

    /// Writes `inboxd.backup` into a folder, which is made if there is none: complete and on disk, or not there.
    /// Blocks.
    ///
    /// # Errors
    /// [`BackupError`]; what was written so far is removed.
    pub fn backup(&self, folder: &Path, progress: &mut Progress<'_>) -> Result<Summary, BackupError> {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        let (file, partial) = (folder.join(FILE), folder.join(PARTIAL));
        if file.exists() {
            return Err(BackupError::Exists(file.display().to_string()));
        }
        let written = self.write(&partial, progress);
        let (rows, bytes) = written.inspect_err(|_| drop(fs::remove_file(&partial)))?;
        fs::rename(&partial, &file).map_err(io_error(&file))?;
        // The name itself must outlive a power cut too.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error(folder))?;
        Ok(Summary { file, rows, bytes, taken_at: self.taken_at, epoch: self.epoch })
    }

    fn write(&self, path: &Path, progress: &mut Progress<'_>) -> Result<(u64, u64), BackupError> {
        let failed = io_error(path);
        // Everybody's messages are in it: its owner reads it, nobody else.
        let created = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
        let out = BufWriter::new(created.map_err(&failed)?);
        let header = Header { format: FORMAT, epoch: self.epoch, taken_at: self.taken_at };
        let mut writer = Writer::begin(out, &header).map_err(&failed)?;
        for (index, table) in Table::ALL.into_iter().enumerate() {
            let mut broken = None;
            self.rows.scan(&KeyRange::prefix(keys::all(table)), Order::Ascending, &mut |key, value| {
                if let Err(error) = writer.row(key, value) {
                    broken = Some(failed(error));
                } else if writer.is_new_chunk() {
                    let table = Table::name(table as u8);
                    let (number, tables) = (index + 1, Table::ALL.len());
                    let reached = Reached { table, number, tables, rows: writer.rows, bytes: writer.bytes };
                    if !progress(&reached) {
                        broken = Some(BackupError::Stopped);
                    }
                }
                Ok(broken.is_none())
            })?;
            if let Some(error) = broken {
                return Err(error);
            }
        }
        let (out, rows, bytes) = writer.end().map_err(&failed)?;
        let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(&failed)?;
        Ok((rows, bytes))
    }
}

/// Writes chunks, each with its hash.
struct Writer<W> {
    out: W,
    chunk: Vec<u8>,
    chunk_rows: u32,
    hash: [u8; HASH_BYTES],
    chunks: u64,
    rows: u64,
    bytes: u64,
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    u32::try_from(bytes).map(u32::to_le_bytes).map_err(io::Error::other)
}

fn chained(before: &[u8; HASH_BYTES], parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    let mut hash = Sha256::new();
    hash.update(before);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

impl<W: Write> Writer<W> {
    fn begin(out: W, header: &Header) -> io::Result<Self> {
        let header = serde_json::to_vec(header)?;
        let first = [&MAGIC[..], &VERSION.to_le_bytes(), &length(header.len())?, &header].concat();
        let hash = chained(&[0; HASH_BYTES], &[&first]);
        let mut writer = Self { out, chunk: Vec::new(), chunk_rows: 0, hash, chunks: 0, rows: 0, bytes: 0 };
        writer.put(&first)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        for part in [&length(key.len())?[..], &length(value.len())?, key, value] {
            self.chunk.extend_from_slice(part);
        }
        self.chunk_rows += 1;
        self.rows += 1;
        if self.chunk.len() >= CHUNK_BYTES { self.close_chunk() } else { Ok(()) }
    }

    /// Was the last row the last one of a chunk?
    fn is_new_chunk(&self) -> bool {
        self.chunk.is_empty()
    }

    fn close_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let head = [length(chunk.len())?, self.chunk_rows.to_le_bytes()].concat();
        self.hash = chained(&self.hash, &[&head, &chunk]);
        self.put(&head)?;
        self.put(&chunk)?;
        let hash = self.hash;
        self.put(&hash)?;
        self.chunks += 1;
        self.chunk_rows = 0;
        self.chunk = chunk;
        self.chunk.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<(W, u64, u64)> {
        if !self.chunk.is_empty() {
            self.close_chunk()?;
        }
        let end = [&[0; 8][..], &self.chunks.to_le_bytes(), &self.rows.to_le_bytes()].concat();
        let hash = chained(&self.hash, &[&end]);
        self.put(&end)?;
        self.put(&hash)?;
        Ok((self.out, self.rows, self.bytes))
    }
}

/// Keys and values of a chunk.
type Chunk = Vec<(Key, Vec<u8>)>;

/// Reads a backup, checking every hash before anything of its chunk is used.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    hash: [u8; HASH_BYTES],
    chunks: u64,
    rows: u64,
    bytes: u64,
    pub(crate) epoch: Epoch,
    pub(crate) taken_at: Millis,
}

impl Reader {
    pub(crate) fn open(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(FILE);
        let file = BufReader::new(File::open(&path).map_err(io_error(&path))?);
        let mut reader = Self {
            path,
            file,
            hash: [0; HASH_BYTES],
            chunks: 0,
            rows: 0,
            bytes: 0,
            epoch: Epoch(0),
            taken_at: Millis(0),
        };
        let first: [u8; 16] = reader.take()?;
        if first[..8] != MAGIC[..] {
            return Err(reader.damaged("it does not begin as a backup does"));
        }
        reader.expect_version("version", number(&first[8..12]), VERSION..=VERSION)?;
        let header_len = number(&first[12..16]) as usize;
        if header_len > HEADER_BYTES_MAX {
            return Err(reader.damaged("its header is too long"));
        }
        let header = reader.bytes(header_len)?;
        reader.hash = chained(&reader.hash, &[&first, &header]);
        let header: Header =
            serde_json::from_slice(&header).map_err(|e| reader.damaged(&format!("its header: {e}")))?;
        reader.expect_version("store format", header.format, OLDEST_FORMAT..=FORMAT)?;
        (reader.epoch, reader.taken_at) = (header.epoch, header.taken_at);
        Ok(reader)
    }

    fn expect_version(
        &self,
        what: &'static str,
        found: u32,
        readable: RangeInclusive<u32>,
    ) -> Result<(), BackupError> {
        if readable.contains(&found) {
            return Ok(());
        }
        let expected = *readable.end();
        Err(BackupError::Format { path: self.path.display().to_string(), what, found, expected })
    }

    fn damaged(&self, why: &str) -> BackupError {
        let why = format!("{why} (chunk {}, byte {})", self.chunks + 1, self.bytes);
        BackupError::Damaged { path: self.path.display().to_string(), why }
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = vec![0; count];
        self.file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => io_error(&self.path)(error),
        })?;
        self.bytes += count as u64;
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(|_| self.damaged("it ends too early"))
    }

    /// The rows of the next chunk; `None` after the last one, once the end was checked.
    pub(crate) fn chunk(&mut self) -> Result<Option<Chunk>, BackupError> {
        let head: [u8; 8] = self.take()?;
        let (len, rows) = (number(&head[..4]) as usize, number(&head[4..]));
        if len == 0 {
            return self.end(&head).map(|()| None);
        }
        if len > CHUNK_BYTES_MAX {
            return Err(self.damaged("a chunk is too long"));
        }
        let chunk = self.bytes(len)?;
        let hash = chained(&self.hash, &[&head, &chunk]);
        if self.take::<HASH_BYTES>()? != hash {
            return Err(self.damaged("a hash does not match"));
        }
        let found = split_rows(&chunk).filter(|found| found.len() == rows as usize);
        let found = found.ok_or_else(|| self.damaged("a chunk does not hold the rows it says"))?;
        (self.hash, self.chunks, self.rows) = (hash, self.chunks + 1, self.rows + u64::from(rows));
        Ok(Some(found))
    }

    fn end(&mut self, head: &[u8; 8]) -> Result<(), BackupError> {
        let counts: [u8; 16] = self.take()?;
        let hash = chained(&self.hash, &[head, &counts]);
        let expected = [self.chunks.to_le_bytes(), self.rows.to_le_bytes()].concat();
        if self.take::<HASH_BYTES>()? != hash || counts[..] != expected[..] {
            return Err(self.damaged("its end does not match"));
        }
        match self.file.read(&mut [0]).map_err(io_error(&self.path))? {
            0 => Ok(()),
            _ => Err(self.damaged("something follows its end")),
        }
    }

    /// How far it is, by the last row of a chunk.
    pub(crate) fn reached(&self, last: &[u8]) -> Reached {
        let number = last.first().copied().unwrap_or(0);
        Reached {
            table: Table::name(number),
            number: usize::from(number),
            tables: Table::ALL.len(),
            rows: self.rows,
            bytes: self.bytes,
        }
    }

    pub(crate) fn summary(self) -> Summary {
        let Self { path: file, rows, bytes, taken_at, epoch, .. } = self;
        Summary { file, rows, bytes, taken_at, epoch }
    }
}

/// What came back, and what is broken in it, which was so in the store it was taken from.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub backup: Summary,
    /// Every invariant, checked on the store that was made.
    pub report: crate::verify::Report,
}

/// Puts the rows of a backup into an empty engine, with another epoch: what clients saw since then is not in it, so
/// their numbers mean nothing any more and they take a snapshot.
pub(crate) fn fill(
    rows: &dyn Rows,
    mut reader: Reader,
    epoch: Epoch,
    progress: &mut Progress<'_>,
) -> Result<Restored, BackupError> {
    let taken_at = reader.taken_at;
    let epoch_key = keys::meta("epoch");
    while let Some(chunk) = reader.chunk()? {
        let last = chunk.last().map(|(key, _)| key.clone()).unwrap_or_default();
        let mut batch = Batch::new();
        for (key, value) in chunk {
            let value = match key.first() {
                _ if key == epoch_key => epoch.0.to_be_bytes().to_vec(),
                Some(table) if *table == Table::Open as u8 => left_open(&key, value, taken_at)?,
                _ => value,
            };
            batch.insert(key, Some(value));
        }
        rows.commit(batch, false)?;
        if !progress(&reader.reached(&last)) {
            return Err(BackupError::Stopped);
        }
    }
    rows.sync()?;
    let report = crate::verify::verify(rows, &mut |_, _, _| {})?;
    Ok(Restored { backup: reader.summary(), report })
}

/// P6: what was queued then may have been posted since, and nobody here knows: it is an attempt whose end is unknown.
fn left_open(key: &[u8], value: Vec<u8>, taken_at: Millis) -> Result<Vec<u8>, ReadError> {
    let row: OpenRow = decode(key, &value)?;
    if row.state != QUEUED {
        return Ok(value);
    }
    Ok(encode(&OpenRow { state: ATTEMPTING, at: taken_at.0, attempts: row.attempts.max(1) }))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_le_bytes).unwrap_or_default()
}

fn split_rows(mut chunk: &[u8]) -> Option<Chunk> {
    let mut rows = Vec::new();
    while !chunk.is_empty() {
        let (key_len, value_len) = (chunk.split_off(..4)?, chunk.split_off(..4)?);
        let key = chunk.split_off(..number(key_len) as usize)?;
        let value = chunk.split_off(..number(value_len) as usize)?;
        rows.push((key.to_vec(), value.to_vec()));
    }
    Some(rows)
}
