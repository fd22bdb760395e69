//! Retained messages of a general broker, over `kill -9`.

use tests::mqtt::{Client, Connect, Link, Properties, Publish, Value, Version, id};
use tests::token::Token;
use tests::world::{ACME, World};

/// More than several pages of the store, and far more than the client's window.
const TOPICS: usize = 700;
/// Messages that the subscriber takes at once.
const WINDOW: u16 = 10;
/// Retain handling in the options of a filter.
const ONLY_NEW: u8 = 0x10;
const NEVER: u8 = 0x20;

async fn connect(world: &World, version: Version, name: &str) -> Client {
    let token = Token::of(ACME, name).acl(&["#"], &["#"]).sign();
    Client::connect(world.at(), Link::Tcp, &Connect::new(version, name, &token).kept()).await
}

fn retained(topic: &str, payload: &str) -> Publish {
    let properties = Properties::none().user("a", "1").user("b", "2").user("a", "3");
    Publish {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec(),
        retain: true,
        properties,
        ..Publish::default()
    }
}

/// Sends what a client of this version can send, and waits until it is on disk.
async fn publish(client: &mut Client, version: Version, qos: u8, publish: Publish) {
    let properties = if version == Version::V5 { publish.properties.clone() } else { Properties::none() };
    let publish = Publish { qos, properties, ..publish };
    match qos {
        0 => {
            client.send(&publish.packet(version)).await;
            // Acknowledged after it, hence stored after it.
            assert_eq!(client.publish("marker", "x").await.code, 0);
        }
        _ => assert_eq!(client.publish_with(publish).await.code, 0),
    }
}

fn shown(messages: &[Publish]) -> Vec<(String, String, u8, bool)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all: Vec<_> =
        messages.iter().map(|m| (m.topic.clone(), text(&m.payload), m.qos, m.retain)).collect();
    all.sort();
    all
}

/// Everything that has come, acknowledged.
async fn take(client: &mut Client, count: usize) -> Vec<Publish> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let message = client.message().await;
        if message.qos == 1 {
            client.ack(message.id).await;
        }
        messages.push(message);
    }
    messages.extend(client.messages_so_far().await);
    assert_eq!(messages.len(), count, "{:?}", shown(&messages));
    messages
}

/// `[v311:3.1.2-7] [v311:3.3.1-5] [v311:3.3.1-6] [v311:3.3.1-7] [v311:3.3.1-8] [v311:3.3.1-9] [v311:3.3.1-10] [v311:3.3.1-11]`
/// `[v311:3.3.1-12] [v5:3.3.1-5] [v5:3.3.1-6] [v5:3.3.1-7] [v5:3.3.1-8] [v5:3.3.1-9] [v5:3.3.1-12] [v5:3.3.1-13] [v5:3.3.2-18]`
#[tokio::test]
async fn the_last_message_of_each_topic_outlives_a_kill() {
    let mut world = World::start().await;
    for version in [Version::V311, Version::V5] {
        let top = format!("{version:?}");
        let topic = |name: &str| format!("{top}/{name}");
        let mut writer = connect(&world, version, &format!("writer{top}")).await;
        let mut live = connect(&world, version, &format!("live{top}")).await;
        live.subscribe(&topic("#"), 1).await;
        publish(&mut writer, version, 1, retained(&topic("a"), "old")).await;
        publish(&mut writer, version, 1, retained(&topic("a"), "new")).await;
        publish(&mut writer, version, 0, retained(&topic("b"), "at QoS 0")).await;
        publish(&mut writer, version, 1, retained(&topic("c/d"), "gone")).await;
        publish(&mut writer, version, 1, retained(&topic("c/d"), "")).await;
        publish(&mut writer, version, 1, Publish { retain: false, ..retained(&topic("a"), "passing") }).await;
        let got = take(&mut live, 6).await;
        assert!(got.iter().all(|message| !message.retain), "as published to a subscription that was there");
        world.crash().await;

        let mut late = connect(&world, version, &format!("late{top}")).await;
        late.subscribe(&topic("#"), 1).await;
        let got = take(&mut late, 2).await;
        let expected =
            [(topic("a"), "new".to_owned(), 1, true), (topic("b"), "at QoS 0".to_owned(), 0, true)];
        assert_eq!(shown(&got), expected);
        if version == Version::V5 {
            assert!(
                got.iter().all(|message| message.properties.0.len() == 3),
                "properties in order: {got:?}"
            );
        }
        let mut other = connect(&world, version, &format!("other{top}")).await;
        other.subscribe(&topic("+"), 0).await;
        assert_eq!(shown(&take(&mut other, 2).await).iter().map(|m| m.2).max(), Some(0), "the lower QoS");
    }
}

