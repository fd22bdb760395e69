//! What must be looked at before rmqtt-codec decodes a packet: what it lets through, what it wrongly refuses, and which
//! of MQTT 5's codes a mistake has (it knows one for all).
//!
//! Walks over the bytes once and copies nothing. A mistake it does not know is left to rmqtt-codec.

use schemas::topic;

use super::PacketError;
use crate::packet::Version;
use crate::reason::v5;

/// What the walk found that the decoded packet does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Message expiry interval 0 is legal (`[v5:3.3.2-5]`: gone unless delivered at once), rmqtt-codec refuses it: here
    /// is its last byte, to be set to 1 before decoding.
    pub(super) expiry_zero_at: Option<usize>,
    /// Payload format indicator: rmqtt-codec does not tell 0 from absent, and `[v5:3.3.2-4]` wants it unchanged.
    pub(super) payload_format: Option<bool>,
    /// MQTT 5 allows an empty client id without clean start, rmqtt-codec refuses it: here is the flags' byte, whose
    /// clean start bit is to be set before decoding.
    pub(super) empty_id_flags_at: Option<usize>,
    /// Clean start as sent.
    pub(super) clean: bool,
}

/// Packet types, as the high nibble of the first byte.
pub(super) mod kind {
    pub(in crate::codec) const CONNECT: u8 = 1;
    pub(in crate::codec) const PUBLISH: u8 = 3;
    pub(in crate::codec) const PUBACK: u8 = 4;
    pub(in crate::codec) const PUBREC: u8 = 5;
    pub(in crate::codec) const PUBREL: u8 = 6;
    pub(in crate::codec) const PUBCOMP: u8 = 7;
    pub(in crate::codec) const SUBSCRIBE: u8 = 8;
    pub(in crate::codec) const UNSUBSCRIBE: u8 = 10;
    pub(in crate::codec) const PINGREQ: u8 = 12;
    pub(in crate::codec) const DISCONNECT: u8 = 14;
    pub(in crate::codec) const AUTH: u8 = 15;
    /// Not a packet type: the properties of a will.
    pub(in crate::codec) const WILL: u8 = 16;
}

/// Looks at a whole packet; `header` is the length of its fixed header.
pub(super) fn check(version: Version, frame: &[u8], header: usize) -> Result<Findings, PacketError> {
    let first = frame.first().copied().unwrap_or_default();
    let packet = first >> 4;
    check_flags(version, packet, first & 0x0F)?;
    let mut reader = Reader { bytes: frame, at: header };
    match packet {
        kind::CONNECT => connect(version, &mut reader),
        kind::PUBLISH => publish(version, first, &mut reader),
        kind::SUBSCRIBE => subscribe(version, &mut reader).map(|()| Findings::default()),
        kind::UNSUBSCRIBE => unsubscribe(version, &mut reader).map(|()| Findings::default()),
        kind::PINGREQ => nothing_left(&reader, "v5:U25").map(|()| Findings::default()),
        kind::DISCONNECT if version == Version::V311 => {
            nothing_left(&reader, "v311:U25").map(|()| Findings::default())
        }
        kind::DISCONNECT | kind::AUTH if version == Version::V5 => reasoned(packet, 0, &mut reader),
        kind::PUBACK..=kind::PUBCOMP if version == Version::V5 => reasoned(packet, 2, &mut reader),
        _ => Ok(Findings::default()),
    }
}

fn check_flags(version: Version, packet: u8, flags: u8) -> Result<(), PacketError> {
    let expected = match packet {
        kind::PUBLISH => {
            // [v311:3.3.1-4] [v5:3.3.1-4]
            if flags & 0b0110 == 0b0110 {
                return Err(PacketError::malformed("v5:3.3.1-4", "QoS 3"));
            }
            // [v311:3.3.1-2] [v5:3.3.1-2]
            if flags & 0b1110 == 0b1000 {
                return Err(PacketError::malformed("v5:3.3.1-2", "DUP at QoS 0"));
            }
            return Ok(());
        }
        // [v311:3.6.1-1] [v311:3.8.1-1] [v311:3.10.1-1] [v5:3.6.1-1] [v5:3.8.1-1] [v5:3.10.1-1]
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => 0b0010,
        // [v5:U23]
        0 => return Err(PacketError::malformed("v5:U23", "packet type 0")),
        kind::AUTH if version == Version::V311 => {
            return Err(PacketError::malformed("v311:U23", "packet type 15"));
        }
        // [v5:U24] only a server sends CONNACK, SUBACK, UNSUBACK, PINGRESP.
        // [v311:U24]
        2 | 9 | 11 | 13 => return Err(PacketError::protocol("v5:U24", "a packet that only servers send")),
        _ => 0,
    };
    // [v311:3.14.1-1]
    if flags == expected {
        Ok(())
    } else {
        // [v311:2.2.2-2] [v5:2.1.3-1] [v5:3.14.1-1] [v5:3.15.1-1]
        Err(PacketError::malformed("v5:2.1.3-1", "reserved flags"))
    }
}

