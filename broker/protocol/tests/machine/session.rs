//! Sessions under a clock of the test: windows, cursors, gaps, order of acknowledgements, time-outs.

use broker_protocol::{Action, Answer, Cause, Limits, Progress, Request, Told};
use schemas::ErrorCode;

use crate::world::{World, connect, delivered, message, packet, puback, subscribe, text};

const INBOX: &str = "user/alice/inbox";

/// An open session with an inbox subscription.
fn inbox(level: u8, properties: &[u8]) -> World {
    let mut world = World::new();
    world.send(&connect(level, false, properties));
    world.send(&subscribe(level, INBOX, 1));
    world.got();
    world
}

fn seqs(packets: &[Vec<u8>]) -> Vec<u64> {
    let seq = |packet: &Vec<u8>| {
        let (_, _, body) = delivered(packet);
        let at = body.find("\"seq\":")?;
        body[at + 6..].split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    packets.iter().filter_map(seq).collect()
}

fn ids(packets: &[Vec<u8>]) -> Vec<u16> {
    packets.iter().map(|packet| delivered(packet).1).collect()
}

/// P3, in any order of acknowledgements.
#[test]
fn the_cursor_stands_below_the_lowest_number_in_flight() {
    let mut world = inbox(4, &[]);
    world.commit(5);
    let got = ids(&world.got());
    for (acked, cursor) in [(4, 0), (0, 1), (2, 1), (1, 3), (3, 5)] {
        world.send(&puback(got[acked]));
        assert_eq!(world.stored.acked.inbox, cursor, "after the PUBACK of {}", acked + 1);
    }
    // A stray PUBACK moves nothing and makes no room. [v5:4.9.0-2]
    world.send(&puback(got[0]));
    world.commit(1);
    assert_eq!(seqs(&world.got()), [6]);
}

/// P3 at the end: an acknowledgement that comes with the DISCONNECT in one read counts.
#[test]
fn what_is_acknowledged_with_the_last_bytes_is_acknowledged() {
    let mut world = inbox(4, &[]);
    world.commit(2);
    let got = ids(&world.got());
    world.send(&[puback(got[0]), puback(got[1]), vec![0xE0, 0]].concat());
    assert_eq!(world.stored.acked.inbox, 2);
}

/// One window over the inbox and the queue; both get their share of it. `[v5:3.3.4-9]`
#[test]
fn one_window_over_both_sources() {
    let mut world = inbox(5, &[0x21, 0, 4]);
    world.send(&subscribe(5, "t", 1));
    world.got();
    for n in 1..=10 {
        world.queue.insert(n, message("t", b"x"));
    }
    world.commit(10);
    let mut got = ids(&world.got());
    assert_eq!(got.len(), 4);
    let (mut from_queue, mut from_inbox) = (0, 0);
    for _ in 0..20 {
        let Some(id) = got.pop() else { break };
        if id <= 32_000 {
            from_queue += 1
        } else {
            from_inbox += 1
        }
        world.send(&puback(id));
        let more = ids(&world.got());
        assert!(got.len() + more.len() <= 4);
        got.extend(more);
    }
    assert_eq!((from_queue, from_inbox), (10, 10));
    assert_eq!(world.stored.acked, Progress { inbox: 10, queue: 10 });
}

/// A redelivery has its identifier and DUP; what was never sent has no DUP. `[v5:4.4.0-1] [v5:3.3.1-1]`
#[test]
fn a_redelivery_keeps_its_identifier() {
    let mut world = inbox(4, &[]);
    world.commit(3);
    let first = world.got();
    world.send(&puback(ids(&first)[0]));
    world.end(Cause::Lost);
    world.commit(1);
    world.reconnect(&connect(4, false, &[]));
    let again = world.got();
    assert_eq!(again[0], [0x20, 2, 1, 0], "session present");
    let again = &again[1..];
    assert_eq!(seqs(again), [2, 3, 4]);
    assert_eq!(ids(again)[..2], ids(&first)[1..]);
    let dups: Vec<bool> = again.iter().map(|packet| packet[0] & 8 != 0).collect();
    assert_eq!(dups, [true, true, false]);
}

/// Identifiers repeat after 32,000 numbers, and one that is in flight is never given to another number.
#[test]
fn an_identifier_in_flight_is_not_given_twice() {
    let mut world = World::new();
    world.send(&connect(4, true, &[]));
    world.send(&subscribe(4, "t", 1));
    world.got();
    world.enqueue(1, message("t", b"first"));
    world.enqueue(32_001, message("t", b"same identifier"));
    let got = world.got();
    assert_eq!(got.len(), 1, "the second has to wait");
    let first = delivered(&got[0]).1;
    world.send(&puback(first));
    let second = world.got();
    assert_eq!(delivered(&second[0]).1, first);
    world.send(&puback(first));
    assert_eq!(world.stored.acked.queue, 32_001);
}

/// Announced, never skipped in silence; the cursor waits for its acknowledgement.
#[test]
fn what_retention_removed_is_announced() {
    let mut world = inbox(5, &[]);
    world.commit(2);
    let got = ids(&world.got());
    world.send(&puback(got[0]));
    world.send(&puback(got[1]));
    world.end(Cause::Lost);
    world.commit(5);
    world.retain_from(6);
    world.reconnect(&connect(5, false, &[]));
    let got = world.got();
    let (_, id, body) = delivered(&got[1]);
    assert!(body.contains(r#""type":"inbox.gap""#) && body.contains(r#""data":{"from":3,"to":5}"#), "{body}");
    assert!(!body.contains("\"seq\""), "{body}");
    assert_eq!(seqs(&got[2..]), [6, 7]);
    for packet in &got[2..] {
        world.send(&puback(delivered(packet).1));
    }
    assert_eq!(world.stored.acked.inbox, 2, "the gap is not acknowledged");
    world.send(&puback(id));
    assert_eq!(world.stored.acked.inbox, 7);
}

/// `[v5:3.1.2-24] [v5:3.1.2-25]`: as if it had been delivered, and the window stays free.
#[test]
fn what_is_too_large_for_the_client_counts_as_delivered() {
    let mut world = World::new();
    world.send(&connect(5, true, &[0x27, 0, 0, 0, 20, 0x21, 0, 1]));
    world.send(&subscribe(5, "t", 1));
    world.got();
    // 2 + topic 3 + identifier 2 + property length 1 + payload
    for (n, payload, fits) in [(1, 12, true), (2, 13, false), (3, 12, true)] {
        world.enqueue(n, message("t", &vec![b'x'; payload]));
        let got = world.got();
        assert_eq!(got.len(), usize::from(fits), "{payload} bytes of payload");
        for packet in &got {
            world.send(&puback(delivered(packet).1));
        }
    }
    assert_eq!(world.stored.acked.queue, 3);
    assert!(world.told.contains(&Told::TooLarge));
}

/// `[v5:3.3.2-5] [v5:3.3.2-6]`
#[test]
fn expiry_is_counted_down_in_the_queue() {
    let mut world = World::new();
    world.send(&connect(5, true, &[]));
    world.send(&subscribe(5, "t", 1));
    world.got();
    world.pass(7_000);
    let expiring = |seconds| schemas::Publication {
        properties: Some(Box::new(schemas::PublishProperties {
            message_expiry_s: Some(seconds),
            ..Default::default()
        })),
        ..message("t", b"x")
    };
    world.enqueue(1, expiring(7));
    assert!(world.got().is_empty(), "its time is over");
    world.enqueue(2, expiring(10));
    let got = world.got();
    assert!(got[0].windows(5).any(|bytes| bytes == [2, 0, 0, 0, 3]));
    world.send(&puback(delivered(&got[0]).1));
    assert_eq!(world.stored.acked.queue, 2, "an expired one does not hold the cursor back");
}

/// P1: no PUBACK before the store's answer, and in order whichever is answered first. `[v5:4.6.0-2]`
#[test]
fn acknowledgements_wait_for_the_store_and_for_each_other() {
    let mut world = World::new();
    world.send(&connect(5, true, &[]));
    world.got();
    world.hold = true;
    let publish = |topic: &str, id: u8| packet(0x32, &[&text(topic)[..], &[0, id, 0], b"x"].concat());
    world.send(&[publish("a", 1), publish("denied", 2), publish("b", 3)].concat());
    assert!(world.got().is_empty(), "nothing is acknowledged before it is stored");
    let tokens: Vec<u64> = world.held.iter().map(|(token, _)| *token).collect();
    world.answer(tokens[1], Answer::Done);
    assert!(world.got().is_empty(), "the third waits for the first");
    world.answer(tokens[0], Answer::Done);
    let got = world.got();
    let acked: Vec<(u8, u8)> = got.iter().map(|ack| (ack[3], ack.get(4).copied().unwrap_or(0))).collect();
    assert_eq!(acked, [(1, 0), (2, 0x87), (3, 0)]);
}

/// What cannot be stored is not acknowledged; the connection ends after the time to wait.
#[test]
fn a_store_that_is_down_ends_the_connection() {
    let limits = Limits::default();
    for unavailable in [true, false] {
        let mut world = World::new();
        world.send(&connect(5, true, &[]));
        world.got();
        world.hold = true;
        world.send(&packet(0x32, &[&text("a")[..], &[0, 1, 0]].concat()));
        if unavailable {
            let (token, _) = world.held[0];
            world.answer(token, Answer::Unavailable);
            assert!(!world.session.accepts(), "nothing more is taken in");
        }
        world.pass(limits.store_wait_ms - 1);
        assert_eq!(world.closed, None);
        world.pass(1);
        let got = world.got();
        assert_eq!((got.len(), got[0][0], got[0][2]), (1, 0xE0, 0x88));
        assert_eq!(world.closed, Some(4004));
    }
}

/// 3.1.1: acknowledged once the report is on disk; at most one report per second for topics.
/// `[v311:3.3.5-2]`
#[test]
fn refusals_of_311_are_reported() {
    let mut world = World::new();
    world.send(&connect(4, true, &[]));
    world.got();
    let denied = packet(0x32, &[&text("denied")[..], &[0, 1]].concat());
    let reports = |world: &World| {
        world.submitted.iter().filter(|r| matches!(r, Request::Report { topic: Some(_), .. })).count()
    };
    world.hold = true;
    world.send(&denied);
    assert!(world.got().is_empty(), "P1: the report is not on disk");
    world.hold = false;
    world.release();
    assert_eq!(world.got(), [[0x40, 2, 0, 1]]);
    world.send(&denied);
    assert_eq!((world.got().len(), reports(&world)), (1, 1));
    world.pass(1_000);
    world.send(&denied);
    assert_eq!((world.got().len(), reports(&world)), (1, 2));
    assert!(world.told.contains(&Told::Refused(ErrorCode::AclDenied)));
}

/// `refused_publish_311 = "close"`: the connection ends, whether the topic, the command or the store's plan is refused;
/// MQTT 5 has its reason codes and stays.
#[test]
fn refusals_of_311_close_where_configured() {
    let limits = Limits { refused_publish_311_closes: true, ..Limits::default() };
    let body = |level: u8, topic: &str, payload: &[u8]| {
        let properties: &[u8] = if level == 5 { &[0] } else { &[] };
        packet(0x32, &[&text(topic)[..], &[0, 1], properties, payload].concat())
    };
    for level in [4, 5] {
        for (topic, payload) in [("denied", &b""[..]), ("user/alice/outbox", &b"{"[..])] {
            let mut world = World::with(limits.clone());
            world.send(&connect(level, true, &[]));
            world.got();
            world.send(&body(level, topic, payload));
            assert_eq!(world.closed.is_some(), level == 4, "{topic}");
            assert_eq!(world.got().len(), usize::from(level == 5), "{topic}: no PUBACK for a 3.1.1 client");
        }
        let mut world = World::with(limits.clone());
        world.send(&connect(level, true, &[]));
        world.got();
        world.hold = true;
        world.send(&body(level, "a", b"x"));
        world.answer(0, Answer::Refused(ErrorCode::IdReused));
        assert_eq!(world.closed.is_some(), level == 4);
    }
}

/// A client that connects twice without a pause is told "taken over" on the older connection, once CONNACK is out; were it
/// told "unavailable" it would come back at once. `[v5:3.14.0-1]`
#[test]
fn a_connection_taken_over_while_its_session_opens_says_so() {
    for level in [4, 5] {
        let mut world = World::new();
        world.hold = true;
        world.send(&connect(level, false, &[]));
        world.end(Cause::TakenOver);
        assert!(world.got().is_empty(), "nothing before CONNACK");
        world.hold = false;
        world.release();
        let got = world.got();
        assert_eq!((got[0][0], got[0][3]), (0x20, 0), "CONNACK, accepted");
        let told: Vec<_> = got[1..].iter().map(|packet| (packet[0], packet[2])).collect();
        assert_eq!(told, if level == 5 { vec![(0xE0, 0x8E)] } else { vec![] });
        assert_eq!(world.closed, Some(4005));
    }
}

/// `[v5:3.3.4-7]`: 256 are announced; 3.1.1 clients, who cannot know, are made to wait instead.
#[test]
fn publishes_in_flight_are_limited() {
    let limits = Limits { receive_max: 2, ..Limits::default() };
    let publish = |level: u8, id: u8| {
        let properties: &[u8] = if level == 5 { &[0] } else { &[] };
        packet(0x32, &[&text("a")[..], &[0, id], properties].concat())
    };
    for level in [4, 5] {
        let mut world = World::with(limits.clone());
        world.send(&connect(level, true, &[]));
        world.got();
        world.hold = true;
        let rest = [publish(level, 1), publish(level, 2), publish(level, 3)].concat();
        let left = world.feed(bytes::BytesMut::from(&rest[..]));
        if level == 5 {
            assert_eq!((left.len(), world.got()[0][2]), (0, 0x93));
        } else {
            assert_eq!(left.len(), publish(level, 3).len());
            world.release();
            assert_eq!((world.got().len(), world.session.accepts()), (2, true));
        }
    }
}

#[test]
fn time_ends_connections() {
    // No CONNECT. [v5:U22]
    let mut world = World::new();
    world.pass(Limits::default().connect_timeout_ms);
    assert!(world.got().is_empty() && world.closed.is_some());
    // Keep alive of 10 s: 15 s after the last packet, deliveries do not count. [v5:3.1.2-22]
    let mut world = inbox(5, &[]);
    world.pass(14_000);
    world.send(&[0xC0, 0]);
    world.pass(14_999);
    world.commit(1);
    assert_eq!(world.closed, None);
    world.got();
    world.pass(1);
    assert_eq!(world.got()[0][..3], [0xE0, 1, 0x8D]);
    // The token's hour.
    let mut world = World::new();
    world.send(&connect(5, true, &[]));
    for _ in 0..359 {
        world.pass(10_000);
        world.send(&[0xC0, 0]);
    }
    world.got();
    world.pass(9_999);
    assert_eq!(world.closed, None);
    world.pass(1);
    let farewell = world.got().pop().unwrap();
    assert_eq!((farewell[2], farewell.ends_with(b"token_expired"), world.closed), (0x87, true, Some(4002)));
}

/// A connection that is lost while the store opens its session closes it as soon as it is open.
#[test]
fn a_session_is_closed_even_if_nobody_waited_for_it() {
    let mut world = World::new();
    world.hold = true;
    world.send(&connect(4, false, &[]));
    world.end(Cause::Lost);
    assert!(!world.session.has_ended());
    world.hold = false;
    world.release();
    assert!(world.session.has_ended());
    assert!(matches!(world.submitted.last(), Some(Request::Close { .. })));
    assert!(world.got().is_empty());
}

/// `[v311:3.10.4-3] [v5:3.10.4-3]`: what is in flight may still be acknowledged; a new subscription starts at the head.
#[test]
fn unsubscribing_and_subscribing_again() {
    let mut world = inbox(4, &[]);
    world.commit(2);
    let got = ids(&world.got());
    world.send(&packet(0xA2, &[&[0, 9][..], &text(INBOX)].concat()));
    assert_eq!(world.got(), [[0xB0, 2, 0, 9]]);
    world.commit(1);
    assert!(world.got().is_empty());
    world.send(&subscribe(4, INBOX, 1));
    world.got();
    world.send(&puback(got[0]));
    world.send(&puback(got[1]));
    world.commit(1);
    assert_eq!(seqs(&world.got()), [4], "the third came while nobody was subscribed");
}

/// A read that fails is tried again, and the connection ends if that goes on.
#[test]
fn reads_that_fail_are_tried_again() {
    let mut world = inbox(5, &[]);
    world.session.read_failed(world.now);
    world.commit(1);
    assert!(world.got().is_empty());
    world.pass(500);
    assert_eq!(seqs(&world.got()), [1]);
    world.session.read_failed(world.now);
    world.pass(Limits::default().store_wait_ms);
    let farewell = world.got().pop().unwrap();
    assert_eq!((farewell[0], farewell[2]), (0xE0, 0x88));
}

/// Measured only where the device was online when the event was committed.
#[test]
fn deliveries_are_measured_from_the_first_byte_to_the_puback() {
    let mut world = inbox(5, &[]);
    world.pass(1);
    world.commit(1);
    let id = ids(&world.got())[0];
    world.pass(20);
    world.send(&puback(id));
    let took: Vec<u64> = world
        .told
        .iter()
        .filter_map(|told| if let Told::Delivered { took_us, .. } = told { Some(*took_us) } else { None })
        .collect();
    assert_eq!(took, [20_000]);
    // Away for a moment: what came meanwhile is a backlog, not a live delivery.
    world.end(Cause::Lost);
    world.commit(1);
    world.pass(1);
    world.told.clear();
    world.reconnect(&connect(5, false, &[]));
    let got = world.got();
    world.send(&puback(delivered(&got[1]).1));
    assert!(!world.told.iter().any(|told| matches!(told, Told::Delivered { .. })));
    assert!(world.told.iter().any(|told| matches!(told, Told::CaughtUp { .. })));
}

/// Typing is all that an outbox takes at QoS 0.
#[test]
fn an_outbox_takes_typing_at_qos_0() {
    let mut world = World::new();
    world.send(&connect(4, true, &[]));
    let conversation = schemas::ConversationId(5).to_string();
    for (body, typing) in [
        (format!(r#"{{"type":"typing","conversation":"{conversation}","state":"start"}}"#), true),
        (format!(r#"{{"type":"message.read","conversation":"{conversation}","state":"start"}}"#), false),
        ("{".to_owned(), false),
    ] {
        world.other.clear();
        let body = [&text("user/alice/outbox")[..], body.as_bytes()].concat();
        world.send(&packet(0x30, &body));
        assert_eq!(world.other.iter().any(|a| matches!(a, Action::Typing { .. })), typing);
    }
    assert_eq!(world.told.iter().filter(|told| **told == Told::DroppedQoS0).count(), 2);
}
