//! Bytes ↔ clause: what the broken packet of a clause is answered with. Valid neighbours of each are in the same table.

use crate::world::{World, connect, packet, text};

/// A packet after CONNECT, and the reason code of the DISCONNECT it leads to; `None`: it is taken.
type Case = (&'static str, Vec<u8>, Option<u8>);

fn publish5(flags: u8, properties: &[u8]) -> Vec<u8> {
    let id: &[u8] = if flags & 6 == 0 { &[] } else { &[0, 1] };
    let length = [u8::try_from(properties.len()).unwrap()];
    packet(0x30 | flags, &[&text("t")[..], id, &length, properties, b"x"].concat())
}

fn subscribe5(properties: &[u8], filter: &[u8], options: u8) -> Vec<u8> {
    let length = [u8::try_from(properties.len()).unwrap()];
    packet(0x82, &[&[0, 1], &length[..], properties, filter, &[options]].concat())
}

fn data_cases() -> Vec<Case> {
    let named =
        |name: &[u8]| [&u16::try_from(name.len()).unwrap().to_be_bytes()[..], name, &[0, b'x']].concat();
    let publish = |name: &[u8]| packet(0x30, &named(name));
    vec![
        ("v5:1.5.4-1 surrogate", publish(&[0xED, 0xA0, 0x80]), Some(0x81)),
        ("v5:1.5.4-1 overlong", publish(&[0xC0, 0x80]), Some(0x81)),
        ("v5:1.5.4-1 above 10FFFF", publish(&[0xF4, 0x90, 0x80, 0x80]), Some(0x81)),
        ("v5:1.5.4-1 cut", publish(&[0xE2, 0x82]), Some(0x81)),
        ("v5:1.5.4-2", publish(b"a\0b"), Some(0x81)),
        ("v5:1.5.4-2 user property", publish5(0, &[0x26, 0, 1, 0, 0, 1, b'v']), Some(0x81)),
        ("v5:1.5.4-3", publish(&[0xEF, 0xBB, 0xBF, b'a']), None),
        ("v5:3.3.2-1", publish(&[0xFF]), Some(0x81)),
        ("v5:4.7.3-2", publish(b"\0"), Some(0x81)),
        ("v5:1.5.4-1 filter v5:3.8.3-1", subscribe5(&[], &[0, 1, 0xFF], 0), Some(0x81)),
        ("v5:1.5.4-1 filter v5:3.10.3-1", packet(0xA2, &[0, 1, 0, 0, 1, 0xFF]), Some(0x81)),
        ("v5:1.5.4-2 filter", subscribe5(&[], &text("a\0"), 0), Some(0x81)),
        ("v5:3.3.2-13", publish5(0, &[0x08, 0, 1, 0xFF]), Some(0x81)),
        ("v5:3.3.2-19", publish5(0, &[0x03, 0, 1, 0xFF]), Some(0x81)),
        ("v5:1.5.7-1 name", publish5(0, &[0x26, 0, 1, 0xFF, 0, 0]), Some(0x81)),
        ("v5:1.5.7-1 value", publish5(0, &[0x26, 0, 0, 0, 1, 0xFF]), Some(0x81)),
        ("v5:U46 control characters", publish(&[0x07, 0x7F, 0xC2, 0x80]), None),
        ("v5:U3", publish5(0, &[0x80, 0x01]), Some(0x81)),
        ("v5:1.5.5-1 overlong length", vec![0xC0, 0x80, 0x00], Some(0x81)),
        ("v5:1.5.5-1 five bytes", vec![0xC0, 0x80, 0x80, 0x80, 0x80, 0x01], Some(0x81)),
        ("v5:1.5.7-1", publish5(0, &[0x26, 0, 1, b'n']), Some(0x81)),
        ("v5:2.2.2-1", packet(0x30, &text("t")), Some(0x81)),
        ("v5:U1 unknown", publish5(0, &[0x7F, 0]), Some(0x81)),
        ("v5:U1 not here", publish5(0, &[0x11, 0, 0, 0, 1]), Some(0x81)),
        ("v5:U2", publish5(0, &[0x23, 0, 1, 0x23, 0, 1]), Some(0x82)),
        ("v5:U2 user properties", publish5(0, &[0x26, 0, 1, b'n', 0, 0, 0x26, 0, 1, b'n', 0, 0]), None),
    ]
}

fn publish_cases() -> Vec<Case> {
    vec![
        ("v5:2.2.1-3", packet(0x32, &[0, 1, b't', 0, 0, 0]), Some(0x82)),
        ("v5:3.3.1-2", publish5(0b1000, &[]), Some(0x81)),
        ("v5:3.3.1-4", publish5(0b0110, &[]), Some(0x81)),
        ("v5:3.3.2-2", packet(0x30, &[&text("a/#")[..], &[0]].concat()), Some(0x90)),
        ("v5:3.3.2-2 inside", packet(0x30, &[&text("a+b")[..], &[0]].concat()), Some(0x90)),
        ("v5:4.7.3-1 v5:U11", packet(0x30, &[0, 0, 0]), Some(0x82)),
        ("v5:U13", packet(0x30, &[0, 0, 3, 0x23, 0, 1]), Some(0x82)),
        ("v5:3.3.2-8 v5:U12", publish5(0, &[0x23, 0, 0]), Some(0x94)),
        ("v5:3.3.2-9 v5:3.2.2-17", publish5(0, &[0x23, 0, 17]), Some(0x94)),
        ("v5:3.3.2-12", publish5(0, &[0x23, 0, 16]), None),
        ("v5:3.3.2-14", publish5(0, &[0x08, 0, 1, b'#']), Some(0x82)),
        ("v5:3.3.4-6 v5:U16", publish5(0, &[0x0B, 1]), Some(0x82)),
        ("v5:U16 0", publish5(0, &[0x0B, 0]), Some(0x82)),
        ("v5:U10", publish5(0, &[0x01, 7]), Some(0x82)),
        ("v5:3.3.2-5 expiry 0", publish5(0, &[0x02, 0, 0, 0, 0]), None),
        ("v5:3.3.4-1 QoS 2", publish5(0b0100, &[]), None),
        ("v5:3.3.1-5 RETAIN", publish5(0b0001, &[]), None),
        ("v5:3.2.2-15 v5:U19", vec![0x30, 0x81, 0x80, 0x10], Some(0x95)),
        ("v5:U39 PUBACK", packet(0x40, &[0, 9]), None),
        ("v5:U44 PUBACK of three bytes", packet(0x40, &[0, 9, 0x10]), None),
        ("v5:3.4.2-1", packet(0x40, &[0, 9, 0x55]), Some(0x81)),
        ("v5:3.5.2-1", packet(0x50, &[0, 9, 0x55]), Some(0x81)),
        ("v5:3.6.2-1", packet(0x62, &[0, 9, 0x10]), Some(0x81)),
        ("v5:3.7.2-1", packet(0x70, &[0, 9, 0x10]), Some(0x81)),
        ("v5:3.6.1-1", packet(0x60, &[0, 9]), Some(0x81)),
        ("v5:3.6.1-1 all bits", packet(0x6F, &[0, 9]), Some(0x81)),
        ("v5:U44 PUBREL with a code", packet(0x62, &[0, 9, 0]), None),
        ("v5:U44 PUBREL with properties", packet(0x62, &[0, 9, 0, 0]), None),
        ("v5:U25 PUBACK", packet(0x40, &[0, 9, 0, 0, 0]), Some(0x81)),
    ]
}

fn other_cases() -> Vec<Case> {
    vec![
        ("v5:3.8.1-1", packet(0x80, &[0, 1, 0, 0, 1, b't', 0]), Some(0x81)),
        ("v5:3.8.3-2", packet(0x82, &[0, 1, 0]), Some(0x82)),
        ("v5:3.8.3-5", subscribe5(&[], &text("t"), 0x40), Some(0x81)),
        ("v5:U14 QoS", subscribe5(&[], &text("t"), 3), Some(0x82)),
        ("v5:U14 retain handling", subscribe5(&[], &text("t"), 0x30), Some(0x82)),
        ("v5:3.8.3-4", subscribe5(&[], &text("$share/g/t"), 0b100), Some(0x82)),
        ("v5:U15 0", subscribe5(&[0x0B, 0], &text("t"), 0), Some(0x82)),
        ("v5:U15 twice", subscribe5(&[0x0B, 1, 0x0B, 2], &text("t"), 0), Some(0x82)),
        ("v5:4.7.3-1 filter", subscribe5(&[], &text(""), 0), Some(0x82)),
        ("v5:2.2.1-3 SUBSCRIBE", packet(0x82, &[0, 0, 0, 0, 1, b't', 0]), Some(0x82)),
        ("v5:3.10.1-1", packet(0xA0, &[0, 1, 0, 0, 1, b't']), Some(0x81)),
        ("v5:3.10.3-2", packet(0xA2, &[0, 1, 0]), Some(0x82)),
        ("v5:3.12.4-1", vec![0xC0, 0], None),
        ("v5:U25 PINGREQ", vec![0xC0, 1, 0], Some(0x81)),
        ("v5:2.1.3-1 PINGREQ", vec![0xC1, 0], Some(0x81)),
        ("v5:3.14.1-1", vec![0xE1, 0], Some(0x81)),
        ("v5:3.14.2-1 unknown", vec![0xE0, 1, 0x55], Some(0x81)),
        ("v5:3.14.2-1", vec![0xE0, 1, 0x8E], Some(0x82)),
        ("v5:U26", packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 1]), Some(0x82)),
        ("v5:4.12.0-7", packet(0xF0, &[0x19, 0]), Some(0x82)),
        ("v5:U23", vec![0x00, 0], Some(0x81)),
        ("v5:U24", vec![0x20, 2, 0, 0], Some(0x82)),
        ("v5:3.1.0-2", connect(5, true, &[]), Some(0x82)),
    ]
}

