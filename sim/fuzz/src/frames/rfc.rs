//! A model of RFC 6455's frames, from the text: what a stream of bytes says, and whether it may say it.

use sim::whatsapp::rng::Rng;

use crate::mutate::place;

/// How far a stream can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// To its end; a frame may be cut.
    Open,
    /// To a text message.
    Text,
    /// To a close frame.
    Close,
    /// To a broken rule.
    Broken,
}

/// What a stream says.
#[derive(Debug)]
pub(super) struct Stream {
    /// Whole binary messages, one behind the other.
    pub(super) data: Vec<u8>,
    pub(super) ending: Ending,
    /// Close code.
    pub(super) code: Option<u16>,
    /// Bytes of a cut frame.
    pub(super) rest: usize,
}

/// Largest message that the server takes: 256 KiB and 64 KiB of slack (`broker::conn::websocket`).
const MESSAGE_BYTES_MAX: u64 = (256 << 10) + (64 << 10);

struct Head {
    fin: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: u64,
    size: usize,
}

/// `None`: cut. `Some(None)`: broken.
fn head(bytes: &[u8], from_client: bool) -> Option<Option<Head>> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let masked = second & 0x80 != 0;
    let (length, mut size) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let mask = if masked {
        size += 4;
        Some(bytes.get(size - 4..size)?.try_into().ok()?)
    } else {
        None
    };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
    let control = opcode & 8 != 0;
    let right = first & 0x70 == 0
        && masked == from_client
        && matches!(opcode, 0..=2 | 8..=10)
        && (!control || (fin && length <= 125))
        && length <= MESSAGE_BYTES_MAX;
    Some(right.then_some(Head { fin, opcode, mask, length, size }))
}

/// Reads a stream.
pub(super) fn read(bytes: &[u8], from_client: bool) -> Stream {
    let mut stream = Stream { data: Vec::new(), ending: Ending::Open, code: None, rest: 0 };
    // The message of which some frames have come: its opcode and bytes.
    let mut open: Option<(u8, Vec<u8>)> = None;
    let mut at = 0;
    while at < bytes.len() {
        stream.rest = bytes.len() - at;
        let head = match head(&bytes[at..], from_client) {
            None => return stream,
            Some(None) => return Stream { ending: Ending::Broken, ..stream },
            Some(Some(head)) => head,
        };
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let start = at + head.size;
        let Some(payload) = bytes.get(start..start.saturating_add(length)) else { return stream };
        let mut payload = payload.to_vec();
        if let Some(mask) = head.mask {
            payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        }
        at = start + length;
        stream.rest = bytes.len() - at;
        let message = match (head.opcode, &mut open) {
            (8, _) => {
                stream.ending = if closes(&payload) { Ending::Close } else { Ending::Broken };
                stream.code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                stream.rest = 0;
                return stream;
            }
            (9 | 10, _) => continue,
            (0, Some((_, message))) => {
                message.extend(payload);
                if !head.fin {
                    continue;
                }
                open.take()
            }
            (0, None) | (1 | 2, Some(_)) => return Stream { ending: Ending::Broken, ..stream },
            (opcode, None) if !head.fin => {
                open = Some((opcode, payload));
                continue;
            }
            (opcode, None) => Some((opcode, payload)),
            _ => return Stream { ending: Ending::Broken, ..stream },
        };
        match message {
            Some((2, message)) => stream.data.extend(message),
            Some((_, text)) => {
                let right = std::str::from_utf8(&text).is_ok();
                return Stream { ending: if right { Ending::Text } else { Ending::Broken }, ..stream };
            }
            None => {}
        }
    }
    stream
}

fn closes(payload: &[u8]) -> bool {
    payload.len() != 1 && payload.get(2..).is_none_or(|reason| std::str::from_utf8(reason).is_ok())
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
