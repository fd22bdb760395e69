//! What a client is sent. See the parent.

use super::{FIN, LENGTH_16, LENGTH_64, SHORT_MAX, opcode};

/// Bytes of control frames that wait. Of further pings only the last is answered (section 5.5.3): who sends them and
/// takes nothing must not make us keep more.
const WAITING_BYTES_MAX: usize = 1 << 10;

/// Puts payload into frames without copying it, and control frames between them.
///
/// [`Writer::begin`] announces bytes, [`Writer::next`] says what is to be written, [`Writer::wrote`] takes down how much
/// of it was. What was announced must follow: those very bytes, in calls as many as it takes.
#[derive(Debug, Default)]
pub struct Writer {
    /// First what goes before any more payload, then control frames that wait for the end of the frame under way.
    pending: Vec<u8>,
    /// Bytes of the first kind.
    lead: usize,
    /// Bytes of payload to come in the frame under way.
    left: usize,
    /// The last ping for whose answer there was no room.
    unanswered: Option<Box<[u8]>>,
    closed: bool,
}

impl Writer {
    /// Begins a binary frame for so many bytes, unless one is under way.
    pub fn begin(&mut self, length: usize) {
        if self.left == 0 && length > 0 {
            self.head(opcode::BINARY, length);
            self.lead = self.pending.len();
            self.left = length;
        }
    }

    /// What is to be written now: bytes of our own, then as much of `payload` as belongs to the frame under way.
    #[must_use]
    pub fn next<'a>(&'a self, payload: &'a [u8]) -> [&'a [u8]; 2] {
        [&self.pending[..self.lead], &payload[..self.left.min(payload.len())]]
    }

    /// So many bytes of [`Writer::next`] were written; how many of them were payload.
    pub fn wrote(&mut self, count: usize) -> usize {
        let own = count.min(self.lead);
        let payload = (count - own).min(self.left);
        self.pending.drain(..own);
        self.lead -= own;
        self.left -= payload;
        if self.left == 0 {
            self.lead = self.pending.len();
        }
        if self.pending.is_empty() {
            // An idle connection keeps nothing.
            self.pending = Vec::new();
            if let Some(ping) = self.unanswered.take() {
                self.control(opcode::PONG, &ping);
            }
        }
        payload
    }

    /// Answers a ping, whose payload has at most 125 bytes.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if self.closed {
            return;
        }
        if self.unanswered.is_some() || self.pending.len() >= WAITING_BYTES_MAX {
            self.unanswered = Some(payload.into());
        } else {
            self.control(opcode::PONG, payload);
        }
    }

    /// Says Close, behind the frame under way. Nothing may be begun after it.
    pub fn close(&mut self, code: Option<u16>) {
        if !self.closed {
            self.closed = true;
            self.unanswered = None;
            let code = code.map(u16::to_be_bytes);
            self.control(opcode::CLOSE, code.as_ref().map_or(&[], |code| &code[..]));
        }
    }

    /// Was Close said?
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn control(&mut self, opcode: u8, payload: &[u8]) {
        self.head(opcode, payload.len());
        self.pending.extend_from_slice(payload);
        if self.left == 0 {
            self.lead = self.pending.len();
        }
    }

    /// A header: never masked, the length in as few bytes as it can be (section 5.2).
    fn head(&mut self, opcode: u8, length: usize) {
        self.pending.push(FIN | opcode);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short <= SHORT_MAX => self.pending.push(short),
            (_, Ok(length)) => {
                self.pending.push(LENGTH_16);
                self.pending.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                self.pending.push(LENGTH_64);
                self.pending.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
    }
}
