//! QoS 2 and sessions over `kill -9`: a flow goes on from where it stood, in both directions, and nothing counts twice.

use tests::mqtt::{Client, Connect, Flow, Link, Publish, Version};
use tests::token::Token;
use tests::world::{ACME, World};

/// A token through which inboxd is a general broker.
fn token(user: &str) -> String {
    Token::of(ACME, user).acl(&["#"], &["#"]).sign()
}

async fn connect(world: &World, version: Version, name: &str, link: Link) -> Client {
    Client::connect(world.at(), link, &Connect::new(version, name, &token(name)).kept()).await
}

fn publish(id: u16, dup: bool) -> Publish {
    let topic = "t".to_owned();
    Publish { topic, payload: id.to_string().into_bytes(), qos: 2, dup, id, ..Publish::default() }
}

/// `[v311:4.3.3-2] [v5:4.3.3-8] [v5:4.3.3-10] [v5:4.3.3-12] [v311:4.3.2-2] [v5:4.3.2-4] [v311:4.1.0-1] [v5:4.1.0-1]`: killed
/// before PUBREC reaches the client, before PUBREL, and before PUBCOMP.
#[tokio::test]
async fn what_a_client_publishes_counts_once_over_kills() {
    let mut world = World::start().await;
    for (version, link) in [(Version::V311, Link::Tcp), (Version::V5, Link::WebSocket)] {
        let (reader, writer) = (format!("reader{version:?}"), format!("writer{version:?}"));
        let mut client = connect(&world, version, &reader, link).await;
        client.subscribe("t", 2).await;
        client.disconnect().await;
        // PUBREC may or may not be on its way when the process ends: the client sends again in any case.
        let mut client = connect(&world, version, &writer, link).await;
        client.send(&publish(1, false).packet(version)).await;
        world.crash().await;
        for _ in 0..2 {
            let mut client = connect(&world, version, &writer, link).await;
            client.send(&publish(1, true).packet(version)).await;
            client.flow(Flow::PubRec, 1).await;
            world.crash().await;
        }
        let mut client = connect(&world, version, &writer, link).await;
        client.send(&Flow::PubRel.packet(1)).await;
        client.flow(Flow::PubComp, 1).await;
        world.crash().await;
        // The identifier is free, and stays so: its next message is another one.
        let mut client = connect(&world, version, &writer, link).await;
        client.send(&publish(1, false).packet(version)).await;
        client.flow(Flow::PubRec, 1).await;
        client.send(&publish(2, false).packet(version)).await;
        client.flow(Flow::PubRec, 2).await;

        let mut client = connect(&world, version, &reader, link).await;
        for expected in ["1", "1", "2"] {
            let message = client.message().await;
            assert_eq!((message.qos, String::from_utf8_lossy(&message.payload).as_ref()), (2, expected));
            client.send(&Flow::PubRec.packet(message.id)).await;
            client.flow(Flow::PubRel, message.id).await;
            client.send(&Flow::PubComp.packet(message.id)).await;
        }
        assert_eq!(client.messages_so_far().await, [], "and no more");
        client.disconnect().await;
    }
}

/// `[v311:4.3.3-1] [v5:4.3.3-3] [v5:4.3.3-5] [v5:4.3.3-6] [v311:4.4.0-1] [v5:4.4.0-1] [v311:4.6.0-1] [v5:4.6.0-1]`: killed with
/// one delivery received, one not, one over, and QoS 1 between them.
#[tokio::test]
async fn what_a_client_gets_goes_on_where_it_stood_over_kills() {
    let mut world = World::start().await;
    for (version, link) in [(Version::V311, Link::WebSocket), (Version::V5, Link::Tcp)] {
        let (reader, writer) = (format!("reader{version:?}"), format!("writer{version:?}"));
        let mut client = connect(&world, version, &reader, link).await;
        client.subscribe("t", 2).await;
        let mut sender = connect(&world, version, &writer, Link::Tcp).await;
        for id in 1..=4 {
            if id == 3 {
                assert_eq!(sender.publish("t", "3").await.code, 0);
                continue;
            }
            sender.send(&publish(id, false).packet(version)).await;
            sender.flow(Flow::PubRec, id).await;
        }
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(client.message().await.id);
        }
        // 2 is received; 4 is over, ahead of the others; 1 and 3 are not acknowledged.
        for n in [1, 3] {
            client.send(&Flow::PubRec.packet(ids[n])).await;
            client.flow(Flow::PubRel, ids[n]).await;
        }
        client.send(&Flow::PubComp.packet(ids[3])).await;
        client.ping().await;
        for round in 0..2 {
            world.crash().await;
            let mut client = connect(&world, version, &reader, link).await;
            assert!(client.connack.present);
            client.flow(Flow::PubRel, ids[1]).await;
            let again: Vec<Publish> = vec![client.message().await, client.message().await];
            let told: Vec<_> = again.iter().map(|m| (m.id, m.qos, m.dup)).collect();
            assert_eq!(told, [(ids[0], 2, true), (ids[2], 1, true)], "round {round}");
            if round == 1 {
                client.send(&Flow::PubComp.packet(ids[1])).await;
                client.send(&Flow::PubRec.packet(ids[0])).await;
                client.flow(Flow::PubRel, ids[0]).await;
                client.send(&Flow::PubComp.packet(ids[0])).await;
                client.ack(ids[2]).await;
            }
            assert_eq!(client.messages_so_far().await, []);
        }
        let mut client = connect(&world, version, &reader, link).await;
        assert_eq!(client.messages_so_far().await, [], "all is over");
        client.disconnect().await;
    }
}
