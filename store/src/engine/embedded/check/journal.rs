//! A look at the engine's journals before the engine reads them: is what ends them a power cut, or damage?
//!
//! The engine (fjall 3.1.13) stops at the first entry that it cannot read and cuts the journal there. After a power cut
//! that is right: what follows was never synced. After a flipped bit it would drop, in silence, everything acknowledged
//! since. And where a cut tore a batch inside a value, so that only its checksum tells, the engine does not open at all.
//! So the journals are read here first, and only an end that a cut can leave is cut off:
//!
//! ```text
//!  batch batch batch │ torn: a sector that is zero where bytes should be,  │ zeros to the end of the file
//!                    │ or bytes that end before the batch does             │
//!                    └─ cut here                  anything else is damage: the store stays closed
//! ```
//! A journal is made full of zeros and only ever appended to, so a sector that was not written is zero. Batches follow
//! each other in rising sequence numbers, which no checksum covers.
//! Known limit: a flipped bit in a batch whose own bytes hold a whole sector of zeros looks like a tear.
//! Not here: tables (`tables`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

use super::Refusal;

const EXTENSION: &str = "jnl";
/// What a disk writes as a whole.
const SECTOR: usize = 512;
/// Bytes read at a time; whole pieces of zeros are not kept.
const PIECE: usize = 1 << 20;
/// Tags of entries, and the bytes that end a batch.
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8; 4] = b"FJL\x03";
/// Largest step from one batch's sequence number to the next: flushes take some, but not this many.
const SEQNO_STEP_MAX: u64 = 1 << 40;

/// Checks all journals of a store and cuts off what a power cut left of a batch that nobody was told of.
pub(super) fn check(folder: &Path) -> Result<(), Refusal> {
    let mut journals = Vec::new();
    let entries = folder.read_dir().map_err(|e| Refusal::Io(folder.to_owned(), e))?;
    for entry in entries {
        let path = entry.map_err(|e| Refusal::Io(folder.to_owned(), e))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let number = path.file_stem().and_then(|name| name.to_str()?.parse::<u64>().ok());
            journals.push((number, path));
        }
    }
    journals.sort();
    let active = journals.len().saturating_sub(1);
    let mut seqno = None;
    for (index, (_, path)) in journals.into_iter().enumerate() {
        let failed = |e| Refusal::Io(path.clone(), e);
        let journal = Journal::read(&path).map_err(failed)?;
        match journal.scan(&mut seqno) {
            End::Clean => {}
            // One that is not the last was synced before the next was made.
            End::Torn { at } if index == active => {
                tracing::warn!(journal = %path.display(), at, "a power cut left a torn batch, which is cut off");
                let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
                file.set_len(at as u64).and_then(|()| file.sync_all()).map_err(failed)?;
            }
            End::Torn { at } => return Err(damaged(&path, at, "a batch is torn")),
            End::Damaged { at, why } => return Err(damaged(&path, at, why)),
        }
    }
    Ok(())
}

