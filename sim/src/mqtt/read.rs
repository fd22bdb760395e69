//! What a server sent, read strictly: whatever the standard does not allow a server to send is an error. I7, O4.
//!
//! Not here: whether it was allowed to send it now (`client`).

use super::V5;

/// A packet that no server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent {0}")]
pub struct Malformed(pub &'static str);

/// A packet of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK
    ConnAck {
        /// Session present.
        present: bool,
        /// Return or reason code.
        code: u8,
        /// Receive Maximum, where it names one.
        receive_max: Option<u16>,
    },
    /// PUBLISH
    Publish(Published),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP
    Ack {
        /// Its first byte.
        first: u8,
        /// Packet identifier.
        id: u16,
        /// Reason code; 0 in 3.1.1.
        reason: u8,
    },
    /// SUBACK
    SubAck(u16, Vec<u8>),
    /// UNSUBACK
    UnsubAck(u16, Vec<u8>),
    /// PINGRESP
    PingResp,
    /// DISCONNECT with its reason.
    Disconnect(u8),
    /// AUTH with its reason.
    Auth(u8),
}

/// PUBLISH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic; empty where an alias stands for it.
    pub topic: String,
    /// Packet identifier; 0 at QoS 0.
    pub id: u16,
    /// Topic alias.
    pub alias: Option<u16>,
    /// Message expiry interval in seconds.
    pub expiry_s: Option<u32>,
    /// Payload.
    pub payload: Vec<u8>,
}

struct Reader<'a>(&'a [u8]);

const CUT: Malformed = Malformed("a field beyond the end of its packet");

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn short(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn id(&mut self) -> Result<u16, Malformed> {
        match self.short()? {
            0 => Err(Malformed("packet identifier 0")),
            id => Ok(id),
        }
    }

    fn var(&mut self) -> Result<usize, Malformed> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                let shortest = at == 0 || byte != 0;
                return if shortest { Ok(value) } else { Err(Malformed("a length in too many bytes")) };
            }
        }
        Err(Malformed("a length of more than four bytes"))
    }

    fn data(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let text = std::str::from_utf8(self.data()?).map_err(|_| Malformed("text that is not UTF-8"))?;
        if text.contains('\0') { Err(Malformed("text with a null")) } else { Ok(text) }
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("a packet with something behind its end")) }
    }
}

/// What of the properties somebody asks for.
#[derive(Default)]
struct Properties {
    receive_max: Option<u16>,
    alias: Option<u16>,
    expiry_s: Option<u32>,
}

/// Reads properties, of which only those in `allowed` may come, and each but 0x0B and 0x26 once.
fn properties(level: u8, reader: &mut Reader<'_>, allowed: &[u8]) -> Result<Properties, Malformed> {
    let mut found = Properties::default();
    if level != V5 {
        return Ok(found);
    }
    let length = reader.var()?;
    let mut inside = Reader(reader.take(length)?);
    let mut seen = Vec::new();
    while !inside.0.is_empty() {
        let id = inside.byte()?;
        if !allowed.contains(&id) {
            return Err(Malformed("a property that this packet has not"));
        }
        if seen.contains(&id) && id != 0x0B && id != 0x26 {
            return Err(Malformed("a property twice"));
        }
        seen.push(id);
        match id {
            0x01 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
                if inside.byte()? > 1 {
                    return Err(Malformed("a flag that is neither 0 nor 1"));
                }
            }
            0x13 => drop(inside.short()?),
            0x21 => found.receive_max = Some(inside.id()?),
            0x22 => drop(inside.short()?),
            0x23 => found.alias = Some(inside.id()?),
            0x02 | 0x11 | 0x27 => {
                let bytes = inside.take(4)?;
                let value = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                if id == 0x02 {
                    found.expiry_s = Some(value);
                }
            }
            0x0B => {
                if inside.var()? == 0 {
                    return Err(Malformed("subscription identifier 0"));
                }
            }
            0x09 | 0x16 => drop(inside.data()?),
            0x26 => {
                inside.text()?;
                inside.text()?;
            }
            _ => drop(inside.text()?),
        }
    }
    Ok(found)
}

