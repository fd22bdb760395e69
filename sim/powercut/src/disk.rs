//! What is on disk for certain, and what only may be: the state of a file system between two syncs. Pure.
//!
//! - A write or a new length is certain once a sync of that file began after it and ended. Until then each sector of
//!   512 bytes may have any state that it had since the last sync, independently of all others.
//! - A name (made, moved, removed) is certain once its folder was synced, whatever was done to the file. Names that are
//!   not synced are undone from the newest on: file systems keep a journal of them.
//!
//! This is what POSIX promises, and less than what common file systems do. Not here: which of the possible states an
//! image has (`image`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sim::whatsapp::rng::Rng;

use crate::steps::{Event, FileId, Step};

/// Bytes that a disk writes as a whole or not at all.
pub const SECTOR: u64 = 512;
type Sector = [u8; SECTOR as usize];

/// Bytes of a file: its length, and the sectors that are not zero throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub(crate) len: u64,
    pub(crate) sectors: BTreeMap<u64, Sector>,
}

impl Content {
    /// Applies the part of a change that falls into one sector.
    fn change(&mut self, sector: u64, change: &Change) {
        let start = sector * SECTOR;
        match change {
            Change::Write { at, bytes } => {
                let (from, to) = ((*at).max(start), (at + bytes.len() as u64).min(start + SECTOR));
                if from < to {
                    let held = self.sectors.entry(sector).or_insert([0; SECTOR as usize]);
                    let part = &bytes[(from - at) as usize..(to - at) as usize];
                    held[(from - start) as usize..(to - start) as usize].copy_from_slice(part);
                }
            }
            Change::Resize(len) => {
                if start >= *len {
                    self.sectors.remove(&sector);
                } else if let Some(held) = self.sectors.get_mut(&sector)
                    && *len < start + SECTOR
                {
                    held[(len - start) as usize..].fill(0);
                }
            }
        }
    }

    /// One of its bits. Every fourth may be any; the others are where something is written, because much of a journal
    /// is zeros.
    pub(crate) fn some_bit(&self, index: usize, chance: &mut Rng) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let written = self.sectors.len() as u64;
        if index % 4 == 3 || written == 0 {
            return Some(chance.below(self.len * 8));
        }
        let sector = self.sectors.keys().nth(chance.below(written) as usize)?;
        let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.len));
        Some(from * 8 + chance.below((to - from) * 8))
    }

    pub(crate) fn flip(&mut self, bit: u64) {
        let held = self.sectors.entry(bit / 8 / SECTOR).or_insert([0; SECTOR as usize]);
        held[(bit / 8 % SECTOR) as usize] ^= 1 << (bit % 8);
    }

    /// All bytes; for small files.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        for (sector, held) in &self.sectors {
            let start = (sector * SECTOR) as usize;
            if let Some(room) = bytes.get_mut(start..) {
                let len = room.len().min(held.len());
                room[..len].copy_from_slice(&held[..len]);
            }
        }
        bytes
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Resize(u64),
}

impl Change {
    /// The length of a file of `len` bytes after it.
    pub(crate) fn length(&self, len: u64) -> u64 {
        match self {
            Self::Write { at, bytes } => len.max(at + bytes.len() as u64),
            Self::Resize(to) => *to,
        }
    }
}

/// One file: certain content, and what may have come since, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileState {
    pub(crate) certain: Content,
    /// With the number of calls that had ended before each.
    pub(crate) open: Vec<(usize, Change)>,
}

impl FileState {
    /// Each sector that an open change touches, with the open changes that touch it, in order.
    pub(crate) fn touched(&self) -> BTreeMap<u64, Vec<usize>> {
        let mut touched: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (index, (_, change)) in self.open.iter().enumerate() {
            match change {
                Change::Write { at, bytes } => {
                    for sector in at / SECTOR..(at + bytes.len() as u64).div_ceil(SECTOR) {
                        touched.entry(sector).or_default().push(index);
                    }
                }
                Change::Resize(len) => {
                    let held: Vec<u64> =
                        self.certain.sectors.range(len / SECTOR..).map(|(s, _)| *s).collect();
                    let open: Vec<u64> = touched.range(len / SECTOR..).map(|(s, _)| *s).collect();
                    for sector in held.into_iter().chain(open) {
                        let changes = touched.entry(sector).or_default();
                        if changes.last() != Some(&index) {
                            changes.push(index);
                        }
                    }
                }
            }
        }
        touched
    }

