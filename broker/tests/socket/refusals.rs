//! The contract's table of refusals (section 5), row by row, and what breaks the protocol.

use schemas::ErrorCode;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::World;
use crate::support::client::{Client, End};
use crate::support::packet::{Connect, V5, V311, packet, publish, subscribe, text};

/// CONNECT over all four ways: code of MQTT 5, of 3.1.1, of WebSocket.
async fn refused_connect(world: &World, connect: &Connect, v5: u8, v311: u8, close: u16) {
    for level in [V311, V5] {
        let bytes = Connect { level, properties: Vec::new(), ..connect.clone() }.bytes();
        let mut tcp = Client::tcp(world.mqtt, level).await;
        // What stands behind a refused CONNECT is not worked off. [v311:3.1.4-5] [v5:3.1.4-6]
        tcp.send(&[bytes.clone(), subscribe(level, 1, &[("user/alice/inbox", 1)])].concat()).await;
        let ack = tcp.next().await;
        assert_eq!((ack.first, ack.body[0], ack.body[1]), (0x20, 0, if level == V5 { v5 } else { v311 }));
        assert_eq!(tcp.ended().await, End::Eof);
        let mut ws = Client::ws(world.ws, level).await;
        ws.send(&bytes).await;
        ws.next().await;
        assert_eq!(ws.ended().await, End::Code(close));
    }
}

/// `[v311:3.1.3-9] [v5:3.1.3-8] [v311:3.2.2-6]`
#[tokio::test]
async fn connects_that_are_refused() {
    let world = World::start().await;
    let alice = world.token("alice");
    refused_connect(&world, &Connect::new(V5, "c", ""), 0x87, 5, 4001).await;
    refused_connect(&world, &Connect::new(V5, "c", "not.a.token"), 0x87, 5, 4002).await;
    let mut expired = world.claims("alice");
    expired.exp -= 7_200;
    refused_connect(&world, &Connect::new(V5, "c", &world.issue(&expired)), 0x87, 5, 4002).await;
    let mut foreign = world.claims("alice");
    foreign.account = schemas::AccountId::new("nowhere").unwrap();
    refused_connect(&world, &Connect::new(V5, "c", &world.issue(&foreign)), 0x87, 5, 4002).await;
    let mut device = world.claims("alice");
    device.device = Some(schemas::UserId::new("phone").unwrap());
    refused_connect(&world, &Connect::new(V5, "tablet", &world.issue(&device)), 0x85, 2, 4002).await;
    let mut will = Connect::new(V5, "c", &alice);
    will.will = Some(("room/x".to_owned(), Vec::new(), 0));
    refused_connect(&world, &will, 0x87, 5, 4002).await;
}

#[tokio::test]
async fn a_full_server_is_busy() {
    let world = World::start_with(|config| config.connections_max = 1, broker::BusKind::Direct).await;
    let mut first = Client::user(&world, V5, "alice").await;
    refused_connect(&world, &Connect::new(V5, "c", &world.token("bob")), 0x89, 3, 4004).await;
    first.fence().await;
}

#[tokio::test]
async fn a_device_gets_its_client_id() {
    let world = World::start().await;
    let mut claims = world.claims("alice");
    claims.device = Some(schemas::UserId::new("phone").unwrap());
    let mut assigned = Vec::new();
    for token in [world.issue(&claims), world.token("alice"), world.token("alice")] {
        let mut client = Client::tcp(world.mqtt, V5).await;
        client.send(&Connect::new(V5, "", &token).bytes()).await;
        let ack = client.next().await;
        let at = ack.body.iter().position(|byte| *byte == 0x12).expect("[v5:3.2.2-16]");
        let length = usize::from(ack.body[at + 2]);
        assigned.push(String::from_utf8(ack.body[at + 3..at + 3 + length].to_vec()).unwrap());
    }
    assert_eq!(assigned[0], "phone");
    assert_ne!(assigned[1], assigned[2]);
    let id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    assert!(assigned[1].len() <= 64 && assigned[1].chars().all(id), "{}", assigned[1]);
}

#[tokio::test]
async fn a_token_ends_while_connected() {
    let world = World::start().await;
    let mut claims = world.claims("alice");
    claims.exp -= 3_600 - 100;
    for level in [V311, V5] {
        let connect = Connect::new(level, "c", &world.issue(&claims));
        let (mut tcp, _) = Client::connect(&world, &connect).await;
        let mut ws = Client::ws(world.ws, level).await;
        ws.send(&Connect { client: "d".to_owned(), ..connect }.bytes()).await;
        assert_eq!(ws.next().await.body[1], 0);
        world.advance_clock(101);
        // A packet wakes both: the clock of the test is not the one that timers run by.
        tcp.send(&[0xC0, 0]).await;
        ws.send(&[0xC0, 0]).await;
        for (client, end) in [(&mut tcp, End::Eof), (&mut ws, End::Code(4002))] {
            let mut packet = client.read().await;
            if packet.as_ref().is_some_and(|p| p.first == 0xD0) {
                packet = client.read().await;
            }
            if level == V5 {
                let packet = packet.expect("DISCONNECT");
                assert_eq!((packet.first, packet.body[0]), (0xE0, 0x87));
                assert!(packet.body.ends_with(b"token_expired"));
                assert_eq!(client.ended().await, end);
            } else {
                assert_eq!(packet, None);
            }
        }
        claims.exp += 101;
    }
}

