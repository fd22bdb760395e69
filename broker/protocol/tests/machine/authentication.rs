//! Enhanced authentication: the token at CONNECT, asked for, and renewed in place.

use broker_protocol::{Cause, Limits, Request};

use crate::world::{World, connect, packet, subscribe, text};

const METHOD: [u8; 6] = [0x15, 0, 3, b'J', b'W', b'T'];

fn data(token: &[u8]) -> Vec<u8> {
    [&[0x16][..], &u16::try_from(token.len()).unwrap().to_be_bytes(), token].concat()
}

/// CONNECT without user name and password.
fn bare(properties: &[u8]) -> Vec<u8> {
    let length = [u8::try_from(properties.len()).unwrap()];
    packet(0x10, &[&text("MQTT")[..], &[5, 2, 0, 10], &length, properties, &text("c")].concat())
}

fn auth(reason: u8, properties: &[u8]) -> Vec<u8> {
    packet(0xF0, &[&[reason, u8::try_from(properties.len()).unwrap()], properties].concat())
}

fn with(token: &[u8]) -> Vec<u8> {
    [&METHOD[..], &data(token)].concat()
}

/// An open connection that came by the method.
fn online() -> World {
    let mut world = World::new();
    world.send(&bare(&with(b"token")));
    let got = world.got();
    assert_eq!((got[0][0], got[0][3]), (0x20, 0), "{got:?}");
    assert!(got[0].windows(6).any(|bytes| bytes == METHOD), "[v5:4.12.0-5] CONNACK names the method");
    world
}

/// `[v5:4.12.0-5]`, `[v5:4.12.0-6]`: a plain CONNECT gets neither AUTH nor a method.
#[test]
fn the_token_comes_with_connect() {
    online();
    let mut world = World::new();
    world.send(&connect(5, true, &[]));
    let got = world.got();
    assert_eq!((got.len(), got[0][0]), (1, 0x20));
    assert!(!got[0].windows(3).any(|bytes| bytes == [0x15, 0, 3]));
}

/// `[v5:4.12.0-2] [v5:3.15.1-1] [v5:3.2.0-1]`: AUTH may come before CONNACK, and one CONNACK comes `[v5:3.2.0-2]`.
#[test]
fn the_token_is_asked_for() {
    let mut world = World::new();
    world.send(&bare(&METHOD));
    assert_eq!(world.got(), [auth(0x18, &METHOD)]);
    world.send(&auth(0x18, &with(b"token")));
    let got = world.got();
    assert_eq!((got.len(), got[0][0], got[0][3]), (1, 0x20, 0));
    // The old way is one step.
    let mut world = World::new();
    world.send(&connect(5, true, &METHOD));
    assert_eq!(world.got()[0][3], 0);
}