/// `[v5:4.13.1-1] [v5:4.13.2-1] [v5:3.14.4-1] [v5:3.14.4-2] [v5:3.14.2-2]`: a DISCONNECT with the code, the end, and silence.
#[test]
fn packets_of_mqtt_5() {
    for (clause, bytes, expected) in [data_cases(), publish_cases(), other_cases()].concat() {
        let mut world = World::new();
        world.send(&connect(5, true, &[]));
        world.got();
        world.send(&bytes);
        let got = world.got();
        match expected {
            None => {
                assert_eq!(world.closed, None, "{clause} is valid: {got:?}");
                world.send(&[0xC0, 0]);
                assert_eq!(world.got().pop(), Some(vec![0xD0, 0]), "{clause}");
            }
            Some(reason) => {
                assert_eq!(world.closed, Some(4006), "{clause} ends the connection");
                let farewell = got.last().unwrap();
                assert_eq!((farewell[0], farewell[2]), (0xE0, reason), "{clause}");
                assert!(farewell.len() == 3 || farewell[4] == 0x1F, "no session expiry: {clause}");
                // [v5:3.14.4-1]: nothing is worked off, nothing is sent any more.
                world.send(&[0xC0, 0]);
                assert!(world.got().is_empty(), "{clause}");
            }
        }
    }
}

