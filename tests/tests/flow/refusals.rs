//! O2, P7, P9. The contract's table of refusals, line by line, on MQTT 5, 3.1.1 and WebSocket.

use serde_json::json;
use tests::deadline::until;
use tests::event::Event;
use tests::http::Api;
use tests::mqtt::{Client, Connect, Link, Packet, Publish, Version};
use tests::token::Token;
use tests::world::{ACME, ANA, World, send_command};

const OUTBOX: &str = "user/alice/outbox";

/// What each of the three ways must say: MQTT 5 code, 3.1.1 code, close code.
type Row = (u8, u8, u16);

async fn assert_refused(world: &World, what: &str, change: impl Fn(&mut Connect), (v5, v311, close): Row) {
    for (version, link) in [
        (Version::V5, Link::Tcp),
        (Version::V5, Link::WebSocket),
        (Version::V311, Link::Tcp),
        (Version::V311, Link::WebSocket),
    ] {
        let mut connect = Connect::new(version, "device", "");
        change(&mut connect);
        let Err(refused) = Client::try_connect(world.at(), link, &connect).await else {
            panic!("{what}, {version:?}, {link:?}: let in")
        };
        let code = if version == Version::V5 { v5 } else { v311 };
        assert_eq!(refused.code, code, "{what}, {version:?}, {link:?}: {refused:?}");
        if link == Link::WebSocket {
            assert_eq!(refused.ending.websocket, Some(close), "{what}, {version:?}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn o2_connections_that_may_not_come_in_are_told_why() {
    let world = World::start().await;
    let signed = |token: Token| move |connect: &mut Connect| connect.token = Some(token.sign());
    let bad: Row = (0x87, 5, 4002);
    assert_refused(&world, "no token", |connect| connect.token = None, (0x87, 5, 4001)).await;
    assert_refused(&world, "empty token", |connect| connect.token = Some(String::new()), (0x87, 5, 4001))
        .await;
    assert_refused(&world, "no JWT", |connect| connect.token = Some("secret".into()), bad).await;
    assert_refused(&world, "forged", signed(Token::of(ACME, "alice").forged()), bad).await;
    assert_refused(&world, "expired", signed(Token::of(ACME, "alice").ttl(0)), bad).await;
    assert_refused(&world, "unknown account", signed(Token::of("nobody", "alice")), bad).await;
    assert_refused(&world, "user with +", signed(Token::of(ACME, "al+ice")), bad).await;
    assert_refused(&world, "user with $", signed(Token::of(ACME, "$alice")), bad).await;
    let other_device = signed(Token::of(ACME, "alice").device("phone"));
    assert_refused(&world, "client id ≠ dev", other_device, (0x85, 2, 4002)).await;
    world.wait_for_metric("inboxd_auth_denied_total", &[], 32.0).await;
}

#[tokio::test]
async fn o2_an_empty_client_id_is_assigned_and_is_the_device_where_there_is_one() {
    let world = World::start().await;
    let with_device = Token::of(ACME, "alice").device("phone").sign();
    let client = Client::connect(world.at(), Link::Tcp, &Connect::v5("", &with_device)).await;
    let assigned = client.connack.properties.text(tests::mqtt::id::ASSIGNED_CLIENT_ID);
    assert_eq!(assigned, Some("phone"));
    let free = Token::of(ACME, "alice").sign();
    let client = Client::connect(world.at(), Link::Tcp, &Connect::v5("", &free)).await;
    let assigned = client.connack.properties.text(tests::mqtt::id::ASSIGNED_CLIENT_ID);
    assert!(assigned.is_some_and(|id| !id.is_empty()), "{:?}", client.connack);
}

#[tokio::test]
async fn o2_a_live_connection_ends_when_its_token_does() {
    /// Long enough to connect in, short enough to wait for.
    const TTL_S: i64 = 2;
    let world = World::start().await;
    let token = Token::of(ACME, "alice").ttl(TTL_S).sign();
    let mut tcp = Client::connect(world.at(), Link::Tcp, &Connect::v5("tcp", &token)).await;
    let mut ws = Client::connect(world.at(), Link::WebSocket, &Connect::v5("ws", &token)).await;
    let mut old = Client::connect(world.at(), Link::WebSocket, &Connect::v311("old", &token)).await;
    let mut stays = world.plain_device("bob").await;
    let ending = tcp.ended().await;
    assert_eq!((ending.code(), ending.reason()), (Some(0x87), Some("token_expired")));
    let ending = ws.ended().await;
    assert_eq!((ending.code(), ending.reason()), (Some(0x87), Some("token_expired")));
    assert_eq!(ending.websocket, Some(4002));
    assert_eq!(old.ended().await.websocket, Some(4002));
    stays.ping().await;
}

#[tokio::test]
async fn o2_a_second_connection_of_a_session_takes_it_over() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    for (version, link) in
        [(Version::V5, Link::Tcp), (Version::V5, Link::WebSocket), (Version::V311, Link::WebSocket)]
    {
        let connect = Connect::new(version, "phone", &token);
        let mut old = Client::connect(world.at(), link, &connect).await;
        let mut new = Client::connect(world.at(), Link::Tcp, &connect).await;
        let ending = old.ended().await;
        if version == Version::V5 {
            assert_eq!(ending.code(), Some(0x8E), "{link:?}");
        }
        if link == Link::WebSocket {
            assert_eq!(ending.websocket, Some(4005), "{version:?}");
        }
        new.ping().await;
    }
    // Another user's client of the same name is another session.
    let mut alice = Client::connect(world.at(), Link::Tcp, &Connect::v5("same", &token)).await;
    let bob = Token::of(ACME, "bob").sign();
    let mut bob = Client::connect(world.at(), Link::Tcp, &Connect::v5("same", &bob)).await;
    alice.ping().await;
    bob.ping().await;
}

#[tokio::test]
async fn o2_a_refused_publish_says_why_on_mqtt_5() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    let gone = json!({"type": "message.send", "id": "e4", "conversation": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "kind": "text", "text": "x"});
    // Ids are opaque: one that the server never gave is one that is not there.
    let odd = |to: serde_json::Value| {
        let mut command = json!({"type": "message.send", "id": "e5", "kind": "text", "text": "x"});
        command.as_object_mut().expect("an object").extend(to.as_object().expect("an object").clone());
        command.to_string()
    };
    let number = World::number().phone_number_id;
    let cases = [
        ("news/today", "hello".to_owned(), 0x87, "acl_denied"),
        ("user/bob/outbox", send_command("e0", ANA, "x").to_string(), 0x87, "acl_denied"),
        ("user/alice/inbox", "x".to_owned(), 0x87, "acl_denied"),
        ("user/alice/status", "x".to_owned(), 0x87, "acl_denied"),
        ("$SYS/x", "x".to_owned(), 0x87, "acl_denied"),
        (OUTBOX, "{".to_owned(), 0x99, "json_malformed"),
        (OUTBOX, String::new(), 0x99, "json_malformed"),
        (OUTBOX, json!({"type": "message.send"}).to_string(), 0x99, "command_malformed"),
        (OUTBOX, json!({"type": "message.sing", "id": "e1"}).to_string(), 0x99, "command_unknown"),
        (OUTBOX, send_command("e2", ANA, &"x".repeat(4097)).to_string(), 0x99, "text_too_long"),
        (OUTBOX, gone.to_string(), 0x83, "conversation_unknown"),
        (OUTBOX, odd(json!({"conversation": "nope"})), 0x83, "conversation_unknown"),
        (OUTBOX, odd(json!({"to": {"contact": "nope", "number": number}})), 0x83, "contact_unknown"),
    ];
    for (topic, payload, code, reason) in cases {
        let ack = device.publish(topic, payload).await;
        let told = ack.properties.text(tests::mqtt::id::REASON_STRING);
        assert_eq!((ack.code, told), (code, Some(reason)), "{topic}");
    }
    assert_eq!(device.messages_so_far().await, [], "who was told by a reason code is not told by an event");
    assert_eq!(world.api("alice").head().await, 0);
    assert!(world.sim.posts().is_empty());
}

#[tokio::test]
async fn o2_a_refused_publish_of_3_1_1_is_acknowledged_and_told_in_the_inbox() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mut device = world.device(Link::Tcp, &Connect::v311("old", &token), "alice").await;
    let failed = |event: &Event, code: &str| {
        assert_eq!((event.kind.as_str(), event.text("code")), ("command.failed", code), "{}", event.whole);
        assert!(!event.text("detail").is_empty());
    };
    device.publish("news/today", "hello").await;
    let event = device.event().await;
    failed(&event, "acl_denied");
    assert_eq!(event.data["topic"], "news/today");
    device.publish(OUTBOX, "{").await;
    failed(&device.event().await, "json_malformed");
    device.publish(OUTBOX, json!({"type": "message.sing", "id": "e1"}).to_string()).await;
    let event = device.event().await;
    failed(&event, "command_unknown");
    assert_eq!(event.data["id"], "e1");
    let command = send_command("same", ANA, "one");
    device.publish(OUTBOX, command.to_string()).await;
    device.events_until(|event| event.is_status("read")).await;
    device.publish(OUTBOX, send_command("same", ANA, "two").to_string()).await;
    let event = device.event().await;
    failed(&event, "id_reused");
    assert_eq!(event.data["id"], "same");
    world.posts(1).await;
}

