//! Frames of a WebSocket server (RFC 6455) as two machines over bytes. O1, I7.
//!
//! ```text
//!   bytes of the client ──▶ Reader ──▶ payload of binary frames, in place, as it arrives
//!                              │ pings
//!                              ▼
//!   payload for the client ─▶ Writer ──▶ header, payload · pongs and Close between frames
//! ```
//! MQTT knows no frames `[v311:6.0.0-2] [v5:6.0.0-2]`, so none is ever held: a frame of any length costs its header, and a
//! control frame that is cut its 125 bytes at most. No extension is spoken, no I/O done.
//! Not here: the handshake and the socket (`broker`), which close code a refusal of MQTT has ([`crate::reason`]).

mod read;
mod write;

pub use read::{Ended, Fault, Reader};
pub use write::Writer;

/// FIN: the last frame of a message.
const FIN: u8 = 0x80;
/// RSV1 to RSV3: for extensions.
const RESERVED: u8 = 0x70;
/// Bits of the opcode.
const OPCODE: u8 = 0x0F;
/// This bit of an opcode makes a control frame.
const CONTROL: u8 = 0x08;
/// Largest payload of a control frame, and largest length that stands in a header's second byte (section 5.5).
const SHORT_MAX: u8 = 125;
/// The length stands in the next 2 bytes.
const LENGTH_16: u8 = 126;
/// The length stands in the next 8 bytes.
const LENGTH_64: u8 = 127;

/// Section 5.2.
mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}
