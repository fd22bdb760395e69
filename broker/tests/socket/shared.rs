//! Shared subscriptions, retained messages and wills as clients see them, packet by packet.

use crate::support::World;
use crate::support::client::Client;
use crate::support::packet::{Connect, V5, V311, packet, publish, text, unsubscribe};

async fn named(world: &World, level: u8, name: &str) -> Client {
    Client::connect(world, &Connect::new(level, name, &world.acl_token(name))).await.0
}

/// PUBLISH with RETAIN at QoS 1, MQTT 5.
fn retained(topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    packet(0x33, &[&text(topic)[..], &[0, 1, length], properties, payload].concat())
}

/// `[v5:U33] [v5:U37] [v5:U35]`: each to exactly one member, with that member's identifiers; subscribing again does not count
/// twice; a subscription of one's own and another group stand beside it; whoever leaves gets nothing more.
#[tokio::test]
async fn a_group_gets_each_message_once() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    let mut one = named(&world, V5, "one").await;
    let mut two = named(&world, V5, "two").await;
    let mut own = named(&world, V5, "own").await;
    let mut other = named(&world, V5, "other").await;
    for _ in 0..2 {
        assert_eq!(one.subscribe_with(&[0x0B, 1], "$share/g/jobs", 1).await, 1);
    }
    assert_eq!(two.subscribe_with(&[0x0B, 2], "$share/g/jobs", 1).await, 1);
    assert_eq!(other.subscribe_with(&[0x0B, 9], "$share/other/#", 1).await, 1);
    assert_eq!(own.subscribe_with(&[0x0B, 3], "jobs", 1).await, 1);
    for n in 0..20_u8 {
        assert_eq!(alice.publish("jobs", &[n]).await, 0);
    }
    let mut shared = Vec::new();
    for (member, identifier) in [(&mut one, 1), (&mut two, 2)] {
        // In turn, as both acknowledge everything.
        for _ in 0..10 {
            let got = member.published().await;
            assert_eq!(got.properties, [0x0B, identifier], "its own identifiers and no other's");
            shared.push(got.payload[0]);
            member.puback(got.id).await;
        }
        member.fence().await;
    }
    shared.sort_unstable();
    assert_eq!(shared, (0..20).collect::<Vec<u8>>());
    for client in [&mut own, &mut other] {
        for n in 0..20 {
            let got = client.published().await;
            assert_eq!(got.payload, [n]);
            client.puback(got.id).await;
        }
        client.fence().await;
    }
    one.send(&unsubscribe(V5, 7, "$share/g/jobs")).await;
    assert_eq!(one.next().await.body[3], 0);
    for n in 0..4_u8 {
        assert_eq!(alice.publish("jobs", &[n]).await, 0);
        let got = two.published().await;
        assert_eq!(got.payload, [n]);
        two.puback(got.id).await;
    }
    one.fence().await;
}

/// `[v5:4.8.2-6] [v5:4.8.2-4] [v5:4.8.2-5]`: what a member refuses goes to nobody else; a flow of QoS 2 waits for its member,
/// whose connection is lost, and is not begun again elsewhere.
#[tokio::test]
async fn what_a_member_was_given_is_its_own() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    let lasting = Connect::persistent(V5, "lasting", &world.acl_token("lasting"));
    let mut lasting_client = Client::connect(&world, &lasting).await.0;
    assert_eq!(lasting_client.subscribe("$share/g/jobs", 2).await, 2);
    alice.send(&packet(0x34, &[&text("jobs")[..], &[0, 1, 0], b"first"].concat())).await;
    assert_eq!(alice.next().await.first, 0x50);
    let begun = lasting_client.published().await;
    let mut other = named(&world, V5, "other").await;
    assert_eq!(other.subscribe("$share/g/jobs", 2).await, 2);
    drop(lasting_client);
    // Once the server has seen it, the member that is there gets what comes; it refuses all.
    let mut refused = std::collections::BTreeSet::new();
    while refused.is_empty() {
        assert_eq!(alice.publish("jobs", b"next").await, 0);
        other.send(&[0xC0, 0]).await;
        refuse_until_ping(&mut other, &mut refused).await;
    }
    let mut lasting_client = Client::connect(&world, &lasting).await.0;
    let again = lasting_client.published().await;
    assert_eq!((again.payload, again.id, again.dup), (b"first".to_vec(), begun.id, true));
    lasting_client.send(&packet(0x50, &begun.id.unwrap().to_be_bytes())).await;
    other.send(&[0xC0, 0]).await;
    refuse_until_ping(&mut other, &mut refused).await;
}