#[tokio::test]
async fn publishes_refused_for_good() {
    let world = World::start().await;
    world.user_seen("bob").await;
    let send = |text: &str| serde_json::json!({"type": "message.send", "id": "c", "to": {"user": text}, "text": "x"});
    let cases = [
        ("room/x", "x".to_owned(), ErrorCode::AclDenied),
        ("user/bob/outbox", send("bob").to_string(), ErrorCode::AclDenied),
        ("user/alice/inbox", "x".to_owned(), ErrorCode::AclDenied),
        ("user/alice/outbox", "{".to_owned(), ErrorCode::JsonMalformed),
        ("user/alice/outbox", r#"{"type":"x","id":"c"}"#.to_owned(), ErrorCode::CommandUnknown),
    ];
    let mut five = Client::connect(&world, &Connect::new(V5, "five", &world.token("alice"))).await.0;
    for (topic, payload, code) in &cases {
        five.send(&publish(V5, topic, Some(9), payload.as_bytes())).await;
        let ack = five.next().await;
        assert_eq!((ack.first, ack.body[2]), (0x40, code.mqtt()), "{topic} {payload}");
        assert!(ack.body.ends_with(code.as_str().as_bytes()), "the reason string is the code");
    }
    five.fence().await;
    // 3.1.1: acknowledged, not stored, told in the inbox.
    for (n, (topic, payload, code)) in cases.iter().enumerate() {
        let user = format!("carol{n}");
        let (topic, payload) = (topic.replace("alice", &user), payload.replace("alice", &user));
        let mut client = Client::connect(&world, &Connect::new(V311, "c", &world.token(&user))).await.0;
        client.subscribe(&format!("user/{user}/inbox"), 0).await;
        client.send(&publish(V311, &topic, Some(9), payload.as_bytes())).await;
        let (mut acked, mut event) = (false, None);
        while !acked || event.is_none() {
            let packet = client.next().await;
            match packet.first {
                0x40 => acked = true,
                _ => event = Some(packet.published(V311).json()),
            }
        }
        let event = event.unwrap();
        assert_eq!(
            (&event["type"], &event["data"]["code"]),
            (&"command.failed".into(), &code.as_str().into())
        );
        let about_topic = *code == ErrorCode::AclDenied;
        assert_eq!(event["data"].get("topic").is_some(), about_topic, "{event}");
        // A second one within the second is acknowledged and not told, if it is about a topic.
        if about_topic {
            assert_eq!(client.publish(&topic, payload.as_bytes()).await, 0);
            client.fence().await;
        }
    }
    // At QoS 0 nothing happens.
    five.send(&publish(V5, "room/x", None, b"x")).await;
    five.send(&publish(V5, "user/alice/outbox", None, b"x")).await;
    five.fence().await;
}

#[tokio::test]
async fn subscriptions_that_are_refused() {
    let world = World::start().await;
    let cases = [
        ("user/bob/inbox", 0x87),
        ("user/+/inbox", 0x87),
        ("user/#", 0x87),
        ("room/x", 0x87),
        ("#", 0x87),
        ("$SYS/#", 0x87),
        ("a#", 0x8F),
        ("$share/g/user/alice/inbox", 0x9E),
        ("user/alice/inbox", 1),
        ("user/+/status", 1),
    ];
    for level in [V311, V5] {
        let mut alice = Client::connect(&world, &Connect::new(level, "c", &world.token("alice"))).await.0;
        let filters: Vec<_> = cases.iter().map(|(filter, _)| (*filter, 1)).collect();
        alice.send(&subscribe(level, 3, &filters)).await;
        let ack = alice.next().await;
        let codes: Vec<u8> =
            cases.iter().map(|(_, code)| if level == V311 && *code >= 0x80 { 0x80 } else { *code }).collect();
        assert_eq!(ack.body[if level == V5 { 3 } else { 2 }..], codes);
    }
}

/// One packet that breaks a rule: what MQTT 5 says before it closes; 3.1.1 only closes. Others are not disturbed.
/// `[v311:4.8.0-1] [v5:U45] [v5:4.13.1-1]`
#[tokio::test]
async fn broken_packets_end_their_connection_and_no_other() {
    let world = World::start().await;
    let mut witness = Client::user(&world, V5, "witness").await;
    let cases: [(&str, u8, Vec<u8>); 10] = [
        ("a second CONNECT", 0x82, Connect::new(V5, "c", "x").bytes()),
        ("QoS 3", 0x81, packet(0x36, &[&text("t")[..], &[0, 1, 0]].concat())),
        ("DUP at QoS 0", 0x81, packet(0x38, &[&text("t")[..], &[0]].concat())),
        ("wildcard", 0x90, publish(V5, "a/+", None, b"")),
        ("alias 17", 0x94, packet(0x30, &[&text("t")[..], &[3, 0x23, 0, 17]].concat())),
        ("unknown alias", 0x82, packet(0x30, &[0, 0, 3, 0x23, 0, 1])),
        ("too large", 0x95, vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
        ("PINGREQ with a body", 0x81, vec![0xC0, 1, 0]),
        ("AUTH", 0x82, packet(0xF0, &[0x18, 0])),
        ("a server's packet", 0x82, vec![0xD0, 0]),
    ];
    for (n, (name, code, bytes)) in cases.into_iter().enumerate() {
        let connect = Connect::new(V5, &format!("c{n}"), &world.acl_token("alice"));
        let (mut tcp, _) = Client::connect(&world, &connect).await;
        tcp.send(&bytes).await;
        let farewell = tcp.next().await;
        assert_eq!((farewell.first, farewell.body[0]), (0xE0, code), "{name}");
        assert_eq!(tcp.ended().await, End::Eof, "{name}");
        let mut ws = Client::ws(world.ws, V5).await;
        ws.send(&connect.bytes()).await;
        ws.next().await;
        ws.send(&bytes).await;
        ws.next().await;
        assert_eq!(ws.ended().await, End::Code(4006), "{name}");
        witness.fence().await;
    }
    for bytes in [vec![0x36, 5, 0, 1, b't', 0, 1], vec![0x34, 5, 0, 1, b't', 0, 0], vec![0xC0, 1, 0]] {
        let (mut old, _) = Client::connect(&world, &Connect::new(V311, "o", &world.acl_token("alice"))).await;
        old.send(&bytes).await;
        assert_eq!(old.ended().await, End::Eof);
    }
    witness.fence().await;
}

/// Before CONNECT: closed without a word, or told that the version is not spoken.
#[tokio::test]
async fn what_is_not_mqtt_is_closed() {
    let world = World::start().await;
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xC0, 0], vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F]] {
        let mut client = Client::tcp(world.mqtt, V311).await;
        client.send(&bytes).await;
        assert_eq!(client.ended().await, End::Eof);
    }
    for (level, answer) in [(3, vec![0, 1]), (6, vec![0, 0x84, 0])] {
        let mut client = Client::tcp(world.mqtt, V311).await;
        client.send(&Connect { level, ..Connect::new(V311, "c", "x") }.bytes()).await;
        let ack = client.next().await;
        assert_eq!((ack.first, ack.body), (0x20, answer));
        assert_eq!(client.ended().await, End::Eof);
    }
}

