//! What a power cut leaves: one of the states that the disk may be in, as files. Choosing is pure; [`Image::write`] is
//! not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sim::whatsapp::rng::Rng;

use crate::disk::{Content, Disk, Named, SECTOR};

/// Which of the open changes came to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// All: as after `kill -9`.
    Everything,
    /// Names and lengths, but no bytes: new files are full of zeros.
    Names,
    /// Bytes and lengths, but no names.
    Bytes,
    /// All bytes, but no change of a length.
    ShortFiles,
    /// Some, by this seed: of each sector, of each length and of the names a prefix of what was done.
    Torn(u64),
}

/// A folder as it is found after the cut. Paths are relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    folders: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
}

impl Image {
    /// The image of `folder`.
    #[must_use]
    pub fn of(disk: &Disk, folder: &Path, keep: Keep) -> Self {
        let mut chance = Rng::new(match keep {
            Keep::Torn(seed) => seed,
            _ => 0,
        });
        let mut names = disk.names.clone();
        let named = match keep {
            Keep::Nothing | Keep::Bytes => 0,
            Keep::Everything | Keep::Names | Keep::ShortFiles => disk.open_names.len(),
            Keep::Torn(_) => some(&mut chance, disk.open_names.len()),
        };
        for (_, naming) in &disk.open_names[..named] {
            naming.apply(&mut names);
        }
        let mut image = Self::default();
        for (path, named) in &names {
            let Ok(relative) = path.strip_prefix(folder) else { continue };
            // A folder whose own name was lost is lost with all in it.
            let reachable = path.ancestors().skip(1).take_while(|above| above.starts_with(folder));
            if !reachable.into_iter().all(|above| names.get(above) == Some(&Named::Folder)) {
                continue;
            }
            match named {
                Named::Folder => image.folders.push(relative.to_owned()),
                Named::File(id) => {
                    let file = &disk.files[*id];
                    let all = file.open.len();
                    let content = match keep {
                        Keep::Nothing => file.content(0, &mut |_, _| 0),
                        Keep::Everything | Keep::Bytes => file.content(all, &mut |_, changes| changes.len()),
                        Keep::Names => file.content(all, &mut |_, _| 0),
                        Keep::ShortFiles => file.content(0, &mut |_, changes| changes.len()),
                        Keep::Torn(_) => {
                            let lengths = some(&mut chance, all);
                            // Most images tear a little: where half of all sectors are lost, the first is among them.
                            let lost = 1 + chance.below(8);
                            file.content(lengths, &mut |_, changes| match chance.below(8) < lost {
                                true => some(&mut chance, changes.len()),
                                false => changes.len(),
                            })
                        }
                    };
                    image.files.insert(relative.to_owned(), content);
                }
            }
        }
        image
    }

    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Content)> {
        self.files.iter().map(|(path, content)| (path.as_path(), content))
    }

    /// The same with one bit of a file flipped.
    #[must_use]
    pub fn flipped(&self, path: &Path, bit: u64) -> Self {
        let mut image = self.clone();
        if let Some(content) = image.files.get_mut(path) {
            content.flip(bit);
        }
        image
    }

    /// Makes it in a folder that is empty or missing.
    ///
    /// # Errors
    /// As the file system has them.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for path in &self.folders {
            fs::create_dir_all(folder.join(path))?;
        }
        for (path, content) in &self.files {
            let file = File::create(folder.join(path))?;
            file.set_len(content.len)?;
            for (sector, held) in &content.sectors {
                let at = sector * SECTOR;
                let len = content.len.saturating_sub(at).min(SECTOR) as usize;
                file.write_all_at(&held[..len], at)?;
            }
        }
        Ok(())
    }
}

/// From none to all.
fn some(chance: &mut Rng, all: usize) -> usize {
    chance.below(all as u64 + 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::{Event, Step};

    fn disk(synced: usize) -> Disk {
        let mut disk = Disk::with_folder(Path::new("/d"));
        let events = [
            Event::Create("/d/a".into(), 0),
            Event::Write(0, 0, vec![1; 600]),
            Event::SyncFile(0),
            Event::SyncFolder("/d".into()),
            Event::Write(0, 600, vec![2; 600]),
            Event::MakeFolder("/d/x".into()),
            Event::Create("/d/x/b".into(), 1),
            Event::Write(1, 0, vec![3; 10]),
            Event::Rename("/d/a".into(), "/d/c".into()),
            Event::SyncFolder("/d/x".into()),
            Event::SyncFolder("/d".into()),
        ];
        for (ended, event) in events.into_iter().take(synced).enumerate() {
            disk.apply(&Step { ended, began: ended, event });
        }
        disk
    }

    fn shown(disk: &Disk, keep: Keep) -> Vec<(String, u64, u64)> {
        let image = Image::of(disk, Path::new("/d"), keep);
        let sum = |content: &Content| content.bytes().iter().map(|byte| u64::from(*byte)).sum();
        image.files().map(|(path, content)| (path.display().to_string(), content.len, sum(content))).collect()
    }

    fn file(path: &str, len: u64, sum: u64) -> (String, u64, u64) {
        (path.to_owned(), len, sum)
    }

    #[test]
    fn images_keep_what_is_certain_and_some_of_the_rest() {
        let open = disk(9);
        assert_eq!(shown(&open, Keep::Nothing), [file("a", 600, 600)]);
        assert_eq!(shown(&open, Keep::Everything), [file("c", 1200, 1800), file("x/b", 10, 30)]);
        assert_eq!(shown(&open, Keep::Names), [file("c", 1200, 600), file("x/b", 10, 0)]);
        assert_eq!(shown(&open, Keep::Bytes), [file("a", 1200, 1800)]);
        assert_eq!(shown(&open, Keep::ShortFiles), [file("c", 600, 600), file("x/b", 0, 0)]);
        assert_eq!(shown(&disk(10), Keep::Nothing), [file("a", 600, 600)], "x itself has no name yet");
        assert_eq!(shown(&disk(11), Keep::Nothing), [file("c", 600, 600), file("x/b", 0, 0)]);
        let torn: std::collections::BTreeSet<_> =
            (0..200).map(|seed| shown(&open, Keep::Torn(seed))).collect();
        assert!(torn.len() > 10, "{torn:?}");
        for files in torn {
            assert!(
                files
                    .iter()
                    .any(|(path, len, sum)| (path == "a" || path == "c") && *len >= 600 && *sum >= 600)
            );
        }
    }

    #[test]
    fn an_image_is_written_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        Image::of(&disk(9), Path::new("/d"), Keep::Everything).write(folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("c")).unwrap(), [vec![1; 600], vec![2; 600]].concat());
        assert_eq!(fs::read(folder.path().join("x/b")).unwrap(), [3; 10]);
    }
}
