//! Message ids in Meta's form: `wamid.` and base64 of a small record with phone number, direction and a serial.
//!
//! The time and a counter go into the serial. Load-bearing: a demo keeps its store over restarts, and a restart with
//! the same seed must not repeat the ids of the last run, or every new message is taken for a duplicate.
//! Receivers must treat the id as opaque; nothing here is a promise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::whatsapp::rng::Rng;

/// Makes ids that never repeat within one model.
#[derive(Clone, Debug, Default)]
pub(super) struct WamidMaker {
    made: u64,
}

impl WamidMaker {
    /// The id of a message from a customer.
    pub(super) fn inbound(&mut self, rng: &mut Rng, now_ms: u64, phone: &str) -> String {
        self.make(rng, now_ms, phone, 0x12)
    }

    /// The id of a message to a customer; `to` is a phone number or a business-scoped user id.
    pub(super) fn outbound(&mut self, rng: &mut Rng, now_ms: u64, to: &str) -> String {
        self.make(rng, now_ms, to, 0x11)
    }

    fn make(&mut self, rng: &mut Rng, now_ms: u64, who: &str, direction: u8) -> String {
        /// What fits into the record's length byte with room to spare; a user id may be longer.
        const WHO_MAX: usize = 64;
        let who = &who.as_bytes()[..who.len().min(WHO_MAX)];
        // 11 hex digits of milliseconds last until 2527; 24 bits of counter keep ids of one millisecond apart.
        let serial = format!("{:011X}{:06X}{:08X}", now_ms, self.made & 0xFF_FFFF, rng.next_u64() >> 32);
        self.made += 1;
        let mut record = vec![0x1C, 0x18, who.len() as u8];
        record.extend_from_slice(who);
        record.extend_from_slice(&[0x15, 0x02, 0x00, direction, 0x18, serial.len() as u8]);
        record.extend_from_slice(serial.as_bytes());
        record.push(0);
        format!("wamid.{}", STANDARD.encode(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_metas_and_differ_by_time_alone() {
        let at = |now_ms| WamidMaker::default().inbound(&mut Rng::new(1), now_ms, "15550000002");
        assert!(at(1).starts_with("wamid.HBgL"), "{}", at(1));
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
    }

    #[test]
    fn ids_of_one_millisecond_differ() {
        let (mut maker, mut rng) = (WamidMaker::default(), Rng::new(1));
        let mut ids: Vec<String> = (0..1_000).map(|_| maker.outbound(&mut rng, 5, "1555")).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 1_000);
    }
}