fn connect(version: Version, reader: &mut Reader<'_>) -> Result<Findings, PacketError> {
    reader.binary()?;
    reader.u8()?;
    let flags_at = reader.at;
    let flags = reader.u8()?;
    check_connect_flags(version, flags)?;
    reader.take(2)?;
    let mut findings = Findings { clean: flags & 0b10 != 0, ..Findings::default() };
    if version == Version::V5 {
        properties(reader, kind::CONNECT)?;
    }
    // [v311:3.1.3-1] [v5:3.1.3-1] [v311:3.1.3-3] [v5:3.1.3-3] [v5:3.1.4-1]
    let client = reader.string()?;
    if client.is_empty() && !findings.clean {
        if version == Version::V311 {
            // [v311:3.1.3-8]
            return Err(PacketError::new(
                v5::CLIENT_ID,
                "v311:3.1.3-8",
                "empty client id without clean session",
            ));
        }
        findings.empty_id_flags_at = Some(flags_at);
    }
    // [v311:3.1.2-9] [v5:3.1.2-9]
    if flags & 0b100 != 0 {
        if version == Version::V5 {
            let found = properties(reader, kind::WILL)?;
            findings.expiry_zero_at = found.expiry_zero_at;
            findings.payload_format = found.payload_format;
        }
        let topic = reader.string()?;
        check_name(topic)?;
        reader.binary()?;
    }
    // [v311:3.1.2-19] [v5:3.1.2-17]
    if flags & 0b1000_0000 != 0 {
        reader.string()?;
    }
    // [v311:3.1.2-21] [v5:3.1.2-19]
    if flags & 0b0100_0000 != 0 {
        reader.binary()?;
    }
    // [v311:3.1.2-18] [v311:3.1.2-20] [v5:3.1.2-16] [v5:3.1.2-18]
    nothing_left(reader, "v5:3.1.2-16")?;
    Ok(findings)
}

fn check_connect_flags(version: Version, flags: u8) -> Result<(), PacketError> {
    // [v311:3.1.2-3] [v5:3.1.2-3]
    if flags & 1 != 0 {
        return Err(PacketError::malformed("v5:3.1.2-3", "reserved connect flag"));
    }
    let will = flags & 0b100 != 0;
    // [v311:3.1.2-11] [v311:3.1.2-13] [v311:3.1.2-15] [v5:3.1.2-11] [v5:3.1.2-13]
    if !will && flags & 0b0011_1000 != 0 {
        return Err(PacketError::malformed("v5:3.1.2-11", "will QoS or will retain without a will"));
    }
    // [v311:3.1.2-14] [v5:3.1.2-12]
    // [v5:U8]
    if flags & 0b0001_1000 == 0b0001_1000 {
        return Err(PacketError::malformed("v5:3.1.2-12", "will QoS 3"));
    }
    // [v311:3.1.2-22]; allowed in MQTT 5
    if version == Version::V311 && flags & 0b1100_0000 == 0b0100_0000 {
        return Err(PacketError::malformed("v311:3.1.2-22", "password without user name"));
    }
    Ok(())
}

