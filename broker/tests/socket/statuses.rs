//! Statuses (presence) and typing.

use crate::support::World;
use crate::support::client::Client;
use crate::support::packet::{Connect, Published, V5, V311, publish};

fn devices(published: &Published) -> (bool, i64) {
    let status = published.json();
    (status["online"].as_bool().unwrap(), status["devices"].as_i64().unwrap())
}

#[tokio::test]
async fn a_status_is_delivered_as_retained_and_when_it_changes() {
    let world = World::start().await;
    for level in [V311, V5] {
        let watched = format!("watched{level}");
        let topic = format!("user/{watched}/status");
        let mut watcher = Client::user(&world, level, "alice").await;
        assert_eq!(watcher.subscribe(&topic, 1).await, 1);
        let first = watcher.published().await;
        assert_eq!((first.topic.as_str(), first.retain, devices(&first)), (topic.as_str(), true, (false, 0)));
        assert!(first.json()["last_seen"].is_null());
        watcher.puback(first.id).await;
        let bob = Client::user(&world, level, &watched).await;
        let online = watcher.published().await;
        assert_eq!((online.retain, devices(&online)), (true, (true, 1)));
        watcher.puback(online.id).await;
        bob.disconnect().await;
        let offline = watcher.published().await;
        assert_eq!(devices(&offline), (false, 0));
        assert!(offline.json()["last_seen"].is_string());
        watcher.puback(offline.id).await;
        watcher.fence().await;
    }
}

/// `user/+/status` tells of everybody in the account, and of nobody in another.
#[tokio::test]
async fn all_statuses_of_the_account() {
    let world = World::start().await;
    let _bob = Client::user(&world, V5, "bob").await;
    let mut claims = world.claims("eve");
    claims.account = schemas::AccountId::new("other").unwrap();
    let _eve = Client::connect(&world, &Connect::new(V5, "eve", &world.issue(&claims))).await.0;
    let mut alice = Client::user(&world, V5, "alice").await;
    assert_eq!(alice.subscribe("user/+/status", 0).await, 0);
    let mut topics = [alice.published().await.topic, alice.published().await.topic];
    topics.sort();
    assert_eq!(topics, ["user/alice/status", "user/bob/status"]);
}

#[tokio::test]
async fn typing_reaches_the_other_members_only() {
    let world = World::start().await;
    let mut bob = Client::user(&world, V5, "bob").await;
    bob.subscribe("user/bob/signals", 0).await;
    bob.subscribe("user/bob/inbox", 0).await;
    let mut carol = Client::user(&world, V5, "carol").await;
    carol.subscribe("user/carol/signals", 0).await;
    let mut alice = Client::user(&world, V311, "alice").await;
    alice.subscribe("user/alice/signals", 0).await;
    assert_eq!(alice.say("alice", "bob", "c1", "hi").await, 0);
    let conversation = bob.published().await.json()["conversation"].clone();
    let typing = |state: &str| {
        serde_json::json!({"type": "typing", "conversation": conversation, "state": state}).to_string()
    };
    alice.send(&publish(V311, "user/alice/outbox", None, typing("start").as_bytes())).await;
    let got = bob.published().await;
    assert_eq!((got.topic.as_str(), got.retain, got.id), ("user/bob/signals", false, None));
    let signal = got.json();
    assert_eq!((&signal["type"], &signal["by"]), (&"typing".into(), &"alice".into()));
    assert_eq!((&signal["conversation"], &signal["state"]), (&conversation, &"start".into()));
    // Somebody who is not a member is not heard.
    carol.send(&publish(V5, "user/carol/outbox", None, typing("start").as_bytes())).await;
    alice.fence().await;
    carol.fence().await;
    bob.fence().await;
}
