//! `migrate` on the real binary: killed in the middle it goes on, and the server that starts on the copy has everything.
//!
//! Not here: what is compared (`store/src/migrate.rs`), ScyllaDB (`store/tests/scylla`).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::{Epoch, Millis};
use store::engine::embedded::{Sizes, open};
use store::{JournalOp, Op, Settings, commit};

/// Longer than copying takes on a busy machine; only a fault waits that long.
const DEADLINE: Duration = Duration::from_secs(120);
/// Raw webhooks of a MiB each: copying them takes long enough to be killed within.
const WEBHOOKS: usize = 100;
/// Bytes of the half-made store at which it is killed.
const KILLED_AT: u64 = 8 << 20;

fn inboxd(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxd"));
    command.args(arguments).current_dir(folder).env_clear();
    command
}

fn run(folder: &Path, arguments: &[&str], code: i32, says: &str) -> String {
    let Output { status, stdout, stderr } = inboxd(folder, arguments).output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
    said
}

async fn fill(folder: &Path) {
    let store = open(folder, Sizes::default(), Settings::new(Epoch(7)), Arc::new(|| Millis(1))).unwrap();
    for n in 0..WEBHOOKS {
        let body = format!("{n} {}", "x".repeat(1 << 20)).into();
        commit(&*store, Op::Journal(JournalOp { body, received_us: 1 })).await.unwrap();
    }
    store.close().await;
}

/// Bytes that the blocks of all files below a folder take.
fn bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = folder.read_dir() else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[tokio::test]
async fn killed_in_the_middle_a_migration_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    run(folder, &["migrate", "--to", "embedded:there"], 1, "there is no store");
    fill(&folder.join("inboxd-data/store")).await;
    run(folder, &["migrate", "--to", "redis://there"], 64, "must start with scylla://");
    run(folder, &["migrate", "--to", "embedded"], 1, "there is a store at");

    let mut killed = inboxd(folder, &["migrate", "--to", "embedded:there"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (half, whole) = (folder.join("there/store.migrating"), folder.join("there/store"));
    let started = Instant::now();
    while bytes(&half) < KILLED_AT {
        assert!(started.elapsed() < DEADLINE && !whole.exists(), "it was too slow, or too quick");
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(half.exists() && !whole.exists(), "half a store has another name");

    let said =
        run(folder, &["migrate", "--to", "embedded:there"], 0, "epoch 00000000000000000000000007 as before");
    assert!(said.contains("were there from an earlier attempt"), "{said}");
    assert!(!half.exists() && whole.exists());
    run(folder, &["migrate", "--to", "embedded:there"], 1, "there is a store at");
    let said = run(folder, &["migrate", "--to", "embedded:again", "--json"], 0, "\"resumed_after\":0");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let journal =
        report["tables"].as_array().unwrap().iter().find(|table| table["table"] == "journal").unwrap();
    assert_eq!(journal["rows"], WEBHOOKS);
    let verified = inboxd(folder, &["verify"]).env("INBOXD_DATA_DIR", "there").output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
