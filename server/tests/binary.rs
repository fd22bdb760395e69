//! The binary from outside: exit codes, the ready line, keys at first start, stopping (contract, section 1).
//!
//! Not here: what it does with messages (the flow tests of the `tests` crate).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than any start or stop takes on a busy machine; only a fault waits that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// The binary, in a folder of its own, untouched by the environment of whoever runs the tests.
fn inboxd(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxd"));
    command.current_dir(folder).env_clear();
    for listener in ["MQTT", "HTTP", "ADMIN"] {
        command.env(format!("INBOXD_LISTEN__{listener}"), "127.0.0.1:0");
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    inboxd(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running server, killed when the test ends in any way.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line on standard output")
    }

    /// The ready line's addresses, which must be its very form: mqtt, http, admin.
    fn ready(&self) -> [SocketAddr; 3] {
        let line = self.line();
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[..2], ["inboxd", "ready"], "{line}");
        assert_eq!(words.len(), 5, "{line}");
        let address = |index: usize, name: &str| {
            words[index].strip_prefix(name).unwrap_or_else(|| panic!("{line}")).parse().unwrap()
        };
        [address(2, "mqtt="), address(3, "http="), address(4, "admin=")]
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        // Standard output closes when the process ends; what it still says is not of interest.
        while self.lines.recv_timeout(DEADLINE).is_ok() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_server_says_that_it_is_ready_makes_its_keys_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = inboxd(folder.path());
    serve.arg("serve");
    let mut server = Server::start(serve);
    let [mqtt, http, admin] = server.ready();
    for address in [mqtt, http, admin] {
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).unwrap();
    }
    assert!(get(admin, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(admin, "/metrics").contains("inboxd_build_info{"));
    assert!(get(http, "/").contains("<!doctype html>"));
    for name in ["auth.key", "admin.token"] {
        assert!(folder.path().join("inboxd-data").join(name).exists(), "{name}");
    }

    let second = run(folder.path(), &["serve"]);
    assert_eq!((second.status.code(), text(&second.stdout).as_str()), (Some(1), ""), "one server per folder");

    // Told to read its certificates again, of which it has none.
    server.signal("-HUP");
    assert!(get(admin, "/healthz").starts_with("HTTP/1.1 200"));
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));

    let token = run(folder.path(), &["token", "--account", "acme", "--user", "alice"]);
    let token_text = text(&token.stdout);
    assert_eq!((token.status.code(), token_text.lines().count()), (Some(0), 1), "{token:?}");
    assert_eq!(token_text.trim().split('.').count(), 3);
}

#[test]
fn the_demo_prints_an_address_to_open_and_stops_on_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = inboxd(folder.path());
    demo.args(["demo", "--data-dir", "here"]);
    let mut server = Server::start(demo);
    let [_, http, _] = server.ready();
    let url = format!("  http://{http}/#token=");
    while !server.line().starts_with(&url) {}
    assert!(folder.path().join("here/store").exists());
    server.signal("-INT");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn o1_to_i7_send_and_tail_talk_to_a_running_demo() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = inboxd(folder.path());
    demo.arg("demo");
    let server = Server::start(demo);
    let [mqtt, ..] = server.ready();
    let token = loop {
        let line = server.line();
        if let Some(token) = line.strip_prefix("  T=") {
            break token.to_owned();
        }
    };
    let mqtt = mqtt.to_string();
    let client = |command: &str, more: &[&str]| {
        let common = [command, "--mqtt", &mqtt, "--token", &token];
        run(folder.path(), &[&common, more].concat())
    };

    let to_customer = client("send", &["--to", "+12025550143@100000000000001", "--wait", "Hello"]);
    assert_eq!(to_customer.status.code(), Some(0), "{}", text(&to_customer.stderr));
    let lines: Vec<serde_json::Value> =
        text(&to_customer.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["accepted"], true);
    assert_eq!(lines[1]["data"]["command_id"], lines[0]["id"]);
    let last = lines.last().unwrap();
    assert!(["delivered", "read"].contains(&last["data"]["status"].as_str().unwrap()), "{last}");

    // Between users nothing rises beyond `sent` yet: there is nothing more to wait for.
    let to_user = client("send", &["--to", "user:bob", "--wait", "Breakfast?"]);
    assert_eq!(to_user.status.code(), Some(0), "{}", text(&to_user.stderr));
    let last = text(&to_user.stdout).lines().last().map(str::to_owned).unwrap();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["type"], &last["data"]["status"]), (&"message.created".into(), &"sent".into()));

    // The same id again has the effect of once; another body under it is refused; so is an unknown user.
    for (to, id, body, code) in [
        ("user:bob", "one", "Lunch?", 0),
        ("user:bob", "one", "Lunch?", 0),
        ("user:bob", "one", "Dinner?", 1),
        ("user:nobody", "two", "Lunch?", 1),
    ] {
        let sent = client("send", &["--to", to, "--id", id, body]);
        assert_eq!(sent.status.code(), Some(code), "{to} {id} {body}: {}", text(&sent.stderr));
    }

    let tail = client("tail", &["--after", "0", "--count", "3"]);
    assert_eq!(tail.status.code(), Some(0), "{}", text(&tail.stderr));
    let seqs: Vec<u64> = text(&tail.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [1, 2, 3]);

    // A named session goes on where it left off, and only there.
    for expected in [1, 2] {
        let more = ["--session", "desk", "--after", "0", "--count", "1"];
        let event: serde_json::Value = serde_json::from_str(&text(&client("tail", &more).stdout)).unwrap();
        assert_eq!(event["seq"], expected);
    }
}

