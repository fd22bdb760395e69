//! CONNECT and the first bytes of a connection: bytes ↔ CONNACK, both versions from one table.

use broker_protocol::Request;

use crate::world::{World, connect, packet, subscribe, text};

/// Protocol name, level, flags, and everything behind the keep alive (MQTT 5: behind the properties).
fn connect_of(name: &[u8], level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let name = [&u16::try_from(name.len()).unwrap().to_be_bytes()[..], name].concat();
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(0x10, &[&name[..], &[level, flags, 0, 10], properties, rest].concat())
}

/// What came of it: the CONNACK's code, or nothing.
fn tried(bytes: &[u8]) -> Option<u8> {
    let mut world = World::new();
    world.send(bytes);
    let got = world.got();
    if got.is_empty() {
        assert!(world.closed.is_some(), "closed without a word: {bytes:?}");
        return None;
    }
    assert_eq!((got.len(), got[0][0]), (1, 0x20), "{got:?}");
    // [v311:3.2.2-4] [v5:3.2.2-6]; [v5:3.2.2-1] the other bits are zero.
    assert_eq!(got[0][2], 0, "session present belongs to success only");
    // [v311:3.2.2-5] [v5:3.2.2-7] [v5:4.13.2-1]
    assert_eq!(world.closed.is_some(), got[0][3] != 0);
    Some(got[0][3])
}

/// `[v311:3.1.0-1] [v5:3.1.0-1] [v5:3.14.0-1]`: any other packet first, RETAIN or not: nothing is carried out or said.
#[test]
fn the_first_packet_is_connect() {
    for first in (0_u8..16).filter(|kind| *kind != 1) {
        for flags in [0, 2, 1] {
            let mut world = World::new();
            world.send(&packet(first << 4 | flags, &[&text("t")[..], &[0, 1, 0]].concat()));
            assert!(world.got().is_empty() && world.closed.is_some());
            assert!(world.submitted.is_empty() && world.other.is_empty(), "{first}");
        }
    }
}

/// `[v311:3.1.2-1] [v5:3.1.2-1]`: the name to the letter.
#[test]
fn the_protocol_name() {
    let rest = [text("c"), text("u"), text("token")].concat();
    for level in [4, 5] {
        assert_eq!(tried(&connect_of(b"MQTT", level, 0xC2, &rest)), Some(0));
        for name in [&b"mqtt"[..], b"MQTtt", b"MQTTX", b"MQT", b"", b"AMQP"] {
            assert_eq!(tried(&connect_of(name, level, 0xC2, &rest)), None, "{name:?}");
        }
    }
}

/// `[v311:3.1.2-2] [v5:3.1.2-2]`: below 4 in the words of 3.1.1, above 5 in those of MQTT 5.
#[test]
fn the_protocol_level() {
    let rest = [text("c"), text("u"), text("token")].concat();
    for (name, level, expected) in [
        (&b"MQTT"[..], 0, &[0x20, 2, 0, 1][..]),
        (b"MQTT", 3, &[0x20, 2, 0, 1]),
        (b"MQIsdp", 3, &[0x20, 2, 0, 1]),
        (b"MQTT", 6, &[0x20, 3, 0, 0x84, 0]),
        (b"MQTT", 0x80, &[0x20, 3, 0, 0x84, 0]),
        (b"MQTT", 255, &[0x20, 3, 0, 0x84, 0]),
    ] {
        let mut world = World::new();
        world.send(&connect_of(name, level, 0xC2, &rest));
        assert_eq!(world.got(), [expected], "{level}");
        assert!(world.closed.is_some());
    }
}

