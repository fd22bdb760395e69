//! Target `packets`: bytes ↔ packets. O1, I7.
//!
//! For any bytes: the end of a packet lies within its limit and within what is there; decoding says yes or no, the same
//! twice; what it says yes to means the same when it is written anew in the plainest form (decode ∘ encode ∘ decode =
//! decode); and what goes out to a client is as large as the client takes at most, and can be read by a strict reader.
//! Not here: what a packet leads to (`sessions`).

mod anew;

use std::num::NonZeroU16;

use broker_protocol::codec::{self, Ack, Encoder, Frame, Opening, PublishOut, decode};
use broker_protocol::{Incoming, Publish, Version};
use bytes::BytesMut;
use sim::mqtt::read::{self, Packet};
use sim::whatsapp::rng::Rng;

use crate::corpus::Seed;
use crate::{Finding, mutate, seed_of};

/// Number of this target in seeds.
pub const TARGET: u64 = 1;
/// Limits a packet is framed against.
const LIMITS: [usize; 4] = [16, 128, 4 << 10, 256 << 10];
/// Bytes of the longest fixed header.
const HEADER_MAX: usize = 5;

/// How a case ended: for telling that mutations reach both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Not framed, or the first of a connection and none of ours.
    Unframed,
    /// Refused by the decoder.
    Refused,
    /// Decoded.
    Decoded,
}

/// Runs a case.
///
/// # Errors
/// [`Finding`].
pub fn run(corpus: &[Seed], case: u64) -> Result<End, Finding> {
    let mut rng = Rng::new(seed_of(TARGET, case));
    let seed = &corpus[mutate::place(&mut rng, corpus.len())];
    let other = &corpus[mutate::place(&mut rng, corpus.len())];
    let mut bytes = seed.bytes.clone();
    mutate::mutate(&mut rng, &mut bytes, &other.bytes);
    if rng.chance(0.8) {
        mutate::repair_length(&mut bytes);
    }
    let mixed = rng.chance(0.1);
    let version = if mixed { other.version } else { seed.version };
    check(version, &bytes, LIMITS[mutate::place(&mut rng, LIMITS.len())])
}

/// Checks some bytes.
///
/// # Errors
/// [`Finding`].
pub fn check(version: Version, bytes: &[u8], limit: usize) -> Result<End, Finding> {
    let unknown = codec::frame(bytes, None, limit);
    let (header, total) = match codec::frame(bytes, Some(version), limit) {
        Ok(Frame::Complete { header, total }) => (header, total),
        Ok(Frame::Incomplete) => {
            // Whatever is announced is refused before it is waited for.
            let waits = bytes.len() > limit;
            return if waits { Err(Finding::new("it waits beyond the limit")) } else { Ok(End::Unframed) };
        }
        Err(_) => return Ok(End::Unframed),
    };
    if total > limit || total > bytes.len() || header > HEADER_MAX || header > total {
        return Err(Finding::new(format!("a frame of {header} + … = {total} bytes of {}", bytes.len())));
    }
    if unknown != Ok(Frame::Complete { header, total }) {
        return Err(Finding::new("a packet whose end depends on what is known of its version"));
    }
    let frame = &bytes[..total];
    if frame[0] == 0x10
        && let Opening::Version(said) = codec::opening(frame, header)
        && said != version
    {
        return check(said, bytes, limit);
    }
    let decoded = decode(version, BytesMut::from(frame), header);
    if decoded != decode(version, BytesMut::from(frame), header) {
        return Err(Finding::new("the same bytes decoded in two ways"));
    }
    let Ok(packet) = decoded else { return Ok(End::Refused) };
    bounded(&packet, total)?;
    let anew = anew::bytes(version, &packet);
    let again = match codec::frame(&anew, Some(version), usize::MAX) {
        Ok(Frame::Complete { header, total }) if total == anew.len() => {
            decode(version, BytesMut::from(&anew[..]), header)
        }
        other => return Err(Finding::new(format!("written anew it is framed as {other:?}"))),
    };
    if again.as_ref() != Ok(&packet) {
        return Err(Finding::new(format!("{packet:?} written anew is {again:?}")));
    }
    if let Incoming::Publish(publish) = &packet {
        outgoing(version, publish, limit)?;
    }
    Ok(End::Decoded)
}

/// Nothing decoded holds more than came in.
fn bounded(packet: &Incoming, total: usize) -> Result<(), Finding> {
    let held = match packet {
        Incoming::Publish(publish) => publish.message.topic.len() + publish.message.payload.len(),
        Incoming::Subscribe(subscribe) => subscribe.filters.iter().map(|f| f.filter.len() + 3).sum(),
        Incoming::Unsubscribe { filters, .. } => filters.iter().map(|filter| filter.len() + 2).sum(),
        Incoming::Connect(connect) => connect.client_id.len() + connect.password.len(),
        _ => 0,
    };
    if held > total { Err(Finding::new(format!("{held} bytes out of a packet of {total}"))) } else { Ok(()) }
}

/// The message goes on to a client that takes packets of `limit` bytes.
fn outgoing(version: Version, publish: &Publish, limit: usize) -> Result<(), Finding> {
    let message = &publish.message;
    if message.topic.is_empty() {
        return Ok(());
    }
    let max = u32::try_from(limit).unwrap_or(u32::MAX);
    let encoder = Encoder { version, packet_bytes_max: max, problem_info: true };
    let level = if version == Version::V5 { sim::mqtt::V5 } else { sim::mqtt::V311 };
    let properties = message.properties.as_deref();
    let out = PublishOut {
        topic: &message.topic,
        payload: &message.payload,
        qos: message.qos,
        id: publish.id,
        alias: None,
        dup: publish.id.is_some(),
        retain: message.retain,
        properties,
        expiry_s: properties.and_then(|p| p.message_expiry_s),
        content_type: None,
        subscription_ids: &[1, 268_435_455],
    };
    let mut bytes = Vec::new();
    if !encoder.publish(&mut bytes, &out) {
        return if bytes.is_empty() { Ok(()) } else { Err(Finding::new("a part of a packet too large")) };
    }
    let read = read::packet(level, &bytes).map_err(|e| Finding::new(e.to_string()))?;
    let Some((Packet::Publish(got), length)) = read else {
        return Err(Finding::new(format!("PUBLISH is read as {read:?}")));
    };
    let same = got.topic == *message.topic
        && got.payload == message.payload
        && got.qos == message.qos as u8
        && got.id == publish.id.map_or(0, NonZeroU16::get)
        && (version == Version::V311 || got.expiry_s == out.expiry_s);
    if !same || length != bytes.len() || length > limit {
        return Err(Finding::new(format!("{message:?} goes out as {got:?}, {length} bytes of {limit}")));
    }
    let mut ack = Vec::new();
    let id = publish.id.unwrap_or(NonZeroU16::MIN);
    encoder.acknowledge(&mut ack, Ack::PubAck, id, 0x87, Some(&message.topic));
    match read::packet(level, &ack).map_err(|e| Finding::new(e.to_string()))? {
        Some((Packet::Ack { first: 0x40, id: got, .. }, length)) if got == id.get() && length <= limit => {
            Ok(())
        }
        other => Err(Finding::new(format!("PUBACK is read as {other:?}"))),
    }
}
