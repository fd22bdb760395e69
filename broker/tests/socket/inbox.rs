//! The main flow over sockets: a command in, an event out, cursors, takeover (O1, O4, I5–I8).

use crate::support::World;
use crate::support::client::{Client, End};
use crate::support::packet::{Connect, V5, V311, publish, unsubscribe};

const INBOX: &str = "user/bob/inbox";

/// Bob's persistent session, subscribed.
async fn bob(world: &World, level: u8) -> Client {
    let connect = Connect::persistent(level, "phone", &world.token("bob"));
    let (mut bob, present) = Client::connect(world, &connect).await;
    assert!(!present);
    assert_eq!(bob.subscribe(INBOX, 1).await, 1);
    bob
}

/// The text of a `message.created`.
fn words(event: &serde_json::Value) -> &str {
    event["data"]["text"].as_str().unwrap()
}

async fn next_message(client: &mut Client) -> crate::support::packet::Published {
    loop {
        let published = client.published().await;
        if published.json()["type"] == "message.created" {
            return published;
        }
        if published.id.is_some() {
            client.puback(published.id).await;
        }
    }
}

async fn a_message_arrives(level: u8) {
    let world = World::start().await;
    let mut bob = bob(&world, level).await;
    let mut alice = Client::user(&world, level, "alice").await;
    assert_eq!(alice.say("alice", "bob", "c1", "hi").await, 0);
    let got = bob.published().await;
    assert_eq!((got.topic.as_str(), got.dup, got.retain), (INBOX, false, false));
    let event = got.json();
    assert_eq!((&event["type"], &event["seq"], words(&event)), (&"message.created".into(), &1.into(), "hi"));
    assert_eq!(got.properties.is_empty(), level == V311, "MQTT 5 names the content type");
    // P4: the same command again is acknowledged and changes nothing.
    assert_eq!(alice.say("alice", "bob", "c1", "hi").await, 0);
    bob.fence().await;
}

#[tokio::test]
async fn a_message_arrives_311() {
    a_message_arrives(V311).await;
}

#[tokio::test]
async fn a_message_arrives_5() {
    a_message_arrives(V5).await;
}

/// P3: what was acknowledged does not come again, what was not comes again, in order, with DUP and the same identifier.
async fn a_session_goes_on_from_its_cursor(level: u8) {
    let world = World::start().await;
    let mut bob = bob(&world, level).await;
    let mut alice = Client::user(&world, level, "alice").await;
    for n in 1..=3 {
        assert_eq!(alice.say("alice", "bob", &format!("c{n}"), &format!("m{n}")).await, 0);
    }
    let mut ids = Vec::new();
    for n in 1..=3 {
        let got = next_message(&mut bob).await;
        assert_eq!(words(&got.json()), format!("m{n}"));
        ids.push(got.id);
    }
    bob.puback(ids[0]).await;
    // Out of order: the cursor stays below the second.
    bob.puback(ids[2]).await;
    bob.fence().await;
    bob.disconnect().await;
    assert_eq!(alice.say("alice", "bob", "c4", "m4").await, 0);

    let connect = Connect::persistent(level, "phone", &world.token("bob"));
    let (mut bob, present) = Client::connect(&world, &connect).await;
    assert!(present);
    for (n, dup) in [(2, true), (3, true), (4, false)] {
        let got = next_message(&mut bob).await;
        assert_eq!((words(&got.json()), got.dup), (format!("m{n}").as_str(), dup));
        if n < 4 {
            assert_eq!(got.id, ids[n - 1], "a redelivery keeps its identifier");
        }
        bob.puback(got.id).await;
    }
    bob.fence().await;
}

#[tokio::test]
async fn a_session_goes_on_from_its_cursor_311() {
    a_session_goes_on_from_its_cursor(V311).await;
}

#[tokio::test]
async fn a_session_goes_on_from_its_cursor_5() {
    a_session_goes_on_from_its_cursor(V5).await;
}

/// `[v311:3.1.4-2] [v5:3.1.4-3]`: the older connection ends once the newer one is let in, and not before.
#[tokio::test]
async fn a_session_is_taken_over() {
    let world = World::start().await;
    for level in [V311, V5] {
        let connect = Connect::persistent(level, &format!("phone{level}"), &world.token("bob"));
        let (mut first, _) = Client::connect(&world, &connect).await;
        let mut wrong = connect.clone();
        wrong.token = "x.y.z".to_owned();
        let mut refused = Client::tcp(world.mqtt, level).await;
        refused.send(&wrong.bytes()).await;
        assert_ne!(refused.next().await.body[1], 0);
        first.fence().await;

        let (mut second, present) = Client::connect(&world, &connect).await;
        assert!(present);
        if level == V5 {
            let farewell = first.next().await;
            assert_eq!((farewell.first, farewell.body[0]), (0xE0, 0x8E));
        }
        assert_eq!(first.ended().await, End::Eof);
        second.fence().await;
    }
}