/// 3.1.1 has no words for it: the connection ends, and nothing is sent. `[v311:4.8.0-1]`
#[test]
fn packets_of_mqtt_311() {
    let t = text("t");
    let cases: [Case; 29] = [
        ("v311:1.5.3-1", packet(0x30, &[0, 1, 0xFF]), Some(0)),
        ("v311:1.5.3-2 v311:4.7.3-2", packet(0x30, &text("a\0")), Some(0)),
        ("v311:3.3.2-1", packet(0x30, &[0, 1, 0xFF]), Some(0)),
        ("v311:3.8.3-1", packet(0x82, &[0, 1, 0, 1, 0xFF, 0]), Some(0)),
        ("v311:3.10.3-1", packet(0xA2, &[0, 1, 0, 1, 0xFF]), Some(0)),
        ("v311:1.5.3-3", packet(0x30, &[0, 3, 0xEF, 0xBB, 0xBF]), None),
        ("v311:3.8.1-1", packet(0x80, &[&[0, 1], &t[..], &[0]].concat()), Some(0)),
        ("v311:3.10.1-1", packet(0xA0, &[&[0, 1], &t[..]].concat()), Some(0)),
        ("v311:3.1.0-2", connect(4, true, &[]), Some(0)),
        ("v311:3.12.4-1", vec![0xC0, 1, 0], Some(0)),
        ("v311:2.2.2-2 PUBACK", packet(0x41, &[0, 1]), Some(0)),
        ("v311:2.2.2-2", vec![0xC2, 0], Some(0)),
        ("v311:2.3.1-1", packet(0x32, &[0, 1, b't', 0, 0]), Some(0)),
        ("v311:2.3.1-1 SUBSCRIBE", packet(0x82, &[0, 0, 0, 1, b't', 0]), Some(0)),
        ("v311:3.3.1-2", packet(0x38, &t), Some(0)),
        ("v311:3.3.1-4", packet(0x36, &[0, 1, b't', 0, 1]), Some(0)),
        ("v311:3.3.2-2 v311:4.7.1-1", packet(0x30, &text("a/+")), Some(0)),
        ("v311:4.7.3-1", packet(0x30, &text("")), Some(0)),
        ("v311:3.6.1-1", packet(0x60, &[0, 1]), Some(0)),
        ("v311:3.8.3-3", packet(0x82, &[0, 1]), Some(0)),
        ("v311:3.8.3-4 reserved", packet(0x82, &[&[0, 1], &t[..], &[4]].concat()), Some(0)),
        ("v311:3.8.3-4 QoS 3", packet(0x82, &[&[0, 1], &t[..], &[3]].concat()), Some(0)),
        ("v311:3.10.3-2", packet(0xA2, &[0, 1]), Some(0)),
        ("v311:3.14.1-1", vec![0xE1, 0], Some(0)),
        ("v311:U25", vec![0xE0, 1, 0], Some(0)),
        ("v311:U23 AUTH", packet(0xF0, &[0]), Some(0)),
        ("v311:U24", packet(0x90, &[0, 1, 0]), Some(0)),
        ("v311:3.3.1-10", packet(0x31, &t), None),
        ("v311:3.6.4 unknown PUBREL", packet(0x62, &[0, 7]), None),
    ];
    for (clause, bytes, ends) in cases {
        let mut world = World::new();
        world.send(&connect(4, true, &[]));
        assert_eq!(world.got(), [[0x20, 2, 0, 0]]);
        world.send(&bytes);
        assert_eq!(world.closed.is_some(), ends.is_some(), "{clause}");
        let got = world.got();
        if ends.is_some() {
            assert!(got.is_empty(), "{clause}: {got:?}");
        }
    }
}

