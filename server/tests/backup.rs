//! `verify`, `backup` and `restore` on the real binary: with a running server, and without one.
//!
//! Not here: what is in a backup (`store/tests/backup.rs`).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const NUMBERS: &str = r#"[{"account":"acme","phone_number_id":"1","access_token":"t","app_secret":"s","agents":["alice","bob"]}]"#;

fn inboxd(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxd"));
    command.args(arguments).current_dir(folder).env_clear().env("INBOXD_WHATSAPP__NUMBER", NUMBERS);
    for listener in ["MQTT", "HTTP", "ADMIN"] {
        command.env(format!("INBOXD_LISTEN__{listener}"), "127.0.0.1:0");
    }
    command
}

fn run(folder: &Path, arguments: &[&str], code: i32, says: &str) {
    let Output { status, stdout, stderr } = inboxd(folder, arguments).output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
}

/// Killed when the test ends in any way.
struct Server {
    child: Child,
    mqtt: String,
    admin: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: &Path) -> Server {
    let spawned = inboxd(folder, &["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = |name: &str| {
        let found = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{ready}")).to_owned()
    };
    Server { child, mqtt: address("mqtt="), admin: format!("http://{}", address("admin=")) }
}

#[test]
fn a_running_server_is_backed_up_and_its_store_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    run(home, &["backup", "first"], 1, "there is no store");
    run(home, &["restore", "first"], 1, "inboxd.backup");
    let server = serve(home);
    let token = inboxd(home, &["token", "--account", "acme", "--user", "alice"]).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let sent = ["send", "--mqtt", &server.mqtt, "--token", token.trim(), "--to", "user:bob", "Lunch?"];
    run(home, &sent, 0, "accepted");

    let first = home.join("first");
    let first = first.to_str().unwrap();
    run(home, &["verify"], 1, "give --admin");
    run(home, &["verify", "--admin", &server.admin], 0, " 0 broken promises");
    run(home, &["backup", "first", "--admin", &server.admin], 64, "must be absolute");
    run(home, &["backup", first, "--admin", &server.admin], 0, "first/inboxd.backup: ");
    run(home, &["backup", first, "--admin", &server.admin], 1, "is there already");
    run(home, &["restore", "first"], 1, "a server holds it: stop it first");
    run(home, &["migrate", "--to", "embedded:there"], 1, "a server holds it: stop it first");
    std::fs::write(home.join("inboxd-data/admin.token"), "another\n").unwrap();
    run(home, &["verify", "--admin", &server.admin], 1, "token_invalid");
    drop(server);

    run(home, &["restore", "first"], 1, "there is a store at");
    run(home, &["verify"], 0, " 0 broken promises");
    run(home, &["backup", "second"], 0, "second/inboxd.backup: ");
    std::fs::rename(home.join("inboxd-data/store"), home.join("old")).unwrap();
    run(home, &["restore", "first"], 0, "clients will take a snapshot");
    run(home, &["verify"], 0, " 0 broken promises");
    let again = serve(home);
    let tail = ["tail", "--mqtt", &again.mqtt, "--token", token.trim(), "--after", "0", "--count", "1"];
    run(home, &tail, 0, "Lunch?");
}

/// The folder is the server's also when its store has been moved away, which is what `restore` advises; and nobody's once
/// the server is gone, by `kill -9` too.
#[test]
fn a_folder_has_one_server_wherever_its_store_is() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let server = serve(home);
    let backup = home.join("backup");
    run(home, &["backup", backup.to_str().unwrap(), "--admin", &server.admin], 0, "inboxd.backup");
    std::fs::rename(home.join("inboxd-data/store"), home.join("moved")).unwrap();
    let dir = home.join("inboxd-data").display().to_string();
    for command in [&["restore", "backup"][..], &["serve"], &["migrate", "--to", "embedded:there"]] {
        run(home, command, 1, "a server holds it: stop it first");
        run(home, command, 1, &dir);
    }
    assert!(!home.join("inboxd-data/store").exists());
    std::fs::create_dir(home.join("other")).unwrap();
    std::fs::rename(home.join("moved"), home.join("other/store")).unwrap();
    let migrate = ["migrate", "--to", &format!("embedded:{dir}")];
    let moved = inboxd(home, &migrate).env("INBOXD_DATA_DIR", "other").output().unwrap();
    let said = String::from_utf8(moved.stderr).unwrap();
    assert!(moved.status.code() == Some(1) && said.contains("a server holds"), "{said}");
    drop(server);
    run(home, &["restore", "backup"], 0, "clients will take a snapshot");
    serve(home);
}
