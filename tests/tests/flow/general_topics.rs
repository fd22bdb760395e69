//! General topics under a token's `acl`, the status topic, signals: what makes inboxd a broker as well.

use serde_json::{Value, json};
use tests::mqtt::{Client, Connect, Link, Properties, Publish, Version, Will, id};
use tests::token::Token;
use tests::world::{ACME, ANA, World};

/// Messages that wait for a device which is away.
const MISSED: usize = 50;

fn writer() -> String {
    Token::of(ACME, "writer").acl(&["news/#", "{user}/out"], &[]).sign()
}

fn reader() -> String {
    Token::of(ACME, "reader").acl(&[], &["news/#", "{user}/in"]).sign()
}

async fn writes(world: &World) -> Client {
    Client::connect(world.at(), Link::Tcp, &Connect::v5("writer", &writer())).await
}

fn text(message: &Publish) -> &str {
    std::str::from_utf8(&message.payload).expect("the tests publish text")
}

#[tokio::test]
async fn an_acl_grants_what_it_covers_and_no_more() {
    let world = World::start().await;
    let mut writer = writes(&world).await;
    for (topic, code) in [("news/a", 0), ("news", 0), ("writer/out", 0), ("reader/in", 0x87), ("newsx", 0x87)]
    {
        assert_eq!(writer.publish(topic, "x").await.code, code, "{topic}");
    }
    let mut reader = Client::connect(world.at(), Link::Tcp, &Connect::v5("reader", &reader())).await;
    for (filter, code) in
        [("news/+", 1), ("news/#", 1), ("reader/in", 1), ("+/in", 0x87), ("#", 0x87), ("writer/out", 0x87)]
    {
        let codes = reader.subscribe_with(&[(filter, 1)], &Properties::none()).await;
        assert_eq!(codes, [code], "{filter}");
    }
}

#[tokio::test]
async fn messages_of_both_qos_reach_both_versions_in_order() {
    let world = World::start().await;
    let mut writer = writes(&world).await;
    let mut readers = Vec::new();
    for (version, link, qos) in [
        (Version::V311, Link::Tcp, 0),
        (Version::V311, Link::WebSocket, 1),
        (Version::V5, Link::Tcp, 1),
        (Version::V5, Link::WebSocket, 0),
    ] {
        let connect = Connect::new(version, &format!("{version:?}-{qos}"), &reader());
        let mut reader = Client::connect(world.at(), link, &connect).await;
        reader.subscribe("news/+", qos).await;
        readers.push((reader, qos));
    }
    for n in 0..10 {
        assert_eq!(writer.publish("news/today", format!("at 1: {n}")).await.code, 0);
        writer.publish_qos0("news/today", format!("at 0: {n}")).await;
    }
    for (reader, qos) in &mut readers {
        let mut got = [Vec::new(), Vec::new()];
        for _ in 0..20 {
            let message = reader.message().await;
            let published_at = usize::from(text(&message).starts_with("at 1"));
            assert_eq!(usize::from(message.qos), published_at.min((*qos).into()), "the lower of both");
            if message.qos == 1 {
                reader.ack(message.id).await;
            }
            got[published_at].push(text(&message).to_owned());
        }
        for (published_at, got) in got.iter().enumerate() {
            let expected: Vec<_> = (0..10).map(|n| format!("at {published_at}: {n}")).collect();
            assert_eq!(*got, expected);
        }
    }
}