/// CONNECTs: the CONNACK of MQTT 5 and of 3.1.1 (`None` = closed without one).
#[test]
fn connects() {
    let base = |level: u8, flags: u8, rest: &[u8]| {
        let properties: &[u8] = if level == 5 { &[0] } else { &[] };
        packet(0x10, &[&text("MQTT")[..], &[level, flags, 0, 10], properties, rest].concat())
    };
    let id = text("c");
    let cases: [(&str, u8, Vec<u8>, Option<u8>); 19] = [
        ("v5:3.1.2-3", 5, base(5, 0x03, &id), Some(0x81)),
        ("v311:3.1.2-3", 4, base(4, 0x03, &id), None),
        ("v5:3.1.2-11 will QoS", 5, base(5, 0x0A, &id), Some(0x81)),
        ("v5:3.1.2-13 will retain", 5, base(5, 0x22, &id), Some(0x81)),
        ("v5:3.1.2-12", 5, base(5, 0x1E, &[&id[..], &[0], &text("w"), &text("")].concat()), Some(0x81)),
        ("v5:3.1.2-9", 5, base(5, 0x06, &id), Some(0x81)),
        ("v5:3.1.2-16", 5, base(5, 0x02, &[&id[..], &text("u")].concat()), Some(0x81)),
        ("v5:3.1.2-17", 5, base(5, 0x82, &id), Some(0x81)),
        ("v311:3.1.2-22", 4, base(4, 0x42, &[&id[..], &text("p")].concat()), None),
        ("v5 password alone", 5, base(5, 0x42, &[&id[..], &text("p")].concat()), Some(0)),
        ("v5 binary password", 5, base(5, 0x42, &[&id[..], &[0, 2, 0, 255]].concat()), Some(0)),
        ("v311:3.1.3-8", 4, base(4, 0xC0, &[text(""), text("u"), text("p")].concat()), Some(2)),
        ("v311:3.1.3-6", 4, base(4, 0xC2, &[text(""), text("u"), text("p")].concat()), Some(0)),
        (
            "v5 empty id without clean start",
            5,
            base(5, 0xC0, &[text(""), text("u"), text("p")].concat()),
            Some(0),
        ),
        ("v5:3.1.3-4", 5, base(5, 0x02, &[0, 1, 0xFF]), Some(0x81)),
        (
            "v5:4.7.0-1 will topic",
            5,
            base(5, 0x06, &[&id[..], &[0], &text("a/#"), &text("")].concat()),
            Some(0x90),
        ),
        (
            "v5:3.1.2-12 will QoS 2",
            5,
            base(5, 0xD6, &[&id[..], &[0], &text("w"), &text(""), &text("u"), &text("p")].concat()),
            Some(0),
        ),
        (
            "v5:3.1.2-15 will retain",
            5,
            base(5, 0xE6, &[&id[..], &[0], &text("w"), &text(""), &text("u"), &text("p")].concat()),
            Some(0),
        ),
        ("no token", 5, base(5, 0x02, &id), Some(0x87)),
    ];
    for (clause, level, bytes, code) in cases {
        let mut world = World::new();
        world.send(&bytes);
        let got = world.got();
        match code {
            None => assert!(got.is_empty() && world.closed.is_some(), "{clause}: {got:?}"),
            Some(code) => {
                assert_eq!((got.len(), got[0][0], got[0][3]), (1, 0x20, code), "{clause} {got:?}");
                assert_eq!(world.closed.is_some(), code != 0, "{clause}");
                assert_eq!(got[0].len() > 4, level == 5, "{clause}");
            }
        }
    }
}

