//! QoS 2 both ways, cut after every packet: what is carried out, what comes again, which packet identifiers are in use.

use broker_protocol::{Action, Answer, Cause, Delivered, Limits, Request, Source};
use schemas::{Publication, QoS};

use crate::world::{World, connect, delivered, message, packet, puback, subscribe, text};

const INBOX: &str = "user/alice/inbox";

fn publish(level: u8, flags: u8, topic: &str, id: u16) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(0x30 | flags, &[&text(topic)[..], &id.to_be_bytes(), properties, b"x"].concat())
}

fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

fn twice(payload: &[u8]) -> Publication {
    Publication { qos: QoS::ExactlyOnce, ..message("t", payload) }
}

fn online(level: u8, properties: &[u8]) -> World {
    let mut world = World::new();
    world.send(&connect(level, false, properties));
    world.send(&subscribe(level, "t", 2));
    world.got();
    world
}

fn live(world: &World) -> usize {
    world.other.iter().filter(|action| matches!(action, Action::PublishLive(_))).count()
}

/// `[v311:4.3.3-2] [v5:4.3.3-8] [v5:4.3.3-10] [v5:4.3.3-11] [v5:4.3.3-12] [v311:3.3.4-1] [v5:3.3.4-1]`, with packet
/// identifiers of both bytes `[v311:2.3.1-6] [v5:2.2.1-5]`.
#[test]
fn a_publish_counts_once_until_it_is_released() {
    for level in [4, 5] {
        for id in [1, 256, 65_535] {
            let mut world = online(level, &[]);
            for flags in [4, 12, 12, 12, 12] {
                world.send(&publish(level, flags, "a", id));
                assert_eq!(world.got(), [ack(PUBREC, id)]);
            }
            assert_eq!(live(&world), 1, "five times the same");
            world.reconnect(&connect(level, false, &[]));
            world.send(&publish(level, 12, "a", id));
            assert_eq!(world.got()[1..], [ack(PUBREC, id)]);
            assert_eq!(live(&world), 1, "also on the next connection");
            world.send(&ack(PUBREL, id));
            assert_eq!(world.got(), [ack(PUBCOMP, id)]);
            // Not known any more: MQTT 5 says so, 3.1.1 has no word for it. [v5:U39] [v5:3.7.2-1]
            world.send(&ack(PUBREL, id));
            let unknown = if level == 5 {
                [&[0x70, 3][..], &id.to_be_bytes(), &[0x92]].concat()
            } else {
                ack(PUBCOMP, id)
            };
            assert_eq!(world.got(), [unknown]);
            world.send(&publish(level, 4, "a", id));
            assert_eq!((world.got(), live(&world)), (vec![ack(PUBREC, id)], 2), "the identifier is free");
        }
    }
}

/// P1: neither PUBREC nor PUBCOMP before the store has it; and PUBRECs in the order of the publishes
/// `[v311:4.6.0-3] [v5:4.6.0-3]`.
#[test]
fn nothing_is_said_before_it_is_stored() {
    let mut world = online(5, &[]);
    world.hold = true;
    world.send(
        &[publish(5, 4, "a", 1), publish(5, 2, "a", 2), publish(5, 4, "a", 3), ack(PUBREL, 1)].concat(),
    );
    let tokens: Vec<u64> = world.held.iter().map(|(token, _)| *token).collect();
    assert!(matches!(&world.held[0].1, Request::Once { packet, .. } if packet.get() == 1));
    world.answer(tokens[2], Answer::Done);
    world.answer(tokens[1], Answer::Done);
    world.answer(tokens[3], Answer::Released(true));
    assert!(world.got().is_empty(), "all wait for the first");
    world.answer(tokens[0], Answer::Done);
    assert_eq!(world.got(), [ack(PUBREC, 1), puback(2), ack(PUBREC, 3), ack(PUBCOMP, 1)]);
}

