//! Calls → what happened to the files of one folder. Pure.
//!
//! Follows descriptors and their offsets, as the kernel does. A call on the folder that is not understood is an error:
//! an image built without it would be one that no power cut leaves. Not here: what is on disk when (`disk`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::trace::Call;

/// A file, whatever names it has or had.
pub type FileId = usize;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file got its first name.
    Create(PathBuf, FileId),
    /// A folder was made.
    MakeFolder(PathBuf),
    /// Bytes were written at an offset.
    Write(FileId, u64, Vec<u8>),
    /// A file got another length.
    Resize(FileId, u64),
    /// A name, and all below it, became another one.
    Rename(PathBuf, PathBuf),
    /// A name of a file or of an empty folder went.
    Remove(PathBuf),
    /// A file was synced.
    SyncFile(FileId),
    /// The names in a folder were synced.
    SyncFolder(PathBuf),
    /// The run noted something in the side file.
    Mark(String),
}

/// A finished event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many calls had ended before it did.
    pub ended: usize,
    /// How many had when it began.
    pub began: usize,
    /// What happened.
    pub event: Event,
}

impl Step {
    /// Is it the end of a sync?
    #[must_use]
    pub const fn is_sync(&self) -> bool {
        matches!(self.event, Event::SyncFile(_) | Event::SyncFolder(_))
    }
}

#[derive(Clone, Debug)]
enum Opened {
    File { id: FileId, at: u64, append: bool },
    Folder(PathBuf),
    Marks,
}

struct Reader<'a> {
    folder: &'a Path,
    marks: &'a Path,
    names: BTreeMap<PathBuf, FileId>,
    folders: BTreeSet<PathBuf>,
    lengths: Vec<u64>,
    /// Descriptors of ours → open files; two may share one.
    descriptors: BTreeMap<u64, usize>,
    opened: Vec<Opened>,
}

/// What happened to `folder` and what was written into the side file `marks`. Both are absolute.
///
/// # Errors
/// A call that is not understood.
pub fn read(calls: &[Call], folder: &Path, marks: &Path) -> Result<Vec<Step>, String> {
    let mut reader = Reader {
        folder,
        marks,
        names: BTreeMap::new(),
        folders: BTreeSet::new(),
        lengths: Vec::new(),
        descriptors: BTreeMap::new(),
        opened: Vec::new(),
    };
    let mut steps = Vec::new();
    for (ended, call) in calls.iter().enumerate() {
        let events = reader.events(call).map_err(|why| format!("call {ended}, {}: {why}", call.name))?;
        steps.extend(events.into_iter().map(|event| Step { ended, began: call.began, event }));
    }
    Ok(steps)
}