fn publish(version: Version, first: u8, reader: &mut Reader<'_>) -> Result<Findings, PacketError> {
    let topic = reader.string()?;
    if first & 0b0110 != 0 && reader.u16()? == 0 {
        // [v311:2.3.1-1] [v5:2.2.1-3] [v5:2.2.1-4]
        return Err(PacketError::protocol("v5:2.2.1-3", "packet identifier 0"));
    }
    let mut found = Found::default();
    if version == Version::V5 {
        found = properties(reader, kind::PUBLISH)?;
    }
    if topic.is_empty() && !found.alias {
        // [v311:4.7.3-1] [v5:U11]
        return Err(PacketError::protocol("v5:4.7.3-1", "empty topic without a topic alias"));
    }
    if !topic.is_empty() {
        check_name(topic)?;
    }
    Ok(Findings {
        expiry_zero_at: found.expiry_zero_at,
        payload_format: found.payload_format,
        ..Findings::default()
    })
}

fn subscribe(version: Version, reader: &mut Reader<'_>) -> Result<(), PacketError> {
    nonzero_id(reader)?;
    if version == Version::V5 {
        properties(reader, kind::SUBSCRIBE)?;
    }
    // [v311:3.8.3-3] [v5:3.8.3-2]
    if reader.left() == 0 {
        return Err(PacketError::protocol("v5:3.8.3-2", "SUBSCRIBE without a filter"));
    }
    while reader.left() > 0 {
        let filter = reader.string()?;
        nonempty_filter(filter)?;
        let options = reader.u8()?;
        let reserved = if version == Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
        // [v311:3.8.3-4] [v5:3.8.3-5]
        if options & reserved != 0 {
            return Err(PacketError::malformed("v5:3.8.3-5", "reserved subscription options"));
        }
        // [v311:3.8.3-4] [v5:U14]
        if options & 0b11 == 0b11 || options & 0b0011_0000 == 0b0011_0000 {
            return Err(PacketError::protocol("v5:U14", "subscription QoS 3 or retain handling 3"));
        }
        // [v5:3.8.3-4]
        if options & 0b100 != 0 && filter.starts_with(b"$share/") {
            return Err(PacketError::protocol("v5:3.8.3-4", "no local on a shared subscription"));
        }
    }
    Ok(())
}

fn unsubscribe(version: Version, reader: &mut Reader<'_>) -> Result<(), PacketError> {
    nonzero_id(reader)?;
    if version == Version::V5 {
        properties(reader, kind::UNSUBSCRIBE)?;
    }
    // [v311:3.10.3-2] [v5:3.10.3-2]
    if reader.left() == 0 {
        return Err(PacketError::protocol("v5:3.10.3-2", "UNSUBSCRIBE without a filter"));
    }
    while reader.left() > 0 {
        nonempty_filter(reader.string()?)?;
    }
    Ok(())
}

/// PUBACK … PUBCOMP, DISCONNECT, AUTH of MQTT 5: `fixed` bytes, then perhaps a reason code, then perhaps properties.
fn reasoned(packet: u8, fixed: usize, reader: &mut Reader<'_>) -> Result<Findings, PacketError> {
    // [v5:U44]
    reader.take(fixed)?;
    if reader.left() > 1 {
        reader.take(1)?;
        properties(reader, packet)?;
        nothing_left(reader, "v5:U25")?;
    }
    Ok(Findings::default())
}

fn nonzero_id(reader: &mut Reader<'_>) -> Result<(), PacketError> {
    // [v311:2.3.1-1] [v5:2.2.1-3]
    match reader.u16()? {
        0 => Err(PacketError::protocol("v5:2.2.1-3", "packet identifier 0")),
        _ => Ok(()),
    }
}

/// What a filter must have to be a filter at all; misplaced wildcards are answered in SUBACK (0x8F), filter by filter.
fn nonempty_filter(filter: &[u8]) -> Result<(), PacketError> {
    // [v311:4.7.3-1] [v5:4.7.3-1]
    if filter.is_empty() {
        return Err(PacketError::protocol("v5:4.7.3-1", "empty topic filter"));
    }
    Ok(())
}

/// `[v311:4.7.1-1] [v5:4.7.0-1]`
fn check_name(name: &[u8]) -> Result<(), PacketError> {
    // [v311:1.5.3-1] [v5:1.5.4-1]
    let Ok(name) = std::str::from_utf8(name) else {
        return Err(PacketError::malformed("v5:1.5.4-1", "a string is not UTF-8"));
    };
    match topic::check_name(name) {
        Ok(()) => Ok(()),
        // [v311:3.3.2-2] [v5:3.3.2-2]
        Err(topic::TopicError::Wildcard) => {
            Err(PacketError::new(v5::TOPIC_INVALID, "v5:3.3.2-2", "wildcard in a topic name"))
        }
        // [v311:4.7.3-1] [v5:4.7.3-1]
        Err(_) => Err(PacketError::malformed("v5:4.7.3-1", "not a topic name")),
    }
}

