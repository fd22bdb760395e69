//! Who speaks first: answers in the order of their packets, good-bye behind all that was asked for, live messages behind
//! what was retained before them.

use std::sync::Arc;

use broker_protocol::{Action, Cause, LiveMessage, Output, Request};
use schemas::{Publication, QoS};

use crate::world::{World, connect, delivered, message, packet, subscribe, text};

fn online(level: u8) -> World {
    let mut world = World::new();
    world.send(&connect(level, false, &[]));
    world.got();
    world.other.clear();
    world
}

fn properties(level: u8) -> &'static [u8] {
    if level == 5 { &[0] } else { &[] }
}

fn live(topic: &str, payload: &[u8]) -> LiveMessage {
    let message = Publication { qos: QoS::AtMostOnce, ..message(topic, payload) };
    LiveMessage::Publication { message: Arc::new(message), subscription_ids: Vec::new(), retain: false }
}

fn firsts(world: &mut World) -> Vec<u8> {
    world.got().iter().map(|packet| packet[0]).collect()
}

/// `[v311:3.8.4-1] [v5:3.8.4-1] [v311:3.10.4-4] [v5:3.10.4-4] [v311:3.3.4-1] [v5:3.3.4-1]`: what was asked for before DISCONNECT
/// is answered before the connection ends, also where the client has closed its side.
#[test]
fn good_bye_comes_behind_the_answers() {
    for level in [4, 5] {
        for disconnects in [true, false] {
            let mut world = online(level);
            world.hold = true;
            let publish = |id: u8| packet(0x32, &[&text("t")[..], &[0, id], properties(level)].concat());
            let unsubscribe = packet(0xA2, &[&[0, 9], properties(level), &text("t")].concat());
            world.send(&[publish(7), subscribe(level, "t", 1), unsubscribe].concat());
            if disconnects {
                world.send(&[vec![0xE0, 0], publish(8)].concat());
            } else {
                assert!(world.session.half_closed());
            }
            assert!(!world.session.accepts() && world.closed.is_none() && world.got().is_empty());
            world.hold = false;
            world.release();
            assert_eq!(firsts(&mut world), [0x40, 0x90, 0xB0]);
            assert!(world.closed.is_some() && world.session.has_ended());
            let published = world.submitted.iter().filter(|r| matches!(r, Request::Publish { .. })).count();
            assert_eq!(published, 1, "nothing counts behind DISCONNECT");
            let Some(Request::Close { will, .. }) = world.submitted.last() else { panic!("not closed") };
            assert_eq!(*will, !disconnects);
        }
    }
}

/// Nobody who has gone is told why somebody else would have sent him away, and his will stays where he left it.
#[test]
fn whoever_leaves_has_left_whatever_comes_then() {
    for cause in [Cause::TakenOver, Cause::Stopping, Cause::Lost] {
        let mut world = online(5);
        world.hold = true;
        world.send(&[subscribe(5, "t", 1), vec![0xE0, 0]].concat());
        world.end(cause);
        assert_eq!(world.got(), Vec::<Vec<u8>>::new());
        let Some(Request::Close { will, .. }) = world.submitted.last() else { panic!("not closed") };
        assert!(!will, "{cause:?}");
    }
    let mut world = online(5);
    world.hold = true;
    world.send(&[subscribe(5, "t", 1), vec![0xE0, 0]].concat());
    world.pass(world.limits.store_wait_ms);
    assert!(world.session.has_ended(), "the store has its time, and no more");
    assert!(!online(5).session.half_closed(), "it is owed nothing");
}

/// `[v311:3.12.4-1] [v5:3.12.4-1]`: PINGRESP says that all before it is done.
#[test]
fn a_ping_is_answered_in_its_turn() {
    let mut world = online(4);
    world.hold = true;
    world.send(&[subscribe(4, "t", 1), vec![0xC0, 0]].concat());
    assert_eq!(world.got(), Vec::<Vec<u8>>::new());
    world.hold = false;
    world.release();
    assert_eq!(firsts(&mut world), [0x90, 0xD0]);
    world.send(&[0xC0, 0]);
    assert_eq!(firsts(&mut world), [0xD0]);
}

/// Live messages are asked for before the store is, and kept until what was retained before them is out; so nobody ends
/// with an older message than the topic has.
#[test]
fn live_messages_wait_for_what_was_retained() {
    let mut world = online(4);
    world.stored.retained = vec![message("t", b"old"), message("t2", b"old"), message("t3", b"old")];
    world.hold = true;
    world.send(&subscribe(4, "#", 1));
    assert!(matches!(&world.other[..], [Action::Listen(filters)] if &*filters[0].filter == "#"));
    let mut out = Output::default();
    world.session.live(live("t", b"new"), &mut out);
    assert!(out.bytes.is_empty() && out.actions.is_empty());
    world.hold = false;
    world.release();
    let got = world.got();
    assert_eq!(got.iter().map(|packet| packet[0]).collect::<Vec<_>>(), [0x90, 0x32, 0x32, 0x32, 0x30]);
    assert!(delivered(&got[4]).2.ends_with("new"));
    // From then on they pass.
    world.session.live(live("t", b"newer"), &mut out);
    assert!(!out.bytes.is_empty());
}

