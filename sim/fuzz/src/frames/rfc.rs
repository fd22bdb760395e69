//! A model of RFC 6455's frames, from the text: what a stream of bytes says, and whether it may say it.

use sim::whatsapp::rng::Rng;

use crate::mutate::place;

/// How far a stream can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// To its end; a frame may be cut.
    Open,
    /// To a close frame, with this code.
    Close(Option<u16>),
    /// To a broken rule, which has this close code.
    Broken(u16),
}

/// What a stream says.
#[derive(Debug)]
pub(super) struct Stream {
    /// Payload of binary messages, one behind the other, also of a frame that is cut.
    pub(super) data: Vec<u8>,
    /// Opcodes and payloads of pings and pongs.
    pub(super) controls: Vec<(u8, Vec<u8>)>,
    pub(super) ending: Ending,
    /// Bytes of a cut frame.
    pub(super) rest: usize,
}

/// A protocol error.
const PROTOCOL: u16 = 1002;
/// Data that is not taken.
pub(super) const UNSUPPORTED_DATA: u16 = 1003;
/// Text that is none.
const NOT_UTF8: u16 = 1007;

struct Head {
    fin: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: u64,
    size: usize,
}

/// `None`: cut. A broken rule shows as soon as the byte that breaks it.
fn head(bytes: &[u8], from_client: bool, open: bool) -> Option<Result<Head, u16>> {
    let first = *bytes.first()?;
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
    let control = opcode & 8 != 0;
    let in_place = if control { fin } else { open == (opcode == 0) };
    if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || !in_place {
        return Some(Err(PROTOCOL));
    }
    if opcode == 1 {
        return Some(Err(UNSUPPORTED_DATA));
    }
    let second = *bytes.get(1)?;
    let masked = second & 0x80 != 0;
    if masked != from_client || (control && second & 0x7F > 125) {
        return Some(Err(PROTOCOL));
    }
    let (length_size, shortest) = match second & 0x7F {
        126 => (2, 126),
        127 => (8, 1 << 16),
        _ => (0, 0),
    };
    let size = 2 + length_size + if masked { 4 } else { 0 };
    let head = bytes.get(..size)?;
    let length = match length_size {
        0 => u64::from(second & 0x7F),
        2 => u64::from(u16::from_be_bytes(head[2..4].try_into().ok()?)),
        _ => u64::from_be_bytes(head[2..10].try_into().ok()?),
    };
    if length < shortest || length >> 63 != 0 {
        return Some(Err(PROTOCOL));
    }
    let mask = if masked { head.last_chunk().copied() } else { None };
    Some(Ok(Head { fin, opcode, mask, length, size }))
}

/// Reads a stream.
pub(super) fn read(bytes: &[u8], from_client: bool) -> Stream {
    let mut stream = Stream { data: Vec::new(), controls: Vec::new(), ending: Ending::Open, rest: 0 };
    let (mut open, mut at) = (false, 0);
    while at < bytes.len() {
        stream.rest = bytes.len() - at;
        let head = match head(&bytes[at..], from_client, open) {
            None => return stream,
            Some(Err(code)) => return Stream { ending: Ending::Broken(code), ..stream },
            Some(Ok(head)) => head,
        };
        let start = at + head.size;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let whole = length <= bytes.len() - start;
        at = if whole { start + length } else { bytes.len() };
        let mut payload = bytes[start..at].to_vec();
        if let Some(mask) = head.mask {
            payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        }
        if head.opcode & 8 == 0 {
            stream.data.extend(&payload);
            open = !head.fin;
        }
        if !whole {
            return stream;
        }
        stream.rest = 0;
        match head.opcode {
            8 => return Stream { ending: closes(&payload), ..stream },
            control @ 9..=10 => stream.controls.push((control, payload)),
            _ => {}
        }
    }
    stream
}

fn closes(payload: &[u8]) -> Ending {
    let (code, reason) = match payload {
        [] => return Ending::Close(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        _ => return Ending::Broken(PROTOCOL),
    };
    if code < 1000 || matches!(code, 1004..=1006 | 1015..=2999) || code >= 5000 {
        Ending::Broken(PROTOCOL)
    } else if std::str::from_utf8(reason).is_err() {
        Ending::Broken(NOT_UTF8)
    } else {
        Ending::Close(Some(code))
    }
}

/// A message of a client: masked, in one frame or several, at times with a ping between them.
pub(super) fn message(rng: &mut Rng, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let cut = if opcode < 8 && rng.chance(0.5) { Some(place(rng, payload.len() + 1)) } else { None };
    let Some(cut) = cut else { return frame(rng, true, opcode, payload) };
    let mut bytes = frame(rng, false, opcode, &payload[..cut]);
    if rng.chance(0.5) {
        bytes.extend(frame(rng, true, 9, b"?"));
    }
    bytes.extend(frame(rng, true, 0, &payload[cut..]));
    bytes
}

fn frame(rng: &mut Rng, fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut mask = [0; 4];
    mask.copy_from_slice(&rng.next_u64().to_le_bytes()[..4]);
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
