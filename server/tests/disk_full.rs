//! A disk that is nearly full, on the real binary: nothing that adds data is taken, everything else goes on.
//!
//! The mark is set higher than any disk is large. Not here: when a disk counts as full (`store/src/space.rs`), what
//! MQTT clients are told (`broker/protocol`).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than any answer takes on a busy machine; only a fault waits that long.
const DEADLINE: Duration = Duration::from_secs(60);
const SECRET: &str = "geheim";
const NUMBERS: &str =
    r#"[{"account":"acme","phone_number_id":"100000000000001","access_token":"t","agents":["alice"]}]"#;

/// Killed when the test ends in any way.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn inboxd(folder: &std::path::Path, argument: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxd"));
    command.args(argument).current_dir(folder).env_clear();
    for listener in ["MQTT", "HTTP", "ADMIN"] {
        command.env(format!("INBOXD_LISTEN__{listener}"), "127.0.0.1:0");
    }
    command
        .env("INBOXD_WHATSAPP__APP_SECRET", SECRET)
        .env("INBOXD_WHATSAPP__NUMBER", NUMBERS)
        .env("INBOXD_STORE__MIN_FREE_BYTES", (1_u64 << 60).to_string());
    command
}

/// Sends a request and reads the whole answer.
fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_full_disk_is_told_to_everybody_and_takes_nothing_down() {
    let folder = tempfile::tempdir().unwrap();
    let serve = inboxd(folder.path(), &["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut server = Running(serve.unwrap());
    let mut ready = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = |name: &str| {
        let found = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{ready}")).to_owned()
    };
    let (http, admin) = (address("http="), address("admin="));

    let body = r#"{"object":"whatsapp_business_account","entry":[]}"#;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature: String =
        ring::hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let webhook = ask(
        &http,
        &format!("POST /webhooks/whatsapp HTTP/1.1\r\nX-Hub-Signature-256: sha256={signature}"),
        body,
    );
    assert!(webhook.starts_with("HTTP/1.1 503"), "WhatsApp sends it again: {webhook}");

    let token = inboxd(folder.path(), &["token", "--account", "acme", "--user", "alice"]).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let to = r#"{"whatsapp":"+15550000002","number":"100000000000001"}"#;
    let command = format!(r#"{{"id":"one","to":{to},"kind":"text","text":"hi"}}"#);
    let sent = ask(&http, &format!("POST /v1/messages HTTP/1.1\r\n{bearer}"), &command);
    assert!(sent.starts_with("HTTP/1.1 503"), "{sent}");
    assert!(sent.contains("application/problem+json") && sent.contains("\"store_unavailable\""), "{sent}");

    let list = ask(&http, &format!("GET /v1/conversations HTTP/1.1\r\n{bearer}"), "");
    assert!(list.starts_with("HTTP/1.1 200"), "reading goes on: {list}");
    assert!(ask(&admin, "GET /healthz HTTP/1.1", "").starts_with("HTTP/1.1 200"), "a restart would not help");
    let ready = ask(&admin, "GET /readyz HTTP/1.1", "");
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("disk full"),
        "nothing new is to come here: {ready}"
    );
    let metrics = ask(&admin, "GET /metrics HTTP/1.1", "");
    let free = metrics.lines().find_map(|line| line.strip_prefix("inboxd_store_free_bytes "));
    assert!(free.is_some_and(|bytes| bytes.parse::<f64>().is_ok_and(|bytes| bytes > 0.0)), "{free:?}");
}
