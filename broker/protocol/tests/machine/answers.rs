//! SUBSCRIBE, UNSUBSCRIBE, PING and DISCONNECT, and what a session answers them, both versions.

use broker_protocol::{Action, Cause, Request};

use crate::world::{World, connect, delivered, message, packet, puback, subscribe, text};

fn online(level: u8) -> World {
    let mut world = World::new();
    world.send(&connect(level, false, &[]));
    world.got();
    world
}

fn properties(level: u8) -> &'static [u8] {
    if level == 5 { &[0] } else { &[] }
}

fn subscribe_all(level: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters = filters.iter().flat_map(|(filter, options)| [&text(filter)[..], &[*options]].concat());
    let body: Vec<u8> =
        id.to_be_bytes().into_iter().chain(properties(level).iter().copied()).chain(filters).collect();
    packet(0x82, &body)
}

fn unsubscribe_all(level: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let filters = filters.iter().flat_map(|filter| text(filter));
    let body: Vec<u8> =
        id.to_be_bytes().into_iter().chain(properties(level).iter().copied()).chain(filters).collect();
    packet(0xA2, &body)
}

fn answer(level: u8, first: u8, id: u16, codes: &[u8]) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()[..], properties(level), codes].concat())
}

/// `[v311:3.8.4-1] [v311:3.8.4-2] [v311:3.8.4-4] [v311:3.8.4-5] [v311:3.9.3-1] [v311:3.9.3-2] [v311:2.3.1-7] [v5:3.8.4-1]
/// [v5:3.8.4-2] [v5:3.8.4-5] [v5:3.8.4-6] [v5:3.8.4-7] [v5:3.9.3-1] [v5:3.9.3-2] [v5:2.2.1-6]`: one SUBACK for each, with its
/// identifier and one code a filter in their order; a refused one disturbs no other.
#[test]
fn subscriptions_are_answered_one_by_one() {
    for level in [4, 5] {
        let mut world = online(level);
        let refused = |code: u8| if level == 5 { code } else { 0x80 };
        let first = [("a", 0), ("denied", 1), ("b", 2), ("a#", 1), ("c", 1)];
        world.send(&[subscribe_all(level, 7, &first), subscribe_all(level, 65_535, &[("d", 1)])].concat());
        let codes = [0, refused(0x87), 2, refused(0x8F), 1];
        assert_eq!(world.got(), [answer(level, 0x90, 7, &codes), answer(level, 0x90, 65_535, &[1])]);
        let filters: Vec<&str> = world.stored.subscriptions.iter().map(|s| &*s.filter).collect();
        assert_eq!(filters, ["a", "b", "c", "d"]);
        // The same filter twice in one packet: the last one counts.
        world.send(&subscribe_all(level, 8, &[("a", 2), ("a", 1)]));
        assert_eq!(world.got(), [answer(level, 0x90, 8, &[2, 1])]);
        let a: Vec<u8> =
            world.stored.subscriptions.iter().filter(|s| &*s.filter == "a").map(|s| s.qos as u8).collect();
        assert_eq!(a, [1]);
    }
}

/// `[v311:4.7.1-2] [v311:4.7.1-3] [v5:4.7.1-1] [v5:4.7.1-2] [v5:4.8.2-1] [v5:4.8.2-2] [v311:3.8.3-2]`: what is a filter.
#[test]
fn filters_that_are_none_are_refused_by_themselves() {
    for level in [4, 5] {
        for good in ["#", "a/#", "/#", "+", "+/+", "/+", "+/a/#", "/", "a//b", "é/+", "\u{FEFF}"] {
            let mut world = online(level);
            world.send(&subscribe(level, good, 1));
            assert_eq!(world.got(), [answer(level, 0x90, 1, &[1])], "{good}");
        }
        let bad = ["a#", "#/a", "a/#/b", "##", "+#", "a+", "+a", "a/+b", "a/b#"];
        let shared = ["$share//t", "$share/g", "$share/", "$share", "$share/g+/t", "$share/#/t", "$share/g/"];
        for filter in bad.into_iter().chain(shared) {
            let mut world = online(level);
            world.send(&subscribe(level, filter, 1));
            let code = if level == 5 { 0x8F } else { 0x80 };
            assert_eq!(world.got(), [answer(level, 0x90, 1, &[code])], "{filter}");
            assert_eq!(world.closed, None);
        }
    }
}

