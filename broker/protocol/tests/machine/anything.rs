//! P9. Whatever bytes and packets come, in whatever pieces: no panic, no endless asking, and after the end silence.

use proptest::prelude::*;

use crate::world::{World, connect, message, packet, puback, subscribe, text};

/// Something that happens to a session.
#[derive(Clone, Debug)]
enum Step {
    Bytes(Vec<u8>),
    Mutated(Vec<u8>, prop::sample::Index, u8),
    Commit(u64),
    Enqueue,
    Retain,
    Hold(bool),
    Pass(u64),
    Reconnect,
    ReadFailed,
}

fn valid() -> impl Strategy<Value = Vec<u8>> {
    let level = prop_oneof![Just(4_u8), Just(5)];
    let topic = prop_oneof![Just("t"), Just("denied"), Just("user/alice/outbox"), Just("a/b")];
    let filter =
        prop_oneof![Just("user/alice/inbox"), Just("#"), Just("a/+"), Just("a#"), Just("$share/g/t")];
    prop_oneof![
        (level.clone(), any::<bool>()).prop_map(|(level, clean)| connect(level, clean, &[])),
        (level.clone(), topic, 0_u8..6, 0_u8..4).prop_map(|(level, topic, flags, id)| {
            let id: &[u8] = if flags & 6 == 0 { &[] } else { &[0, id] };
            let properties: &[u8] = if level == 5 { &[3, 0x23, 0, 1] } else { &[] };
            packet(0x30 | flags, &[&text(topic)[..], id, properties, b"{}"].concat())
        }),
        (level, filter, 0_u8..3).prop_map(|(level, filter, qos)| subscribe(level, filter, qos)),
        any::<u16>().prop_map(puback),
        (32_001_u16..32_020).prop_map(puback),
        (prop_oneof![Just(0x50_u8), Just(0x62), Just(0x70)], prop_oneof![0_u16..8, 32_000_u16..32_008])
            .prop_map(|(first, id)| packet(first, &id.to_be_bytes())),
        (0x17_u8..0x1A).prop_map(|reason| packet(0xF0, &[reason, 6, 0x15, 0, 3, b'J', b'W', b'T'])),
        Just(connect(5, false, &[0x15, 0, 3, b'J', b'W', b'T', 0x22, 0, 2])),
        Just(packet(0xA2, &[&[0, 3, 0][..], &text("user/alice/inbox")].concat())),
        Just(vec![0xC0, 0]),
        Just(vec![0xE0, 0]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Step::Bytes),
        8 => valid().prop_map(Step::Bytes),
        3 => (valid(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(b, i, x)| Step::Mutated(b, i, x)),
        2 => (1_u64..100).prop_map(Step::Commit),
        2 => Just(Step::Enqueue),
        1 => Just(Step::Retain),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => (0_u64..20_000).prop_map(Step::Pass),
        1 => Just(Step::Reconnect),
        1 => Just(Step::ReadFailed),
    ]
}

fn carry_out(world: &mut World, step: Step, level: u8) {
    match step {
        Step::Bytes(bytes) => world.send(&bytes),
        Step::Mutated(mut bytes, at, xor) => {
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
            world.send(&bytes);
        }
        Step::Commit(count) => world.commit(count),
        Step::Enqueue => {
            let n = world.queue.last_key_value().map_or(1, |(n, _)| n + 3);
            let qos = if n.is_multiple_of(2) { schemas::QoS::ExactlyOnce } else { schemas::QoS::AtLeastOnce };
            world.enqueue(n, schemas::Publication { qos, ..message("t", b"x") });
        }
        Step::Retain => {
            let oldest = world.inbox.last_key_value().map_or(1, |(seq, _)| *seq);
            world.retain_from(oldest);
        }
        Step::Hold(hold) => {
            world.hold = hold;
            if !hold {
                world.release();
            }
        }
        Step::Pass(millis) => world.pass(millis),
        Step::Reconnect => {
            world.release();
            world.reconnect(&connect(level, false, &[]));
        }
        Step::ReadFailed => world.session.read_failed(world.now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(level in prop_oneof![Just(4_u8), Just(5)], steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::new();
        world.send(&connect(level, false, &[]));
        world.send(&subscribe(level, "user/alice/inbox", 1));
        for step in steps {
            let over = world.session.has_ended() && world.closed.is_some();
            world.got();
            let reconnects = matches!(step, Step::Reconnect);
            carry_out(&mut world, step, level);
            if over && !reconnects {
                prop_assert!(world.got().is_empty(), "silence after the end");
            }
        }
    }

    /// The first bytes of a connection.
    #[test]
    fn any_bytes_at_first(bytes in prop::collection::vec(any::<u8>(), 0..200), connect_like in any::<bool>()) {
        let mut bytes = bytes;
        if connect_like && bytes.len() > 12 {
            let length = u8::try_from(bytes.len() - 2).unwrap_or(127).min(127);
            bytes[..9].copy_from_slice(&[0x10, length, 0, 4, b'M', b'Q', b'T', b'T', 5]);
        }
        let mut world = World::new();
        world.send(&bytes);
    }

    /// What came in order is acknowledged in order, however the acknowledgements are shuffled in between.
    #[test]
    fn every_event_comes_once_and_in_order(
        acks in prop::collection::vec(any::<prop::sample::Index>(), 1..200),
        window in 1_u8..20,
    ) {
        let mut world = World::new();
        world.send(&connect(5, false, &[0x21, 0, window]));
        world.send(&subscribe(5, "user/alice/inbox", 1));
        world.got();
        world.commit(100);
        let mut flight: Vec<(u64, u16)> = Vec::new();
        let mut next = 1;
        let mut take = |world: &mut World, flight: &mut Vec<(u64, u16)>| {
            for packet in world.got() {
                flight.push((next, crate::world::delivered(&packet).1));
                next += 1;
            }
        };
        take(&mut world, &mut flight);
        let mut acked = std::collections::BTreeSet::new();
        for index in acks {
            if flight.is_empty() {
                break;
            }
            prop_assert!(flight.len() <= usize::from(window));
            let (seq, id) = flight.remove(index.index(flight.len()));
            world.send(&puback(id));
            acked.insert(seq);
            let cursor = (1..).take_while(|seq| acked.contains(seq)).count() as u64;
            prop_assert_eq!(world.stored.acked.inbox, cursor);
            take(&mut world, &mut flight);
        }
    }
}
