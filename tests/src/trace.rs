//! The system calls of the binary in their order, from strace: what it wrote where, and which sync had ended by then.
//!
//! A traced thread stands still at the beginning and at the end of a call until strace has written that down, so what
//! one thread did because of another's finished call stands after it. Not here: what order is right (`durability`).

use std::path::{Path, PathBuf};

/// Calls that write to files and sockets, and those that put a file on disk.
const CALLS: &str = "trace=write,writev,pwrite64,sendto,sendmsg,fdatasync,fsync";
/// Bytes of each string that are shown: more than any commit of the tests.
const STRING_BYTES: &str = "16384";

/// The words to be put before the binary. `-D`: strace is the tracer but not the parent, so that our child is the
/// binary itself, and a signal to it is one to the binary.
#[must_use]
pub fn wrapper(strace: &Path, output: &Path) -> Vec<String> {
    let words = ["-D", "-f", "-y", "-s", STRING_BYTES, "-e", CALLS, "-e", "signal=none", "-o"];
    let (strace, output) = (strace.display().to_string(), output.display().to_string());
    [strace].into_iter().chain(words.map(str::to_owned)).chain([output]).collect()
}

/// Beginning or end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It begins.
    Start,
    /// It has ended, without an error.
    End,
    /// It has ended with an error.
    Failed,
}

/// One moment of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Thread.
    pub thread: u32,
    /// Name of the call.
    pub call: String,
    /// Which moment.
    pub moment: Moment,
    /// What its file descriptor is: a path, or `socket:[…]`. From the beginning of the call.
    pub file: PathBuf,
    /// All arguments as strace shows them.
    pub arguments: String,
}

impl Step {
    /// Does a write begin here, to a socket, with these bytes (as strace shows them) first?
    #[must_use]
    pub fn sends(&self, first: &str) -> bool {
        let quoted = format!("\"{first}");
        self.moment == Moment::Start && self.is_socket() && self.arguments.contains(&quoted)
    }

    /// Has a write to a file that holds `text` ended here?
    #[must_use]
    pub fn wrote(&self, text: &str) -> bool {
        self.moment == Moment::End && !self.is_socket() && !self.is_sync() && self.arguments.contains(text)
    }

    /// Is this a sync?
    #[must_use]
    pub fn is_sync(&self) -> bool {
        matches!(self.call.as_str(), "fdatasync" | "fsync")
    }

    fn is_socket(&self) -> bool {
        let file = self.file.to_string_lossy();
        file.starts_with("socket:") || file.starts_with("TCP")
    }
}

/// All steps of a trace, in order.
///
/// # Panics
/// On a line that cannot be read: half a trace proves nothing.
#[must_use]
pub fn read(text: &str) -> Vec<Step> {
    let mut open: Vec<(u32, Step)> = Vec::new();
    let mut steps = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(char::is_whitespace) else { continue };
        let thread: u32 = thread.parse().unwrap_or_else(|_| panic!("no thread id in {line:?}"));
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") || rest.starts_with('?') {
            continue;
        }
        if rest.starts_with("<...") {
            let place = open.iter().position(|(of, _)| *of == thread);
            let (_, start) = open.swap_remove(place.unwrap_or_else(|| panic!("nothing to resume: {line:?}")));
            // `= ?`: the process ended within the call.
            steps.extend(end(&start, rest));
            continue;
        }
        let (call, arguments) = rest.split_once('(').unwrap_or_else(|| panic!("no call in {line:?}"));
        let file = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(file, _)| file);
        let start = Step {
            thread,
            call: call.to_owned(),
            moment: Moment::Start,
            file: file.unwrap_or_default().into(),
            arguments: arguments.to_owned(),
        };
        steps.push(start.clone());
        if rest.ends_with("<unfinished ...>") {
            open.push((thread, start));
        } else {
            steps.extend(end(&start, rest));
        }
    }
    steps
}

fn end(start: &Step, line: &str) -> Option<Step> {
    let (_, result) = line.rsplit_once(" = ")?;
    let moment = match result.as_bytes().first()? {
        b'?' => return None,
        b'-' => Moment::Failed,
        _ => Moment::End,
    };
    Some(Step { moment, ..start.clone() })
}

