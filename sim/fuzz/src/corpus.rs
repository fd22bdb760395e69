//! What mutations start from: packets of real clients as they were recorded, and some made by hand for each kind.
//!
//! `corpus/packets/*.txt`: one packet a line, `v311` or `v5`, then its bytes in hexadecimal; `#` begins a remark.

use std::path::Path;

use broker_protocol::Version;

/// A packet.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Version it is written in.
    pub version: Version,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All packets.
///
/// # Panics
/// Where a file cannot be read: the corpus is a part of this crate.
#[must_use]
pub fn packets() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/packets");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("the corpus can be listed").path())
        .collect();
    // In an order of our own: a replay must find the same packet at the same place.
    files.sort();
    let mut seeds = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("the corpus can be read");
        for line in text.lines() {
            let words = line.split('#').next().unwrap_or_default().trim();
            if !words.is_empty() {
                let seed = seed(words);
                seeds.push(seed.unwrap_or_else(|| panic!("{}: not a packet: {line}", file.display())));
            }
        }
    }
    assert!(!seeds.is_empty(), "the corpus is empty");
    seeds
}

fn seed(line: &str) -> Option<Seed> {
    let (version, hex) = line.split_once(' ')?;
    let version = match version {
        "v311" => Version::V311,
        "v5" => Version::V5,
        _ => return None,
    };
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_graphic).collect();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Some(Seed { version, bytes: pairs.collect::<Option<_>>()? })
}
