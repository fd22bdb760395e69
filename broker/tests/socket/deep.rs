//! Topics and filters of as many levels as their 65,535 bytes have room for, and payloads as deeply nested as a packet
//! has: a server that walked them by recursion would be at the end of its stack, and with it everybody's.

use crate::support::World;
use crate::support::client::Client;
use crate::support::packet::{Connect, V5, V311, publish, unsubscribe};

const LEVELS: usize = 30_000;

fn deep(level: &str) -> String {
    vec![level; LEVELS].join("/")
}

/// All match [`deep`] of `a`, but the one of nothing but `/`.
fn filters() -> [String; 7] {
    [
        deep("a"),
        deep("+"),
        deep("a/+").split_at(2 * LEVELS - 1).0.to_owned(),
        format!("{}/#", deep("a")),
        "/".repeat(32_000),
        format!("$share/g/{}", deep("a")),
        format!("$share/g/{}", deep("+")),
    ]
}

/// Copies of a message: one for all of a session's own filters, one of each shared subscription.
const COPIES: usize = 3;

async fn gets(client: &mut Client, topic: &str, payload: &[u8]) {
    for _ in 0..COPIES {
        let got = client.published().await;
        assert!(got.topic == topic, "another topic of {} bytes", got.topic.len());
        assert_eq!(got.payload, payload);
        if got.id.is_some() {
            client.puback(got.id).await;
        }
    }
    client.fence().await;
}

#[tokio::test]
async fn filters_of_thousands_of_levels_are_kept_and_matched_and_removed() {
    let world = World::start().await;
    let mut other = Client::user(&world, V5, "other").await;
    let topic = deep("a");
    for (level, clean) in [(V311, true), (V311, false), (V5, true), (V5, false)] {
        let name = format!("deep-{level}-{clean}");
        let token = world.acl_token(&name);
        let connect = if clean { Connect::new } else { Connect::persistent }(level, &name, &token);
        let (mut client, _) = Client::connect(&world, &connect).await;
        for filter in filters() {
            assert_eq!(client.subscribe(&filter, 1).await, 1);
        }
        assert_eq!(other.publish(&topic, b"stored").await, 0);
        gets(&mut client, &topic, b"stored").await;
        other.send(&publish(V5, &topic, None, b"live")).await;
        gets(&mut client, &topic, b"live").await;
        assert_eq!(other.publish(&"/".repeat(32_000), b"of empty levels").await, 0);
        assert_eq!(client.published().await.payload, b"of empty levels");
        client.disconnect().await;
        let (mut client, present) = Client::connect(&world, &connect).await;
        assert_eq!(present, !clean);
        if present {
            let again = client.published().await;
            client.puback(again.id).await;
            assert_eq!(other.publish(&topic, b"again").await, 0);
            gets(&mut client, &topic, b"again").await;
        }
        for (id, filter) in (100..).zip(filters()) {
            client.send(&unsubscribe(level, id, &filter)).await;
            assert_eq!(client.next().await.first, 0xB0);
        }
        assert_eq!(other.publish(&topic, b"for nobody").await, 0);
        client.fence().await;
        client.disconnect().await;
        other.fence().await;
    }
}

#[tokio::test]
async fn retained_messages_and_wills_may_be_as_deep() {
    let world = World::start().await;
    let topic = deep("a");
    let mut other = Client::user(&world, V5, "other").await;
    let mut keep = publish(V5, &topic, Some(1), b"kept");
    keep[0] |= 1;
    other.send(&keep).await;
    assert_eq!(other.next().await.first, 0x40);
    // A CONNECT has its own, lower limit.
    let dying = "/".repeat(12_000);
    for filter in filters().into_iter().take(4) {
        let mut client = Client::user(&world, V5, "reader").await;
        assert_eq!(client.subscribe(&filter, 0).await, 0);
        assert_eq!(client.published().await.payload, b"kept");
        assert_eq!(client.subscribe(&dying, 0).await, 0);
        let mut connect = Connect::new(V311, "dying", &world.acl_token("dying"));
        connect.will = Some((dying.clone(), b"will".to_vec(), 0));
        drop(Client::connect(&world, &connect).await);
        assert_eq!(client.published().await.payload, b"will");
        client.disconnect().await;
    }
    other.fence().await;
}

#[tokio::test]
async fn commands_nested_without_end_are_refused() {
    let world = World::start().await;
    let mut alice = Client::user(&world, V5, "alice").await;
    for payload in [
        b"{\"x\":".repeat(20_000),
        b"\x81\xA1x".repeat(40_000),
        [b"\x81\xA1x", &[0x91; 100_000][..]].concat(),
    ] {
        assert_eq!(alice.publish("user/alice/outbox", &payload).await, 0x99);
    }
    alice.fence().await;
}
