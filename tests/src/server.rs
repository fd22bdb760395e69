//! The real binary, `inboxd serve`, in a folder of its own: start, stop, `kill -9`, start again on the same data.
//!
//! Which binary: `INBOXD_BIN`, else the debug binary of this workspace, brought up to date first. Every process is
//! ended and reaped by its handle when the test ends, however it ends. A failed test shows the end of the server's
//! log; a test that passed while the server panicked fails.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::deadline::within;
use crate::store::Keyspace;

/// Absolute path of the binary to be tested.
pub const BINARY_VARIABLE: &str = "INBOXD_BIN";
/// Lines of the log that a failed test shows.
const LOG_LINES: usize = 60;
const LOG_FILE: &str = "stderr.log";
const CONFIG_FILE: &str = "inboxd.toml";

/// Where a running server listens, from its ready line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
}

/// A server and its folder.
pub struct Server {
    folder: TempDir,
    /// Put before the binary, as strace is.
    wrapper: Vec<String>,
    /// Environment beside what it inherits.
    environment: Vec<(String, String)>,
    running: Option<Running>,
    /// Dropped last: the process that uses it has ended by then.
    keyspace: Option<Keyspace>,
}

struct Running {
    child: Child,
    addresses: Addresses,
    /// Standard output ended: the process has ended, or is about to.
    ended: Option<oneshot::Receiver<Vec<String>>>,
}

impl Server {
    /// A folder with this configuration and these further files; nothing runs yet.
    ///
    /// # Panics
    /// If the folder cannot be made.
    #[must_use]
    pub fn new(config: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("inboxd-test-").tempdir().expect("a temporary folder");
        for (name, text) in files.iter().chain(&[(CONFIG_FILE, config)]) {
            std::fs::write(folder.path().join(name), text).expect("a file in the temporary folder");
        }
        Self { folder, wrapper: Vec::new(), environment: Vec::new(), running: None, keyspace: None }
    }

    /// Its store is not in the folder but in this keyspace, which the configuration names.
    #[must_use]
    pub fn on(mut self, keyspace: Option<Keyspace>) -> Self {
        self.keyspace = keyspace;
        self
    }

    /// Starts the binary through another program (`strace …`), which must exec it under the same process id.
    pub fn wrap(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// Sets a variable for the processes to come.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// The folder with configuration, data and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.running.as_ref().expect("the server runs").addresses
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.running.as_ref().expect("the server runs").child.id()
    }

    /// Starts and waits for the ready line.
    ///
    /// # Panics
    /// If it runs already, cannot start, or says something else first.
    pub async fn start(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        let mut command = self.command();
        command.arg("serve").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = child.stdout.take().expect("standard output is piped");
        let (ready, ended) = follow(stdout);
        let addresses = Addresses {
            mqtt: SocketAddr::from(([0, 0, 0, 0], 0)),
            mqtts: None,
            http: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        // From here on the process is reaped with us, also where the next lines fail.
        let running = self.running.insert(Running { child, addresses, ended: Some(ended) });
        let line = within("the ready line", ready).await;
        let line = line.expect("the server ended before it was ready; its log follows");
        running.addresses = ready_line(&line);
    }

    /// Starts, and kills after `delay` or at the ready line, whichever comes first: a crash within recovery.
    ///
    /// # Panics
    /// If it runs already.
    pub async fn start_and_kill(&mut self, delay: Duration) {
        // At the ready line or not: both are moments to be killed at.
        let _ = tokio::time::timeout(delay, self.start()).await;
        self.kill();
    }

    /// `inboxd …` with this server's configuration: for the other subcommands, and for `start` itself.
    #[must_use]
    pub fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(self.folder().join(LOG_FILE));
        let mut words = self.wrapper.iter().map(PathBuf::from).chain([binary().to_owned()]);
        let mut command = Command::new(words.next().expect("at least the binary"));
        command
            .args(words)
            .arg("--config")
            .arg(self.folder().join(CONFIG_FILE))
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stderr(log.expect("a log in the temporary folder"))
            .envs(self.environment.iter().map(|(variable, value)| (variable, value)))
            // A panic in the log is worth more with its place.
            .env("RUST_BACKTRACE", "1");
        command
    }