/// Checks P1 on a trace: for every marker there is a write to a file that holds it, then a sync of that file that began
/// after that write, and only after the sync's end the acknowledgement. `acknowledgements` are the first bytes of the
/// acknowledgements, one for each marker, in the order in which they left: each was waited for before the next marker
/// was sent.
///
/// # Errors
/// Which marker was acknowledged too early, and what the trace shows instead.
pub fn check_acknowledged_after_sync(
    steps: &[Step],
    markers: &[String],
    acknowledgement: &str,
) -> Result<(), String> {
    let mut from = 0;
    for marker in markers {
        let find = |from: usize, what: &str, wanted: &dyn Fn(&Step) -> bool| {
            let found = steps[from..].iter().position(wanted).map(|place| from + place);
            found.ok_or_else(|| format!("{marker}: no {what} after line {from} of the trace"))
        };
        let written = find(from, "write of it to a file", &|step| step.wrote(marker))?;
        let acknowledged = find(from, "acknowledgement", &|step| step.sends(acknowledgement))?;
        let file = &steps[written].file;
        let sync = |moment| move |step: &Step| step.is_sync() && step.file == *file && step.moment == moment;
        let begun = find(written, "sync of that file", &sync(Moment::Start))?;
        let synced = find(begun, "end of that sync", &sync(Moment::End))?;
        if acknowledged < synced {
            let shown = &steps[from..=synced.min(from + 40)];
            return Err(format!("{marker} was acknowledged before it was synced: {shown:#?}"));
        }
        from = acknowledged + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_before_its_sync_is_found() {
        let write = "7  write(9</d/j>, \"m-1\", 3) = 3\n";
        let (begun, ended) = ("7  fdatasync(9</d/j> <unfinished ...>\n", "7  <... fdatasync resumed>) = 0\n");
        let other = "7  fdatasync(8</d/other>) = 0\n";
        let ack = "8  sendto(12<socket:[5]>, \"@\\2\\0\\1\", 4, 0, NULL, 0) = 4\n";
        let check = |order: &[&str]| {
            check_acknowledged_after_sync(&read(&order.concat()), &["m-1".to_owned()], "@\\2")
        };
        assert_eq!(check(&[write, begun, ended, ack]), Ok(()));
        assert_eq!(check(&[other, write, begun, ended, ack]), Ok(()));
        for bad in [
            &[write, begun, ack, ended][..],
            &[write, ack, begun, ended],
            &[ack, write, begun, ended],
            &[begun, write, ended, ack],
            &[write, other, ack],
            &[write, begun, ended],
            &[begun, ended, ack],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    const TRACE: &str = "\
7  write(9</d/journals/0>, \"m-1\", 3) = 3
7  fdatasync(9</d/journals/0> <unfinished ...>
8  sendto(12<socket:[5]>, \"@\\2\\0\\1\", 4, MSG_NOSIGNAL, NULL, 0 <unfinished ...>
7  <... fdatasync resumed>)                = 0
8  <... sendto resumed>)                   = 4
7  fdatasync(9</d/journals/0>) = -1 EIO (Input/output error)
7  +++ exited with 0 +++
";

    #[test]
    fn beginnings_and_ends_stand_in_their_order() {
        let steps = read(TRACE);
        let shown: Vec<_> = steps.iter().map(|s| (s.call.as_str(), s.moment)).collect();
        let expected = [
            ("write", Moment::Start),
            ("write", Moment::End),
            ("fdatasync", Moment::Start),
            ("sendto", Moment::Start),
            ("fdatasync", Moment::End),
            ("sendto", Moment::End),
            ("fdatasync", Moment::Start),
            ("fdatasync", Moment::Failed),
        ];
        assert_eq!(shown, expected);
        assert!(steps[1].wrote("m-1") && !steps[0].wrote("m-1"));
        assert!(steps[3].sends("@\\2") && !steps[5].sends("@\\2") && !steps[3].wrote("@"));
    }
}