    /// The content where of each sector's open changes the first `keep(sector, changes)` came to the disk, and of the
    /// changes of the length the first `lengths`.
    pub(crate) fn content(&self, lengths: usize, keep: &mut dyn FnMut(u64, &[usize]) -> usize) -> Content {
        let mut content = self.certain.clone();
        for (sector, changes) in self.touched() {
            let kept = keep(sector, &changes).min(changes.len());
            for index in &changes[..kept] {
                content.change(sector, &self.open[*index].1);
            }
        }
        let changes = self.open.iter().take(lengths);
        content.len = changes.fold(self.certain.len, |len, (_, change)| change.length(len));
        let last = content.len / SECTOR;
        content.sectors.split_off(&(last + 1));
        content.change(last, &Change::Resize(content.len));
        content
    }

    fn sync(&mut self, began: usize) {
        let covered = self.open.partition_point(|(ended, _)| *ended < began);
        let mut synced =
            Self { certain: std::mem::take(&mut self.certain), open: self.open.drain(..covered).collect() };
        self.certain = synced.content(covered, &mut |_, changes| changes.len());
        synced.open.clear();
    }
}

/// A name's change.
#[derive(Clone, Debug)]
pub(crate) enum Naming {
    Create(PathBuf, FileId),
    MakeFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    File(FileId),
    Folder,
}

/// Names and what they stand for.
pub(crate) type Names = BTreeMap<PathBuf, Named>;

impl Naming {
    /// The folder that has to be synced. A rename within one folder is all that stores make.
    fn folder(&self) -> &Path {
        let (Self::Create(path, _) | Self::MakeFolder(path) | Self::Rename(_, path) | Self::Remove(path)) =
            self;
        path.parent().unwrap_or(path)
    }

    pub(crate) fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), Named::File(*file));
            }
            Self::MakeFolder(path) => {
                names.insert(path.clone(), Named::Folder);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                let moved: Vec<_> = names
                    .iter()
                    .filter(|(path, _)| path.starts_with(from))
                    .map(|(p, n)| (p.clone(), *n))
                    .collect();
                for (path, named) in moved {
                    names.remove(&path);
                    let rest = path.strip_prefix(from).unwrap_or(&path);
                    let path = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    names.insert(path, named);
                }
            }
        }
    }
}

/// The file system at one moment.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub(crate) files: Vec<FileState>,
    pub(crate) names: Names,
    /// With the number of calls that had ended before each.
    pub(crate) open_names: Vec<(usize, Naming)>,
}

impl Disk {
    /// A disk on which a folder stands, empty.
    #[must_use]
    pub fn with_folder(folder: &Path) -> Self {
        let names = BTreeMap::from([(folder.to_owned(), Named::Folder)]);
        Self { names, ..Self::default() }
    }

    /// Something happened.
    pub fn apply(&mut self, step: &Step) {
        let naming = match &step.event {
            Event::Mark(_) => return,
            Event::Write(file, at, bytes) => {
                let change = Change::Write { at: *at, bytes: bytes.clone() };
                return self.files[*file].open.push((step.ended, change));
            }
            Event::Resize(file, len) => {
                return self.files[*file].open.push((step.ended, Change::Resize(*len)));
            }
            Event::SyncFile(file) => return self.files[*file].sync(step.began),
            Event::SyncFolder(folder) => return self.sync_folder(folder, step.began),
            Event::Create(path, file) => {
                self.files.resize_with(self.files.len().max(file + 1), FileState::default);
                Naming::Create(path.clone(), *file)
            }
            Event::MakeFolder(path) => Naming::MakeFolder(path.clone()),
            Event::Rename(from, to) => Naming::Rename(from.clone(), to.clone()),
            Event::Remove(path) => Naming::Remove(path.clone()),
        };
        self.open_names.push((step.ended, naming));
    }