fn damaged(file: &Path, at: usize, why: &str) -> Refusal {
    Refusal::Damaged { file: file.to_owned(), why: format!("byte {at}: {why}") }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Nothing but zeros follows.
    Clean,
    /// A power cut explains what follows.
    Torn { at: usize },
    /// It does not.
    Damaged { at: usize, why: &'static str },
}

/// A journal without the zeros at its end.
struct Journal {
    bytes: Vec<u8>,
    /// Of the file.
    len: usize,
}

/// A batch that cannot be read.
struct Broken {
    /// End of what had to be read to see that.
    reach: usize,
    why: &'static str,
}

impl Journal {
    fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let zeros = vec![0; PIECE];
        let mut piece = vec![0; PIECE];
        let (mut bytes, mut len) = (Vec::new(), 0);
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                break;
            }
            if piece[..count] != zeros[..count] {
                bytes.resize(len, 0);
                bytes.extend_from_slice(&piece[..count]);
            }
            len += count;
        }
        Ok(Self::new(bytes, len))
    }

    fn new(mut bytes: Vec<u8>, len: usize) -> Self {
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        Self { bytes, len }
    }

    /// How it ends. `seqno` is the last batch's, over all journals.
    fn scan(&self, seqno: &mut Option<u64>) -> End {
        let mut at = 0;
        while at < self.bytes.len() {
            let broken = match self.batch(at) {
                Ok((end, found)) => match seqno.replace(found) {
                    Some(before) if found <= before || found - before > SEQNO_STEP_MAX => {
                        return End::Damaged { at, why: "a batch's sequence number is out of order" };
                    }
                    _ => {
                        at = end;
                        continue;
                    }
                },
                Err(broken) => broken,
            };
            return if self.is_torn(at, &broken) {
                End::Torn { at }
            } else {
                End::Damaged { at, why: broken.why }
            };
        }
        End::Clean
    }

    /// Can a power cut have made this of a batch that begins at `at`?
    fn is_torn(&self, at: usize, broken: &Broken) -> bool {
        let rest = &self.bytes[at..];
        // The next batch that is whole: what was lost lies before it.
        let candidates = (1..rest.len()).filter(|offset| rest[*offset] == START);
        let next = candidates.map(|offset| at + offset).find(|place| self.batch(*place).is_ok());
        let end = next.unwrap_or(self.bytes.len());
        let mut from = at;
        while from < end {
            let to = (from / SECTOR + 1) * SECTOR;
            if to <= end && self.bytes[from..to].iter().all(|byte| *byte == 0) {
                return true;
            }
            from = to;
        }
        // Only its beginning came to the disk. A batch whose last bytes are there is not cut short: it says so wrongly.
        let written = self.bytes.len().div_ceil(SECTOR).saturating_mul(SECTOR).min(self.len);
        next.is_none() && broken.reach > written && !rest.ends_with(MAGIC)
    }

    /// End and sequence number of the batch at `at`.
    fn batch(&self, at: usize) -> Result<(usize, u64), Broken> {
        let mut reader = Reader { journal: self, at };
        if reader.number(1)? != u64::from(START) {
            return Err(Broken { reach: reader.at, why: "no batch begins here" });
        }
        let (items, seqno) = (reader.number(4)?, reader.number(8)?);
        let begin = reader.at;
        for _ in 0..items {
            match reader.number(1)? as u8 {
                ITEM => {
                    let (kind, compression) = (reader.number(1)?, reader.number(1)?);
                    let _keyspace = reader.number(8)?;
                    let (key, value, stored) = (reader.number(2)?, reader.number(4)?, reader.number(4)?);
                    if kind > 2 || compression != 0 || value != stored {
                        return Err(Broken { reach: reader.at, why: "a row's head is none" });
                    }
                    reader.skip(key as usize + value as usize)?;
                }
                CLEAR => drop(reader.number(8)?),
                _ => return Err(Broken { reach: reader.at, why: "a batch holds fewer rows than it says" }),
            }
        }
        let end = reader.at;
        if reader.number(1)? as u8 != END {
            return Err(Broken { reach: reader.at, why: "a batch does not end where it should" });
        }
        let checksum = reader.number(8)?;
        if reader.number(4)? != u64::from(u32::from_le_bytes(*MAGIC)) {
            return Err(Broken { reach: reader.at, why: "a batch does not end as it should" });
        }
        if xxhash_rust::xxh3::xxh3_64(&self.bytes[begin..end]) != checksum {
            return Err(Broken { reach: reader.at, why: "a batch's checksum does not match" });
        }
        Ok((reader.at, seqno))
    }
}

struct Reader<'a> {
    journal: &'a Journal,
    at: usize,
}

