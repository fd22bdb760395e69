//! A store that an older program wrote is still read: `fixtures/v*/store.pack`, kept as the program of that day left it.
//! Format 2 was left as a crash leaves it, with records that are to be worked off.
//!
//! Where the file is missing, the test writes it with the present program and fails, so that it is looked at and
//! committed: that is how the fixture of a new format is made. An old one is never made anew.
//! Not here: what rows look like (`store/src/rows`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemas::{Event, EventData, EventId, Status};
use store::conformance::{Engine, World, inbound, status, to_ana};
use store::engine::embedded::{Sizes, open, verify};
use store::verify::Report;
use store::{Clock, Settings, Store};

struct Embedded(PathBuf);

impl Engine for Embedded {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        open(&self.0, Sizes::default(), settings, clock).expect("the store opens")
    }

    fn verify(&self) -> Report {
        verify(&self.0, Sizes::default(), &mut |_, _, _| {}).expect("the store is readable")
    }
}

/// A folder as one small file: per file its path, its length, and its bytes without the zeros at its end (the engine
/// makes journals of 64 MiB that are mostly empty). Numbers are little-endian.
mod pack {
    use super::{BTreeMap, Path};

    fn files(folder: &Path, below: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a plain name");
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if entry.file_type().expect("a type").is_dir() {
                files(&entry.path(), &path, found);
            } else {
                found.insert(path, std::fs::read(entry.path()).expect("a file"));
            }
        }
    }

    pub(super) fn pack(folder: &Path) -> Vec<u8> {
        let mut found = BTreeMap::new();
        files(folder, "", &mut found);
        let mut packed = Vec::new();
        for (path, bytes) in found {
            let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            for number in [path.len(), bytes.len(), kept] {
                packed.extend((number as u64).to_le_bytes());
            }
            packed.extend(path.as_bytes());
            packed.extend(&bytes[..kept]);
        }
        packed
    }

    pub(super) fn unpack(mut packed: &[u8], folder: &Path) {
        while !packed.is_empty() {
            let mut take = |count| packed.split_off(..count).expect("the pack is whole");
            let numbers = [(); 3].map(|()| u64::from_le_bytes(take(8).try_into().expect("eight bytes")));
            let [path, len, kept] = numbers.map(|number| usize::try_from(number).expect("a small number"));
            let path = folder.join(str::from_utf8(take(path)).expect("a path"));
            std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder is made");
            let mut bytes = take(kept).to_vec();
            bytes.resize(len, 0);
            std::fs::write(path, bytes).expect("a file is written");
        }
    }
}

/// Some of everything: messages both ways, statuses, a status nobody knows, a send that is open.
async fn fill(world: &World) {
    for n in 0..5 {
        world.webhook(vec![inbound(&format!("wamid.{n}"), &format!("text {n}"), world.now())]).await;
        world.pass(1000);
    }
    let sent = world.send("alice", "c1", to_ana(), "answer").await;
    world.webhook(vec![status("wamid.out", Some(sent.id), Status::Delivered, world.now())]).await;
    world.webhook(vec![status("wamid.stranger", None, Status::Sent, world.now())]).await;
    world.send("bob", "c2", to_ana(), "not sent yet").await;
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

fn fixture(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version).join("store.pack")
}

/// The folder as it is while the store is open: what a crash leaves.
async fn make(path: &Path) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = World::new(Embedded(folder.path().to_owned())).await;
    fill(&world).await;
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder is made");
    std::fs::write(path, pack::pack(folder.path())).expect("the fixture is written");
    world.finish().await;
}

#[tokio::test]
async fn a_store_of_format_1_is_read_and_goes_on() {
    is_read_and_goes_on("v1").await;
}

#[tokio::test]
async fn a_store_of_format_2_is_read_and_goes_on() {
    is_read_and_goes_on("v2").await;
}

async fn is_read_and_goes_on(version: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Ok(packed) = std::fs::read(fixture(version)) else {
        make(&fixture(version)).await;
        panic!("there was no fixture; it was made now, look at it and commit it");
    };
    pack::unpack(&packed, folder.path());
    let world = World::new(Embedded(folder.path().to_owned())).await;
    let events = world.events("acme", "alice").await;
    let texts: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::MessageCreated(message) => message.text.as_deref(),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["text 0", "text 1", "text 2", "text 3", "text 4", "answer", "not sent yet"]);
    assert_eq!(ids(&events), ids(&world.events("acme", "bob").await));
    let open = world.store.open_sends(None, 9).await.expect("sends are read");
    assert_eq!(open.iter().map(|send| send.text.as_str()).collect::<Vec<_>>(), ["answer", "not sent yet"]);

    // What is once stays once, and numbers go on.
    assert_eq!(world.webhook(vec![inbound("wamid.3", "text 3", world.now())]).await.repeated, 1);
    assert_eq!(world.webhook(vec![inbound("wamid.new", "new", world.now())]).await.applied, 1);
    assert_eq!(world.events("acme", "bob").await.len(), events.len() + 1);
    world.finish().await;
}
