//! Real clients of others: found where they are installed, loudly skipped where not.
//!
//! `INBOXD_CI_STRICT=1` (set where everything was installed beforehand) turns a skip into a failure. Not here: the
//! scripts themselves (`clients/` beside `src/`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// 1: what is skipped counts as failed.
pub const STRICT_VARIABLE: &str = "INBOXD_CI_STRICT";
/// A python that has paho-mqtt.
pub const PYTHON_VARIABLE: &str = "INBOXD_PYTHON";

/// The first of these programs that the search path holds.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Says that something was not tried, and why.
///
/// # Panics
/// In a strict run.
pub fn skip(what: &str, why: &str) {
    eprintln!("SKIPPED {what}: {why}");
    let strict = std::env::var_os(STRICT_VARIABLE).is_some_and(|value| value == "1");
    assert!(!strict, "{STRICT_VARIABLE}=1 and {what} was skipped: {why}");
}

/// `clients/NAME` of this crate.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// Python with paho-mqtt, or why there is none.
///
/// # Errors
/// A text for [`skip`].
pub fn python() -> Result<PathBuf, String> {
    let named = std::env::var_os(PYTHON_VARIABLE).map(PathBuf::from);
    let python = named.or_else(|| tool("python3")).ok_or("no python3")?;
    let has_paho = Command::new(&python)
        .args(["-c", "import paho.mqtt.client"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if has_paho {
        Ok(python)
    } else {
        Err(format!("{} has no paho-mqtt; set {PYTHON_VARIABLE}", python.display()))
    }
}

/// Node, and the folder whose `node_modules` has MQTT.js, or why there is none.
///
/// # Errors
/// A text for [`skip`].
pub fn mqtt_js() -> Result<(PathBuf, PathBuf), String> {
    let node = tool("node").ok_or("no node")?;
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web");
    let folders = [script(""), web];
    let found = folders.into_iter().find(|folder| folder.join("node_modules/mqtt/package.json").is_file());
    let folder = found.ok_or("MQTT.js is not installed: `npm ci` in web/ or tests/clients/")?;
    Ok((node, folder.canonicalize().map_err(|e| e.to_string())?))
}

/// A program of somebody else that runs, ended and reaped with its test.
pub struct Program {
    child: Child,
    name: String,
    lines: tokio::sync::mpsc::Receiver<String>,
}

/// Lines of a program that wait to be read; a test reads them one by one.
const LINES_MAX: usize = 10_000;

impl Program {
    /// Starts it with standard output in our hands.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = tokio::sync::mpsc::channel(LINES_MAX);
        std::thread::spawn(move || {
            use std::io::BufRead as _;
            for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, name, lines }
    }

    /// Its next line; none when it has ended.
    pub async fn line(&mut self) -> Option<String> {
        crate::deadline::within(&format!("a line of {}", self.name), self.lines.recv()).await
    }

    /// Its next line that `wanted` accepts.
    ///
    /// # Panics
    /// If it ends before.
    pub async fn line_with(&mut self, wanted: &str) -> String {
        let mut seen = Vec::new();
        while let Some(line) = self.line().await {
            if line.contains(wanted) {
                return line;
            }
            seen.push(line);
        }
        panic!("{} ended without a line with {wanted:?}: {seen:#?}", self.name)
    }

    /// Waits for its end and fails the test unless it ended well.
    ///
    /// # Panics
    /// If it ended badly.
    pub async fn finish(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(line) = self.line().await {
            rest.push(line);
        }
        let status = self.child.wait().expect("our own child can be reaped");
        assert!(status.success(), "{} ended with {status}: {rest:#?}", self.name);
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