/// `[v311:3.10.4-1] [v311:3.10.4-4] [v311:3.10.4-5] [v311:3.10.4-6] [v5:3.10.4-1] [v5:3.10.4-4] [v5:3.10.4-5] [v5:3.10.4-6]
/// [v5:3.11.3-1] [v5:3.11.3-2]`: one UNSUBACK, byte for byte; 3.1.1's has no codes.
#[test]
fn unsubscribing_is_answered_filter_by_filter() {
    for level in [4, 5] {
        let mut world = online(level);
        world.send(&subscribe_all(level, 1, &[("a/+", 1), ("a/#", 1), ("é", 1)]));
        world.got();
        world.send(&unsubscribe_all(level, 9, &["a/b", "a/+", "A/#", "e\u{301}", "é"]));
        let codes: &[u8] = if level == 5 { &[0x11, 0, 0x11, 0x11, 0] } else { &[] };
        assert_eq!(world.got(), [answer(level, 0xB0, 9, codes)]);
        let left: Vec<&str> = world.stored.subscriptions.iter().map(|s| &*s.filter).collect();
        assert_eq!(left, ["a/#"]);
        world.send(&unsubscribe_all(level, 10, &["nothing"]));
        assert_eq!(world.got(), [answer(level, 0xB0, 10, &codes[..codes.len().min(1)])]);
    }
}

/// `[v311:3.12.4-1] [v5:3.12.4-1] [v5:3.3.4-10] [v5:4.9.0-3] [v5:4.9.0-1]`: with a full window everything else goes on, and the
/// window of the next connection is a new one.
#[test]
fn a_full_window_holds_back_deliveries_only() {
    for level in [4, 5] {
        let mut world = World::with(broker_protocol::Limits { window_max: 1, ..Default::default() });
        world.send(&connect(level, false, &[]));
        world.send(&subscribe(level, "t", 1));
        world.got();
        world.enqueue(1, message("t", b"one"));
        world.enqueue(2, message("t", b"two"));
        assert_eq!(world.got().len(), 1);
        world.send(&[0xC0, 0]);
        assert_eq!(world.got(), [[0xD0, 0]]);
        world.send(&subscribe_all(level, 5, &[("u", 0)]));
        assert_eq!(world.got(), [answer(level, 0x90, 5, &[0])]);
        world.send(&packet(0x32, &[&text("x")[..], &[0, 3], properties(level)].concat()));
        assert_eq!(world.got(), [puback(3)]);
        world.reconnect(&connect(level, false, &[]));
        assert_eq!(delivered(&world.got()[1]).2.trim_start_matches('\0'), "one");
    }
}

/// `[v311:3.14.4-1] [v311:3.14.4-2] [v5:3.14.4-1] [v5:3.14.4-2]`: what follows a DISCONNECT is not carried out.
#[test]
fn nothing_counts_after_disconnect() {
    for level in [4, 5] {
        let mut world = online(level);
        let publish = packet(0x32, &[&text("t")[..], &[0, 1], properties(level)].concat());
        world.send(&[vec![0xE0, 0], publish, vec![0xC0, 0]].concat());
        assert!(world.got().is_empty() && world.closed.is_some());
        assert!(!world.submitted.iter().any(|request| matches!(request, Request::Publish { .. })));
    }
}

/// `[v5:U27] [v5:3.14.2-1]`: DISCONNECT may change the session's expiry, within our limit; every code a client has is taken.
#[test]
fn disconnect_may_change_the_expiry() {
    let limits = broker_protocol::Limits { session_expiry_max_s: 60, ..Default::default() };
    let cases = [
        (vec![0xE0, 0], None),
        (packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 9]), Some(9)),
        (packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]), Some(0)),
        (packet(0xE0, &[0, 5, 0x11, 0, 0, 9, 0]), Some(60)),
    ];
    for (bytes, expected) in cases {
        let mut world = World::with(limits.clone());
        world.send(&connect(5, false, &[0x11, 0, 0, 0, 30]));
        world.send(&bytes);
        let Some(Request::Close { expiry_s, .. }) = world.submitted.last() else { panic!("not closed") };
        assert_eq!(*expiry_s, expected);
    }
    for code in [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        let mut world = online(5);
        world.send(&[0xE0, 1, code]);
        assert!(world.got().is_empty(), "{code:x} is a client's code");
    }
    for code in [0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2] {
        let mut world = online(5);
        world.send(&[0xE0, 1, code]);
        assert_eq!(world.got()[0][2], 0x82, "{code:x} is a server's code");
    }
}