/// Three devices of one user, each with its own cursor and window.
#[tokio::test]
async fn every_device_gets_every_event() {
    let world = World::start().await;
    let mut devices = Vec::new();
    for n in 0..3 {
        let connect = Connect::persistent(V5, &format!("device{n}"), &world.token("bob"));
        let (mut device, _) = Client::connect(&world, &connect).await;
        assert_eq!(device.subscribe(INBOX, 1).await, 1);
        devices.push(device);
    }
    let mut alice = Client::user(&world, V311, "alice").await;
    for n in 0..100 {
        assert_eq!(alice.say("alice", "bob", &format!("c{n}"), &format!("m{n}")).await, 0);
    }
    for device in &mut devices {
        let mut seq = 0;
        for n in 0..100 {
            let got = device.published().await;
            let event = got.json();
            seq += 1;
            assert_eq!(event["seq"], seq, "P2");
            assert_eq!(words(&event), format!("m{n}"));
            device.puback(got.id).await;
        }
    }
}

/// `[v5:3.3.4-9]`: no more than Receive Maximum in flight; the next one comes with the next PUBACK.
#[tokio::test]
async fn the_clients_receive_maximum_is_kept() {
    let world = World::start().await;
    let mut connect = Connect::persistent(V5, "phone", &world.token("bob"));
    connect.properties.extend([0x21, 0, 2]);
    let (mut bob, _) = Client::connect(&world, &connect).await;
    bob.subscribe(INBOX, 1).await;
    let mut alice = Client::user(&world, V5, "alice").await;
    for n in 0..4 {
        alice.say("alice", "bob", &format!("c{n}"), "x").await;
    }
    let first = bob.published().await;
    let second = bob.published().await;
    bob.fence().await;
    bob.puback(second.id).await;
    assert_eq!(bob.published().await.json()["seq"], 3);
    bob.fence().await;
    bob.puback(first.id).await;
    assert_eq!(bob.published().await.json()["seq"], 4);
}

/// QoS 0: what happens while one is there, and nothing of before.
#[tokio::test]
async fn qos_0_is_live_only() {
    let world = World::start().await;
    let connect = Connect::persistent(V311, "phone", &world.token("bob"));
    let (mut bob, _) = Client::connect(&world, &connect).await;
    assert_eq!(bob.subscribe(INBOX, 0).await, 0);
    let mut alice = Client::user(&world, V5, "alice").await;
    alice.say("alice", "bob", "c1", "m1").await;
    let got = next_message(&mut bob).await;
    assert_eq!((got.id, words(&got.json())), (None, "m1"));
    bob.disconnect().await;
    alice.say("alice", "bob", "c2", "m2").await;
    let (mut bob, present) = Client::connect(&world, &connect).await;
    assert!(present);
    bob.fence().await;
    alice.say("alice", "bob", "c3", "m3").await;
    assert_eq!(words(&next_message(&mut bob).await.json()), "m3");
}

/// `after` starts a new subscription there; a foreign epoch is told by an `inbox.gap`.
#[tokio::test]
async fn a_subscription_starts_where_it_is_asked_to() {
    let world = World::start().await;
    world.user_seen("bob").await;
    let mut alice = Client::user(&world, V5, "alice").await;
    for n in 1..=5 {
        alice.say("alice", "bob", &format!("c{n}"), &format!("m{n}")).await;
    }
    let property = |name: &str, value: &str| {
        [&[0x26][..], &crate::support::packet::text(name), &crate::support::packet::text(value)].concat()
    };
    let mut bob = Client::user(&world, V5, "bob").await;
    assert_eq!(bob.subscribe_with(&property("after", "3"), INBOX, 1).await, 1);
    assert_eq!(bob.published().await.json()["seq"], 4);
    assert_eq!(bob.published().await.json()["seq"], 5);
    bob.fence().await;

    // A bad start is refused and says what is bad.
    let mut wrong = Client::connect(&world, &Connect::new(V5, "w", &world.token("bob"))).await.0;
    for bad in [property("after", "many"), property("epoch", &schemas::Epoch(7).to_string())] {
        wrong.send(&crate::support::packet::subscribe_with(V5, 9, &bad, &[(INBOX, 1)])).await;
        let refused = wrong.next().await;
        assert_eq!((refused.first, refused.body.last()), (0x90, Some(&0x83)));
        let said = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(said.contains("parameter_invalid") && said.contains("`after`"), "{said}");
    }

    for foreign in [schemas::Epoch(1).to_string(), "another world".to_owned()] {
        let mut other = Client::connect(&world, &Connect::new(V5, "o", &world.token("bob"))).await.0;
        let properties = [property("after", "3"), property("epoch", &foreign)].concat();
        assert_eq!(other.subscribe_with(&properties, INBOX, 1).await, 1, "{foreign}");
        let first = other.published().await;
        let event = first.json();
        if event["type"] == "inbox.gap" {
            assert!(event.get("seq").is_none(), "{event}");
            assert_eq!(other.published().await.json()["seq"], 1);
        } else {
            assert_eq!(event["seq"], 1, "everything kept comes");
        }
    }

    // QoS 0 is live only, wherever it is asked to start.
    let mut live = Client::connect(&world, &Connect::new(V5, "l", &world.token("bob"))).await.0;
    assert_eq!(live.subscribe_with(&property("after", "0"), INBOX, 0).await, 0);
    alice.say("alice", "bob", "c6", "m6").await;
    assert_eq!(live.published().await.json()["seq"], 6);
}