/// `[v5:3.3.1-9] [v5:3.3.1-10] [v5:3.3.1-11] [v311:3.8.4-3] [v5:3.8.4-3] [v5:3.3.4-3]`
#[tokio::test]
async fn a_subscriber_says_whether_it_wants_them_again() {
    let mut world = World::start().await;
    let mut client = connect(&world, Version::V5, "client").await;
    publish(&mut client, Version::V5, 1, retained("t", "x")).await;
    let with_id = Properties::none().with(id::SUBSCRIPTION_ID, Value::Variable(7));
    for (options, count) in [(NEVER | 1, 0), (ONLY_NEW | 1, 0), (1, 1), (1, 1)] {
        assert_eq!(client.subscribe_with(&[("t", options)], &with_id).await, [1], "{options:#x}");
        let got = take(&mut client, count).await;
        assert!(got.iter().all(|message| message.properties.number(id::SUBSCRIPTION_ID) == Some(7)));
    }
    client.unsubscribe("t").await;
    assert_eq!(client.subscribe_with(&[("t", ONLY_NEW | 1)], &Properties::none()).await, [1]);
    take(&mut client, 1).await;
    world.crash().await;
    // The subscription is there, so none come.
    let mut client = connect(&world, Version::V5, "client").await;
    assert_eq!(
        client.subscribe_with(&[("t", ONLY_NEW | 1), ("$share/g/t", 1)], &Properties::none()).await,
        [1, 1]
    );
    let again = client.messages_so_far().await;
    assert!(again.iter().all(|message| message.dup), "none but what the kill left unacknowledged: {again:?}");
    let mut old = connect(&world, Version::V311, "old").await;
    for _ in 0..2 {
        old.subscribe("t", 1).await;
        take(&mut old, 1).await;
    }
}

/// Page after page within the client's window; a kill in the middle loses and doubles nothing that was acknowledged, and
/// others are served meanwhile.
#[tokio::test]
async fn many_retained_messages_flow_within_the_window_over_a_kill() {
    let mut world = World::start().await;
    let mut writer = connect(&world, Version::V5, "writer").await;
    for n in 0..TOPICS {
        let ack = writer.publish_with(retained(&format!("t/{n:04}"), &n.to_string())).await;
        assert_eq!(ack.code, 0);
    }
    let token = Token::of(ACME, "reader").acl(&["#"], &["#"]).sign();
    let wish = Connect::v5("reader", &token).kept().receive_max(WINDOW);
    let mut reader = Client::connect(world.at(), Link::Tcp, &wish).await;
    reader.subscribe("t/#", 1).await;
    let (mut seen, mut lives) = (0, 0);
    while seen < TOPICS {
        let message = reader.message().await;
        if message.topic == "t/live" {
            // Between two pages, as it was published.
            assert!(!message.retain);
            lives += 1;
            reader.ack(message.id).await;
            continue;
        }
        let n: usize = String::from_utf8_lossy(&message.payload).parse().expect("a number");
        assert!(message.retain && (n == seen || (message.dup && n < seen)), "{n} after {seen}: {message:?}");
        seen = seen.max(n + 1);
        reader.ack(message.id).await;
        if n == TOPICS / 2 && !message.dup {
            assert!(reader.messages_so_far().await.len() <= usize::from(WINDOW));
            world.crash().await;
            reader = Client::connect(world.at(), Link::Tcp, &wish).await;
            assert!(reader.connack.present);
            let mut writer = connect(&world, Version::V5, "writer").await;
            assert_eq!(writer.publish("t/live", "0").await.code, 0);
        }
    }
    assert_eq!(lives, 1);
    assert_eq!(reader.messages_so_far().await, []);
}

/// Refused with a reason, and in 3.1.1 told in the inbox.
#[tokio::test]
async fn an_account_has_room_for_so_many() {
    let section = "[retention]\nretained_max_messages = 2\n";
    let world = World::with("", section, sim::whatsapp::Faults::default()).await;
    let mut writer = connect(&world, Version::V5, "writer").await;
    for (topic, payload, code) in
        [("a", "1", 0), ("b", "1", 0), ("c", "1", 0x97), ("b", "2", 0), ("a", "", 0), ("c", "1", 0)]
    {
        let ack = writer.publish_with(retained(topic, payload)).await;
        assert_eq!(ack.code, code, "{topic} {payload}");
        if code > 0 {
            assert_eq!(ack.properties.text(id::REASON_STRING), Some("quota_exceeded"));
        }
    }
    let mut old = connect(&world, Version::V311, "alice").await;
    old.subscribe("user/alice/inbox", 1).await;
    publish(&mut old, Version::V311, 1, retained("d", "1")).await;
    let told = old.event().await;
    assert_eq!(
        (told.kind.as_str(), told.data["code"].as_str(), told.data["topic"].as_str()),
        ("command.failed", Some("quota_exceeded"), Some("d"))
    );
}
