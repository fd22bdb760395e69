//! RETAIN and wills, as far as a session's own part in them goes: what the store does is the store's to test.

use broker_protocol::{Cause, Request, Told};
use schemas::{Publication, QoS};

use crate::world::{RETAINED_PAGE, World, connect, delivered, message, packet, puback, subscribe, text};

fn retained(world: &mut World, count: usize, qos: QoS) {
    let one = |n: usize| Publication { qos, ..message("t", n.to_string().as_bytes()) };
    world.stored.retained = (0..count).map(one).collect();
}

fn replays(world: &World) -> usize {
    world.submitted.iter().filter(|request| **request == Request::Replay).count()
}

/// A page when all before it is read and the window has room, and none at all once there are no more.
#[test]
fn pages_are_asked_for_as_the_client_takes_them() {
    let mut world = World::new();
    // Receive Maximum 2.
    world.send(&connect(5, false, &[0x21, 0, 2]));
    world.got();
    retained(&mut world, 2 * RETAINED_PAGE + 1, QoS::AtLeastOnce);
    world.send(&subscribe(5, "t", 1));
    let mut got = world.got();
    assert_eq!(got.remove(0)[0], 0x90, "SUBACK first");
    let mut bodies = Vec::new();
    for round in 0..2 * RETAINED_PAGE + 1 {
        assert!(got.len() <= 2 && replays(&world) <= round.div_ceil(RETAINED_PAGE) + 1, "{round}");
        let (_, id, body) = delivered(&got.remove(0));
        bodies.push(body.chars().last().unwrap());
        world.send(&puback(id));
        got.extend(world.got());
    }
    assert_eq!(bodies, ['0', '1', '2', '3', '4']);
    assert_eq!((got.len(), replays(&world)), (0, 3));
}

/// What a subscription brings waits for its SUBACK also where the session reads its queue already.
#[test]
fn suback_goes_before_what_the_subscription_brings() {
    let mut world = World::new();
    world.send(&connect(4, false, &[]));
    world.send(&subscribe(4, "a", 1));
    world.got();
    world.hold = true;
    world.send(&subscribe(4, "t", 1));
    world.enqueue(1, message("t", b"x"));
    assert_eq!(world.got(), Vec::<Vec<u8>>::new());
    world.hold = false;
    world.release();
    let firsts: Vec<u8> = world.got().iter().map(|packet| packet[0]).collect();
    assert_eq!(firsts, [0x90, 0x32]);
}

/// At QoS 0 they have no identifier, need no acknowledgement, and what may have been sent is not sent again.
#[test]
fn those_at_qos_0_are_sent_once() {
    let mut world = World::new();
    world.send(&connect(4, false, &[]));
    world.got();
    retained(&mut world, 3, QoS::AtMostOnce);
    world.send(&subscribe(4, "t", 0));
    let got = world.got();
    let sent: Vec<(u8, u16)> =
        got[1..].iter().map(|packet| (delivered(packet).0, delivered(packet).1)).collect();
    assert_eq!(sent, [(0x30, 0); 3]);
    assert_eq!(world.stored.acked.queue, 3);
    // A crash lost the cursor, and everything counts as sent.
    world.stored.acked.queue = 0;
    world.reconnect(&connect(4, false, &[]));
    world.stored.sent.queue = 3;
    world.reconnect(&connect(4, false, &[]));
    assert_eq!(world.got().len(), 1, "CONNACK");
    assert_eq!(world.stored.acked.queue, 3);
}

/// A store that cannot make a page is asked again, and the connection ends if that goes on.
#[test]
fn a_page_that_fails_is_asked_for_again() {
    let mut world = World::new();
    world.send(&connect(4, false, &[]));
    retained(&mut world, 1, QoS::AtLeastOnce);
    world.refuse_replays = true;
    world.send(&subscribe(4, "t", 1));
    assert_eq!(replays(&world), 1);
    world.pass(600);
    world.ring();
    assert_eq!(replays(&world), 2);
    for _ in 0..30 {
        world.pass(600);
        world.ring();
    }
    assert!(world.closed.is_some());
}

/// What retention took of the queue is told with the next message.
#[test]
fn what_is_missing_is_announced() {
    for (level, announced) in [(5, true), (4, false)] {
        let mut world = World::new();
        world.send(&connect(level, false, &[]));
        world.send(&subscribe(level, "t", 1));
        world.enqueue(1, message("t", b"x"));
        world.got();
        world.enqueue(5, message("t", b"y"));
        world.enqueue(6, message("t", b"z"));
        let got = world.got();
        let missed = [&text("missed")[..], &text("3")].concat();
        let found: Vec<bool> =
            got.iter().map(|packet| packet.windows(missed.len()).any(|part| part == missed)).collect();
        assert_eq!(found, [announced, false], "{level}");
        assert!(world.told.contains(&Told::Missed { count: 3 }));
        assert_eq!(world.stored.acked.queue, 0);
    }
}

/// `[v311:3.3.1-7]`: stored, passed on, and nothing is said.
#[test]
fn a_retained_message_at_qos_0_is_stored() {
    let mut world = World::new();
    world.send(&connect(4, true, &[]));
    world.got();
    world.send(&packet(0x31, &[&text("t")[..], b"x"].concat()));
    world.send(&packet(0x30, &[&text("t")[..], b"y"].concat()));
    let stored: Vec<_> = world
        .submitted
        .iter()
        .filter_map(|request| match request {
            Request::Publish { message, .. } => Some((message.qos, message.retain)),
            _ => None,
        })
        .collect();
    assert_eq!(stored, [(QoS::AtMostOnce, true)]);
    assert_eq!(world.other.len(), 3, "online, and two messages passed on");
    assert!(world.got().is_empty());
}

/// `[v311:3.1.2-8] [v311:3.14.4-3] [v5:3.1.2-8] [v5:3.14.4-3] [v311:4.8.0-1]`: whatever ends a connection says whether its will
/// comes.
#[test]
fn only_a_goodbye_takes_the_will_away() {
    let goodbye = |level: u8, bytes: &[u8]| {
        let mut world = World::new();
        world.send(&connect(level, true, &[]));
        world.send(bytes);
        let Some(Request::Close { will, .. }) = world.submitted.last() else { panic!("not closed") };
        *will
    };
    for (level, bytes, comes) in [
        (4, &[0xE0, 0][..], false),
        (5, &[0xE0, 0], false),
        (5, &[0xE0, 1, 0], false),
        (5, &[0xE0, 1, 4], true),
        (5, &[0xE0, 2, 0x81, 0], true),
        // No DISCONNECT, but a broken packet.
        (4, &[0xE1, 0], true),
        (5, &[0xE1, 0], true),
    ] {
        assert_eq!(goodbye(level, bytes), comes, "{level} {bytes:?}");
    }
    for cause in [Cause::Lost, Cause::KeepAlive, Cause::TakenOver, Cause::Stopping, Cause::TokenExpired] {
        let mut world = World::new();
        world.send(&connect(5, true, &[]));
        world.end(cause);
        assert!(matches!(world.submitted.last(), Some(Request::Close { will: true, .. })), "{cause:?}");
    }
}
