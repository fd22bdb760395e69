//! What each side may ask of the other: packet sizes, aliases, problem information.

use broker_protocol::Told;

use crate::world::{World, connect, delivered, message, packet, puback, subscribe, text};

fn online(properties: &[u8]) -> World {
    let mut world = World::new();
    world.send(&connect(5, true, properties));
    world.send(&subscribe(5, "#", 1));
    world.got();
    world
}

/// Topic as it stands in the packet, and the alias. The alias is the only property.
fn aliased(packet: &[u8]) -> (String, Option<u16>) {
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let topic = String::from_utf8(packet[4..4 + length].to_vec()).unwrap();
    let properties = &packet[4 + length + 2..];
    let alias = (properties[0] == 3).then(|| {
        assert_eq!(properties[1], 0x23);
        u16::from_be_bytes([properties[2], properties[3]])
    });
    (topic, alias)
}

/// `[v5:3.1.2-26] [v5:3.3.2-11] [v5:3.3.2-8]`: the first topics have aliases, as many as the client takes.
#[test]
fn the_server_uses_the_aliases_that_the_client_takes() {
    let mut world = online(&[0x22, 0, 2]);
    let mut seen = Vec::new();
    for (n, topic) in (1..).zip(["topic/a", "topic/b", "topic/c", "topic/a", "topic/b", "topic/c"]) {
        world.enqueue(n, message(topic, b"x"));
        let got = world.got();
        seen.push(aliased(&got[0]));
        world.send(&puback(delivered(&got[0]).1));
    }
    let of = |topic: &str, alias| (topic.to_owned(), alias);
    let expected = [
        of("topic/a", Some(1)),
        of("topic/b", Some(2)),
        of("topic/c", None),
        of("", Some(1)),
        of("", Some(2)),
        of("topic/c", None),
    ];
    assert_eq!(seen, expected);
}

/// `[v5:3.1.2-27]`: absent or 0, there is no alias.
#[test]
fn a_client_that_takes_no_aliases_gets_none() {
    for properties in [&[][..], &[0x22, 0, 0]] {
        let mut world = online(properties);
        for n in 1..=3 {
            world.enqueue(n, message("topic/a", b"x"));
            assert_eq!(aliased(&world.got()[0]), ("topic/a".to_owned(), None));
        }
    }
}

/// `[v5:3.3.2-7]`: on the next connection nobody knows the aliases of the last one, in either direction.
#[test]
fn aliases_end_with_their_connection() {
    let mut world = World::new();
    world.send(&connect(5, false, &[0x22, 0, 2, 0x11, 0, 0, 0, 9]));
    world.send(&subscribe(5, "#", 1));
    world.got();
    world.enqueue(1, message("topic/a", b"x"));
    assert_eq!(aliased(&world.got()[0]).0, "topic/a");
    world.send(&packet(0x30, &[&text("t")[..], &[3, 0x23, 0, 1]].concat()));
    world.reconnect(&connect(5, false, &[0x22, 0, 2, 0x11, 0, 0, 0, 9]));
    assert_eq!(aliased(&world.got()[1]), ("topic/a".to_owned(), Some(1)), "the redelivery names its topic");
    world.send(&packet(0x30, &[0, 0, 3, 0x23, 0, 1]));
    assert_eq!(world.got()[0][2], 0x82);
}