fn nothing_left(reader: &Reader<'_>, clause: &'static str) -> Result<(), PacketError> {
    // [v5:U25]
    if reader.left() == 0 { Ok(()) } else { Err(PacketError::malformed(clause, "bytes left over")) }
}

/// What properties said.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    alias: bool,
    expiry_zero_at: Option<usize>,
    payload_format: Option<bool>,
}

/// How a property's value is written.
#[derive(Clone, Copy)]
enum Value {
    Flag,
    U16,
    U32,
    Var,
    Text,
    Binary,
    Pair,
}

/// Which value a property has and which packets from a client may carry it.
const fn property(id: u8) -> Option<(Value, &'static [u8])> {
    Some(match id {
        0x01 => (Value::Flag, &[kind::PUBLISH, kind::WILL]),
        0x02 => (Value::U32, &[kind::PUBLISH, kind::WILL]),
        0x03 | 0x08 => (Value::Text, &[kind::PUBLISH, kind::WILL]),
        0x09 => (Value::Binary, &[kind::PUBLISH, kind::WILL]),
        0x0B => (Value::Var, &[kind::PUBLISH, kind::SUBSCRIBE]),
        0x11 => (Value::U32, &[kind::CONNECT, kind::DISCONNECT]),
        0x15 => (Value::Text, &[kind::CONNECT, kind::AUTH]),
        0x16 => (Value::Binary, &[kind::CONNECT, kind::AUTH]),
        0x17 | 0x19 => (Value::Flag, &[kind::CONNECT]),
        0x18 => (Value::U32, &[kind::WILL]),
        0x1F => (
            Value::Text,
            &[kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP, kind::DISCONNECT, kind::AUTH],
        ),
        0x21 | 0x22 => (Value::U16, &[kind::CONNECT]),
        0x23 => (Value::U16, &[kind::PUBLISH]),
        0x26 => (
            Value::Pair,
            &[
                kind::CONNECT,
                kind::PUBLISH,
                kind::WILL,
                kind::PUBACK,
                kind::PUBREC,
                kind::PUBREL,
                kind::PUBCOMP,
                kind::SUBSCRIBE,
                kind::UNSUBSCRIBE,
                kind::DISCONNECT,
                kind::AUTH,
            ],
        ),
        0x27 => (Value::U32, &[kind::CONNECT]),
        _ => return None,
    })
}

/// User property: the only one that may come more than once.
const USER_PROPERTY: u8 = 0x26;

fn properties(reader: &mut Reader<'_>, packet: u8) -> Result<Found, PacketError> {
    let length = reader.var()?;
    if reader.left() < length {
        return Err(PacketError::malformed("v5:2.2.2-1", "properties longer than their packet"));
    }
    let end = reader.at + length;
    let mut inner = Reader { bytes: &reader.bytes[..end], at: reader.at };
    let mut found = Found::default();
    let mut seen = 0_u64;
    while inner.left() > 0 {
        let id = inner.u8()?;
        // [v5:U1] [v5:U3]
        let Some((value, packets)) = property(id) else {
            return Err(PacketError::malformed("v5:U1", "unknown property"));
        };
        if !packets.contains(&packet) {
            return Err(PacketError::malformed("v5:U1", "a property that this packet does not have"));
        }
        // [v5:U2]
        if id != USER_PROPERTY && seen & (1 << id) != 0 {
            return Err(PacketError::protocol("v5:U2", "a property twice"));
        }
        seen |= 1 << id;
        read_value(&mut inner, id, value, packet, &mut found)?;
    }
    reader.at = end;
    // [v5:U7]
    if seen & (1 << 0x16) != 0 && seen & (1 << 0x15) == 0 {
        return Err(PacketError::protocol("v5:U7", "authentication data without a method"));
    }
    Ok(found)
}