#[tokio::test]
async fn an_offline_session_has_what_it_missed_also_after_a_kill() {
    let mut world = World::start().await;
    for version in [Version::V311, Version::V5] {
        let connect = Connect::new(version, "keeper", &reader()).kept();
        let mut keeper = Client::connect(world.at(), Link::Tcp, &connect).await;
        keeper.subscribe("news/#", 1).await;
        keeper.disconnect().await;
        let mut writer = writes(&world).await;
        for n in 0..MISSED {
            assert_eq!(writer.publish("news/today", format!("{n}")).await.code, 0);
            writer.publish_qos0("news/today", "nobody keeps QoS 0").await;
        }
        world.crash().await;

        let mut keeper = Client::connect(world.at(), Link::Tcp, &connect).await;
        assert!(keeper.connack.present, "{version:?}");
        for n in 0..MISSED {
            let message = keeper.message().await;
            assert_eq!((text(&message), message.qos, message.dup), (n.to_string().as_str(), 1, false));
            keeper.ack(message.id).await;
        }
        // The subscription is there as well.
        let mut writer = writes(&world).await;
        assert_eq!(writer.publish("news/today", "live").await.code, 0);
        let message = keeper.message().await;
        assert_eq!(text(&message), "live");
        keeper.ack(message.id).await;
        keeper.ping().await;
        keeper.disconnect().await;
        // Nothing of it comes again, and the next version begins anew.
        let clean = Connect::new(version, "keeper", &reader());
        Client::connect(world.at(), Link::Tcp, &clean).await.disconnect().await;
    }
}

#[tokio::test]
async fn properties_travel_unchanged_and_in_order() {
    let world = World::start().await;
    let mut reader = Client::connect(world.at(), Link::Tcp, &Connect::v5("reader", &reader())).await;
    let subscription = Properties::none().with(id::SUBSCRIPTION_ID, tests::mqtt::Value::Variable(321));
    assert_eq!(reader.subscribe_with(&[("news/#", 1)], &subscription).await, [1]);
    let mut writer = writes(&world).await;
    let properties = Properties::none()
        .with(id::CONTENT_TYPE, tests::mqtt::Value::Text("text/plain".into()))
        .with(id::RESPONSE_TOPIC, tests::mqtt::Value::Text("writer/in".into()))
        .with(id::CORRELATION_DATA, tests::mqtt::Value::Bytes(vec![0, 255]))
        .user("a", "1")
        .user("b", "2")
        .user("a", "3");
    let publish = Publish {
        topic: "news/today".into(),
        payload: b"x".to_vec(),
        properties: properties.clone(),
        ..Publish::default()
    };
    assert_eq!(writer.publish_with(publish).await.code, 0);
    let got = reader.message().await;
    assert_eq!(got.properties.number(id::SUBSCRIPTION_ID), Some(321));
    for (found, value) in &properties.0 {
        assert!(got.properties.0.contains(&(*found, value.clone())), "{found:#04x} of {:?}", got.properties);
    }
    let users = |properties: &Properties| -> Vec<tests::mqtt::Value> {
        properties.0.iter().filter(|(found, _)| *found == id::USER_PROPERTY).map(|(_, v)| v.clone()).collect()
    };
    assert_eq!(users(&got.properties), users(&properties));
}

#[tokio::test]
async fn no_local_keeps_ones_own_messages_away() {
    /// Subscription option: QoS 1 with No Local.
    const QOS_1_NO_LOCAL: u8 = 1 | 0x04;
    let world = World::start().await;
    let token = Token::of(ACME, "writer").acl(&["news/#"], &["news/#"]).sign();
    let mut both = Client::connect(world.at(), Link::Tcp, &Connect::v5("both", &token)).await;
    let codes = both.subscribe_with(&[("news/#", QOS_1_NO_LOCAL)], &Properties::none()).await;
    assert_eq!(codes, [1]);
    assert_eq!(both.publish("news/a", "my own").await.code, 0);
    both.publish_qos0("news/a", "my own").await;
    let mut writer = writes(&world).await;
    assert_eq!(writer.publish("news/a", "of another").await.code, 0);
    assert_eq!(text(&both.message().await), "of another");
}