#[test]
fn properties_of_connect() {
    let cases: [(&str, &[u8], u8); 9] = [
        ("v5:U4", &[0x21, 0, 0], 0x82),
        ("v5:U5", &[0x27, 0, 0, 0, 0], 0x82),
        ("v5:U6", &[0x17, 2], 0x82),
        ("v5:U6", &[0x19, 2], 0x82),
        ("v5:U7", &[0x16, 0, 1, 0], 0x82),
        ("v5:4.12.0-1", &[0x15, 0, 1, b'x'], 0x8C),
        ("v5:U1", &[0x23, 0, 1], 0x81),
        ("v5:U2", &[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], 0x82),
        ("valid", &[0x11, 0, 0, 0, 1, 0x21, 0, 1, 0x27, 0, 0, 1, 0, 0x22, 0, 0, 0x17, 0, 0x19, 1], 0),
    ];
    for (clause, properties, code) in cases {
        let mut world = World::new();
        world.send(&connect(5, true, properties));
        let got = world.got();
        assert_eq!((got[0][0], got[0][3]), (0x20, code), "{clause}");
    }
}

/// Every packet, cut at every byte, waits for its rest and is then worked off once.
#[test]
fn packets_that_come_byte_by_byte() {
    for level in [4, 5] {
        let mut world = World::new();
        let all = [
            connect(level, true, &[]),
            crate::world::subscribe(level, "t", 1),
            if level == 5 { publish5(2, &[]) } else { packet(0x32, &[0, 1, b't', 0, 1, b'x']) },
            vec![0xC0, 0],
        ]
        .concat();
        let mut input = bytes::BytesMut::new();
        for byte in all {
            input.extend_from_slice(&[byte]);
            let bytes = input.split();
            let rest = world.feed(bytes);
            input.unsplit(rest);
        }
        let firsts: Vec<u8> = world.got().iter().map(|packet| packet[0]).collect();
        assert_eq!(firsts, [0x20, 0x90, 0x40, 0xD0]);
    }
}