fn read_value(
    reader: &mut Reader<'_>,
    id: u8,
    value: Value,
    packet: u8,
    found: &mut Found,
) -> Result<(), PacketError> {
    match value {
        Value::Flag => match reader.u8()? {
            bit @ (0 | 1) if id == 0x01 => found.payload_format = Some(bit == 1),
            0 | 1 => {}
            // [v5:U6] [v5:U10]
            _ => return Err(PacketError::protocol("v5:U6", "a flag that is neither 0 nor 1")),
        },
        Value::U16 => match (id, reader.u16()?) {
            // [v5:U4]
            (0x21, 0) => return Err(PacketError::protocol("v5:U4", "receive maximum 0")),
            // [v5:3.3.2-8] [v5:U12]
            (0x23, 0) => return Err(PacketError::new(v5::ALIAS_INVALID, "v5:3.3.2-8", "topic alias 0")),
            (0x23, _) => found.alias = true,
            _ => {}
        },
        Value::U32 => match (id, reader.u32()?) {
            // [v5:U5]
            (0x27, 0) => return Err(PacketError::protocol("v5:U5", "maximum packet size 0")),
            (0x02, 0) => found.expiry_zero_at = Some(reader.at - 1),
            _ => {}
        },
        Value::Var => {
            let number = reader.var()?;
            // [v5:3.3.4-6] [v5:U16]
            if packet == kind::PUBLISH {
                return Err(PacketError::protocol("v5:3.3.4-6", "subscription identifier from a client"));
            }
            // [v5:U15]
            if number == 0 {
                return Err(PacketError::protocol("v5:U15", "subscription identifier 0"));
            }
        }
        Value::Text => {
            let text = reader.string()?;
            // [v5:3.3.2-14]
            if id == 0x08 && (text.is_empty() || text.contains(&b'+') || text.contains(&b'#')) {
                return Err(PacketError::protocol("v5:3.3.2-14", "not a response topic"));
            }
        }
        Value::Binary => {
            reader.binary()?;
        }
        Value::Pair => {
            reader.string()?;
            reader.string()?;
        }
    }
    Ok(())
}

/// Reads forward; every step checks what is left.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PacketError> {
        let end = self.at.saturating_add(count);
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or(PacketError::malformed("v5:U25", "a length beyond the end of the packet"))?;
        self.at = end;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, PacketError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, PacketError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, PacketError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A variable byte integer, written in the fewest bytes. `[v5:1.5.5-1]`
    fn var(&mut self) -> Result<usize, PacketError> {
        let mut value = 0_usize;
        for at in 0..4 {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                if byte == 0 && at > 0 {
                    return Err(PacketError::malformed(
                        "v5:1.5.5-1",
                        "number not written in the fewest bytes",
                    ));
                }
                return Ok(value);
            }
        }
        Err(PacketError::malformed("v5:1.5.5-1", "number of more than four bytes"))
    }

    fn binary(&mut self) -> Result<&'a [u8], PacketError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A string: UTF-8, strictly, and without U+0000, which rmqtt-codec lets through. `[v311:1.5.3-1] [v5:1.5.4-1] [v5:1.5.7-1]`
    /// `[v311:1.5.3-3] [v5:1.5.4-3] [v311:3.1.3-4] [v5:3.1.3-4] [v311:3.1.3-10] [v5:3.1.3-11]`
    /// `[v311:3.1.3-11] [v5:3.1.3-12] [v311:3.3.2-1] [v5:3.3.2-1] [v5:3.3.2-13] [v5:3.3.2-19]`
    /// `[v311:3.8.3-1] [v5:3.8.3-1] [v311:3.10.3-1] [v5:3.10.3-1] [v311:4.7.3-2] [v5:4.7.3-2]`
    /// `[v311:4.7.3-3] [v5:4.7.3-3] [v5:U46]`
    fn string(&mut self) -> Result<&'a [u8], PacketError> {
        let text = self.binary()?;
        // [v311:1.5.3-2] [v5:1.5.4-2]
        if text.contains(&0) {
            return Err(PacketError::malformed("v5:1.5.4-2", "U+0000 in a string"));
        }
        if std::str::from_utf8(text).is_err() {
            return Err(PacketError::malformed("v5:1.5.4-1", "a string is not UTF-8"));
        }
        Ok(text)
    }
}
