//! I7, I8: what a device has not acknowledged comes again, what it has not been sent comes when it is back (P3).

use tests::event::assert_gapless;
use tests::mqtt::{Client, Connect, Link, Properties, Version};
use tests::token::Token;
use tests::world::{ACME, ANA, World};

const INBOX: &str = "user/alice/inbox";

async fn texts(world: &World, from: usize, to: usize) {
    for n in from..=to {
        world.deliver_text(ANA, &format!("wamid.{n}"), &format!("text {n}")).await;
    }
}

#[tokio::test]
async fn i8_an_offline_device_gets_what_it_missed_in_order_and_once() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    for version in [Version::V311, Version::V5] {
        let name = format!("{version:?}");
        let connect = Connect::new(version, &name, &token).kept();
        let mut device = world.device(Link::Tcp, &connect, "alice").await;
        assert!(!device.connack.present);
        let first = world.api("alice").head().await + 1;
        world.deliver_text(ANA, &format!("wamid.{name}.a"), "live").await;
        assert_eq!(device.event().await.number(), first);
        device.disconnect().await;

        for n in 1..=5 {
            world.deliver_text(ANA, &format!("wamid.{name}.{n}"), "missed").await;
        }
        let mut device = Client::connect(world.at(), Link::Tcp, &connect).await;
        assert!(device.connack.present, "{version:?}: the session was kept");
        let missed = device.events(5).await;
        assert_gapless(&missed, first + 1);
        assert!(missed.iter().all(|event| !event.dup), "none of them had been sent before");
        device.disconnect().await;

        let mut device = Client::connect(world.at(), Link::WebSocket, &connect).await;
        world.deliver_text(ANA, &format!("wamid.{name}.z"), "next").await;
        assert_eq!(device.event().await.number(), first + 6, "what was acknowledged does not come again");
        device.disconnect().await;
    }
}

#[tokio::test]
async fn i8_a_cursor_stands_below_the_first_that_was_not_acknowledged() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let connect = Connect::v5("phone", &token).kept();
    let mut device = world.device(Link::Tcp, &connect, "alice").await;
    texts(&world, 1, 5).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(device.unacked_event().await.packet_id);
    }
    // 1, 2, 4 and 5, in another order than they came.
    for place in [3, 1, 4, 0] {
        device.ack(ids[place]).await;
    }
    device.ping().await;
    device.disconnect().await;

    let mut device = Client::connect(world.at(), Link::Tcp, &connect).await;
    let again = device.events(3).await;
    assert_gapless(&again, 3);
    assert!(again.iter().all(|event| event.dup), "all of them had been sent before: {again:?}");
    texts(&world, 6, 6).await;
    let next = device.event().await;
    assert_eq!((next.number(), next.dup), (6, false));
}

#[tokio::test]
async fn i7_nothing_beyond_the_receive_maximum_is_sent_before_something_is_acknowledged() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let connect = Connect::v5("small", &token).receive_max(2);
    let mut device = world.device(Link::Tcp, &connect, "alice").await;
    texts(&world, 1, 5).await;
    let (one, two) = (device.unacked_event().await, device.unacked_event().await);
    assert_eq!(device.messages_so_far().await, [], "two are in flight, and two are allowed");
    device.ack(two.packet_id).await;
    let three = device.unacked_event().await;
    assert_eq!(device.messages_so_far().await, []);
    device.ack(one.packet_id).await;
    device.ack(three.packet_id).await;
    let rest = device.events(2).await;
    assert_gapless(&[vec![one, two, three], rest].concat(), 1);
}

#[tokio::test]
async fn i7_after_and_epoch_say_where_a_subscription_begins() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    texts(&world, 1, 4).await;
    let epoch = world.api("alice").events_after(0).await[0].epoch.clone();
    let properties = |after: &str| Properties::none().user("after", after);
    let cases = [
        (properties("0"), 1),
        (properties("2").user("epoch", &epoch), 3),
        (properties("4").user("epoch", &epoch), 5),
        (Properties::none(), 5),
    ];
    let mut devices = Vec::new();
    for (n, (properties, first)) in cases.into_iter().enumerate() {
        let connect = Connect::v5(&format!("device-{n}"), &token);
        let mut device = Client::connect(world.at(), Link::Tcp, &connect).await;
        assert_eq!(device.subscribe_with(&[(INBOX, 1)], &properties).await, [1]);
        devices.push((device, first));
    }
    texts(&world, 5, 5).await;
    for (mut device, first) in devices {
        let events = device.events(6 - first).await;
        assert_gapless(&events, first as u64);
    }
}