/// `[v5:3.3.2-12]`: every alias that we announced, and a new topic for one that has a topic.
#[test]
fn the_client_may_use_all_aliases_and_change_them() {
    let mut world = online(&[]);
    let publish = |topic: &str, alias: u8| packet(0x30, &[&text(topic)[..], &[3, 0x23, 0, alias]].concat());
    world.send(
        &[publish("a", 1), publish("b", 16), publish("c", 1), publish("", 16), publish("", 1)].concat(),
    );
    let topics: Vec<String> = world
        .other
        .iter()
        .filter_map(|action| match action {
            broker_protocol::Action::PublishLive(message) => Some(message.topic.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(topics, ["a", "b", "c", "b", "c"]);
}

/// `[v5:3.2.2-18]`: where we take no aliases none is allowed.
#[test]
fn a_server_that_takes_no_aliases_refuses_them() {
    let mut world = World::with(broker_protocol::Limits { topic_alias_max: 0, ..Default::default() });
    world.send(&connect(5, true, &[]));
    world.got();
    world.send(&packet(0x30, &[&text("t")[..], &[3, 0x23, 0, 1]].concat()));
    assert_eq!(world.got()[0][2], 0x94);
}

/// `[v5:3.1.2-24] [v5:3.2.2-19] [v5:3.2.2-20]`: whatever small packets the client takes, no larger one leaves; and a
/// CONNACK that cannot tell our limits leaves them out.
#[test]
fn no_packet_is_larger_than_the_client_takes() {
    for max in 1..=60_u8 {
        let mut world = World::new();
        world.send(&connect(5, true, &[0x27, 0, 0, 0, max]));
        world.send(&subscribe(5, "topic/a", 1));
        let filters: Vec<u8> = (0..8).flat_map(|_| [&text("denied")[..], &[0]].concat()).collect();
        world.send(&packet(0x82, &[&[0, 2, 0][..], &filters].concat()));
        world.enqueue(1, message("topic/a", &[b'x'; 20]));
        world.send(&packet(0x32, &[&text("denied")[..], &[0, 9, 0]].concat()));
        world.send(&[0xC0, 0]);
        world.send(&[0xC1, 0]);
        let got = world.got();
        assert!(got.iter().all(|packet| packet.len() <= usize::from(max)), "{max}: {got:?}");
        // SUBACK of eight filters has 13 bytes, the shortest CONNACK 5.
        let pong = got.contains(&vec![0xD0, 0]);
        assert_eq!(pong, max >= 13, "{max}: {got:?}");
        assert!(world.closed.is_some());
        if (9..13).contains(&max) {
            assert_eq!((got[0][0], got[0][3]), (0x20, 0), "{max}: let in, and the limits are not told");
        }
    }
}

/// A client whose CONNACK had no room for our limits is made to wait, as one of 3.1.1 is.
#[test]
fn limits_that_were_not_told_are_not_enforced() {
    let mut world = World::new();
    world.send(&connect(5, true, &[0x27, 0, 0, 0, 14]));
    world.got();
    world.hold = true;
    let publishes: Vec<u8> = (1..=255_u8)
        .chain([1, 2])
        .flat_map(|id| packet(0x32, &[&text("a")[..], &[0, id, 0]].concat()))
        .collect();
    let left = world.feed(bytes::BytesMut::from(&publishes[..]));
    assert!(!left.is_empty() && world.closed.is_none());
    assert!(!world.session.accepts(), "it is not read further");
}

/// `[v5:3.1.2-25]`: the window of one is free again at once, also after a reconnect.
#[test]
fn what_is_too_large_takes_no_room() {
    let mut world = World::new();
    let connect = connect(5, false, &[0x27, 0, 0, 0, 40, 0x21, 0, 1, 0x11, 0, 0, 0, 9]);
    world.send(&connect);
    world.send(&subscribe(5, "t", 1));
    world.got();
    world.enqueue(1, message("t", &[b'x'; 100]));
    world.enqueue(2, message("t", b"small"));
    for round in 0..2 {
        let got = world.got();
        let publish = got.last().unwrap();
        assert!(delivered(publish).2.ends_with("small"), "round {round}");
        world.reconnect(&connect);
    }
    assert!(world.told.contains(&Told::TooLarge));
}

/// `[v5:3.1.2-29] [v5:3.4.2-2] [v5:3.5.2-2] [v5:3.4.2-3] [v5:3.5.2-3]`: reason strings only where they are wanted and fit;
/// DISCONNECT has one all the same.
#[test]
fn reason_strings_only_where_they_are_wanted() {
    for (properties, expected) in
        [(&[][..], true), (&[0x17, 0][..], false), (&[0x27, 0, 0, 0, 18][..], false)]
    {
        let mut world = online(properties);
        for (flags, first) in [(2_u8, 0x40), (4, 0x50)] {
            world.send(&packet(0x30 | flags, &[&text("denied")[..], &[0, 9, 0]].concat()));
            let got = world.got();
            assert_eq!((got[0][0], got[0][4], got[0].len() > 5), (first, 0x87, expected), "{got:?}");
        }
        world.send(&packet(0x30, &[0, 0, 0]));
        let farewell = world.got();
        assert_eq!(farewell[0].len() > 3, properties != [0x27, 0, 0, 0, 18], "{farewell:?}");
    }
}

/// A filter counts once for each KiB that it begins: a thousand of 64 KiB each would cost as much as sixty thousand.
#[test]
fn long_filters_take_several_places() {
    let mut world = World::with(broker_protocol::Limits { subscriptions_max: 6, ..Default::default() });
    world.send(&connect(5, false, &[]));
    let long = |name: &str, kib: usize| format!("{name}{}", "x".repeat(kib * 1_024 - 1));
    let subscribe = |filter: &str| {
        let body = [&[0, 1, 0][..], &text(filter), &[1]].concat();
        let length =
            [u8::try_from(body.len() % 128).unwrap() | 0x80, u8::try_from(body.len() / 128).unwrap()];
        [&[0x82][..], &length, &body].concat()
    };
    let code = |world: &mut World, bytes: &[u8]| {
        world.got();
        world.send(bytes);
        *world.got()[0].last().unwrap()
    };
    assert_eq!(code(&mut world, &subscribe(&long("a", 3))), 1, "four places");
    assert_eq!(code(&mut world, &subscribe(&long("b", 2))), 0x97, "three are not left");
    assert_eq!(code(&mut world, &subscribe(&long("c", 1))), 1, "two are");
    world.reconnect(&connect(5, false, &[]));
    assert_eq!(code(&mut world, &subscribe(&long("b", 1))), 0x97, "they are taken on the next connection");
    let filter = long("a", 3);
    let body = [&[0, 2, 0][..], &text(&filter)].concat();
    let length = [u8::try_from(body.len() % 128).unwrap() | 0x80, u8::try_from(body.len() / 128).unwrap()];
    assert_eq!(code(&mut world, &[&[0xA2][..], &length, &body].concat()), 0);
    assert_eq!(code(&mut world, &subscribe(&long("b", 2))), 1, "four are free again");
}
