//! O1/I7. Bytes ↔ packets, both versions.
//!
//! In: [`frame`] finds where a packet ends, [`check`] looks for what rmqtt-codec lets through or wrongly refuses, then
//! rmqtt-codec decodes ([`decode`]). Out: [`Encoder`] writes straight into the output; it is ours because a packet's
//! size must be known against the client's Maximum Packet Size to the byte, a payload format indicator of 0 must stay
//! one, and rmqtt-codec's encoder subtracts below zero for a small Maximum Packet Size.
//! Every check carries its clause, version first: the same number often means another thing in the other version.

mod check;
pub(crate) mod decode;
mod encode;

pub use decode::decode;
pub use encode::{Ack, Alias, ConnAck, Encoder, PublishOut};

use crate::packet::Version;
use crate::reason::v5;

/// A packet that ends its connection, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} [{clause}]")]
pub struct PacketError {
    /// MQTT 5 reason code.
    pub reason: u8,
    /// The clause that is broken.
    pub clause: &'static str,
    /// What is wrong.
    pub what: &'static str,
}

impl PacketError {
    pub(crate) const fn new(reason: u8, clause: &'static str, what: &'static str) -> Self {
        Self { reason, clause, what }
    }

    pub(crate) const fn malformed(clause: &'static str, what: &'static str) -> Self {
        Self::new(v5::MALFORMED, clause, what)
    }

    pub(crate) const fn protocol(clause: &'static str, what: &'static str) -> Self {
        Self::new(v5::PROTOCOL_ERROR, clause, what)
    }
}

/// Where the first packet of some bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not all of it is here.
    Incomplete,
    /// It is here.
    Complete {
        /// Bytes of the fixed header.
        header: usize,
        /// Bytes of the packet, fixed header included.
        total: usize,
    },
}

/// Most bytes of a remaining length.
const LENGTH_BYTES_MAX: usize = 4;

/// Finds the end of the first packet. Refuses one larger than `limit` bytes from its header alone, before anything of
/// it is kept.
///
/// # Errors
/// A length of more than four bytes, one not written in the fewest bytes (MQTT 5), a packet above the limit.
pub fn frame(bytes: &[u8], version: Option<Version>, limit: usize) -> Result<Frame, PacketError> {
    let mut length = 0_usize;
    for at in 0..LENGTH_BYTES_MAX {
        let Some(byte) = bytes.get(1 + at).copied() else {
            return Ok(Frame::Incomplete);
        };
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            if byte == 0 && at > 0 && version == Some(Version::V5) {
                return Err(PacketError::malformed("v5:1.5.5-1", "length not written in the fewest bytes"));
            }
            let header = 2 + at;
            let total = header + length;
            // [v5:U19]
            if total > limit {
                return Err(PacketError::new(v5::TOO_LARGE, "v5:3.2.2-15", "packet larger than announced"));
            }
            return Ok(if bytes.len() < total {
                Frame::Incomplete
            } else {
                Frame::Complete { header, total }
            });
        }
    }
    Err(PacketError::malformed("v5:1.5.5-1", "length of more than four bytes"))
}

/// Protocol name and level of a CONNECT frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// We speak it.
    Version(Version),
    /// Name of MQTT, but a level we do not speak; answer in the form of 3.1.1 or of 5.
    Unsupported {
        /// In which form to answer.
        answer: Version,
    },
    /// Not MQTT, or not a CONNECT: close without a word.
    Foreign(PacketError),
}

/// Level of MQTT 3.1.1.
const LEVEL_311: u8 = 4;
/// Level of MQTT 5.
const LEVEL_5: u8 = 5;
/// First byte of a CONNECT.
const CONNECT: u8 = 0x10;

/// The version of a CONNECT of which only the start is here; `None` where it is something else, or too short to tell.
#[must_use]
pub fn opening_of_part(bytes: &[u8]) -> Option<Version> {
    let length = bytes.iter().skip(1).take(LENGTH_BYTES_MAX).position(|byte| byte & 0x80 == 0)?;
    match opening(bytes, 2 + length) {
        Opening::Version(version) => Some(version),
        Opening::Unsupported { .. } | Opening::Foreign(_) => None,
    }
}

/// Looks at the first packet of a connection.
#[must_use]
pub fn opening(frame: &[u8], header: usize) -> Opening {
    // [v311:3.1.0-1] [v5:3.1.0-1]
    if frame.first() != Some(&CONNECT) {
        return Opening::Foreign(PacketError::protocol("v5:3.1.0-1", "the first packet is not CONNECT"));
    }
    let body = frame.get(header..).unwrap_or_default();
    let (name, level) = match body {
        [0, 4, name @ ..] if name.len() > 4 => (&name[..4], name[4]),
        [0, 6, name @ ..] if name.len() > 6 => (&name[..6], name[6]),
        _ => (&[][..], 0),
    };
    match (name, level) {
        (b"MQTT", LEVEL_311) => Opening::Version(Version::V311),
        (b"MQTT", LEVEL_5) => Opening::Version(Version::V5),
        // [v311:3.1.2-2] [v5:3.1.2-2] a level above 5 is answered in the form of 5, one below 4 in the form of 3.1.1.
        (b"MQTT", level) if level > LEVEL_5 => Opening::Unsupported { answer: Version::V5 },
        (b"MQTT" | b"MQIsdp", _) => Opening::Unsupported { answer: Version::V311 },
        // [v311:3.1.2-1] [v5:3.1.2-1]
        _ => Opening::Foreign(PacketError::protocol("v5:3.1.2-1", "the protocol name is not MQTT")),
    }
}