/// `[v311:3.10.4-2] [v5:3.10.4-2]`
#[tokio::test]
async fn nothing_comes_after_unsubscribe() {
    let world = World::start().await;
    for level in [V311, V5] {
        let mut bob = Client::connect(&world, &Connect::new(level, "u", &world.token("bob"))).await.0;
        bob.subscribe(INBOX, 1).await;
        bob.send(&unsubscribe(level, 9, INBOX)).await;
        let ack = bob.next().await;
        let codes: &[u8] = if level == V5 { &[0, 9, 0, 0] } else { &[0, 9] };
        assert_eq!((ack.first, &ack.body[..]), (0xB0, codes));
        let mut alice = Client::user(&world, level, "alice").await;
        alice.say("alice", "bob", &format!("c{level}"), "x").await;
        bob.fence().await;
        bob.send(&unsubscribe(level, 10, INBOX)).await;
        let ack = bob.next().await;
        let codes: &[u8] = if level == V5 { &[0, 10, 0, 0x11] } else { &[0, 10] };
        assert_eq!((ack.first, &ack.body[..]), (0xB0, codes));
    }
}

/// MQTT 5 `format: msgpack` at CONNECT.
#[tokio::test]
async fn events_come_as_msgpack_where_asked_for() {
    let world = World::start().await;
    let mut connect = Connect::new(V5, "phone", &world.token("bob"));
    connect.properties =
        [&[0x26][..], &crate::support::packet::text("format"), &crate::support::packet::text("msgpack")]
            .concat();
    let (mut bob, _) = Client::connect(&world, &connect).await;
    bob.subscribe(INBOX, 1).await;
    let mut alice = Client::user(&world, V5, "alice").await;
    alice.say("alice", "bob", "c1", "hi").await;
    let got = bob.published().await;
    let content_type = [&[0x03][..], &crate::support::packet::text("application/msgpack")].concat();
    assert_eq!(got.properties, content_type);
    let event: serde_json::Value = schemas::Encoding::Msgpack.read(&got.payload).unwrap();
    assert_eq!((&event["seq"], words(&event)), (&1.into(), "hi"));
}

/// A hundred commands in one write, and everything is acknowledged in order. `[v311:4.6.0-2] [v5:4.6.0-2]`
#[tokio::test]
async fn acknowledgements_come_in_order() {
    let world = World::start().await;
    for level in [V311, V5] {
        let mut alice = Client::user(&world, level, "alice").await;
        let mut bytes = Vec::new();
        for id in 1..=100_u16 {
            // Every third is refused at once, the others wait for the store.
            let (topic, payload) = if id % 3 == 0 {
                ("user/bob/outbox", String::new())
            } else {
                let text = serde_json::json!({"type": "message.send", "id": format!("{level}-{id}"), "to": {"user": "bob"}, "text": "x"});
                ("user/alice/outbox", text.to_string())
            };
            bytes.extend(publish(level, topic, Some(id), payload.as_bytes()));
        }
        alice.send(&bytes).await;
        for id in 1..=100_u16 {
            let ack = alice.next().await;
            assert_eq!((ack.first, &ack.body[..2]), (0x40, &id.to_be_bytes()[..]));
            let refused = ack.body.get(2) == Some(&0x87);
            assert_eq!(refused, level == V5 && id % 3 == 0);
        }
    }
}