const CONNACK: [u8; 17] =
    [0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A];
const PUBLISH: [u8; 8] = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];
const REASON: [u8; 2] = [0x1F, 0x26];

/// The first packet of some bytes and its length; `None` where not all of it is here.
///
/// # Errors
/// [`Malformed`].
pub fn packet(level: u8, bytes: &[u8]) -> Result<Option<(Packet, usize)>, Malformed> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut reader = Reader(rest);
    let length = match reader.var() {
        Ok(length) => length,
        Err(CUT) => return Ok(None),
        Err(error) => return Err(error),
    };
    if reader.0.len() < length {
        return Ok(None);
    }
    let total = bytes.len() - reader.0.len() + length;
    let packet = body(level, *first, Reader(&reader.0[..length]))?;
    Ok(Some((packet, total)))
}

fn body(level: u8, first: u8, mut reader: Reader<'_>) -> Result<Packet, Malformed> {
    let packet = match first {
        0x20 => {
            let flags = reader.byte()?;
            let code = reader.byte()?;
            if flags > 1 || (flags == 1 && code != 0) {
                return Err(Malformed("CONNACK with wrong flags"));
            }
            let receive_max = properties(level, &mut reader, &CONNACK)?.receive_max;
            Packet::ConnAck { present: flags == 1, code, receive_max }
        }
        0x30..=0x3F => return publish(level, first, reader),
        0x40 | 0x50 | 0x62 | 0x70 => {
            let id = reader.id()?;
            let reason = if level == V5 && !reader.0.is_empty() { reader.byte()? } else { 0 };
            if !reader.0.is_empty() {
                properties(level, &mut reader, &REASON)?;
            }
            Packet::Ack { first, id, reason }
        }
        0x90 | 0xB0 => {
            let id = reader.id()?;
            properties(level, &mut reader, &REASON)?;
            let codes = std::mem::take(&mut reader.0).to_vec();
            if first == 0x90 { Packet::SubAck(id, codes) } else { Packet::UnsubAck(id, codes) }
        }
        0xD0 => Packet::PingResp,
        0xE0 if level == V5 => {
            let reason = if reader.0.is_empty() { 0 } else { reader.byte()? };
            if !reader.0.is_empty() {
                properties(level, &mut reader, &[0x1C, 0x1F, 0x26])?;
            }
            Packet::Disconnect(reason)
        }
        0xF0 if level == V5 => {
            let reason = reader.byte()?;
            properties(level, &mut reader, &[0x15, 0x16, 0x1F, 0x26])?;
            Packet::Auth(reason)
        }
        _ => return Err(Malformed("a packet that servers do not send")),
    };
    reader.end()?;
    Ok(packet)
}

fn publish(level: u8, first: u8, mut reader: Reader<'_>) -> Result<Packet, Malformed> {
    let qos = first >> 1 & 3;
    let dup = first & 8 != 0;
    if qos == 3 || (qos == 0 && dup) {
        return Err(Malformed("PUBLISH with wrong flags"));
    }
    let topic = reader.text()?.to_owned();
    if topic.contains(['+', '#']) {
        return Err(Malformed("PUBLISH to a filter"));
    }
    let id = if qos == 0 { 0 } else { reader.id()? };
    let found = properties(level, &mut reader, &PUBLISH)?;
    if topic.is_empty() && found.alias.is_none() {
        return Err(Malformed("PUBLISH without a topic"));
    }
    Ok(Packet::Publish(Published {
        dup,
        qos,
        retain: first & 1 != 0,
        topic,
        id,
        alias: found.alias,
        expiry_s: found.expiry_s,
        payload: reader.0.to_vec(),
    }))
}
