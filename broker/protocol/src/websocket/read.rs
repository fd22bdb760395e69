//! What a client's bytes say. See the parent.

use super::write::Writer;
use super::{CONTROL, FIN, LENGTH_16, LENGTH_64, OPCODE, RESERVED, SHORT_MAX, opcode};

/// Bytes of the longest header: two, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;
/// MASK: a client's frames have it (section 5.1).
const MASKED: u8 = 0x80;
/// Bytes of a mask.
const MASK_BYTES: usize = 4;

/// How a client's stream ended before its socket did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It sent Close, with this code.
    Closed(Option<u16>),
    /// It broke a rule.
    Broken(Fault),
}

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One of RFC 6455.
    Protocol,
    /// A text frame: MQTT has binary ones only. `[v311:6.0.0-1] [v5:6.0.0-1]`
    Text,
    /// A Close whose reason is not UTF-8.
    Reason,
}

impl Fault {
    /// Close code (section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::Text => 1003,
            Self::Reason => 1007,
        }
    }
}

/// Takes frames apart, whatever pieces they come in. A rule is broken with the first byte that shows it; whatever follows
/// that, or a Close, is ignored.
#[derive(Debug, Default)]
pub struct Reader {
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of `head` that have come.
    have: u8,
    /// The header is whole.
    in_payload: bool,
    /// A message of several frames has begun.
    in_message: bool,
    /// For the next byte of payload.
    mask: [u8; MASK_BYTES],
    /// Bytes of payload to come.
    left: u64,
    /// Payload of a control frame, as far as it has come.
    control: Vec<u8>,
    ended: Option<Ended>,
}

impl Reader {
    /// Has the stream ended?
    #[must_use]
    pub const fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Takes what has arrived and leaves the payload of binary frames at the start of it: so many bytes. Pings are
    /// answered to `writer`.
    pub fn read(&mut self, bytes: &mut [u8], writer: &mut Writer) -> usize {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && self.ended.is_none() {
            if self.in_payload {
                let rest = bytes.len() - at;
                let count = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                unmask(&mut bytes[at..at + count], &mut self.mask);
                if self.head[0] & CONTROL != 0 {
                    self.control.extend_from_slice(&bytes[at..at + count]);
                } else {
                    if kept != at {
                        bytes.copy_within(at..at + count, kept);
                    }
                    kept += count;
                }
                at += count;
                self.left -= count as u64;
            } else {
                at += self.take_head(&bytes[at..]);
            }
            if self.in_payload && self.left == 0 {
                self.end_frame(writer);
            }
        }
        kept
    }

    /// Takes bytes of a header; how many.
    fn take_head(&mut self, bytes: &[u8]) -> usize {
        for (taken, byte) in bytes.iter().enumerate() {
            self.head[usize::from(self.have)] = *byte;
            self.have += 1;
            let checked = match self.have {
                1 => self.check_first(*byte),
                2 => self.check_second(*byte),
                have if usize::from(have) == self.head_bytes() => self.begin_payload(),
                _ => Ok(()),
            };
            if let Err(fault) = checked {
                self.ended = Some(Ended::Broken(fault));
            }
            if self.in_payload || checked.is_err() {
                return taken + 1;
            }
        }
        bytes.len()
    }

    /// Size of the header, told by its second byte.
    const fn head_bytes(&self) -> usize {
        let length = match self.head[1] & !MASKED {
            LENGTH_16 => 2,
            LENGTH_64 => 8,
            _ => 0,
        };
        2 + length + MASK_BYTES
    }

    const fn check_first(&self, byte: u8) -> Result<(), Fault> {
        let fin = byte & FIN != 0;
        if byte & RESERVED != 0 {
            return Err(Fault::Protocol);
        }
        match byte & OPCODE {
            opcode::CONTINUATION if self.in_message => Ok(()),
            opcode::BINARY if !self.in_message => Ok(()),
            opcode::TEXT if !self.in_message => Err(Fault::Text),
            opcode::CLOSE | opcode::PING | opcode::PONG if fin => Ok(()),
            _ => Err(Fault::Protocol),
        }
    }

    const fn check_second(&self, byte: u8) -> Result<(), Fault> {
        let long = byte & !MASKED > SHORT_MAX;
        if byte & MASKED == 0 || (long && self.head[0] & CONTROL != 0) {
            return Err(Fault::Protocol);
        }
        Ok(())
    }

    fn begin_payload(&mut self) -> Result<(), Fault> {
        let size = self.head_bytes();
        let (head, mask) = self.head[..size].split_at(size - MASK_BYTES);
        let length = head[2..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        let (length, shortest) = match self.head[1] & !MASKED {
            LENGTH_16 => (length, u64::from(SHORT_MAX) + 1),
            LENGTH_64 => (length, u64::from(u16::MAX) + 1),
            short => (u64::from(short), 0),
        };
        // Section 5.2: in as few bytes as it can be, and of 64 bits the first is 0.
        if length < shortest || length > u64::MAX >> 1 {
            return Err(Fault::Protocol);
        }
        self.mask.copy_from_slice(mask);
        self.left = length;
        self.in_payload = true;
        if self.head[0] & CONTROL == 0 {
            self.in_message = self.head[0] & FIN == 0;
        }
        Ok(())
    }

    fn end_frame(&mut self, writer: &mut Writer) {
        self.in_payload = false;
        self.have = 0;
        let control = std::mem::take(&mut self.control);
        match self.head[0] & OPCODE {
            opcode::CLOSE => self.ended = Some(closed(&control)),
            opcode::PING => writer.pong(&control),
            // Nobody asked for a PONG.
            _ => {}
        }
    }
}

/// What a Close says: nothing, or a code and perhaps a reason.
fn closed(payload: &[u8]) -> Ended {
    let Some((code, reason)) = payload.split_first_chunk() else {
        let empty = payload.is_empty();
        return if empty { Ended::Closed(None) } else { Ended::Broken(Fault::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        Ended::Broken(Fault::Protocol)
    } else if std::str::from_utf8(reason).is_err() {
        Ended::Broken(Fault::Reason)
    } else {
        Ended::Closed(Some(code))
    }
}

/// Close codes that may stand in a frame: those of section 7.4.1 and IANA's registry but the three that only say what
/// became of a connection, and those left to libraries and programs (section 7.4.2).
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Takes the mask off (section 5.3) and turns it to where it stands for the byte that comes next.
fn unmask(bytes: &mut [u8], mask: &mut [u8; MASK_BYTES]) {
    /// Sixteen bytes at a time: one operation of any processor of these days.
    const WIDE: usize = 16;
    let mut wide = [0; WIDE];
    wide.chunks_exact_mut(MASK_BYTES).for_each(|part| part.copy_from_slice(mask));
    let wide = u128::from_ne_bytes(wide);
    let (parts, rest) = bytes.as_chunks_mut::<WIDE>();
    for part in parts {
        *part = (u128::from_ne_bytes(*part) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    mask.rotate_left(rest.len() % MASK_BYTES);
}