/// `[v311:6.0.0-1] [v5:6.0.0-1] [v311:6.0.0-2] [v5:6.0.0-2]`
#[tokio::test]
async fn websocket_frames_and_packets_are_not_aligned() {
    let world = World::start().await;
    let connect = Connect::new(V5, "c", &world.acl_token("alice")).bytes();
    let mut client = Client::ws(world.ws, V5).await;
    for byte in &connect {
        client.send(&[*byte]).await;
    }
    assert_eq!(client.next().await.first, 0x20);
    client.send(&[]).await;
    client.send(&[0xC0, 0, 0xC0, 0, 0xC0]).await;
    client.send(&[0]).await;
    for _ in 0..3 {
        assert_eq!(client.next().await.first, 0xD0);
    }
    client.send_ws(Message::Text("x".into())).await;
    assert_eq!(client.ended().await, End::Code(1003));
}

/// `[v311:6.0.0-3] [v5:6.0.0-3] [v311:6.0.0-4] [v5:6.0.0-4]`: who offers `mqtt`, among others or alone, gets just that; who does
/// not is not let in.
#[tokio::test]
async fn the_websocket_subprotocol_is_mqtt() {
    let world = World::start().await;
    for (offered, expected) in [
        (Some("mqtt"), true),
        (Some("foo, mqtt"), true),
        (Some("mqttv3.1"), false),
        (Some("MQTT"), false),
        (None, false),
    ] {
        let mut request = format!("ws://{}/mqtt", world.ws).into_client_request().unwrap();
        if let Some(offered) = offered {
            request.headers_mut().insert("Sec-WebSocket-Protocol", offered.parse().unwrap());
        }
        let stream = tokio::net::TcpStream::connect(world.ws).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((_, response)) => {
                assert!(expected, "{offered:?}");
                assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
            }
            Err(Error::Http(response)) => {
                assert_eq!((expected, response.status().as_u16()), (false, 400));
                assert_eq!(response.headers()["content-type"], "application/problem+json");
            }
            Err(other) => panic!("{offered:?}: {other}"),
        }
    }
}
