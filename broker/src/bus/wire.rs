//! How news look inside the router: numbers packed by hand, because there are many; the rest as MessagePack.
//!
//! ```text
//! u64 number of the message │ u32 count │ count × (u128 inbox, u64 head) │ u32 count │ count × (u128 session, u64 head) │ events
//! ```
//! All big-endian; `events` is empty where there are none. Never leaves the process, so it has no version.

use std::sync::Arc;

use bytes::Bytes;
use schemas::{AccountId, Encoding, Publication, Seq, UserId};
use serde::{Deserialize, Serialize};
use store::{InboxKey, SessionKey};

use super::{Batch, BusEvent};
use crate::live::Turn;
use crate::registry::StatusChange;

#[derive(Serialize, Deserialize)]
enum Event {
    Live(AccountId, [u64; 2], Turn, Arc<Publication>),
    Signal(AccountId, UserId, Bytes),
    Status(AccountId, UserId, Bytes),
    Kick(AccountId, UserId),
}

pub(super) fn encode(number: u64, batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + 24 * (batch.inboxes.len() + batch.queues.len()));
    out.extend_from_slice(&number.to_be_bytes());
    numbers(&mut out, batch.inboxes.iter().map(|(key, head)| (key.0, head.0)));
    numbers(&mut out, batch.queues.iter().map(|(key, head)| (key.0, *head)));
    if !batch.events.is_empty() {
        let events: Vec<Event> = batch.events.iter().cloned().map(to_wire).collect();
        out.extend_from_slice(&Encoding::Msgpack.write(&events));
    }
    out
}

fn numbers(out: &mut Vec<u8>, pairs: impl ExactSizeIterator<Item = (u128, u64)>) {
    let count = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for (key, head) in pairs.take(count as usize) {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&head.to_be_bytes());
    }
}

/// The message's number and what it says; `None` where it is not one of ours.
pub(super) fn decode(mut bytes: &[u8]) -> Option<(u64, Batch)> {
    let number = u64::from_be_bytes(take(&mut bytes)?);
    let inboxes = read_numbers(&mut bytes, |key, head| (InboxKey(key), Seq(head)))?;
    let queues = read_numbers(&mut bytes, |key, head| (SessionKey(key), head))?;
    let events: Vec<Event> =
        if bytes.is_empty() { Vec::new() } else { Encoding::Msgpack.read(bytes).ok()? };
    Some((number, Batch { inboxes, queues, events: events.into_iter().map(from_wire).collect() }))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

fn read_numbers<T>(bytes: &mut &[u8], make: impl Fn(u128, u64) -> T) -> Option<Vec<T>> {
    let count = u32::from_be_bytes(take(bytes)?);
    let mut all = Vec::with_capacity((count as usize).min(bytes.len() / 24));
    for _ in 0..count {
        let key = u128::from_be_bytes(take(bytes)?);
        all.push(make(key, u64::from_be_bytes(take(bytes)?)));
    }
    Some(all)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
fn to_wire(event: BusEvent) -> Event {
    match event {
        BusEvent::Live { account, publisher, turn, message } => {
            Event::Live(account, [(publisher.0 >> 64) as u64, publisher.0 as u64], turn, message)
        }
        BusEvent::Signal { account, user, payload } => Event::Signal(account, user, payload),
        BusEvent::Status(change) => Event::Status(change.account, change.user, change.payload),
        BusEvent::Kick { account, user } => Event::Kick(account, user),
    }
}

fn from_wire(event: Event) -> BusEvent {
    match event {
        Event::Live(account, [high, low], turn, message) => BusEvent::Live {
            account,
            publisher: SessionKey(u128::from(high) << 64 | u128::from(low)),
            turn,
            message,
        },
        Event::Signal(account, user, payload) => BusEvent::Signal { account, user, payload },
        Event::Status(account, user, payload) => BusEvent::Status(StatusChange { account, user, payload }),
        Event::Kick(account, user) => BusEvent::Kick { account, user },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::QoS;

    #[test]
    fn news_read_back_and_cut_ones_do_not() {
        let account = AccountId::new("acme").unwrap();
        let user = UserId::new("alice").unwrap();
        let message = Arc::new(Publication {
            topic: "a/b".into(),
            payload: Bytes::from_static(b"\x00x"),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: None,
        });
        let batch = Batch {
            inboxes: vec![(InboxKey(u128::MAX), Seq(7)), (InboxKey(1), Seq(u64::MAX))],
            queues: vec![(SessionKey(3), 9)],
            events: vec![
                BusEvent::Live {
                    account: account.clone(),
                    publisher: SessionKey(u128::MAX - 5),
                    turn: Turn(3),
                    message,
                },
                BusEvent::Signal {
                    account: account.clone(),
                    user: user.clone(),
                    payload: Bytes::from_static(b"{}"),
                },
                BusEvent::Kick { account, user },
            ],
        };
        let bytes = encode(42, &batch);
        assert_eq!(decode(&bytes), Some((42, batch)));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none() || cut == 8 + 4 + 48 + 4 + 24, "{cut}");
        }
    }
}
