//! Connections for a real server: what a client that means ill sends, from the first byte to the last. O1, I7.
//!
//! Half of them are let in first, so that what follows reaches the session and the store. Not here: sockets
//! (`tests/tests/flow/anything.rs`).

use sim::mqtt::V5;
use sim::mqtt::write::{self, Connect, Properties, Publish};
use sim::whatsapp::rng::Rng;

use crate::corpus::Seed;
use crate::frames::{HANDSHAKE, in_frames};
use crate::{mutate, seed_of};

/// Number of these cases in seeds.
const TARGET: u64 = 4;
/// Most packets of a connection.
const PACKETS_MAX: u64 = 12;
/// Names of clients: so few that they take each other over, and their sessions fill.
const CLIENTS: u64 = 40;

/// A connection.
#[derive(Clone, Debug)]
pub struct Live {
    /// To the HTTP port, or to that of MQTT.
    pub websocket: bool,
    /// All that is sent.
    pub bytes: Vec<u8>,
    /// Packets among it.
    pub packets: u64,
}

/// A case.
#[must_use]
pub fn case(corpus: &[Seed], token: &str, case: u64) -> Live {
    let mut rng = Rng::new(seed_of(TARGET, case));
    let mut level = if rng.chance(0.5) { V5 } else { sim::mqtt::V311 };
    let mut mqtt = Vec::new();
    if rng.chance(0.9) {
        let connect = Connect {
            level,
            clean: rng.chance(0.7),
            client_id: format!("fuzz-{}", rng.below(CLIENTS)),
            user: Some("u".to_owned()),
            password: Some(token.as_bytes().to_vec()),
            // A minute, so that sessions stay.
            properties: Properties::default().long(0x11, 60),
            ..Connect::default()
        };
        mqtt.extend(connect.bytes());
    } else {
        level = V5;
    }
    let packets = 1 + rng.below(PACKETS_MAX);
    for _ in 0..packets {
        let seed = &corpus[mutate::place(&mut rng, corpus.len())];
        let other = &corpus[mutate::place(&mut rng, corpus.len())];
        let mut bytes = if rng.chance(0.5) { honest(&mut rng, level) } else { seed.bytes.clone() };
        if rng.chance(0.6) {
            mutate::mutate(&mut rng, &mut bytes, &other.bytes);
            mutate::repair_length(&mut bytes);
        }
        mqtt.extend(bytes);
    }
    let websocket = rng.chance(0.3);
    if !websocket {
        return Live { websocket, bytes: mqtt, packets };
    }
    let mut bytes = HANDSHAKE.to_vec();
    let mut frames = in_frames(&mut rng, &mqtt);
    if rng.chance(0.3) {
        let other = frames.clone();
        mutate::mutate(&mut rng, &mut frames, &other);
    }
    bytes.extend(frames);
    if rng.chance(0.05) {
        mutate::mutate(&mut rng, &mut bytes, b"\r\nUpgrade: websocket\r\nContent-Length: 9\r\n");
    }
    Live { websocket, bytes, packets }
}

/// A packet that is in order.
fn honest(rng: &mut Rng, level: u8) -> Vec<u8> {
    const TOPICS: [&str; 4] = ["a/b", "été/x", "user/alice/outbox", "fuzz"];
    const FILTERS: [&str; 4] = ["a/#", "$share/g/+/x", "#", "user/alice/inbox"];
    let qos = u8::try_from(rng.below(3)).unwrap_or(0);
    let id = u16::try_from(1 + rng.below(5)).unwrap_or(1);
    match rng.below(5) {
        0 => {
            let filter = FILTERS[mutate::place(rng, FILTERS.len())].to_owned();
            write::subscribe(level, id, &Properties::default(), &[(filter, qos)])
        }
        1 => write::ack([0x40, 0x50, 0x62, 0x70][mutate::place(rng, 4)], id, 0),
        2 => write::PINGREQ.to_vec(),
        _ => {
            let topic = TOPICS[mutate::place(rng, TOPICS.len())].to_owned();
            let (payload, retain) = (b"{}".to_vec(), rng.chance(0.1));
            Publish { topic, payload, qos, retain, id, ..Publish::default() }.bytes(level)
        }
    }
}
