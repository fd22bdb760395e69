//! Mutations of bytes: small, stacked, and often repaired so that they reach what lies behind the first length check.

use sim::whatsapp::rng::Rng;

/// Bytes that break things more often than others.
const ODD: [u8; 12] = [0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF, 0x0B, 0x26, b'+', b'#', b'/', b'$'];
/// Most mutations of one case.
const STEPS_MAX: u64 = 6;
/// Above this nothing grows: long inputs find nothing that short ones do not.
const BYTES_MAX: usize = 4 << 10;
/// Most bytes copied or inserted at once.
const PIECE_MAX: u64 = 24;

/// A place in bytes; 0 where there are none.
pub fn place(rng: &mut Rng, length: usize) -> usize {
    usize::try_from(rng.below(length as u64)).unwrap_or(0)
}

/// Any byte, odd ones more often.
fn byte(rng: &mut Rng) -> u8 {
    let any = rng.next_u64().to_le_bytes()[3];
    if rng.chance(0.5) { ODD[usize::from(any) % ODD.len()] } else { any }
}

/// Changes some bytes; `other` is spliced in at times.
pub fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=rng.below(STEPS_MAX) {
        let at = place(rng, bytes.len());
        let count = usize::try_from(1 + rng.below(PIECE_MAX)).unwrap_or(1);
        match rng.below(9) {
            _ if bytes.is_empty() => bytes.push(byte(rng)),
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = byte(rng),
            2 => bytes[at] = bytes[at].wrapping_add(if rng.chance(0.5) { 1 } else { 0xFF }),
            3 => bytes.insert(at, byte(rng)),
            4 => drop(bytes.drain(at..(at + count).min(bytes.len()))),
            5 => bytes.truncate(at),
            6 => {
                let piece = bytes[at..(at + count).min(bytes.len())].to_vec();
                let to = place(rng, bytes.len());
                bytes.splice(to..to, piece);
            }
            7 => {
                // A length of two bytes, or an identifier.
                let value = [0, 1, 0x7FFF, 0xFFFF, bytes.len() as u64][place(rng, 5)];
                for (byte, value) in bytes[at..].iter_mut().zip(value.to_be_bytes()[6..].iter()) {
                    *byte = *value;
                }
            }
            _ => {
                let from = place(rng, other.len());
                let piece = &other[from..(from + count).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes.truncate(BYTES_MAX);
}

/// Writes the length of a packet as it is now, so that a decoder goes on to what was changed.
pub fn repair_length(bytes: &mut Vec<u8>) {
    let Some(first) = bytes.first().copied() else { return };
    let header = 1 + bytes[1..].iter().take(4).position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
    let body = bytes.split_off(header.min(bytes.len()));
    *bytes = sim::mqtt::write::packet(first, &[&body]);
}
