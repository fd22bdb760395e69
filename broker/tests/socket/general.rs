//! General topics: at QoS 1 through the store, at QoS 0 over the live bus; wills.

use broker::BusKind;

use crate::support::World;
use crate::support::client::Client;
use crate::support::packet::{Connect, V5, V311, packet, publish, subscribe, text, unsubscribe};

/// `[v311:3.1.2-5] [v5:3.1.2-23]`
#[tokio::test]
async fn qos_1_outlives_the_subscribers_absence() {
    let world = World::start().await;
    for level in [V311, V5] {
        let topic = format!("room/{level}");
        let connect = Connect::persistent(level, &format!("sub{level}"), &world.acl_token("bob"));
        let (mut bob, _) = Client::connect(&world, &connect).await;
        assert_eq!(bob.subscribe("room/+", 1).await, 1);
        let mut alice = Client::user(&world, level, "alice").await;
        assert_eq!(alice.publish(&topic, b"one").await, 0);
        let one = bob.published().await;
        assert_eq!((one.topic.as_str(), &one.payload[..], one.dup), (topic.as_str(), &b"one"[..], false));
        bob.fence().await;
        bob.disconnect().await;
        assert_eq!(alice.publish(&topic, b"two").await, 0);
        alice.send(&publish(level, &topic, None, b"at QoS 0, for nobody")).await;
        alice.fence().await;
        let (mut bob, present) = Client::connect(&world, &connect).await;
        assert!(present);
        let again = bob.published().await;
        assert_eq!((&again.payload[..], again.dup, again.id), (&b"one"[..], true, one.id));
        let two = bob.published().await;
        assert_eq!((&two.payload[..], two.dup), (&b"two"[..], false));
        bob.puback(again.id).await;
        bob.puback(two.id).await;
        bob.fence().await;
        bob.disconnect().await;
    }
}

async fn each_gets_the_lower_qos(bus: BusKind) {
    let world = World::start_with(|_| {}, bus).await;
    let mut alice = Client::user(&world, V5, "alice").await;
    let mut subscribers = Vec::new();
    for (name, qos) in [("zero", 0), ("one", 1), ("two", 2)] {
        let mut client = Client::connect(&world, &Connect::new(V5, name, &world.acl_token(name))).await.0;
        assert_eq!(client.subscribe("t/#", qos).await, qos);
        subscribers.push((client, qos));
    }
    alice.send(&publish(V5, "t", None, b"live")).await;
    assert_eq!(alice.publish("t/x", b"kept").await, 0);
    for (client, qos) in &mut subscribers {
        // Order is not promised across QoS.
        let mut got = [client.published().await, client.published().await];
        got.sort_by_key(|p| p.topic.clone());
        assert_eq!((&got[0].payload[..], got[0].id), (&b"live"[..], None));
        assert_eq!((&got[1].payload[..], got[1].id.is_some()), (&b"kept"[..], *qos > 0));
        client.fence().await;
    }
}

#[tokio::test]
async fn each_gets_the_lower_qos_over_the_router() {
    each_gets_the_lower_qos(BusKind::Router).await;
}

#[tokio::test]
async fn each_gets_the_lower_qos_directly() {
    each_gets_the_lower_qos(BusKind::Direct).await;
}

/// P7: other accounts' topics are others, and a granted `#` delivers nothing reserved.
#[tokio::test]
async fn accounts_do_not_see_each_other() {
    let world = World::start().await;
    let mut claims = world.claims("eve");
    claims.account = schemas::AccountId::new("other").unwrap();
    claims.acl =
        Some(std::sync::Arc::new(schemas::Acl { publish: vec!["#".into()], subscribe: vec!["#".into()] }));
    let mut eve = Client::connect(&world, &Connect::new(V5, "eve", &world.issue(&claims))).await.0;
    assert_eq!(eve.subscribe("#", 1).await, 1);
    let mut bob = Client::user(&world, V5, "bob").await;
    assert_eq!(bob.subscribe("#", 1).await, 1);
    let mut alice = Client::user(&world, V5, "alice").await;
    assert_eq!(alice.say("alice", "bob", "c1", "secret").await, 0);
    alice.send(&publish(V5, "t", None, b"0")).await;
    assert_eq!(alice.publish("t", b"1").await, 0);
    let mut got = [bob.published().await.payload, bob.published().await.payload];
    got.sort();
    assert_eq!(got, [b"0", b"1"]);
    bob.fence().await;
    eve.fence().await;
}