/// Flags that say one thing and fields that say another; `Some`: the CONNACK of MQTT 5. 3.1.1 is closed without one.
#[test]
fn flags_and_fields_agree() {
    let (c, w, u, p) = (text("c"), text("w"), text("u"), text("p"));
    let bad = [0, 1, 0xFF];
    let cases: [(&str, u8, Vec<&[u8]>, u8); 17] = [
        ("v311:3.1.2-3 v5:3.1.2-3", 0x03, vec![&c], 0x81),
        ("v311:3.1.2-9 v5:3.1.2-9 no message", 0x06, vec![&c, b"", &w], 0x81),
        ("v311:3.1.2-9 v5:3.1.2-9 nothing", 0x06, vec![&c], 0x81),
        ("v311:3.1.2-11 v311:3.1.2-13 v5:3.1.2-11", 0x0A, vec![&c], 0x81),
        ("v311:3.1.2-11 v311:3.1.2-15 v5:3.1.2-13", 0x22, vec![&c], 0x81),
        ("v311:3.1.2-14 v5:3.1.2-12 v5:U8", 0x1E, vec![&c, b"", &w, &w], 0x81),
        ("v311:3.1.2-18 v5:3.1.2-16", 0x02, vec![&c, &u], 0x81),
        ("v311:3.1.2-19 v5:3.1.2-17", 0x82, vec![&c], 0x81),
        ("v311:3.1.2-20 v5:3.1.2-18", 0x82, vec![&c, &u, &p], 0x81),
        ("v311:3.1.2-21 v5:3.1.2-19", 0xC2, vec![&c, &u], 0x81),
        ("v311:3.1.3-3 v5:3.1.3-3", 0x02, vec![], 0x81),
        ("v311:3.1.3-4 v5:3.1.3-4", 0x02, vec![&bad], 0x81),
        ("v311:3.1.3-10 v5:3.1.3-11", 0x06, vec![&c, b"", &bad, &w], 0x81),
        ("v311:3.1.3-10 v5:3.1.3-11 wildcard", 0x06, vec![&c, b"", &[0, 3, b'a', b'/', b'#'], &w], 0x90),
        ("v311:4.7.3-1 v5:4.7.3-1 will topic", 0x06, vec![&c, b"", &[0, 0], &w], 0x81),
        ("v311:3.1.3-11 v5:3.1.3-12", 0x82, vec![&c, &bad], 0x81),
        ("v311:1.5.3-2 v5:1.5.4-2 client id", 0x02, vec![&[0, 3, b'a', 0, b'b']], 0x81),
    ];
    for (clause, flags, fields, code) in cases {
        for level in [4, 5] {
            // The empty field stands for the will's properties.
            let of = |field: &&[u8]| if field.is_empty() && level == 5 { vec![0] } else { field.to_vec() };
            let rest: Vec<u8> = fields.iter().flat_map(of).collect();
            let expected = (level == 5).then_some(code);
            assert_eq!(tried(&connect_of(b"MQTT", level, flags, &rest)), expected, "{clause} level {level}");
        }
    }
}

/// `[v311:3.1.2-21] [v5:3.1.2-19]`: a password may be empty, and any bytes.
#[test]
fn passwords_are_bytes() {
    for level in [4, 5] {
        let fields = |password: &[u8]| [&text("c")[..], &text("u"), password].concat();
        assert_eq!(tried(&connect_of(b"MQTT", level, 0xC2, &fields(&[0, 2, 0, 0xFF]))), Some(0));
        let refused = if level == 5 { 0x87 } else { 5 };
        assert_eq!(tried(&connect_of(b"MQTT", level, 0xC2, &fields(&[0, 0]))), Some(refused));
    }
}

/// `[v311:3.1.4-1] [v5:3.1.4-1] [v5:U25]`: a CONNECT with a byte too many or with its end missing.
#[test]
fn a_connect_of_the_wrong_length() {
    for level in [4, 5] {
        let whole = connect(level, true, &[]);
        for cut in 1..whole.len() - 2 {
            let mut bytes = whole[..whole.len() - cut].to_vec();
            bytes[1] -= u8::try_from(cut).unwrap();
            let code = tried(&bytes);
            // Without its name nobody knows the version.
            assert!(code.is_none() || (level == 5 && code == Some(0x81)), "{cut}: {code:?}");
        }
        let mut longer = [&whole[..], &[0]].concat();
        longer[1] += 1;
        assert_eq!(tried(&longer), (level == 5).then_some(0x81));
    }
}

/// `[v311:3.1.3-1] [v5:3.1.3-1]`: all fields there, each where it belongs; `[v5:3.1.3-10] [v5:U41]` the will's properties too.
#[test]
fn all_fields_are_read_in_their_order() {
    for level in [4, 5] {
        let properties: &[u8] = &[14, 0x26, 0, 1, b'a', 0, 1, b'1', 0x26, 0, 1, b'a', 0, 1, b'2'];
        let properties: &[u8] = if level == 5 { properties } else { &[] };
        let rest = [
            &text("client")[..],
            properties,
            &text("will/topic"),
            &text("gone"),
            &text("user"),
            &text("bob"),
        ];
        let mut world = World::new();
        world.send(&connect_of(b"MQTT", level, 0xCE, &rest.concat()));
        let Request::Open { user, client, will, .. } = &world.submitted[0] else { panic!("not an opening") };
        assert_eq!((user.as_str(), client.as_str()), ("bob", "client"));
        let will = will.as_ref().expect("the will is stored").message.clone();
        world.end(broker_protocol::Cause::Lost);
        assert!(matches!(world.submitted.last(), Some(Request::Close { will: true, .. })));
        assert_eq!((&*will.topic, &will.payload[..], will.qos as u8), ("will/topic", &b"gone"[..], 1));
        let pairs = will.properties.as_ref().map(|p| p.user_properties.clone()).unwrap_or_default();
        let expected = if level == 5 {
            vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())]
        } else {
            vec![]
        };
        assert_eq!(pairs, expected);
    }
}