/// `[v5:4.3.3-9]`: the identifier of a refused publish is free at once, and 3.1.1 gets its plain answers.
#[test]
fn a_refused_publish_is_over_with_its_pubrec() {
    let mut world = online(5, &[0x17, 0]);
    world.send(&publish(5, 4, "denied", 1));
    assert_eq!(world.got(), [[0x50, 3, 0, 1, 0x87]]);
    world.send(&publish(5, 4, "a", 1));
    assert_eq!((world.got(), live(&world)), (vec![ack(PUBREC, 1)], 1));
    let mut world = online(4, &[]);
    world.send(&[publish(4, 4, "denied", 1), publish(4, 12, "denied", 1), ack(PUBREL, 1)].concat());
    assert_eq!(world.got(), [ack(PUBREC, 1), ack(PUBREC, 1), ack(PUBCOMP, 1)]);
    let reports = world.submitted.iter().filter(
        |r| matches!(r, Request::Once { request, .. } if matches!(**request, Request::Report { .. })),
    );
    assert_eq!(reports.count(), 1);
}

/// `[v5:3.3.4-7] [v5:U21]`: QoS 1 and 2 together, until PUBCOMP; the same again is not another one.
#[test]
fn publishes_that_are_not_released_count_against_the_receive_maximum() {
    let mut world = World::with(Limits { receive_max: 2, ..Limits::default() });
    world.send(&connect(5, true, &[]));
    world.send(&[publish(5, 4, "a", 1), publish(5, 4, "a", 2), publish(5, 12, "a", 2)].concat());
    assert_eq!(world.got()[1..], [ack(PUBREC, 1), ack(PUBREC, 2), ack(PUBREC, 2)]);
    world.send(&ack(PUBREL, 1));
    assert_eq!(world.got(), [ack(PUBCOMP, 1)]);
    world.send(&publish(5, 2, "a", 3));
    assert_eq!(world.got(), [puback(3)]);
    world.send(&publish(5, 4, "a", 4));
    assert_eq!(world.got(), [ack(PUBREC, 4)]);
    world.send(&publish(5, 2, "a", 5));
    let farewell = world.got();
    assert_eq!((farewell[0][0], farewell[0][2]), (0xE0, 0x93), "two are not released");
}

/// `[v311:4.3.3-1] [v5:4.3.3-1] [v5:4.3.3-2] [v5:4.3.3-4]`, and `[v5:4.9.0-2] [v5:3.3.4-9]`: room for the next one comes with
/// PUBCOMP.
#[test]
fn a_delivery_goes_through_all_its_packets() {
    for level in [4, 5] {
        let mut world = online(level, if level == 5 { &[0x21, 0, 1] } else { &[] });
        world.limits.window_max = 1;
        world.enqueue(1, twice(b"one"));
        let got = world.got();
        let (first, id, _) = delivered(&got[0]);
        assert_eq!((first, got.len()), (0x34, 1));
        if level == 5 {
            world.enqueue(2, twice(b"two"));
            assert!(world.got().is_empty(), "no room");
        }
        world.hold = true;
        world.send(&ack(PUBREC, id));
        assert!(world.got().is_empty(), "PUBREC is not on disk");
        assert_eq!(world.stored.acked.queue, 0, "and the cursor waits for it");
        world.hold = false;
        world.release();
        assert_eq!(world.got(), [ack(PUBREL, id)]);
        assert_eq!(world.stored.acked.queue, 1, "PUBREC moves the cursor");
        world.send(&ack(PUBREC, id));
        assert_eq!(world.got(), [ack(PUBREL, id)], "PUBREC again, PUBREL again");
        // An acknowledgement of the wrong kind ends nothing.
        world.send(&puback(id));
        world.send(&ack(PUBCOMP, id));
        let got = world.got();
        assert_eq!(got.len(), usize::from(level == 5), "{got:?}");
        assert_eq!(world.stored.received.get(&Delivered { source: Source::Queue, n: 1 }), Some(&false));
    }
}

/// PUBACK does not end a flow of QoS 2, PUBREC none of QoS 1; `[v5:4.4.0-2]` PUBREC with an error ends one of QoS 2.
#[test]
fn only_the_right_acknowledgement_ends_a_flow() {
    let mut world = online(5, &[]);
    world.enqueue(1, twice(b"x"));
    world.enqueue(2, message("t", b"x"));
    let ids: Vec<u16> = world.got().iter().map(|packet| delivered(packet).1).collect();
    world.send(&puback(ids[0]));
    world.send(&ack(PUBREC, ids[1]));
    world.send(&ack(PUBCOMP, ids[0]));
    assert!(world.got().is_empty());
    assert_eq!(world.stored.acked.queue, 0);
    world.send(&packet(PUBREC, &[&ids[0].to_be_bytes()[..], &[0x83]].concat()));
    assert!(world.got().is_empty(), "no PUBREL");
    world.send(&puback(ids[1]));
    assert_eq!(world.stored.acked.queue, 2);
    world.reconnect(&connect(5, false, &[]));
    assert_eq!(world.got().len(), 1, "CONNACK, and nothing comes again");
}