    fn sync_folder(&mut self, folder: &Path, began: usize) {
        let (certain, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open_names)
            .into_iter()
            .partition(|(ended, naming)| *ended < began && naming.folder() == folder);
        self.open_names = open;
        for (_, naming) in certain {
            naming.apply(&mut self.names);
        }
    }

    /// Is anything not certain?
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.open_names.is_empty() && self.files.iter().all(|file| file.open.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(ended: usize, event: Event) -> Step {
        Step { ended, began: ended, event }
    }

    fn certain(disk: &Disk, file: FileId) -> Vec<u8> {
        disk.files[file].certain.bytes()
    }

    #[test]
    fn a_sync_covers_what_had_ended_when_it_began_and_nothing_else() {
        let mut disk = Disk::with_folder(Path::new("/d"));
        disk.apply(&step(0, Event::Create("/d/a".into(), 0)));
        disk.apply(&step(1, Event::Write(0, 0, b"one".to_vec())));
        disk.apply(&step(2, Event::Write(0, 3, b"two".to_vec())));
        disk.apply(&Step { ended: 3, began: 2, event: Event::SyncFile(0) });
        assert_eq!(certain(&disk, 0), b"one");
        assert!(!disk.names.contains_key(Path::new("/d/a")), "its name is not synced by that");
        disk.apply(&step(4, Event::SyncFolder("/d".into())));
        disk.apply(&step(5, Event::SyncFile(0)));
        assert_eq!(certain(&disk, 0), b"onetwo");
        assert!(disk.names.contains_key(Path::new("/d/a")) && disk.is_certain());
        disk.apply(&step(6, Event::Resize(0, 2)));
        disk.apply(&step(7, Event::Resize(0, 4)));
        disk.apply(&step(8, Event::SyncFile(0)));
        assert_eq!(certain(&disk, 0), b"on\0\0");
    }

    #[test]
    fn each_sector_keeps_a_prefix_of_what_was_done_to_it() {
        let mut disk = Disk::with_folder(Path::new("/d"));
        disk.apply(&step(0, Event::Create("/d/a".into(), 0)));
        disk.apply(&step(1, Event::Write(0, 0, vec![1; 600])));
        disk.apply(&step(2, Event::Write(0, 600, vec![2; 600])));
        let file = &disk.files[0];
        assert_eq!(file.touched(), BTreeMap::from([(0, vec![0]), (1, vec![0, 1]), (2, vec![1])]));
        let torn = file.content(2, &mut |sector, _| usize::from(sector == 1)).bytes();
        assert_eq!(torn, [vec![0; 512], vec![1; 88], vec![0; 600]].concat());
        let later_only = file.content(2, &mut |sector, _| usize::from(sector == 2)).bytes();
        assert_eq!(later_only, [vec![0; 1024], vec![2; 176]].concat());
        assert_eq!(file.content(1, &mut |_, changes| changes.len()).len, 600, "the length is of its own");
    }

    #[test]
    fn names_go_with_their_folder_and_whole_folders_move() {
        let mut disk = Disk::with_folder(Path::new("/d"));
        for (ended, event) in [
            Event::MakeFolder("/d/x".into()),
            Event::Create("/d/x/a".into(), 0),
            Event::SyncFolder("/d".into()),
            Event::SyncFolder("/d/x".into()),
            Event::Rename("/d/x".into(), "/d/y".into()),
            Event::Remove("/d/y/a".into()),
        ]
        .into_iter()
        .enumerate()
        {
            disk.apply(&step(ended, event));
        }
        assert!(disk.names.contains_key(Path::new("/d/x/a")), "until the folder is synced");
        disk.apply(&step(9, Event::SyncFolder("/d".into())));
        let names: Vec<_> = disk.names.keys().map(|path| path.display().to_string()).collect();
        assert_eq!(names, ["/d", "/d/y", "/d/y/a"]);
        disk.apply(&step(10, Event::SyncFolder("/d/y".into())));
        assert!(!disk.names.contains_key(Path::new("/d/y/a")));
    }
}