#[test]
fn help_has_an_example_and_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["demo", "serve", "config", "token", "tail", "send", "verify", "backup", "restore"] {
        let help = run(folder.path(), &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(text(&help.stdout).contains(&format!("inboxd {command}")), "{command}");
        assert!(text(&help.stdout).contains("Example"), "{command}");
    }
}

#[test]
fn bad_usage_and_bad_configuration_exit_with_64_and_say_where() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[listen]\nmqtt = \"x\"\n").unwrap();
    for (arguments, said) in [
        (&[][..], "Usage"),
        (&["nothing"], "nothing"),
        (&["token"], "--account"),
        (&["token", "--account", "a", "--user", "+"], "--user"),
        (&["tail", "--token", "x"], "--token"),
        (&["verify", "--admin", "not a url"], "--admin"),
        (&["verify", "--admin", "127.0.0.1:9464"], "http://HOST:PORT"),
        (&["backup", "/b", "--admin", "http://h:99999"], "http://HOST:PORT"),
        (&["backup", "/b", "--admin", "localhost:9464"], "http://HOST:PORT"),
        (&["token", "--account", "a", "--user", "u", "--ttl", "0s"], "--ttl"),
        (&["token", "--account", "a", "--user", "u", "--ttl", "999ms"], "--ttl"),
        (&["send", "--token", "e30.eyJzdWIiOiJhIn0.x", "--to", "+1555", "hi"], "--to"),
        (&["serve", "--config", "bad.toml"], "bad.toml:2: `listen.mqtt`"),
        (&["config", "--check", "bad.toml"], "bad.toml:2: `listen.mqtt`"),
        (&["demo", "--config", "bad.toml"], "bad.toml:2: `listen.mqtt`"),
        (&["serve", "--config", "missing.toml"], "missing.toml"),
    ] {
        let mut command = inboxd(folder.path());
        command.env_remove("INBOXD_LISTEN__MQTT").args(arguments);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn what_cannot_work_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = inboxd(folder.path()).arg("serve").env("INBOXD_LISTEN__HTTP", &address).output().unwrap();
    assert_eq!(serve.status.code(), Some(1));
    assert!(text(&serve.stderr).contains("listen.http"), "{}", text(&serve.stderr));

    let token = run(folder.path(), &["token", "--account", "a", "--user", "b"]);
    assert_eq!((token.status.code(), text(&token.stdout).as_str()), (Some(1), ""));

    let jwks = inboxd(folder.path())
        .args(["token", "--account", "a", "--user", "b"])
        .env("INBOXD_AUTH__JWKS_URL", "https://id.example.com/keys")
        .output()
        .unwrap();
    assert_eq!((jwks.status.code(), text(&jwks.stdout).as_str()), (Some(1), ""));
}

#[test]
fn the_printed_configuration_checks() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(folder.path(), &["config"]);
    std::fs::write(folder.path().join("inboxd.toml"), &printed.stdout).unwrap();
    let checked = run(folder.path(), &["config", "--check", "inboxd.toml"]);
    assert_eq!((checked.status.code(), text(&checked.stdout)), (Some(0), "inboxd.toml: ok\n".to_owned()));
}
