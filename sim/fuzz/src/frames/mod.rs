//! Target `frames`: WebSocket streams, most of them mutated, against the machine that reads frames and against a real
//! broker on the model store, in memory. I7, O1.
//!
//! Streams are frames with PINGREQs in them, cut and mixed with control frames in every legal way. What must become of
//! them is told by a model of RFC 6455 (`rfc`). The machine (`machine`) gets [`MACHINE_STREAMS`] a case, in pieces, and
//! agrees with the model to the byte. The broker gets one: a connection is opened and let in, and what comes back must be
//! a PINGRESP for each PINGREQ before the end or the first broken rule, that rule's close code, and nothing that is no
//! frame.
//! Not here: the handshake before (`broker/tests`), packets (`packets`).

mod machine;
mod rfc;
mod server;

use broker_protocol::codec::{self, Frame};
use sim::mqtt::read::{self, Packet};
use sim::mqtt::{V5, write};
use sim::whatsapp::rng::Rng;

use crate::{Finding, mutate, seed_of};
use rfc::{Ending, Stream};
use server::Server;

/// Number of this target in seeds.
pub const TARGET: u64 = 3;
/// Most messages of a case.
const MESSAGES_MAX: u64 = 6;
/// Progress is told after so many cases.
const PROGRESS_EVERY: u64 = 1_000;
/// Streams of a case for the machine: it takes a thousand while the broker takes one.
const MACHINE_STREAMS: u64 = 50;
/// Close code where the client just leaves.
const NORMAL: u16 = 1000;

/// The handshake of RFC 6455, with its own example key.
pub const HANDSHAKE: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// PINGREQs answered.
    pub pings: u64,
    /// Streams that broke a rule.
    pub broken: u64,
    /// Streams that broke none.
    pub whole: u64,
    /// Streams with text.
    pub text: u64,
}

/// Runs cases one after the other against one broker; tells how many are done.
///
/// # Errors
/// The case that failed, and what it found.
pub fn run(from: u64, count: u64, progress: &mut dyn FnMut(u64)) -> Result<Marks, (u64, Finding)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| (from, Finding::new(error.to_string())))?;
    runtime.block_on(async {
        let server = Server::start().map_err(|finding| (from, finding))?;
        let mut marks = Marks::default();
        for case in from..from.saturating_add(count) {
            one(&server, case, &mut marks).await.map_err(|finding| (case, finding))?;
            if (case + 1 - from).is_multiple_of(PROGRESS_EVERY) {
                progress(case + 1 - from);
            }
        }
        // A good client is served afterwards.
        let good = rfc::message(&mut Rng::new(0), 2, &write::PINGREQ);
        let got = server.exchange(&good).await.map_err(|finding| (from, finding))?;
        let pings = answered(&got).map_err(|finding| (from, finding))?.0;
        if pings == 1 { Ok(marks) } else { Err((from, Finding::new("a good client is not served"))) }
    })
}

/// A stream, mutated or not.
fn stream(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + rng.below(MESSAGES_MAX) {
        match rng.below(12) {
            0 => bytes.extend(rfc::message(rng, 1, b"text")),
            1 => bytes.extend(rfc::message(rng, 8, &[3, 0xE8])),
            2 => bytes.extend(rfc::message(rng, 9, b"ping")),
            _ => {
                let pings = usize::try_from(1 + rng.below(4)).unwrap_or(1);
                bytes.extend(rfc::message(rng, 2, &write::PINGREQ.repeat(pings)));
            }
        }
    }
    if rng.chance(0.7) {
        let other = bytes.clone();
        mutate::mutate(rng, &mut bytes, &other);
    }
    bytes
}

async fn one(server: &Server, case: u64, marks: &mut Marks) -> Result<(), Finding> {
    let mut rng = Rng::new(seed_of(TARGET, case));
    for _ in 0..MACHINE_STREAMS {
        let bytes = stream(&mut rng);
        machine::check(&mut rng, &bytes)?;
    }
    let bytes = stream(&mut rng);
    let expected = rfc::read(&bytes, true);
    let (pings, plain) = asked(&expected.data);
    let got = server.exchange(&bytes).await?;
    let (answered, code) = answered(&got)?;
    marks.pings += answered;
    marks.broken += u64::from(matches!(expected.ending, Ending::Broken(_)));
    marks.whole += u64::from(expected.ending == Ending::Open);
    marks.text += u64::from(expected.ending == Ending::Broken(rfc::UNSUPPORTED_DATA));
    if answered > pings || (plain && answered != pings) {
        return Err(Finding::new(format!("{pings} PINGREQ, {answered} PINGRESP, {:?}", expected.ending)));
    }
    let told = match expected.ending {
        Ending::Open => Some(NORMAL),
        Ending::Close(code) => code,
        Ending::Broken(code) => Some(code),
    };
    if plain && code != told {
        return Err(Finding::new(format!("{:?} is answered with {code:?}", expected.ending)));
    }
    Ok(())
}

/// PINGREQs before the first packet that is something else, and whether there is no such packet.
fn asked(mut data: &[u8]) -> (u64, bool) {
    let mut pings = 0;
    let mut plain = true;
    while let Ok(Frame::Complete { total, .. }) = codec::frame(data, None, usize::MAX) {
        plain &= data[..total] == write::PINGREQ;
        pings += u64::from(data[..total] == write::PINGREQ);
        data = &data[total..];
    }
    (pings, plain && matches!(data, [] | [0xC0]))
}

/// PINGRESPs among what came, and the code of the Close that ends it.
fn answered(got: &[u8]) -> Result<(u64, Option<u16>), Finding> {
    let Stream { data, ending, rest, .. } = rfc::read(got, false);
    let Ending::Close(code) = ending else {
        return Err(Finding::new(format!("no frames, or no Close at their end: {ending:?} {got:02x?}")));
    };
    if rest > 0 {
        return Err(Finding::new(format!("the server's last frame is cut: {got:02x?}")));
    }
    let (mut pings, mut at) = (0, 0);
    while let Some((packet, length)) =
        read::packet(V5, &data[at..]).map_err(|error| Finding::new(error.to_string()))?
    {
        pings += u64::from(packet == Packet::PingResp);
        at += length;
    }
    if at == data.len() { Ok((pings, code)) } else { Err(Finding::new("a packet is cut")) }
}

/// Bytes of MQTT in frames that know nothing of packets. `[v5:6.0.0-2]`
#[must_use]
pub fn in_frames(rng: &mut Rng, mut mqtt: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !mqtt.is_empty() {
        let (piece, rest) = mqtt.split_at(1 + mutate::place(rng, mqtt.len()));
        bytes.extend(rfc::message(rng, 2, piece));
        mqtt = rest;
    }
    bytes
}