impl Reader<'_> {
    fn events(&mut self, call: &Call) -> Result<Vec<Event>, String> {
        match call.name.as_str() {
            "open" | "creat" | "openat" => self.open(call),
            "close" => {
                self.descriptors.remove(&call.descriptor(0)?);
                Ok(vec![])
            }
            "dup" | "dup2" | "dup3" => self.duplicate(call),
            "fcntl" if call.argument(1)?.starts_with("F_DUPFD") => self.duplicate(call),
            "fcntl" => Ok(vec![]),
            "lseek" => {
                if let Some(Opened::File { at, .. }) = self.of(call)? {
                    *at = call.result;
                }
                Ok(vec![])
            }
            "write" | "writev" => self.write(call, None),
            "pwrite64" | "pwritev" => self.write(call, Some(call.number(call.arguments.len() - 1)?)),
            "ftruncate" => match self.of(call)? {
                Some(Opened::File { id, .. }) => {
                    let id = *id;
                    self.resize(id, call.number(1)?)
                }
                _ => Ok(vec![]),
            },
            "fsync" | "fdatasync" => Ok(match self.of(call)? {
                Some(Opened::File { id, .. }) => vec![Event::SyncFile(*id)],
                Some(Opened::Folder(path)) => vec![Event::SyncFolder(path.clone())],
                _ => vec![],
            }),
            "mkdir" => self.make_folder(self.path(call, None, 0)?),
            "mkdirat" => self.make_folder(self.path(call, Some(0), 1)?),
            "rename" => self.rename(self.path(call, None, 0)?, self.path(call, None, 1)?),
            "renameat" | "renameat2" => {
                self.rename(self.path(call, Some(0), 1)?, self.path(call, Some(2), 3)?)
            }
            "unlink" | "rmdir" => self.remove(self.path(call, None, 0)?),
            "unlinkat" => self.remove(self.path(call, Some(0), 1)?),
            _ => self.strange(call),
        }
    }

    /// A call that nobody here understands is harmless only where it has nothing to do with the folder.
    fn strange(&mut self, call: &Call) -> Result<Vec<Event>, String> {
        let folder = self.folder.display().to_string();
        let named = call.arguments.iter().any(|argument| argument.contains(&folder));
        let descriptor = call.descriptor(0).is_ok_and(|number| self.descriptors.contains_key(&number));
        if named || descriptor || matches!(call.name.as_str(), "sync" | "io_uring_setup") {
            return Err(format!("it is not understood: {call:?}"));
        }
        Ok(vec![])
    }

    /// What the first argument, a descriptor, stands for; `None`: it is not ours.
    fn of(&mut self, call: &Call) -> Result<Option<&mut Opened>, String> {
        let descriptor = call.descriptor(0)?;
        Ok(self.descriptors.get(&descriptor).and_then(|place| self.opened.get_mut(*place)))
    }

    /// A path that is an argument, absolute, below the descriptor of a folder where one is named.
    fn path(&self, call: &Call, folder: Option<usize>, index: usize) -> Result<PathBuf, String> {
        let text = String::from_utf8(call.bytes(index)?).map_err(|_| "a path that is no text")?;
        let path = PathBuf::from(text);
        if path.is_absolute() {
            return Ok(path);
        }
        let below = folder.and_then(|index| call.descriptor(index).ok());
        match below.and_then(|number| self.descriptors.get(&number)).and_then(|place| self.opened.get(*place))
        {
            Some(Opened::Folder(folder)) => Ok(folder.join(path)),
            // Below the working folder, or one that is not ours: not in our folder, which has an absolute path.
            _ => Ok(Path::new("/elsewhere").join(path)),
        }
    }

    fn open(&mut self, call: &Call) -> Result<Vec<Event>, String> {
        let (path, flags) = match call.name.as_str() {
            "openat" => (self.path(call, Some(0), 1)?, call.argument(2)?),
            "open" => (self.path(call, None, 0)?, call.argument(1)?),
            _ => (self.path(call, None, 0)?, "O_WRONLY|O_CREAT|O_TRUNC"),
        };
        let has = |flag| flags.split('|').any(|word| word == flag);
        let mut events = Vec::new();
        let opened = if path == self.marks {
            Opened::Marks
        } else if !path.starts_with(self.folder) {
            return Ok(events);
        } else if let Some(id) = self.names.get(&path).copied() {
            if has("O_TRUNC") {
                events = self.resize(id, 0)?;
            }
            Opened::File { id, at: 0, append: has("O_APPEND") }
        } else if has("O_CREAT") {
            let id = self.lengths.len();
            self.lengths.push(0);
            self.names.insert(path.clone(), id);
            events.push(Event::Create(path, id));
            Opened::File { id, at: 0, append: has("O_APPEND") }
        } else {
            Opened::Folder(path)
        };
        self.descriptors.insert(call.result, self.opened.len());
        self.opened.push(opened);
        Ok(events)
    }

    fn duplicate(&mut self, call: &Call) -> Result<Vec<Event>, String> {
        match self.descriptors.get(&call.descriptor(0)?).copied() {
            Some(place) => self.descriptors.insert(call.result, place),
            None => self.descriptors.remove(&call.result),
        };
        Ok(vec![])
    }

    fn write(&mut self, call: &Call, offset: Option<u64>) -> Result<Vec<Event>, String> {
        let Some(opened) = self.of(call)?.cloned() else { return Ok(vec![]) };
        let mut bytes = call.bytes(1)?;
        let written = usize::try_from(call.result).map_err(|_| "a length")?;
        if bytes.len() < written {
            return Err(format!("{written} bytes written, {} shown", bytes.len()));
        }
        bytes.truncate(written);
        let Opened::File { id, at, append } = opened else {
            let lines = String::from_utf8(bytes).map_err(|_| "a mark that is no text")?;
            return Ok(vec![Event::Mark(lines)]);
        };
        let length = self.lengths[id];
        let start = if append { length } else { offset.unwrap_or(at) };
        let end = start + call.result;
        self.lengths[id] = length.max(end);
        if let (None, Some(Opened::File { at, .. })) = (offset, self.of(call)?) {
            *at = end;
        }
        Ok(vec![Event::Write(id, start, bytes)])
    }

    fn resize(&mut self, id: FileId, length: u64) -> Result<Vec<Event>, String> {
        self.lengths[id] = length;
        Ok(vec![Event::Resize(id, length)])
    }

    fn make_folder(&mut self, path: PathBuf) -> Result<Vec<Event>, String> {
        if !path.starts_with(self.folder) {
            return Ok(vec![]);
        }
        self.folders.insert(path.clone());
        Ok(vec![Event::MakeFolder(path)])
    }

    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<Vec<Event>, String> {
        match (from.starts_with(self.folder), to.starts_with(self.folder)) {
            (false, false) => return Ok(vec![]),
            (true, true) => {}
            _ => return Err("it goes over the border of the folder".to_owned()),
        }
        let names = std::mem::take(&mut self.names);
        let kept = |path: &PathBuf| !path.starts_with(&to);
        self.names = names
            .into_iter()
            .filter(|(path, _)| kept(path))
            .map(|(path, id)| match path.strip_prefix(&from) {
                Ok(rest) if rest.as_os_str().is_empty() => (to.clone(), id),
                Ok(rest) => (to.join(rest), id),
                Err(_) => (path, id),
            })
            .collect();
        Ok(vec![Event::Rename(from, to)])
    }

    fn remove(&mut self, path: PathBuf) -> Result<Vec<Event>, String> {
        if !path.starts_with(self.folder) {
            return Ok(vec![]);
        }
        self.names.remove(&path);
        self.folders.remove(&path);
        Ok(vec![Event::Remove(path)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(trace: &str) -> Result<Vec<Event>, String> {
        let calls = crate::trace::read(trace.trim())?;
        let steps = read(&calls, Path::new("/d"), Path::new("/marks"))?;
        Ok(steps.into_iter().map(|step| step.event).collect())
    }

    #[test]
    fn offsets_are_followed_as_the_kernel_does() {
        let found = events(
            r#"
1 mkdir("/d", 0777) = 0
1 mkdir("/other", 0777) = 0
1 openat(AT_FDCWD, "/d/a", O_WRONLY|O_CREAT, 0666) = 3
1 write(3, "abc", 3) = 3
1 write(1, "not ours", 8) = 8
1 fcntl(3, F_DUPFD_CLOEXEC, 3) = 4
1 write(4, "d", 1) = 1
1 lseek(3, 1, SEEK_SET) = 1
1 write(4, "X", 1) = 1
1 pwrite64(3, "Z", 1, 9) = 1
1 write(3, "YY", 2) = 1
1 openat(AT_FDCWD, "/d/a", O_WRONLY|O_APPEND) = 5
1 write(5, "end", 3) = 3
1 ftruncate(5, 4) = 0
1 fdatasync(5) = 0
1 openat(AT_FDCWD, "/marks", O_WRONLY|O_CREAT, 0666) = 6
1 write(6, "ack 1\n", 6) = 6
1 openat(AT_FDCWD, "/d", O_RDONLY) = 7
1 fsync(7) = 0
1 renameat(AT_FDCWD, "/d/a", 7, "b") = 0
1 openat(AT_FDCWD, "/d/b", O_WRONLY|O_TRUNC) = 8
1 unlinkat(7, "b", 0) = 0
"#,
        );
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(
            found.unwrap(),
            [
                Event::MakeFolder(path("/d")),
                Event::Create(path("/d/a"), 0),
                Event::Write(0, 0, b"abc".to_vec()),
                Event::Write(0, 3, b"d".to_vec()),
                Event::Write(0, 1, b"X".to_vec()),
                Event::Write(0, 9, b"Z".to_vec()),
                Event::Write(0, 2, b"Y".to_vec()),
                Event::Write(0, 10, b"end".to_vec()),
                Event::Resize(0, 4),
                Event::SyncFile(0),
                Event::Mark("ack 1\n".to_owned()),
                Event::SyncFolder(path("/d")),
                Event::Rename(path("/d/a"), path("/d/b")),
                Event::Resize(0, 0),
                Event::Remove(path("/d/b")),
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let open = "1 openat(AT_FDCWD, \"/d/a\", O_WRONLY|O_CREAT, 0666) = 3\n";
        for bad in [
            "1 fallocate(3, 0, 0, 9) = 0",
            "1 link(\"/d/a\", \"/d/b\") = 0",
            "1 rename(\"/d/a\", \"/x\") = 0",
            "1 write(3, \"a\", 2) = 2",
        ] {
            assert!(events(&format!("{open}{bad}")).is_err(), "{bad}");
        }
        assert!(events("1 fallocate(3, 0, 0, 9) = 0").is_ok(), "not ours");
    }
}