/// `[v311:4.4.0-1] [v5:4.4.0-1] [v311:4.6.0-1] [v5:4.6.0-1] [v5:4.3.3-3] [v5:4.3.3-5] [v5:4.3.3-6] [v311:2.3.1-4]
/// [v5:2.2.1-4]`: cut at every stage, with QoS 1 between: PUBREL for what was received, PUBLISH with DUP for the rest, in the
/// old order, under the old identifiers; nothing for what is over.
#[test]
fn a_session_goes_on_where_each_flow_stood() {
    for level in [4, 5] {
        let mut world = online(level, &[]);
        for n in 1..=5 {
            world.enqueue(n, if n == 4 { message("t", b"4") } else { twice(n.to_string().as_bytes()) });
        }
        let ids: Vec<u16> = world.got().iter().map(|packet| delivered(packet).1).collect();
        // 1 is over, 2 not received, 3 received, 4 (QoS 1) not acknowledged, 5 over ahead of the cursor.
        world.send(&[ack(PUBREC, ids[0]), ack(PUBREC, ids[2]), ack(PUBREC, ids[4])].concat());
        // [v311:4.6.0-4] [v5:4.6.0-4] in the order of PUBRECs
        assert_eq!(world.got(), [ack(PUBREL, ids[0]), ack(PUBREL, ids[2]), ack(PUBREL, ids[4])]);
        world.send(&[ack(PUBCOMP, ids[4]), ack(PUBCOMP, ids[0])].concat());
        assert_eq!(world.stored.acked.queue, 1);
        world.stored.received.remove(&Delivered { source: Source::Queue, n: 1 });
        for round in 0..3 {
            world.end(Cause::Lost);
            if round == 1 {
                world.enqueue(6, twice(b"6"));
            }
            world.reconnect(&connect(level, false, &[]));
            let got = world.got();
            assert_eq!(got[1], ack(PUBREL, ids[2]), "round {round}");
            let again: Vec<(u8, u16)> = got[2..].iter().map(|p| (delivered(p).0, delivered(p).1)).collect();
            let mut expected = vec![(0x3C, ids[1]), (0x3A, ids[3])];
            expected.extend((round > 0).then_some((if round == 1 { 0x34 } else { 0x3C }, ids[4] + 1)));
            assert_eq!(again, expected, "round {round}");
        }
        world.send(
            &[ack(PUBCOMP, ids[2]), ack(PUBREC, ids[1]), puback(ids[3]), ack(PUBREC, ids[4] + 1)].concat(),
        );
        assert_eq!(world.got().len(), 2);
        assert_eq!(world.stored.acked.queue, 6);
    }
}

/// `[v5:4.9.0-2]`: what is sent again counts as well: five open, room for two.
#[test]
fn what_comes_again_fits_the_new_receive_maximum() {
    let mut world = online(5, &[]);
    for n in 1..=5 {
        world.enqueue(n, message("t", b"x"));
    }
    assert_eq!(world.got().len(), 5);
    world.reconnect(&connect(5, false, &[0x21, 0, 2]));
    let mut seen = Vec::new();
    let mut got = world.got().split_off(1);
    while !got.is_empty() {
        assert!(got.len() <= 2);
        let (first, id, _) = delivered(&got.remove(0));
        assert_eq!(first, 0x3A);
        seen.push(id);
        world.send(&puback(id));
        got.extend(world.got());
    }
    assert_eq!(seen, [2, 3, 4, 5, 6], "one by one, in order");
}

/// `[v5:4.4.0-2] [v5:4.3.2-3]`: acknowledged out of order, then the connection is lost.
#[test]
fn what_was_acknowledged_ahead_does_not_come_again() {
    let mut world = online(5, &[]);
    for n in 1..=4 {
        world.enqueue(n, message("t", b"x"));
    }
    let ids: Vec<u16> = world.got().iter().map(|packet| delivered(packet).1).collect();
    world.send(&[puback(ids[1]), puback(ids[3])].concat());
    world.reconnect(&connect(5, false, &[]));
    let again: Vec<u16> = world.got()[1..].iter().map(|packet| delivered(packet).1).collect();
    assert_eq!(again, [ids[0], ids[2]]);
    world.send(&[puback(ids[0]), puback(ids[2])].concat());
    assert_eq!(world.stored.acked.queue, 4);
}