    /// `kill -9`: the process ends at once, wherever it is.
    ///
    /// # Panics
    /// If it is not running.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("the server runs");
        running.child.kill().expect("our own child can be killed");
        running.child.wait().expect("our own child can be reaped");
    }

    /// SIGTERM.
    ///
    /// # Panics
    /// If it is not running.
    pub fn terminate(&self) {
        let pid = self.process().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().expect("`kill` runs");
        assert!(status.success(), "kill -TERM {pid}");
    }

    /// SIGTERM, then waits for the end and checks that it ends as it should: exit code 0, one line on standard output.
    pub async fn stop(&mut self) {
        self.terminate();
        let (status, lines) = self.exited().await;
        assert!(status.success(), "the server ended with {status}");
        assert_eq!(lines.len(), 1, "standard output: {lines:?}");
    }

    /// Waits until the process has ended by itself; gives how, and what it printed.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn exited(&mut self) -> (ExitStatus, Vec<String>) {
        let running = self.running.as_mut().expect("the server runs");
        let ended = running.ended.take().expect("nobody else waits for the end");
        let lines = within("the end of the server", ended).await.expect("the reader tells the end");
        let mut running = self.running.take().expect("the server ran a moment ago");
        (running.child.wait().expect("our own child can be reaped"), lines)
    }

    /// `kill -9`, then starts again on the same data. Ports are other ones.
    pub async fn crash(&mut self) {
        self.kill();
        self.start().await;
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.folder().join(LOG_FILE)) {
            let _ = file.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES);
            eprintln!("--- the end of the server's log:\n{}\n---", lines[from..].join("\n"));
        } else {
            assert!(!log.contains("panicked at"), "the server panicked:\n{log}");
        }
    }
}

/// Reads standard output to its end on a thread of its own: its first line when it comes, and all lines when it ends.
fn follow(stdout: ChildStdout) -> (oneshot::Receiver<String>, oneshot::Receiver<Vec<String>>) {
    let (ready, is_ready) = oneshot::channel();
    let (end, has_ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ready = Some(ready);
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(ready) = ready.take() {
                let _ = ready.send(line.clone());
            }
            lines.push(line);
        }
        let _ = end.send(lines);
    });
    (is_ready, has_ended)
}

/// `inboxd ready mqtt=… http=… admin=…`
fn ready_line(line: &str) -> Addresses {
    let rest = line.strip_prefix("inboxd ready ").unwrap_or_else(|| panic!("not the ready line: {line:?}"));
    let find = |name: &str| -> Option<SocketAddr> {
        let found = rest.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
        Some(found.parse().unwrap_or_else(|e| panic!("{name}= in {line:?}: {e}")))
    };
    let address = |name: &str| find(name).unwrap_or_else(|| panic!("no {name}= in {line:?}"));
    Addresses { mqtt: address("mqtt"), mqtts: find("mqtts"), http: address("http"), admin: address("admin") }
}

/// The binary under test.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os(BINARY_VARIABLE) {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(
                path.is_absolute() && path.is_file(),
                "{BINARY_VARIABLE} must be an absolute path of a file"
            );
            path
        }
        None => debug_binary(),
    })
}

/// The debug binary beside this test's own, brought up to date: a stale one would be tested in silence.
fn debug_binary() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--package", "inboxd", "--bin", "inboxd"]);
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "the binary cannot be built; or set {BINARY_VARIABLE}");
    // …/debug/deps/flow-0123 → …/debug/inboxd
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.ancestors().nth(2).expect("tests are two folders below").to_owned();
    folder.join("inboxd")
}