/// `[v5:3.3.2-17]` and the others: what travels with a message is unchanged; the expiry is counted, aliases are not sent.
#[tokio::test]
async fn properties_travel_unchanged() {
    let world = World::start().await;
    let mut bob = Client::user(&world, V5, "bob").await;
    bob.subscribe_with(&[0x0B, 5], "p/#", 1).await;
    let mut alice = Client::user(&world, V5, "alice").await;
    let pair = |n: &str, v: &str| [&[0x26][..], &text(n), &text(v)].concat();
    let own = [
        vec![0x01, 0],
        [&[0x03][..], &text("text/x")].concat(),
        [&[0x08][..], &text("reply/here")].concat(),
        vec![0x09, 0, 3, 0, 255, 7],
        pair("a", "1"),
        pair("b", ""),
        pair("a", "1"),
    ];
    let alias = vec![0x23, 0, 1];
    let all = [own.concat(), alias.clone()].concat();
    let body = |topic: &str, properties: &[u8]| {
        let length = u8::try_from(properties.len()).unwrap();
        [&text(topic)[..], &[0, 1, length], properties, b"x"].concat()
    };
    alice.send(&packet(0x32, &body("p/q", &all))).await;
    assert_eq!(alice.next().await.first, 0x40);
    // Now by its alias alone, with an expiry of 0 or more that has not passed.
    alice.send(&packet(0x32, &body("", &[&alias[..], &[2, 0, 0, 0, 100]].concat()))).await;
    assert_eq!(alice.next().await.first, 0x40);

    let first = bob.published().await;
    assert_eq!(first.topic, "p/q");
    for property in own {
        let found = first.properties.windows(property.len()).any(|window| window == property);
        assert!(found, "{property:x?} in {:x?}", first.properties);
    }
    assert!(first.properties.windows(2).any(|w| w == [0x0B, 5]));
    let order: Vec<usize> = ["a", "b", "a"]
        .iter()
        .scan(0, |at, name| {
            let pattern = [&[0x26][..], &text(name)].concat();
            let found = first.properties[*at..].windows(pattern.len()).position(|w| w == pattern)? + *at;
            *at = found + 1;
            Some(found)
        })
        .collect();
    assert_eq!(order.len(), 3, "user properties in order, repetitions kept");
    let second = bob.published().await;
    assert_eq!(second.topic, "p/q");
    assert!(second.properties.windows(5).any(|w| w == [2, 0, 0, 0, 100] || w == [2, 0, 0, 0, 99]));
}

/// `[v5:3.8.3-3]`
#[tokio::test]
async fn no_local_keeps_ones_own_messages_away() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    assert_eq!(alice.subscribe("n", 0b100 | 1).await, 1);
    alice.send(&publish(V5, "n", None, b"mine")).await;
    assert_eq!(alice.publish("n", b"mine").await, 0);
    let mut bob = Client::user(&world, V5, "bob").await;
    assert_eq!(bob.publish("n", b"his").await, 0);
    assert_eq!(alice.published().await.payload, b"his");
    alice.fence().await;
}

/// `[v311:3.1.2-8] [v5:3.1.2-8] [v311:3.14.4-3] [v5:3.14.4-3]`
#[tokio::test]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let world = World::start().await;
    let mut bob = Client::user(&world, V5, "bob").await;
    bob.subscribe("will/#", 1).await;
    for level in [V311, V5] {
        for qos in [0, 1] {
            let mut connect = Connect::new(level, "w", &world.acl_token("alice"));
            connect.will = Some((format!("will/{level}/{qos}"), b"gone".to_vec(), qos));
            Client::connect(&world, &connect).await.0.disconnect().await;
            drop(Client::connect(&world, &connect).await.0);
            let will = bob.published().await;
            assert_eq!((will.topic, &will.payload[..]), (format!("will/{level}/{qos}"), &b"gone"[..]));
        }
    }
    bob.fence().await;
}

/// What was published before a subscription comes to it as retained or not at all, and what is published behind it comes
/// live, also where all stands in one segment and the bus takes its time.
#[tokio::test]
async fn a_subscription_has_its_place_among_the_packets() {
    let world = World::start().await;
    for round in 0..50 {
        let level = if round % 2 == 0 { V311 } else { V5 };
        let mut alice = Client::connect(&world, &Connect::new(level, "a", &world.acl_token("alice"))).await.0;
        let (topic, cleared) = (format!("kept/{round}"), format!("cleared/{round}"));
        let retained = |topic: &str, payload: &[u8]| {
            let mut bytes = publish(level, topic, None, payload);
            bytes[0] |= 1;
            bytes
        };
        let all = [
            publish(level, &topic, None, b"before"),
            retained(&topic, b"old"),
            retained(&cleared, b"x"),
            retained(&cleared, b""),
            subscribe(level, 2, &[(&topic, 0), (&cleared, 0)]),
            retained(&topic, b"new"),
            publish(level, &topic, None, b"last"),
        ];
        alice.send(&all.concat()).await;
        assert_eq!(alice.next().await.first, 0x90);
        let mut got = Vec::new();
        for _ in 0..3 {
            let published = alice.published().await;
            got.push((String::from_utf8(published.payload.to_vec()).unwrap(), published.retain));
        }
        let expected = [("old", true), ("new", false), ("last", false)];
        assert_eq!(got, expected.map(|(payload, retain)| (payload.to_owned(), retain)), "round {round}");
        let late = publish(level, &topic, None, b"too late");
        alice.send(&[unsubscribe(level, 3, &topic), late].concat()).await;
        assert_eq!(alice.next().await.first, 0xB0);
        alice.fence().await;
        alice.disconnect().await;
    }
}
