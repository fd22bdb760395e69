//! Messages between clients of either version: QoS, filters, properties, order; at once and for those who are away.

use crate::support::World;
use crate::support::client::Client;
use crate::support::packet::{Connect, V5, V311, binary, packet, subscribe_with, text, unsubscribe, var};

/// PUBLISH. `flags` are those of the first byte; the identifier is there at QoS 1 and 2.
fn publish(level: u8, flags: u8, topic: &str, id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    if level == V5 {
        body.extend(var(properties.len()));
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(0x30 | flags, &body)
}

/// Publishes at QoS 0, 1 or 2 and does all that belongs to it.
async fn say(client: &mut Client, qos: u8, topic: &str, payload: &[u8]) {
    client.send(&publish(client.level, qos << 1, topic, 77, &[], payload)).await;
    match qos {
        0 => {}
        1 => assert_eq!(client.next().await.first, 0x40),
        _ => {
            assert_eq!(client.next().await.first, 0x50);
            client.send(&packet(0x62, &77_u16.to_be_bytes())).await;
            assert_eq!(client.next().await.first, 0x70);
        }
    }
}

/// The next message, acknowledged to the end whatever its QoS: QoS, topic, payload.
async fn hear(client: &mut Client) -> (u8, String, String) {
    let got = client.next().await;
    let message = got.published(client.level);
    let qos = got.first >> 1 & 3;
    assert!(!message.dup, "the first time");
    if let Some(id) = message.id {
        client.send(&packet(if qos == 1 { 0x40 } else { 0x50 }, &id.to_be_bytes())).await;
    }
    if qos == 2 {
        let mut others = Vec::new();
        let release = loop {
            let got = client.next().await;
            if got.first == 0x62 {
                break got;
            }
            others.push(got);
        };
        client.send(&packet(0x70, &release.body[..2])).await;
        others.into_iter().for_each(|packet| client.unread(packet));
    }
    (qos, message.topic, String::from_utf8(message.payload).unwrap())
}

async fn lasting(world: &World, level: u8, name: &str) -> (Client, bool) {
    Client::connect(world, &Connect::persistent(level, name, &world.acl_token(name))).await
}

/// `[v311:3.8.4-6] [v5:3.8.4-8] [v311:4.3.1-1] [v5:4.3.1-1] [v311:2.3.1-5] [v5:2.2.1-2] [v311:3.3.1-3] [v5:3.3.1-3] [v311:4.5.0-1]
/// [v5:4.5.0-1] [v311:3.1.2-4] [v311:3.1.2-5] [v5:3.1.2-5] [v5:3.1.2-6]`: the lower of both QoS, whoever publishes with
/// whatever DUP; those who are away get what is above QoS 0 when they come back, without a new SUBSCRIBE.
#[tokio::test]
async fn everybody_gets_the_lower_qos_now_or_later() {
    let world = World::start().await;
    for (from, to) in [(V311, V5), (V5, V311), (V5, V5), (V311, V311)] {
        let topic = format!("q/{from}/{to}");
        let mut here = Vec::new();
        let mut away = Vec::new();
        for granted in 0..3 {
            let name = |what: &str| format!("{what}-{from}-{to}-{granted}");
            let (mut client, _) = lasting(&world, to, &name("here")).await;
            assert_eq!(client.subscribe(&topic, granted).await, granted);
            here.push((client, granted));
            let (mut client, _) = lasting(&world, to, &name("away")).await;
            client.subscribe(&topic, granted).await;
            client.disconnect().await;
            away.push((name("away"), granted));
        }
        let mut alice = Client::user(&world, from, "alice").await;
        for qos in 0..3 {
            say(&mut alice, qos, &topic, &[b'0' + qos]).await;
        }
        alice.send(&publish(from, 0b1010, &topic, 9, &[], b"dup")).await;
        assert_eq!(alice.next().await.first, 0x40);
        for (client, granted) in &mut here {
            let mut got = Vec::new();
            for _ in 0..4 {
                let (qos, _, payload) = hear(client).await;
                got.push((payload, qos));
            }
            got.sort();
            let of = |payload: &str, qos: u8| (payload.to_owned(), qos.min(*granted));
            assert_eq!(got, [of("0", 0), of("1", 1), of("2", 2), of("dup", 1)]);
        }
        for (name, granted) in away {
            let (mut client, present) = lasting(&world, to, &name).await;
            assert!(present);
            if granted > 0 {
                for (payload, qos) in [("1", 1), ("2", 2), ("dup", 1)] {
                    assert_eq!(
                        hear(&mut client).await,
                        (qos.min(granted), topic.clone(), payload.to_owned())
                    );
                }
            }
            say(&mut alice, 0, &topic, b"now").await;
            assert_eq!(hear(&mut client).await.2, "now");
            client.disconnect().await;
        }
    }
}

/// Subscription identifiers of a delivery, in its order.
fn ids_of(properties: &[u8]) -> Vec<u8> {
    let mut at = 0;
    let mut ids = Vec::new();
    while at < properties.len() {
        assert_eq!(properties[at], 0x0B, "{properties:?}");
        ids.push(properties[at + 1]);
        at += 2;
    }
    ids
}

/// `[v311:3.3.5-1] [v5:3.3.4-2] [v5:3.3.4-3] [v5:3.3.4-4] [v5:U38] [v311:3.8.4-3] [v5:3.8.4-3]`: one copy at the highest QoS, with
/// the identifiers of all that match, of this client only; a subscription made anew has its new identifier or none.
#[tokio::test]
async fn overlapping_subscriptions_add_up() {
    let world = World::start().await;
    let mut bob = Client::user(&world, V5, "bob").await;
    let mut carol = Client::user(&world, V5, "carol").await;
    carol.subscribe_with(&[0x0B, 9], "o/#", 1).await;
    let mut alice = Client::user(&world, V5, "alice").await;
    /// Identifier, filter, QoS; then the QoS of the delivery and its identifiers.
    type Step = (&'static [u8], &'static str, u8, u8, &'static [u8]);
    let steps: [Step; 6] = [
        (&[0x0B, 1], "o/#", 0, 0, &[1]),
        (&[0x0B, 2], "o/+", 2, 2, &[1, 2]),
        (&[0x0B, 1], "o/x", 1, 2, &[1, 1, 2]),
        (&[], "o/+", 2, 2, &[1, 1]),
        (&[0x0B, 3], "o/+", 0, 1, &[1, 1, 3]),
        (&[0x0B, 4], "o/x", 0, 0, &[1, 3, 4]),
    ];
    for (identifier, filter, qos, expected, ids) in steps {
        bob.subscribe_with(identifier, filter, qos).await;
        say(&mut alice, 2, "o/x", b"kept").await;
        let got = bob.next().await;
        let message = got.published(V5);
        let mut found = ids_of(&message.properties);
        found.sort_unstable();
        assert_eq!((got.first >> 1 & 3, &found[..]), (expected, ids), "{filter}");
        if let Some(id) = message.id {
            bob.send(&packet(if expected == 1 { 0x40 } else { 0x50 }, &id.to_be_bytes())).await;
        }
        if expected == 2 {
            assert_eq!(bob.next().await.first, 0x62);
            bob.send(&packet(0x70, &message.id.unwrap().to_be_bytes())).await;
        }
        bob.fence().await;
        say(&mut alice, 0, "o/x", b"live").await;
        let mut found = ids_of(&bob.published().await.properties);
        found.sort_unstable();
        assert_eq!(found, ids);
    }
    bob.send(&unsubscribe(V5, 3, "o/#")).await;
    assert_eq!(bob.next().await.body[3], 0);
    say(&mut alice, 0, "o/x", b"live").await;
    let mut found = ids_of(&bob.published().await.properties);
    found.sort_unstable();
    assert_eq!(found, [3, 4]);
    bob.fence().await;
}

/// `[v311:3.8.4-3] [v5:3.8.4-4]`: subscribing again while messages come loses none and doubles none.
#[tokio::test]
async fn subscribing_again_loses_nothing() {
    let world = World::start().await;
    for level in [V311, V5] {
        let mut bob = Client::user(&world, level, "bob").await;
        bob.subscribe("r", 1).await;
        let mut alice = Client::user(&world, level, "alice").await;
        let mut expected = 0;
        for n in 0..100_u16 {
            let properties: &[u8] = if level == V5 { &[0x0B, 1 + (n % 3) as u8] } else { &[] };
            // Both at once: which of them is first is the server's business.
            bob.send(&subscribe_with(level, n + 1, properties, &[("r", 1)])).await;
            alice.send(&publish(level, 2, "r", n + 1, &[], n.to_string().as_bytes())).await;
            for _ in 0..2 {
                let got = bob.next().await;
                if got.first == 0x90 {
                    continue;
                }
                let message = got.published(level);
                assert_eq!(message.payload, expected.to_string().into_bytes());
                expected += 1;
                bob.puback(message.id).await;
            }
            assert_eq!(alice.next().await.first, 0x40);
        }
        assert_eq!(expected, 100);
        bob.fence().await;
    }
}

/// `[v311:4.7.3-4] [v5:4.7.3-4] [v311:1.5.3-3] [v5:1.5.4-3] [v311:3.3.2-3] [v5:3.3.2-3] [v311:4.7.3-3] [v5:4.7.3-3]`: topics are
/// compared byte by byte: no case, no normal form, no trimming, no byte order mark is different from any other character.
#[tokio::test]
async fn topics_are_what_their_bytes_say() {
    let world = World::start().await;
    let longest = format!("long/{}", "é".repeat((65_535 - 6) / 2)) + "x";
    assert!(longest.len() >= 65_534);
    let topics = [
        "a",
        "A",
        "a/",
        "/a",
        "a//b",
        "a/b",
        " a",
        "a ",
        "é",
        "e\u{301}",
        "\u{FEFF}a",
        "été/x",
        "/",
        "//",
        "\u{10FFFF}",
        "日本/語",
        &longest,
    ];
    let mut alice = Client::user(&world, V5, "alice").await;
    for level in [V311, V5] {
        for topic in topics {
            let mut bob =
                Client::connect(&world, &Connect::new(level, "exact", &world.acl_token("bob"))).await.0;
            assert_eq!(bob.subscribe(topic, 1).await, 1, "{topic}");
            for other in topics {
                say(&mut alice, 1, other, other.as_bytes()).await;
            }
            say(&mut alice, 0, topic, b"sentinel").await;
            let mut got = [hear(&mut bob).await, hear(&mut bob).await];
            got.sort();
            assert_eq!((&*got[0].1, &*got[1].1), (topic, topic));
            assert_eq!(got.iter().filter(|(_, _, payload)| payload == topic).count(), 1);
            bob.fence().await;
            bob.disconnect().await;
        }
    }
}

/// `[v311:4.7.2-1] [v5:4.7.2-1] [v5:U43]`: clients have no business in `$…`, and `#` or `+/…` gets none of it.
#[tokio::test]
async fn topics_with_a_dollar_are_out_of_reach() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    let mut bob = Client::user(&world, V5, "bob").await;
    for filter in ["#", "+/x", "+/#"] {
        assert_eq!(bob.subscribe(filter, 1).await, 1);
    }
    assert_eq!(bob.subscribe("$SYS/#", 1).await, 0x87);
    assert_eq!(alice.publish("$SYS/x", b"no").await, 0x87);
    assert_eq!(alice.publish("$x", b"no").await, 0x87);
    assert_eq!(alice.publish("a$/x", b"an ordinary one").await, 0);
    assert_eq!(hear(&mut bob).await.1, "a$/x");
    bob.fence().await;
}

/// What travels with a message, for one who is here and one who is away: unchanged, in order, empty is not absent.
/// `[v5:3.3.2-4] [v5:3.3.2-15] [v5:3.3.2-16] [v5:3.3.2-17] [v5:3.3.2-18] [v5:3.3.2-20]`
#[tokio::test]
async fn properties_travel_unchanged_now_and_later() {
    let world = World::start().await;
    let pair = |name: &str, value: &str| [&[0x26][..], &text(name), &text(value)].concat();
    let bytes: Vec<u8> = (0..=255).collect();
    let all = [
        vec![0x01, 1],
        [&[0x03][..], &text("text/x")].concat(),
        [&[0x08][..], &text("reply/to")].concat(),
        [&[0x09][..], &binary(&bytes)].concat(),
        pair("a", "1"),
        pair("b", ""),
        pair("", "2"),
        pair("a", "1"),
    ];
    let empty = [vec![0x01, 0], [&[0x03][..], &text("")].concat(), [&[0x09][..], &binary(&[])].concat()];
    for qos in [1, 2] {
        let (mut away, _) = lasting(&world, V5, "away").await;
        away.subscribe("p", qos).await;
        away.disconnect().await;
        let mut here = Client::connect(&world, &Connect::new(V5, "here", &world.acl_token("bob"))).await.0;
        here.subscribe("p", qos).await;
        let mut old = Client::connect(&world, &Connect::new(V311, "old", &world.acl_token("carol"))).await.0;
        old.subscribe("p", qos).await;
        let mut alice = Client::user(&world, V5, "alice").await;
        for (id, properties) in [(1, all.concat()), (2, empty.concat()), (3, Vec::new())] {
            alice.send(&publish(V5, qos << 1, "p", id, &properties, b"x")).await;
            alice.next().await;
        }
        let (mut away, _) = lasting(&world, V5, "away").await;
        for client in [&mut here, &mut away] {
            for expected in [&all[..], &empty[..], &[]] {
                let got = client.published().await.properties;
                assert_eq!(got.len(), expected.concat().len(), "nothing more and nothing less");
                for property in expected {
                    assert!(got.windows(property.len()).any(|w| w == property), "{property:x?} in {got:x?}");
                }
                let users: Vec<u8> = expected.iter().filter(|p| p[0] == 0x26).flatten().copied().collect();
                assert!(got.windows(users.len().max(1)).any(|w| w == users) || users.is_empty(), "in order");
            }
        }
        for _ in 0..3 {
            assert_eq!(
                old.published().await.payload,
                b"x",
                "3.1.1 has no properties and the message all the same"
            );
        }
        away.send(&unsubscribe(V5, 9, "p")).await;
        away.next().await;
        let clean = Connect::new(V5, "away", &world.acl_token("away"));
        Client::connect(&world, &clean).await.0.disconnect().await;
    }
}

/// `[v311:4.6.0-5] [v311:4.6.0-6] [v5:4.6.0-5] [v5:4.6.0-6] [v311:7.1.1-1] [v5:4.2-1]`: at every QoS in the order of the
/// publisher, also over the seam between what waited and what comes.
#[tokio::test]
async fn messages_keep_their_order() {
    const PART: usize = 40;
    let world = World::start().await;
    for (level, qos) in [(V311, 0), (V311, 1), (V311, 2), (V5, 0), (V5, 1), (V5, 2)] {
        let name = format!("o{level}{qos}");
        let mut alice = Client::user(&world, level, "alice").await;
        let (mut bob, _) = lasting(&world, level, &name).await;
        bob.subscribe(&name, qos).await;
        let numbers = |part: usize| part * PART..(part + 1) * PART;
        for n in numbers(0) {
            say(&mut alice, qos, &name, n.to_string().as_bytes()).await;
        }
        for n in numbers(0) {
            assert_eq!(hear(&mut bob).await.2, n.to_string());
        }
        if qos == 0 {
            continue;
        }
        bob.fence().await;
        bob.disconnect().await;
        for n in numbers(1) {
            say(&mut alice, qos, &name, n.to_string().as_bytes()).await;
        }
        let (mut bob, _) = lasting(&world, level, &name).await;
        for n in numbers(2) {
            say(&mut alice, qos, &name, n.to_string().as_bytes()).await;
        }
        for n in numbers(1).chain(numbers(2)) {
            assert_eq!(hear(&mut bob).await.2, n.to_string());
        }
    }
}

/// `[v311:3.1.3-6] [v5:3.1.3-6] [v5:3.1.3-7] [v5:3.2.2-16]`: two clients without an id live side by side; MQTT 5 is told the
/// id, and comes back with it.
#[tokio::test]
async fn clients_without_an_id_get_one() {
    let world = World::start().await;
    let token = world.acl_token("alice");
    let mut one = Client::connect(&world, &Connect::new(V311, "", &token)).await.0;
    let mut two = Client::connect(&world, &Connect::new(V311, "", &token)).await.0;
    one.fence().await;
    two.fence().await;
    let mut assigned = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let mut client = Client::tcp(world.mqtt, V5).await;
        client.send(&Connect::persistent(V5, "", &token).bytes()).await;
        let ack = client.next().await;
        let at = ack.body.iter().skip(3).position(|byte| *byte == 0x12).unwrap() + 3;
        let length = usize::from(ack.body[at + 2]);
        let id = String::from_utf8(ack.body[at + 3..at + 3 + length].to_vec()).unwrap();
        assert_eq!((ack.body[0], ack.body[1]), (0, 0));
        assert!(assigned.insert(id), "each its own");
        client.disconnect().await;
    }
    let id = assigned.first().unwrap();
    assert!(Client::connect(&world, &Connect::persistent(V5, id, &token)).await.1, "session present");
}

/// `[v311:3.1.4-2] [v5:3.1.4-3] [v311:3.1.4-3] [v5:3.1.4-4]`: the new one has the session or starts anew; one that is not let in
/// takes nothing over.
#[tokio::test]
async fn a_session_is_taken_over_by_who_may_have_it() {
    let world = World::start().await;
    for level in [V311, V5] {
        let name = format!("t{level}");
        let (mut first, _) = lasting(&world, level, &name).await;
        let mut stranger = Client::tcp(world.mqtt, level).await;
        stranger.send(&Connect::persistent(level, &name, "not a token").bytes()).await;
        assert_ne!(stranger.next().await.body[1], 0);
        first.fence().await;
        let (mut second, present) = lasting(&world, level, &name).await;
        assert!(present);
        if level == V5 {
            assert_eq!(first.next().await.body[0], 0x8E);
        }
        first.ended().await;
        let clean = Connect::new(level, &name, &world.acl_token(&name));
        let (mut third, present) = Client::connect(&world, &clean).await;
        assert!(!present);
        if level == V5 {
            assert_eq!(second.next().await.body[0], 0x8E);
        }
        second.ended().await;
        third.fence().await;
    }
}
