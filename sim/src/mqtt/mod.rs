//! A model of an MQTT client: it writes a client's packets, reads a server's, and keeps the client's half of the
//! protocol over reconnects. O1, O4, I7, I8 as a device sees them.
//!
//! Written from the standard, apart from the broker's own codec. Not here: sockets, time, chance, and what must have
//! been delivered (who drives it judges).

pub mod client;
pub mod read;
pub mod write;

/// Protocol level of MQTT 3.1.1.
pub const V311: u8 = 4;
/// Protocol level of MQTT 5.
pub const V5: u8 = 5;
