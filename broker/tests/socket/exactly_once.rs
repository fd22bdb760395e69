//! QoS 2 through sockets and store: one delivery, whatever is cut and sent again; commands too; results on request.

use crate::support::World;
use crate::support::client::Client;
use crate::support::packet::{Connect, Packet, V5, V311, binary, packet, text};

/// PUBLISH at QoS 2.
fn publish(level: u8, topic: &str, id: u16, dup: bool, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(id.to_be_bytes());
    if level == V5 {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(if dup { 0x3C } else { 0x34 }, &body)
}

fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

async fn expect(client: &mut Client, first: u8, id: u16) {
    let got = client.next().await;
    assert_eq!((got.first, &got.body[..2]), (first, &id.to_be_bytes()[..]), "{got:?}");
}

async fn persistent(world: &World, level: u8, name: &str) -> Client {
    Client::connect(world, &Connect::persistent(level, name, &world.acl_token(name))).await.0
}

/// `[v311:4.3.3-2] [v5:4.3.3-10] [v311:4.3.3-1] [v5:4.3.3-4]`, publisher and subscriber of either version, both cut in the
/// middle.
#[tokio::test]
async fn a_message_at_qos_2_arrives_once() {
    let world = World::start().await;
    for (from, to) in [(V311, V311), (V311, V5), (V5, V311), (V5, V5)] {
        let topic = format!("t/{from}/{to}");
        let (alice_name, bob_name) = (format!("alice{from}{to}"), format!("bob{from}{to}"));
        let mut bob = persistent(&world, to, &bob_name).await;
        assert_eq!(bob.subscribe(&topic, 2).await, 2);
        let mut alice = persistent(&world, from, &alice_name).await;
        for dup in [false, true] {
            alice.send(&publish(from, &topic, 256, dup, &[], b"x")).await;
            expect(&mut alice, 0x50, 256).await;
        }
        drop(alice);
        let mut alice = persistent(&world, from, &alice_name).await;
        alice.send(&publish(from, &topic, 256, true, &[], b"x")).await;
        expect(&mut alice, 0x50, 256).await;
        alice.send(&ack(0x62, 256)).await;
        expect(&mut alice, 0x70, 256).await;

        let got = bob.next().await;
        assert_eq!(got.first, 0x34);
        let id = got.published(to).id.unwrap();
        drop(bob);
        let mut bob = persistent(&world, to, &bob_name).await;
        let again = bob.next().await;
        assert_eq!((again.first, again.published(to).id), (0x3C, Some(id)));
        bob.send(&ack(0x50, id)).await;
        expect(&mut bob, 0x62, id).await;
        drop(bob);
        let mut bob = persistent(&world, to, &bob_name).await;
        expect(&mut bob, 0x62, id).await;
        bob.send(&ack(0x70, id)).await;
        bob.fence().await;
        drop(bob);
        let mut bob = persistent(&world, to, &bob_name).await;
        bob.fence().await;
    }
}

/// `[v311:3.1.3-2] [v5:3.1.3-2]`: the session is the client id's, whatever it comes over.
#[tokio::test]
async fn a_flow_goes_on_over_another_transport() {
    let world = World::start().await;
    let mut bob = persistent(&world, V5, "bob").await;
    bob.subscribe("t", 2).await;
    let mut alice = persistent(&world, V5, "alice").await;
    alice.send(&publish(V5, "t", 1, false, &[], b"x")).await;
    expect(&mut alice, 0x50, 1).await;
    drop(alice);
    let mut alice = Client::ws(world.ws, V5).await;
    alice.send(&Connect::persistent(V5, "alice", &world.acl_token("alice")).bytes()).await;
    assert_eq!(alice.next().await.body[0], 1, "session present");
    alice.send(&publish(V5, "t", 1, true, &[], b"x")).await;
    expect(&mut alice, 0x50, 1).await;
    alice.send(&ack(0x62, 1)).await;
    expect(&mut alice, 0x70, 1).await;
    bob.next().await.published(V5);
    bob.fence().await;
}

/// A command at QoS 2 is carried out once, and one that is refused leaves its identifier free. `[v5:4.3.3-9]`
#[tokio::test]
async fn commands_at_qos_2() {
    let world = World::start().await;
    world.user_seen("bob").await;
    let mut alice = persistent(&world, V5, "alice").await;
    alice.subscribe("user/alice/inbox", 2).await;
    let command = |words: &str| {
        serde_json::json!({"type": "message.send", "id": "c1", "to": {"user": "bob"}, "text": words})
            .to_string()
    };
    alice.send(&publish(V5, "user/alice/outbox", 5, false, &[], b"{")).await;
    let got = alice.next().await;
    assert_eq!((got.first, got.body[2]), (0x50, 0x99));
    for _ in 0..2 {
        alice.send(&publish(V5, "user/alice/outbox", 5, false, &[], command("hi").as_bytes())).await;
        let mut firsts = [alice.next().await.first, 0x34];
        if firsts[0] == 0x34 {
            firsts = [alice.next().await.first, 0x34];
        }
        assert_eq!(firsts[0], 0x50);
    }
    alice.send(&ack(0x62, 5)).await;
    loop {
        let got = alice.next().await;
        if got.first == 0x70 {
            break;
        }
        assert_eq!(got.first, 0x34, "its own event, at QoS 2");
    }
}

/// An MQTT 5 response topic gets the result of a command (contract, section 5).
#[tokio::test]
async fn a_response_topic_gets_the_result() {
    let world = World::start().await;
    world.user_seen("bob").await;
    let mut alice = persistent(&world, V5, "alice").await;
    assert_eq!(alice.subscribe("replies/#", 1).await, 1);
    assert_eq!(alice.subscribe("user/alice/signals", 0).await, 0);
    let ask = |topic: &str| [&[0x08][..], &text(topic), &[0x09], &binary(&[0, 255])].concat();
    let command = |id: &str, to: &str| {
        serde_json::json!({"type": "message.send", "id": id, "to": {"user": to}, "text": "hi"}).to_string()
    };
    let outbox = "user/alice/outbox";
    for (packet_id, topic, body, refused) in [
        (1, "replies/alice", command("c1", "bob"), false),
        (2, "replies/alice", command("c1", "bob"), false),
        (3, "user/alice/signals", command("c2", "bob"), false),
        (4, "replies/alice", command("c3", "nobody-here"), true),
        (5, "replies/alice", "{".to_owned(), true),
    ] {
        let first = if packet_id % 2 == 1 { 0x32 } else { 0x34 };
        let mut bytes = publish(V5, outbox, packet_id, false, &ask(topic), body.as_bytes());
        bytes[0] = first;
        alice.send(&bytes).await;
        let acknowledged = alice.next().await;
        assert_eq!(acknowledged.first, if first == 0x32 { 0x40 } else { 0x50 }, "{acknowledged:?}");
        let result = alice.published().await;
        assert_eq!(result.topic, topic);
        assert!(result.properties.windows(5).any(|w| w == [0x09, 0, 2, 0, 255]), "correlation data");
        let json = result.json();
        if refused {
            assert!(json["code"].is_string() && json["detail"].is_string(), "{json}");
        } else {
            assert_eq!(json["message"]["text"], "hi", "{json}");
        }
        assert_eq!(json["id"].is_string(), packet_id != 5, "{json}");
        if let Some(id) = result.id {
            alice.puback(Some(id)).await;
        }
    }
    // A topic that one may not publish to gets nothing, and the command counts all the same; whoever waits there is told.
    let mut plain = Client::connect(&world, &Connect::new(V5, "p", &world.token("carol"))).await.0;
    let body = command("c9", "bob");
    plain.send(&publish(V5, "user/carol/outbox", 1, false, &ask("replies/alice"), body.as_bytes())).await;
    let told = [&[0, 29, 0x1F][..], &text("response topic: acl_denied")].concat();
    told_so(&plain.next().await, 1, &told);
    plain.send(&publish(V5, "user/carol/outbox", 2, false, &ask("user/carol/outbox"), body.as_bytes())).await;
    told_so(&plain.next().await, 2, &told);
    alice.fence().await;
}

/// A PUBREC with success that says more.
#[track_caller]
fn told_so(got: &Packet, id: u16, rest: &[u8]) {
    assert_eq!((got.first, &got.body[..2], &got.body[2..]), (0x50, &id.to_be_bytes()[..], rest));
}