/// A client that acknowledges nothing gets what is live all the same, and none waits without end.
#[test]
fn live_messages_do_not_wait_for_a_client_that_stands_still() {
    let mut world = World::with(broker_protocol::Limits { window_max: 1, ..Default::default() });
    world.send(&connect(4, false, &[]));
    world.got();
    world.stored.retained = vec![message("t", b"old"), message("t2", b"old")];
    world.send(&subscribe(4, "#", 1));
    assert_eq!(firsts(&mut world), [0x90, 0x32]);
    let mut out = Output::default();
    world.session.live(live("t", b"new"), &mut out);
    assert!(!out.bytes.is_empty());
}

/// A message behind UNSUBSCRIBE does not come back to its sender.
#[test]
fn live_messages_end_with_unsubscribe_and_not_with_its_answer() {
    let mut world = online(4);
    world.send(&subscribe(4, "t", 0));
    world.other.clear();
    world.hold = true;
    world.send(&packet(0xA2, &[&[0, 9], &text("t")[..]].concat()));
    world.send(&packet(0x30, &[&text("t")[..], b"x"].concat()));
    assert!(matches!(&world.other[..], [Action::Unsubscribed(_), Action::PublishLive(_)]));
}

/// A page may have been read just before the notice of what it misses came: it is asked for again at once, and only if
/// that one has nothing either, a little later.
#[test]
fn a_page_that_falls_short_is_asked_for_again_at_once() {
    use broker_protocol::{Progress, QueueMessage, QueuePage};
    let mut world = online(4);
    world.send(&subscribe(4, "t", 1));
    world.got();
    let mut out = Output::default();
    let mut reads = |world: &mut World| {
        world.session.flush(world.now, &mut out);
        let reads = |action: &Action| matches!(action, Action::ReadQueue { .. });
        std::mem::take(&mut out.actions).iter().filter(|action| reads(action)).count()
    };
    let nothing = |world: &mut World| {
        let none = std::iter::empty::<QueueMessage<'_>>();
        world.session.queue_page(world.now, 0, QueuePage { head: 0 }, none, &mut Output::default());
    };
    for round in 0..2 {
        let queue = round + 1;
        world.session.notice(Progress { inbox: 0, queue });
        assert_eq!(reads(&mut world), 1);
        nothing(&mut world);
        assert_eq!(reads(&mut world), 1, "at once");
        nothing(&mut world);
        assert_eq!(reads(&mut world), 0, "later");
        let at = world.session.deadline(world.now).expect("it is tried again");
        world.now.mono_ms = at;
        world.session.timeout(world.now, &mut Output::default());
        assert_eq!(reads(&mut world), 1);
        nothing(&mut world);
        assert_eq!(reads(&mut world), 0, "later again");
        world.now.mono_ms = world.session.deadline(world.now).expect("and again");
        world.session.timeout(world.now, &mut Output::default());
        assert_eq!(reads(&mut world), 1);
        nothing(&mut world);
        world.now.mono_ms += 1_000;
        world.session.timeout(world.now, &mut Output::default());
    }
}

/// `[v5:3.2.2-15]`: a CONNECT that is too large is told so, as far as its version can be told.
#[test]
fn a_connect_that_is_too_large_is_told_so() {
    let connect = |level: u8| [&[0x10, 0xFF, 0xFF, 0x7F][..], &text("MQTT"), &[level, 2, 0, 0]].concat();
    let mut world = World::new();
    world.send(&connect(5));
    assert_eq!(world.got()[0][..4], [0x20, 0x03, 0, 0x95]);
    assert!(world.closed.is_some());
    for bytes in [connect(4), connect(5)[..4].to_vec()] {
        let mut world = World::new();
        world.send(&bytes);
        assert!(world.got().is_empty() && world.closed.is_some());
    }
}

/// A message that is stored together with the session is told of before the session is: it is not forgotten.
#[test]
fn a_notice_that_comes_before_connack_counts() {
    for lost in [false, true] {
        let mut world = online(4);
        world.send(&subscribe(4, "t", 1));
        world.end(Cause::Lost);
        world.hold = true;
        world.reconnect(&connect(4, false, &[]));
        let opened = broker_protocol::Opened { present: true, ..broker_protocol::Opened::default() };
        let opened = broker_protocol::Opened { subscriptions: world.stored.subscriptions.clone(), ..opened };
        world.queue.insert(1, message("t", b"x"));
        if lost {
            world.session.look_again();
        } else {
            world.ring();
        }
        let token = world.held.remove(0).0;
        world.answer(token, broker_protocol::Answer::Opened(Box::new(opened)));
        assert_eq!(firsts(&mut world), [0x20, 0x32], "lost {lost}");
    }
}