/// Refuses what comes until a PINGRESP does: all of it is "next", and none comes twice.
async fn refuse_until_ping(client: &mut Client, refused: &mut std::collections::BTreeSet<u16>) {
    loop {
        let got = client.next().await;
        if got.first == 0xD0 {
            return;
        }
        let got = got.published(V5);
        assert_eq!(got.payload, b"next", "not what the other had begun");
        let id = got.id.unwrap();
        assert!(refused.insert(id), "refused, and not sent again");
        client.send(&packet(0x40, &[&id.to_be_bytes()[..], &[0x97]].concat())).await;
    }
}

/// `[v5:U32] [v5:U34] [v5:U36]`: no retained messages for a group; what an ended member was given goes to another one, and with
/// the last member the group ends.
#[tokio::test]
async fn a_group_ends_with_its_last_member() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    alice.send(&retained("jobs", &[], b"retained")).await;
    alice.next().await;
    let mut one = named(&world, V5, "one").await;
    assert_eq!(one.subscribe("$share/g/jobs", 1).await, 1);
    one.fence().await;
    assert_eq!(alice.publish("jobs", b"begun").await, 0);
    assert_eq!(one.published().await.payload, b"begun");
    let mut two = named(&world, V5, "two").await;
    assert_eq!(two.subscribe("$share/g/jobs", 1).await, 1);
    // Its session ends with its connection, and it has not acknowledged.
    one.disconnect().await;
    let got = two.published().await;
    assert_eq!(got.payload, b"begun");
    two.puback(got.id).await;
    two.disconnect().await;
    assert_eq!(alice.publish("jobs", b"to nobody").await, 0);
    let mut three = named(&world, V5, "three").await;
    assert_eq!(three.subscribe("$share/g/jobs", 1).await, 1);
    three.fence().await;
}

/// `[v5:U31] [v5:3.3.2-6] [v5:3.3.1-8]`: a retained message that a subscription brings has RETAIN, the lower QoS, the
/// subscription's identifier and its properties, its expiry counted down; `[v5:U30]` and once that is over there is none.
#[tokio::test]
async fn a_subscription_brings_what_is_retained() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    alice.send(&retained("kept", &[0x02, 0, 0, 0, 60, 0x26, 0, 1, b'a', 0, 1, b'b'], b"x")).await;
    alice.next().await;
    world.advance_clock(10);
    let mut bob = named(&world, V5, "bob").await;
    assert_eq!(bob.subscribe_with(&[0x0B, 7], "kept", 0).await, 0);
    let got = bob.published().await;
    assert_eq!((got.retain, got.id, &got.payload[..]), (true, None, &b"x"[..]));
    assert!(got.properties.windows(2).any(|w| w == [0x0B, 7]));
    assert!(got.properties.windows(7).any(|w| w == [0x26, 0, 1, b'a', 0, 1, b'b']));
    let expiry = got.properties.iter().position(|byte| *byte == 2).unwrap();
    assert!((49..=60).contains(&got.properties[expiry + 4]), "{:?}", got.properties);
    let mut old = named(&world, V311, "old").await;
    assert_eq!(old.subscribe("kept", 2).await, 2);
    let got = old.published().await;
    assert_eq!((got.retain, got.id.is_some()), (true, true));
}

/// `[v311:3.1.2-16] [v5:3.1.2-14] [v5:3.1.2-7] [v311:3.1.2-17] [v5:3.1.2-15]`: a will without RETAIN leaves the retained message
/// of its topic alone, one with it replaces it.
#[tokio::test]
async fn a_will_is_retained_where_it_says_so() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    for level in [V311, V5] {
        let topic = format!("will/{level}");
        for (retain, after) in [(false, "before"), (true, "will")] {
            alice.send(&retained(&topic, &[], b"before")).await;
            alice.next().await;
            let mut watcher = named(&world, V5, "watcher").await;
            watcher.subscribe(&topic, 0x21).await;
            let mut connect = Connect::new(level, "mortal", &world.acl_token("mortal"));
            connect.will = Some((topic.clone(), b"will".to_vec(), 1));
            let mut bytes = connect.bytes();
            // Behind the name and the level: the flags.
            let flags = bytes.windows(4).position(|w| w == b"MQTT").unwrap() + 5;
            bytes[flags] |= u8::from(retain) << 5;
            let mut mortal = Client::tcp(world.mqtt, level).await;
            mortal.send(&bytes).await;
            assert_eq!(mortal.next().await.body[1], 0);
            drop(mortal);
            let will = watcher.published().await;
            assert_eq!((&will.payload[..], will.retain), (&b"will"[..], false));
            let mut late = named(&world, V5, "late").await;
            late.subscribe(&topic, 1).await;
            assert_eq!(late.published().await.payload, after.as_bytes());
            watcher.disconnect().await;
            late.disconnect().await;
        }
    }
    alice.send(&publish(V5, "x", None, b"")).await;
}