impl Reader<'_> {
    fn skip(&mut self, count: usize) -> Result<(), Broken> {
        self.at = self.at.saturating_add(count);
        if self.at > self.journal.len {
            Err(Broken { reach: self.at, why: "a batch has no end" })
        } else {
            Ok(())
        }
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, Broken> {
        let from = self.at;
        self.skip(bytes)?;
        // The zeros at the end of the file are not held.
        let byte = |at: usize| self.journal.bytes.get(at).copied().unwrap_or(0);
        Ok((from..self.at).rev().fold(0, |number, at| number << 8 | u64::from(byte(at))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with a row of so many bytes, each `fill`.
    fn batch(seqno: u64, value: usize, fill: u8) -> Vec<u8> {
        let head = [&[START][..], &1_u32.to_le_bytes(), &seqno.to_le_bytes()].concat();
        let len = u32::try_from(value).unwrap().to_le_bytes();
        let item = [
            &[ITEM, 0, 0],
            &7_u64.to_le_bytes()[..],
            &3_u16.to_le_bytes(),
            &len,
            &len,
            b"key",
            &vec![fill; value],
        ];
        let item = item.concat();
        let checksum = xxhash_rust::xxh3::xxh3_64(&item).to_le_bytes();
        [&head[..], &item, &[END], &checksum, MAGIC].concat()
    }

    fn journal() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (seqno, value) in [(3, 100), (4, 2_000), (9, 10), (10, 700)] {
            bytes.extend(batch(seqno, value, 0xAB));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn end(bytes: &[u8], room: usize) -> End {
        let len = bytes.len() + room;
        Journal::new(bytes.to_vec(), len).scan(&mut None)
    }

    #[test]
    fn whole_batches_and_zeros_are_clean() {
        let (bytes, _) = journal();
        for room in [0, 5_000] {
            assert_eq!(end(&bytes, room), End::Clean);
        }
        assert_eq!(end(&[], 0), End::Clean);
        assert_eq!(end(&[], 5_000), End::Clean);
    }

    #[test]
    fn every_lost_sector_and_every_cut_is_a_tear_at_the_first_batch_it_hurts() {
        let (bytes, ends) = journal();
        let begin_of = |at: usize| *ends.iter().rev().find(|end| **end <= at).unwrap();
        for sector in 0..bytes.len().div_ceil(SECTOR) {
            for synced in &ends {
                // What was synced is there: the sector keeps it.
                let (from, to) = ((sector * SECTOR).max(*synced), ((sector + 1) * SECTOR).min(bytes.len()));
                if from >= to || from < *synced {
                    continue;
                }
                let mut torn = bytes.clone();
                torn[from..to].fill(0);
                assert_eq!(end(&torn, 5_000), End::Torn { at: begin_of(from) }, "{from}..{to}");
            }
        }
        for cut in 0..bytes.len() {
            let expected = if ends.contains(&cut) { End::Clean } else { End::Torn { at: begin_of(cut) } };
            assert_eq!(end(&bytes[..cut], 0), expected, "cut at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_or_changes_nothing() {
        let (bytes, _) = journal();
        for room in [0, 5_000] {
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let found = end(&flipped, room);
                // Sequence numbers may change where they still rise: the order of batches is all that they say.
                let harmless = found == End::Clean && order(&flipped) == [true; 3];
                assert!(harmless || matches!(found, End::Damaged { .. }), "bit {bit} with {room}: {found:?}");
            }
        }
    }

    /// Do the sequence numbers of the four batches rise?
    fn order(bytes: &[u8]) -> Vec<bool> {
        let (_, ends) = journal();
        let seqno = |at: usize| u64::from_le_bytes(bytes[at + 5..at + 13].try_into().unwrap());
        ends[..4].windows(2).map(|pair| seqno(pair[0]) < seqno(pair[1])).collect()
    }

    #[test]
    fn the_last_journal_is_cut_and_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, ends) = journal();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("9.jnl"), &bytes[..ends[2]]).unwrap();
        std::fs::write(path("10.jnl"), &bytes[ends[2]..bytes.len() - 20]).unwrap();
        check(folder.path()).unwrap();
        assert_eq!(std::fs::read(path("10.jnl")).unwrap(), bytes[ends[2]..ends[3]]);
        std::fs::write(path("9.jnl"), &bytes[..ends[2] - 20]).unwrap();
        assert!(matches!(check(folder.path()), Err(Refusal::Damaged { file, .. }) if file == path("9.jnl")));
    }
}
