//! strace's lines → finished calls in the order in which they ended. Pure.
//!
//! A traced thread stands still at both ends of a call until strace has written that down; so a call that stands
//! before another's beginning had really ended by then. Not here: what calls do to files (`steps`).

use std::collections::BTreeMap;

/// What is to be recorded: every call that changes files or says which file a descriptor is, and those that would
/// change files in ways nobody here understands, so that they are noticed.
pub const CALLS: &str = "trace=open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,write,writev,pwrite64,pwritev,pwritev2,\
ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,\
link,linkat,symlink,symlinkat,sync,syncfs,sync_file_range,msync,copy_file_range,sendfile,splice,io_uring_setup";

/// Longest string that strace shows: a write longer than this could not be rebuilt.
pub const STRING_BYTES: &str = "134217728";

/// A call that ended without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments as strace shows them.
    pub arguments: Vec<String>,
    /// What it returned.
    pub result: u64,
    /// How many calls had ended when it began.
    pub began: usize,
}

impl Call {
    /// An argument that is a file descriptor.
    pub(crate) fn descriptor(&self, index: usize) -> Result<u64, String> {
        self.number(index)
    }

    pub(crate) fn number(&self, index: usize) -> Result<u64, String> {
        self.argument(index)?.parse().map_err(|_| format!("argument {index} is no number: {self:?}"))
    }

    pub(crate) fn argument(&self, index: usize) -> Result<&str, String> {
        self.arguments
            .get(index)
            .map(String::as_str)
            .ok_or_else(|| format!("no argument {index}: {}", self.name))
    }

    /// All strings of an argument, one after the other.
    pub(crate) fn bytes(&self, index: usize) -> Result<Vec<u8>, String> {
        strings(self.argument(index)?)
    }
}

/// All calls of a trace that ended without an error.
///
/// # Errors
/// The first line that cannot be read: half a trace proves nothing.
pub fn read(text: &str) -> Result<Vec<Call>, String> {
    let mut open: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let shown = || line.chars().take(120).collect::<String>();
        let (thread, rest) =
            line.trim_start().split_once(' ').ok_or_else(|| format!("no thread: {}", shown()))?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        let ended = calls.len();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (start, ended));
            continue;
        }
        let resumed;
        let (whole, began) = if rest.starts_with("<...") {
            let (start, began) =
                open.remove(thread).ok_or_else(|| format!("nothing to resume: {}", shown()))?;
            let (_, end) = rest.split_once(" resumed>").ok_or_else(|| format!("no end: {}", shown()))?;
            resumed = format!("{start}{end}");
            (resumed.as_str(), began)
        } else {
            (rest, ended)
        };
        calls.extend(call(whole, began).map_err(|why| format!("{why}: {}", shown()))?);
    }
    Ok(calls)
}

/// `None`: it failed, or never ended.
fn call(text: &str, began: usize) -> Result<Option<Call>, String> {
    let (name, rest) = text.split_once('(').ok_or("no call")?;
    let (arguments, rest) = split_arguments(rest)?;
    let result = rest.trim_start().strip_prefix("= ").ok_or("no result")?;
    let result = result.split_whitespace().next().unwrap_or_default();
    if result.starts_with('-') || result == "?" {
        return Ok(None);
    }
    let value = match result.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => result.parse(),
    };
    let result = value.map_err(|_| format!("result {result}"))?;
    Ok(Some(Call { name: name.to_owned(), arguments, result, began }))
}

/// Arguments up to the closing bracket of the call, and what follows it.
fn split_arguments(text: &str) -> Result<(Vec<String>, &str), String> {
    let mut arguments = Vec::new();
    let (mut start, mut depth, mut quoted, mut escaped) = (0, 0_u32, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 => {
                let last = text[start..at].trim();
                if !last.is_empty() {
                    arguments.push(last.to_owned());
                }
                return Ok((arguments, &text[at + 1..]));
            }
            b')' | b']' | b'}' => depth = depth.checked_sub(1).ok_or("brackets do not match")?,
            b',' if depth == 0 => {
                arguments.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    Err("no end of the arguments".to_owned())
}

/// The bytes of all strings in a piece of a line.
fn strings(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'"' {
            continue;
        }
        loop {
            match rest.next().ok_or("a string without an end")? {
                b'"' => break,
                b'\\' => bytes.push(escape(&mut rest)?),
                plain => bytes.push(plain),
            }
        }
        if rest.peek() == Some(&b'.') {
            return Err("strace cut a string short".to_owned());
        }
    }
    Ok(bytes)
}

fn escape(rest: &mut std::iter::Peekable<impl Iterator<Item = u8>>) -> Result<u8, String> {
    Ok(match rest.next().ok_or("an escape without an end")? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'v' => 0x0b,
        b'f' => 0x0c,
        first @ b'0'..=b'7' => {
            let mut value = u32::from(first - b'0');
            // At most three digits, shorter where no digit follows.
            for _ in 0..2 {
                let Some(digit) = rest.next_if(|byte| (b'0'..=b'7').contains(byte)) else { break };
                value = value * 8 + u32::from(digit - b'0');
            }
            u8::try_from(value).map_err(|_| format!("no byte: {value:o}"))?
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"
7  openat(AT_FDCWD, "/d/a (1), \"b\"", O_RDWR|O_CREAT, 0666) = 9
7  write(9, "\1\0012\377x\\\"\n", 8 <unfinished ...>
8  fdatasync(9 <unfinished ...>
7  <... write resumed>)                    = 8
8  <... fdatasync resumed>)                = 0
8  writev(9, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=1}], 2) = 3
8  fsync(9) = -1 EIO (Input/output error)
8  fcntl(9, F_GETFL) = 0x8002 (flags O_RDWR|O_LARGEFILE)
8  fsync(9 <unfinished ...>) = ?
7  +++ exited with 0 +++
"#;

    #[test]
    fn calls_stand_in_the_order_of_their_ends_and_know_when_they_began() {
        let calls = read(TRACE.trim()).unwrap();
        let shown: Vec<_> = calls.iter().map(|c| (c.name.as_str(), c.began, c.result)).collect();
        assert_eq!(
            shown,
            [("openat", 0, 9), ("write", 1, 8), ("fdatasync", 1, 0), ("writev", 3, 3), ("fcntl", 4, 0x8002)]
        );
        assert_eq!(calls[0].bytes(1).unwrap(), br#"/d/a (1), "b""#);
        assert_eq!(calls[1].bytes(1).unwrap(), b"\x01\x012\xffx\\\"\n");
        assert_eq!(calls[3].bytes(1).unwrap(), b"abc");
        assert_eq!(calls[3].number(2), Ok(2));
    }

    #[test]
    fn half_a_trace_proves_nothing() {
        for text in
            ["7 write(1, \"a\", 1", "7 <... write resumed>) = 1", "x", "7 write(1) 3", "7 write(1) = x"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(strings(r#""ab"..."#).is_err());
        assert!(strings(r#""ab"#).is_err());
    }
}