#[tokio::test]
async fn o2_a_flood_of_refused_topics_is_one_report_a_second() {
    const PUBLISHES: usize = 20;
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mut device = world.device(Link::Tcp, &Connect::v311("old", &token), "alice").await;
    let publish =
        Publish { topic: "news/today".into(), payload: b"x".to_vec(), qos: 1, ..Publish::default() };
    let packets =
        (1..=PUBLISHES).flat_map(|id| Publish { id: id as u16, ..publish.clone() }.packet(Version::V311));
    device.send(&packets.collect::<Vec<_>>()).await;
    let (mut acknowledged, mut reports) = (0, 0);
    while acknowledged < PUBLISHES {
        match device.next().await.expect("the connection stays") {
            Packet::PubAck(_) => acknowledged += 1,
            Packet::Publish(publish) => {
                device.ack(publish.id).await;
                reports += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    // They came in one write, so within a second. What comes after the reports shows how many there were.
    world.deliver_text(ANA, "wamid.after", "after the reports").await;
    while device.event().await.kind == "command.failed" {
        reports += 1;
    }
    assert_eq!(reports, 1);
}

#[tokio::test]
async fn o2_more_connections_than_configured_are_refused_until_one_ends() {
    let world = World::with("", "[mqtt]\nconnections_max = 1", sim::whatsapp::Faults::default()).await;
    let first = world.plain_device("bob").await;
    let token = Token::of(ACME, "alice").sign();
    let full = |connect: &mut Connect| connect.token = Some(token.clone());
    assert_refused(&world, "no capacity", full, (0x89, 3, 4004)).await;
    first.disconnect().await;
    until("room for another one", || async {
        Client::try_connect(world.at(), Link::Tcp, &Connect::v5("device", &token)).await.ok()
    })
    .await;
}

#[tokio::test]
async fn o2_a_refused_publish_at_qos_0_is_dropped_and_counted() {
    let world = World::start().await;
    for version in [Version::V311, Version::V5] {
        let token = Token::of(ACME, "alice").sign();
        let connect = Connect::new(version, "device", &token);
        let mut device = world.device(Link::Tcp, &connect, "alice").await;
        device.publish_qos0("news/today", "x").await;
        device.publish_qos0(OUTBOX, send_command("q0", ANA, "commands are QoS 1").to_string()).await;
        assert_eq!(device.messages_so_far().await, []);
    }
    assert_eq!(world.api("alice").head().await, 0);
    assert!(world.sim.posts().is_empty());
}

#[tokio::test]
async fn o2_refused_subscriptions_have_the_code_of_their_version() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let cases = [
        ("user/bob/inbox", 0x87),
        ("user/bob/outbox", 0x87),
        ("user/alice/outbox", 0x87),
        ("user/+/inbox", 0x87),
        ("user/#", 0x87),
        ("+/alice/inbox", 0x87),
        ("#", 0x87),
        ("+/+/inbox", 0x87),
        ("news/today", 0x87),
        ("$SYS/#", 0x87),
        ("$share/team/user/alice/inbox", 0x9E),
    ];
    for version in [Version::V5, Version::V311] {
        let connect = Connect::new(version, "device", &token);
        let mut device = Client::connect(world.at(), Link::Tcp, &connect).await;
        for (filter, v5) in cases {
            let codes = device.subscribe_with(&[(filter, 1)], &tests::mqtt::Properties::none()).await;
            let expected = if version == Version::V5 { v5 } else { 0x80 };
            assert_eq!(codes, [expected], "{filter}, {version:?}");
        }
        // Each filter of a packet is decided by itself.
        let filters = [("user/alice/inbox", 1), ("user/bob/inbox", 1), ("user/+/status", 1)];
        let codes = device.subscribe_with(&filters, &tests::mqtt::Properties::none()).await;
        let expected = if version == Version::V5 { 0x87 } else { 0x80 };
        assert_eq!(codes, [1, expected, 1]);
    }
}

#[tokio::test]
async fn p9_a_malformed_packet_ends_its_connection_and_no_other() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mut stays = world.plain_device("bob").await;
    let malformed = 0x81;
    let protocol = 0x82;
    let second_connect = Connect::v5("device", &token).packet();
    let cases: [(&str, &[u8], u8); 5] = [
        ("reserved flags of PINGREQ", &[0xC1, 0], malformed),
        ("QoS 3", &[0x36, 5, 0, 1, b'a', 0, 1], malformed),
        ("a length of five bytes", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1], malformed),
        ("SUBSCRIBE without a filter", &[0x82, 3, 0, 1, 0], protocol),
        ("a second CONNECT", &second_connect, protocol),
    ];
    for (what, bytes, code) in cases {
        for link in [Link::Tcp, Link::WebSocket] {
            let mut device = Client::connect(world.at(), link, &Connect::v5("device", &token)).await;
            device.send(bytes).await;
            let ending = device.ended().await;
            assert_eq!(ending.code(), Some(code), "{what}: {ending:?}");
            if link == Link::WebSocket {
                assert_eq!(ending.websocket, Some(4006), "{what}");
            }
        }
    }
    let mut old = Client::connect(world.at(), Link::WebSocket, &Connect::v311("old", &token)).await;
    old.send(&[0xC1, 0]).await;
    assert_eq!(old.ended().await.websocket, Some(4006));
    // Not MQTT at all.
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x10\x0C\x00\x04MQTX\x04\x02\x00\x00\x00\x00", b"\x00\x00"]
    {
        let mut foreign = Client::open(world.at(), Link::Tcp, Version::V311, "foreign").await;
        foreign.send(bytes).await;
        foreign.ended().await;
    }
    stays.ping().await;
}