#[tokio::test]
async fn a_will_is_published_when_a_connection_is_lost_and_not_when_it_is_ended() {
    let world = World::start().await;
    let mut reader = Client::connect(world.at(), Link::Tcp, &Connect::v5("reader", &reader())).await;
    reader.subscribe("news/#", 1).await;
    let will = Will { topic: "news/wills".into(), payload: b"lost".to_vec(), qos: 1, ..Will::default() };
    for version in [Version::V311, Version::V5] {
        let connect = Connect { will: Some(will.clone()), ..Connect::new(version, "mortal", &writer()) };
        Client::connect(world.at(), Link::Tcp, &connect).await.disconnect().await;
        drop(Client::connect(world.at(), Link::Tcp, &connect).await);
        let message = reader.message().await;
        assert_eq!((message.topic.as_str(), text(&message)), ("news/wills", "lost"), "{version:?}");
        reader.ack(message.id).await;
    }
    // One will a version: what comes next is something else.
    assert_eq!(writes(&world).await.publish("news/today", "no will").await.code, 0);
    assert_eq!(text(&reader.message().await), "no will");
    // A will is a publish like any other.
    let will = Will { topic: "user/alice/outbox".into(), payload: b"{}".to_vec(), qos: 1, ..Will::default() };
    let connect = Connect { will: Some(will), ..Connect::v5("mortal", &writer()) };
    let refused = Client::try_connect(world.at(), Link::Tcp, &connect).await.err().expect("refused");
    assert_eq!(refused.code, 0x87);
}

/// The next status of a user, as JSON.
async fn status(client: &mut Client, user: &str) -> Value {
    loop {
        let message = client.message().await;
        assert!(message.retain, "a status is delivered as retained: {message:?}");
        if message.qos == 1 {
            client.ack(message.id).await;
        }
        if message.topic == format!("user/{user}/status") {
            return serde_json::from_slice(&message.payload).expect("a status is JSON");
        }
    }
}

#[tokio::test]
async fn a_status_says_who_is_there_and_changes_when_somebody_comes_or_goes() {
    let world = World::start().await;
    let alice = Token::of(ACME, "alice").sign();
    let mut watcher = Client::connect(world.at(), Link::Tcp, &Connect::v5("watcher", &alice)).await;
    watcher.subscribe("user/bob/status", 1).await;
    let before = status(&mut watcher, "bob").await;
    assert_eq!(before["online"], false, "nobody is online at a start: {before}");

    let bob = world.plain_device("bob").await;
    let there = status(&mut watcher, "bob").await;
    assert_eq!(there["online"], true, "{there}");
    // A second watcher, of everybody, is told at once what is so now.
    let mut second = Client::connect(world.at(), Link::Tcp, &Connect::v311("second", &alice)).await;
    second.subscribe("user/+/status", 1).await;
    assert_eq!(status(&mut second, "bob").await["online"], true);

    bob.disconnect().await;
    for watcher in [&mut watcher, &mut second] {
        let gone = status(watcher, "bob").await;
        assert_eq!(gone["online"], false, "{gone}");
        assert!(gone["last_seen"].is_string(), "{gone}");
    }
}

#[tokio::test]
async fn typing_is_signalled_to_the_others_of_a_conversation_and_never_stored() {
    let world = World::start().await;
    world.deliver_text(ANA, "wamid.1", "Hello").await;
    let conversation = world.api("alice").events_after(0).await[0].text("conversation").to_owned();
    let bob = Token::of(ACME, "bob").sign();
    let mut bob = Client::connect(world.at(), Link::Tcp, &Connect::v5("bob", &bob)).await;
    bob.subscribe("user/bob/signals", 0).await;
    let mut alice = world.plain_device("alice").await;
    let typing = json!({"type": "typing", "conversation": conversation, "state": "start"});
    alice.publish_qos0("user/alice/outbox", typing.to_string()).await;
    let message = bob.message().await;
    let signal: Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!(
        (&signal["type"], &signal["state"], &signal["by"]),
        (&json!("typing"), &json!("start"), &json!("alice"))
    );
    assert_eq!((&signal["conversation"], message.qos), (&json!(conversation), 0));
    assert_eq!(world.api("bob").head().await, 1, "nothing was stored");
}