/// `[v311:2.3.1-2] [v5:2.2.1-3] [v311:4.3.2-2] [v5:4.3.2-5]`: an identifier is free after its PUBACK, DUP or not; one that is
/// open elsewhere disturbs nobody.
#[test]
fn an_identifier_is_free_after_its_acknowledgement() {
    for level in [4, 5] {
        let mut world = online(level);
        let publish =
            |flags: u8| packet(0x30 | flags, &[&text("t")[..], &[0, 5], properties(level)].concat());
        for flags in [2, 10] {
            world.send(&publish(flags));
            assert_eq!(world.got(), [puback(5)]);
        }
        let live = world.other.iter().filter(|action| matches!(action, Action::PublishLive(_))).count();
        assert_eq!(live, 2, "two messages");
        world.send(&publish(4));
        assert_eq!(world.got(), [packet(0x50, &[0, 5])]);
        world.send(&subscribe_all(level, 5, &[("u", 1)]));
        assert_eq!(world.got(), [answer(level, 0x90, 5, &[1])]);
        world.send(&packet(0x62, &[0, 5]));
        assert_eq!(world.got(), [packet(0x70, &[0, 5])], "the flow is intact");
    }
}

/// `[v311:4.3.2-1] [v5:4.3.2-1] [v5:4.3.2-2] [v5:4.3.2-3] [v311:3.3.1-1] [v311:2.3.1-4]`: a new identifier each, no DUP at first;
/// until PUBACK it comes again, after it not. `[v311:2.2.2-1]` All we send has the flags of its type.
#[test]
fn a_delivery_at_qos_1_is_open_until_its_puback() {
    for level in [4, 5] {
        let mut world = online(level);
        world.send(&subscribe(level, "t", 1));
        world.got();
        for n in 1..=10 {
            world.enqueue(n, message("t", b"x"));
        }
        let got = world.got();
        assert!(got.iter().all(|packet| packet[0] == 0x32));
        let ids: Vec<u16> = got.iter().map(|packet| delivered(packet).1).collect();
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((distinct.len(), distinct.contains(&0)), (10, false));
        ids[..4].iter().for_each(|id| world.send(&puback(*id)));
        world.reconnect(&connect(level, false, &[]));
        let again: Vec<(u8, u16)> =
            world.got()[1..].iter().map(|p| (delivered(p).0, delivered(p).1)).collect();
        let expected: Vec<(u8, u16)> = ids[4..].iter().map(|id| (0x3A, *id)).collect();
        assert_eq!(again, expected);
        // No timer sends again. [v5:4.4.0-1]
        for _ in 0..60 {
            world.pass(1_000);
            world.send(&[0xC0, 0]);
        }
        assert!(world.got().iter().all(|packet| *packet == [0xD0, 0]));
    }
}

/// `[v311:4.8.0-2]`: what could not be stored ends its connection, unacknowledged; `[v5:U45]` a refusal ends nothing.
#[test]
fn a_failure_ends_one_connection_and_a_refusal_none() {
    for level in [4, 5] {
        let mut world = online(level);
        world.hold = true;
        world.send(&packet(0x32, &[&text("t")[..], &[0, 1], properties(level)].concat()));
        let (token, _) = world.held[0];
        world.answer(token, broker_protocol::Answer::Unavailable);
        world.pass(broker_protocol::Limits::default().store_wait_ms);
        assert!(world.closed.is_some());
        assert!(!world.got().iter().any(|packet| packet[0] == 0x40));
        let mut world = online(level);
        world.send(&packet(0x32, &[&text("denied")[..], &[0, 1], properties(level)].concat()));
        world.send(&packet(0x32, &[&text("t")[..], &[0, 2], properties(level)].concat()));
        assert_eq!((world.got().len(), world.closed), (2, None));
    }
}

/// `[v311:3.1.2-12] [v311:3.1.2-10] [v5:3.1.2-10]`: without a will nothing is published, with one it is published once.
#[test]
fn a_will_is_published_once_or_not_at_all() {
    for level in [4, 5] {
        for (flags, goodbye, expected) in [(0xC2, false, 0), (0xC6, true, 0), (0xC6, false, 1)] {
            let mut rest = text("c");
            if flags & 4 != 0 {
                rest = [&rest[..], properties(level), &text("w"), &text("gone")].concat();
            }
            rest.extend([text("u"), text("token")].concat());
            let body = [&text("MQTT")[..], &[level, flags, 0, 10], properties(level), &rest].concat();
            let mut world = World::new();
            world.send(&packet(0x10, &body));
            if goodbye {
                world.send(&[0xE0, 0]);
            }
            world.end(Cause::Lost);
            world.end(Cause::Lost);
            let opened = |r: &&Request| matches!(r, Request::Open { will: Some(_), .. });
            assert_eq!(world.submitted.iter().filter(opened).count(), usize::from(flags & 4 != 0));
            let closed = |r: &&Request| matches!(r, Request::Close { will: true, .. });
            let wills = if flags & 4 == 0 { 0 } else { world.submitted.iter().filter(closed).count() };
            assert_eq!(wills, expected, "{level} {flags:x}");
            let ends = world.submitted.iter().filter(|r| matches!(r, Request::Close { .. })).count();
            assert_eq!(ends, 1, "whatever ends it twice");
        }
    }
}