/// `[v5:4.12.0-1] [v5:4.12.0-3] [v5:4.12.0-4] [v5:3.1.2-30] [v5:3.14.0-1] [v5:U29]`: refused by CONNACK, never by DISCONNECT,
/// and nothing of what came is carried out.
#[test]
fn whoever_does_not_authenticate_does_not_come_in() {
    let first: [(&str, Vec<u8>, u8); 3] = [
        ("another method", bare(&[0x15, 0, 1, b'x']), 0x8C),
        ("a bad token", bare(&with(b"bad")), 0x87),
        ("no token", bare(&[]), 0x87),
    ];
    for (what, bytes, code) in first {
        let mut world = World::new();
        world.send(&bytes);
        let got = world.got();
        assert_eq!(
            (got.len(), got[0][0], got[0][3], world.closed.is_some()),
            (1, 0x20, code, true),
            "{what}"
        );
    }
    let second: [(&str, Vec<u8>, u8); 8] = [
        ("a bad token", auth(0x18, &with(b"bad")), 0x87),
        ("no token", auth(0x18, &METHOD), 0x87),
        ("AUTH 0x19", auth(0x19, &with(b"token")), 0x82),
        ("AUTH 0x00", auth(0x00, &with(b"token")), 0x82),
        ("another method", auth(0x18, &[&[0x15, 0, 1, b'x'][..], &data(b"token")].concat()), 0x82),
        ("AUTH of length 0 [v5:U44]", vec![0xF0, 0], 0x82),
        ("PUBLISH", packet(0x30, &[&text("t")[..], &[0]].concat()), 0x82),
        ("broken flags", vec![0xF1, 0], 0x81),
    ];
    for (what, bytes, code) in second {
        let mut world = World::new();
        world.send(&bare(&METHOD));
        world.got();
        world.send(&bytes);
        let got = world.got();
        assert_eq!(
            (got.len(), got[0][0], got[0][3], world.closed.is_some()),
            (1, 0x20, code, true),
            "{what}"
        );
        assert!(world.submitted.is_empty(), "{what}");
    }
    // DISCONNECT is allowed, silence is not for ever.
    let mut world = World::new();
    world.send(&bare(&METHOD));
    world.got();
    world.send(&[0xE0, 0]);
    assert!(world.got().is_empty() && world.closed.is_some());
    let mut world = World::new();
    world.send(&bare(&METHOD));
    world.got();
    world.pass(Limits::default().connect_timeout_ms);
    assert!(world.got().is_empty() && world.closed.is_some());
    // A server that stops has no code for it in a CONNACK. [v5:3.2.2-8]
    let mut world = World::new();
    world.send(&bare(&METHOD));
    world.got();
    world.end(Cause::Stopping);
    assert_eq!(world.got()[0][3], 0x88);
}

/// `[v5:4.12.1-1] [v5:4.12.1-2]`: the connection lives on under the new token, also beyond the end of the old one.
#[test]
fn a_token_is_renewed_in_place() {
    for asked in [false, true] {
        let mut world = online();
        world.send(&subscribe(5, "t", 1));
        world.got();
        if asked {
            world.send(&auth(0x19, &METHOD));
            assert_eq!(world.got(), [auth(0x18, &METHOD)]);
            // Other packets go on meanwhile.
            world.send(&[0xC0, 0]);
            assert_eq!(world.got(), [[0xD0, 0]]);
            world.send(&auth(0x18, &with(b"longer")));
        } else {
            world.send(&auth(0x19, &with(b"longer")));
        }
        assert_eq!(world.got(), [auth(0x00, &METHOD)]);
        for _ in 0..720 {
            assert_eq!(world.closed, None);
            world.pass(9_999);
            world.send(&[0xC0, 0]);
        }
        world.got();
        world.pass(1_000);
        assert_eq!(world.got()[0][2], 0x87, "the new token's end");
        let opened = world.submitted.iter().filter(|r| matches!(r, Request::Open { .. })).count();
        assert_eq!(opened, 1);
    }
}

/// `[v5:4.12.1-1] [v5:4.12.1-2] [v5:4.12.0-7] [v5:3.15.2-1] [v5:U29]`
#[test]
fn a_renewal_that_fails_ends_the_connection() {
    let cases: [(&str, Vec<u8>, u8); 8] = [
        ("a bad token", auth(0x19, &with(b"bad")), 0x87),
        ("another user", auth(0x19, &with(b"bob")), 0x87),
        ("another method", auth(0x19, &[&[0x15, 0, 1, b'x'][..], &data(b"token")].concat()), 0x82),
        ("no method", auth(0x19, &[]), 0x82),
        ("out of turn", auth(0x18, &with(b"token")), 0x82),
        ("success from a client", auth(0x00, &with(b"token")), 0x82),
        ("AUTH of length 0", vec![0xF0, 0], 0x82),
        ("broken flags [v5:3.15.1-1]", vec![0xF1, 0], 0x81),
    ];
    for (what, bytes, code) in cases {
        let mut world = online();
        world.send(&bytes);
        let got = world.got();
        assert_eq!((got.len(), got[0][0], got[0][2]), (1, 0xE0, code), "{what}");
        assert!(world.closed.is_some(), "{what}");
    }
    let mut world = World::new();
    world.send(&connect(5, true, &[]));
    world.got();
    world.send(&auth(0x19, &with(b"token")));
    assert_eq!(world.got()[0][2], 0x82, "[v5:4.12.0-7] CONNECT had no method");
}