#[tokio::test]
async fn o2_a_server_that_stops_says_so() {
    let mut world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mut tcp = Client::connect(world.at(), Link::Tcp, &Connect::v5("tcp", &token)).await;
    let mut ws = Client::connect(world.at(), Link::WebSocket, &Connect::v5("ws", &token)).await;
    let mut old = Client::connect(world.at(), Link::WebSocket, &Connect::v311("old", &token)).await;
    world.server.terminate();
    assert_eq!(tcp.ended().await.code(), Some(0x8B));
    let ending = ws.ended().await;
    assert_eq!((ending.code(), ending.websocket), (Some(0x8B), Some(4007)));
    assert_eq!(old.ended().await.websocket, Some(4007));
    let (status, lines) = world.server.exited().await;
    assert_eq!((status.code(), lines.len()), (Some(0), 1), "{lines:?}");
}

/// Contract, section 6: every error over HTTP is a problem with a stable code, also where MQTT is spoken.
#[tokio::test]
async fn a_plain_request_to_the_websocket_is_told_what_is_spoken_there() {
    let world = World::start().await;
    let anybody = Api::new(world.at().http, None);
    anybody.get("/mqtt").await.expect_problem(400, "websocket_expected");
    anybody.post("/mqtt", &json!({})).await.expect_problem(405, "method_not_allowed");
}