/// An inbox at QoS 2: PUBREC moves its cursor (contract, section 5).
#[test]
fn an_inbox_at_qos_2() {
    let mut world = World::new();
    world.send(&connect(5, false, &[]));
    world.send(&subscribe(5, INBOX, 2));
    world.got();
    world.commit(3);
    let got = world.got();
    let ids: Vec<u16> = got.iter().map(|packet| delivered(packet).1).collect();
    assert!(got.iter().all(|packet| packet[0] == 0x34));
    world.send(&[ack(PUBREC, ids[0]), ack(PUBREC, ids[2])].concat());
    assert_eq!(world.got(), [ack(PUBREL, ids[0]), ack(PUBREL, ids[2])]);
    assert_eq!(world.stored.acked.inbox, 1);
    world.reconnect(&connect(5, false, &[]));
    let got = world.got();
    assert_eq!(got[1..3], [ack(PUBREL, ids[0]), ack(PUBREL, ids[2])]);
    assert_eq!((got.len(), delivered(&got[3]).0, delivered(&got[3]).1), (4, 0x3C, ids[1]));
}

/// `[v311:3.10.4-3] [v5:3.10.4-3]`: what has begun is finished after UNSUBSCRIBE, over a reconnect as well.
#[test]
fn a_flow_outlives_its_subscription() {
    for level in [4, 5] {
        let mut world = online(level, &[]);
        world.enqueue(1, twice(b"1"));
        world.enqueue(2, twice(b"2"));
        let ids: Vec<u16> = world.got().iter().map(|packet| delivered(packet).1).collect();
        let properties: &[u8] = if level == 5 { &[0] } else { &[] };
        world.send(&packet(0xA2, &[&[0, 9][..], properties, &text("t")].concat()));
        world.got();
        world.send(&ack(PUBREC, ids[0]));
        assert_eq!(world.got(), [ack(PUBREL, ids[0])]);
        world.reconnect(&connect(level, false, &[]));
        let got = world.got();
        assert_eq!(got[1], ack(PUBREL, ids[0]));
        assert_eq!((delivered(&got[2]).0, delivered(&got[2]).1), (0x3C, ids[1]));
    }
}

/// `[v5:4.3.3-7] [v5:4.3.3-13]`: its time is over, but its delivery had begun.
#[test]
fn expiry_ends_no_flow_that_has_begun() {
    let mut world = online(5, &[]);
    let properties = schemas::PublishProperties { message_expiry_s: Some(1), ..Default::default() };
    let expiring = Publication { properties: Some(Box::new(properties)), ..twice(b"x") };
    world.enqueue(1, expiring.clone());
    let id = delivered(&world.got()[0]).1;
    world.end(Cause::Lost);
    world.enqueue(2, expiring);
    world.pass(3_000);
    world.reconnect(&connect(5, false, &[]));
    let got = world.got();
    assert_eq!((got.len(), delivered(&got[1]).1), (2, id), "the second was never sent");
    assert!(got[1].windows(5).any(|bytes| bytes == [2, 0, 0, 0, 0]));
    world.send(&ack(PUBREC, id));
    world.pass(3_000);
    world.send(&ack(PUBCOMP, id));
    assert_eq!((world.got(), world.stored.acked.queue), (vec![ack(PUBREL, id)], 2));
}

/// `[v5:U39]`: PUBREC and PUBCOMP for nothing.
#[test]
fn acknowledgements_of_nothing_are_no_errors() {
    for (level, release) in [(4, ack(PUBREL, 9)), (5, vec![0x62, 3, 0, 9, 0x92])] {
        let mut world = online(level, &[]);
        for id in [9, 32_009, 64_001, 65_535] {
            world.send(&ack(PUBREC, id));
            let got = world.got();
            assert_eq!((got.len(), got[0][0], got[0].len()), (1, 0x62, release.len()));
            world.send(&[ack(PUBCOMP, id), puback(id)].concat());
            assert!(world.got().is_empty() && world.closed.is_none());
        }
    }
}