/// `[v311:3.1.3-5] [v5:3.1.3-5]`: every client id of 1 to 23 letters and digits; others as well.
#[test]
fn client_ids() {
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for level in [4, 5] {
        for id in ["a", &all[..23], &all[23..46], &all[39..], "with a space", "été"] {
            let rest = [text(id), text("u"), text("token")].concat();
            assert_eq!(tried(&connect_of(b"MQTT", level, 0xC2, &rest)), Some(0), "{id}");
        }
    }
}

/// `[v5:3.1.2-28]`: nothing is told about response topics, asked or not. `[v5:3.2.2-9] [v5:U48]` QoS 2 is on offer, no other
/// server is.
#[test]
fn connack_promises_what_there_is() {
    for ask in [&[][..], &[0x19, 0], &[0x19, 1]] {
        let mut world = World::new();
        world.send(&connect(5, true, ask));
        let ack = world.got().remove(0);
        let mut at = 5;
        let mut ids = Vec::new();
        while at < ack.len() {
            ids.push(ack[at]);
            at += match ack[at] {
                0x21 | 0x22 => 3,
                0x27 => 5,
                0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 2,
                other => panic!("property {other:x}"),
            };
        }
        assert!(!ids.contains(&0x1A) && !ids.contains(&0x24) && !ids.contains(&0x1C), "{ids:x?}");
    }
}

/// `[v5:U28]` and `[v5:3.1.2-21] [v5:3.2.2-21]`: where we decide otherwise we say so; else what the client said counts
/// `[v5:3.2.2-22]`.
#[test]
fn connack_tells_what_was_changed() {
    let limits =
        broker_protocol::Limits { session_expiry_max_s: 60, keep_alive_max_s: 5, ..Default::default() };
    let expiry = |seconds: u8| [0x11, 0, 0, 0, seconds];
    let mut world = World::with(limits);
    world.send(&connect(5, true, &expiry(61)));
    let ack = world.got().remove(0);
    assert!(ack.windows(5).any(|w| w == expiry(60)) && ack.windows(3).any(|w| w == [0x13, 0, 5]), "{ack:?}");
    world.pass(7_499);
    assert_eq!(world.closed, None);
    world.pass(1);
    assert_eq!(world.got()[0][2], 0x8D, "one and a half times what we said");
    let mut world = World::new();
    world.send(&connect(5, true, &expiry(60)));
    let ack = world.got().remove(0);
    assert!(!ack.windows(5).any(|w| w == expiry(60)) && !ack.contains(&0x13));
    world.pass(14_999);
    assert_eq!(world.closed, None);
    world.pass(1);
    assert_eq!(world.got()[0][2], 0x8D, "one and a half times what it said");
}

/// `[v311:3.2.0-1] [v5:3.2.0-1] [v5:3.2.0-2] [v311:3.1.4-4] [v5:3.1.4-5] [v311:3.2.2-2] [v311:3.2.2-3] [v5:3.2.2-3]`: one CONNACK,
/// before everything that waits, and true about the session; `[v311:3.2.2-1] [v5:3.2.2-2] [v311:3.1.2-6] [v5:3.1.2-4]` a clean
/// start finds none.
#[test]
fn connack_is_first_and_tells_about_the_session() {
    for level in [4, 5] {
        let mut world = World::new();
        let kept: &[u8] = if level == 5 { &[0x11, 0, 0, 0, 9] } else { &[] };
        for (clean, present) in [(false, 0), (false, 1), (true, 0)] {
            world.reconnect(&connect(level, clean, kept));
            let got = world.got();
            assert_eq!((got[0][0], got[0][2], got[0][3]), (0x20, present, 0));
            let acks = got.iter().filter(|packet| packet[0] == 0x20).count();
            assert_eq!(acks, 1);
            world.send(&subscribe(level, "t", 1));
            world.got();
            for n in 1..=100 {
                world.queue.insert(n, crate::world::message("t", b"x"));
            }
        }
    }
}

/// `[v311:3.1.4-5] [v5:3.1.4-6] [v311:3.1.4-1] [v5:3.1.4-2]`: what was sent behind a refused CONNECT is not carried out.
#[test]
fn nothing_behind_a_refused_connect_is_carried_out() {
    for (level, code) in [(4, 5), (5, 0x87)] {
        let mut world = World::new();
        let publish = packet(0x31, &[&text("t")[..], if level == 5 { &[0] } else { &[] }, b"x"].concat());
        let refused = connect_of(b"MQTT", level, 0xC2, &[text("c"), text("u"), text("bad")].concat());
        world.send(&[refused, publish, subscribe(level, "t", 1)].concat());
        let got = world.got();
        assert_eq!((got.len(), got[0][3]), (1, code));
        assert!(world.submitted.is_empty() && world.other.is_empty());
    }
}