#[tokio::test]
async fn i7_a_foreign_epoch_is_announced_and_begins_at_the_oldest() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    texts(&world, 1, 3).await;
    let mut device = Client::connect(world.at(), Link::Tcp, &Connect::v5("restored", &token)).await;
    let properties = Properties::none().user("after", "2").user("epoch", "01JD0000000000000000000000");
    assert_eq!(device.subscribe_with(&[(INBOX, 1)], &properties).await, [1]);
    let gap = device.event().await;
    assert_eq!(gap.kind, "inbox.gap", "{gap:?}");
    let to = gap.data["to"].as_u64().expect("`to` is a number");
    let events = device.events(3).await;
    assert_eq!(events[0].number(), to + 1, "the event after the gap is to + 1");
    assert_gapless(&events, 1);
}

#[tokio::test]
async fn i7_subscribing_again_keeps_the_place_and_unsubscribing_ends_it() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mut device = world.device(Link::Tcp, &Connect::v5("phone", &token).kept(), "alice").await;
    texts(&world, 1, 2).await;
    let first = device.event().await;
    let second = device.unacked_event().await;
    device.subscribe(INBOX, 1).await;
    texts(&world, 3, 3).await;
    let third = device.unacked_event().await;
    assert_gapless(&[first, second.clone(), third.clone()], 1);
    device.ack(second.packet_id).await;
    device.ack(third.packet_id).await;

    device.unsubscribe(INBOX).await;
    texts(&world, 4, 4).await;
    assert_eq!(device.messages_so_far().await, []);
    device.subscribe(INBOX, 1).await;
    texts(&world, 5, 5).await;
    assert_eq!(device.event().await.number(), 5, "a new subscription begins at the head");
}

#[tokio::test]
async fn i7_a_clean_start_forgets_and_an_ended_session_is_not_present() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let kept = Connect::v5("phone", &token).kept();
    let clean = Connect::v5("phone", &token);
    world.device(Link::Tcp, &kept, "alice").await.disconnect().await;
    texts(&world, 1, 1).await;
    let mut device = Client::connect(world.at(), Link::Tcp, &clean).await;
    assert!(!device.connack.present);
    assert_eq!(device.messages_so_far().await, []);
    device.disconnect().await;
    let device = Client::connect(world.at(), Link::Tcp, &kept).await;
    assert!(!device.connack.present, "a session without expiry ended with its connection");
}

#[tokio::test]
async fn i7_a_session_is_taken_over_with_what_it_had_not_acknowledged() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let connect = Connect::v5("phone", &token).kept();
    let mut old = world.device(Link::Tcp, &connect, "alice").await;
    texts(&world, 1, 2).await;
    assert_eq!(old.event().await.number(), 1);
    assert_eq!(old.unacked_event().await.number(), 2);
    old.ping().await;

    let mut new = Client::connect(world.at(), Link::WebSocket, &connect).await;
    assert!(new.connack.present);
    assert_eq!(old.ended().await.code(), Some(0x8E));
    let again = new.event().await;
    assert_eq!((again.number(), again.dup), (2, true));
}

#[tokio::test]
async fn i7_qos_0_is_live_only() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mut device = Client::connect(world.at(), Link::Tcp, &Connect::v311("glance", &token)).await;
    device.subscribe(INBOX, 0).await;
    texts(&world, 1, 2).await;
    let events = device.events(2).await;
    assert_gapless(&events, 1);
    assert!(events.iter().all(|event| event.packet_id == 0));
}

#[tokio::test]
async fn i7_msgpack_has_the_same_fields() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let packed = Connect::v5("packed", &token).user_property("format", "msgpack");
    let mut packed = world.device(Link::Tcp, &packed, "alice").await;
    let mut plain = world.device(Link::Tcp, &Connect::v5("plain", &token), "alice").await;
    texts(&world, 1, 1).await;
    let (in_msgpack, in_json) = (packed.message().await, plain.message().await);
    let content_type = |message: &tests::mqtt::Publish| {
        message.properties.text(tests::mqtt::id::CONTENT_TYPE).map(str::to_owned)
    };
    assert_eq!(content_type(&in_msgpack).as_deref(), Some("application/msgpack"));
    assert_eq!(content_type(&in_json).as_deref(), Some("application/json"));
    let unpacked: serde_json::Value = rmp_serde::from_slice(&in_msgpack.payload).expect("MessagePack");
    let read: serde_json::Value = serde_json::from_slice(&in_json.payload).expect("JSON");
    assert_eq!(unpacked, read);
}
