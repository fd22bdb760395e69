//! What one address, account or session may have, and what it is told.

use tests::mqtt::{Client, Connect, Link, Properties, Refused, Version};
use tests::world::{ACME, GLOBEX, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::free;

async fn refused(world: &World, link: Link, connect: &Connect) -> Refused {
    match Client::try_connect(world.at(), link, connect).await {
        Ok(_) => panic!("let in"),
        Err(refused) => refused,
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_in_every_way() {
    for (limits, label) in [
        ("[limits]\nconnections_per_account = 2\n", "reason=\"account_full\""),
        ("[limits]\nconnections_per_address = 2\n", "reason=\"address_full\""),
    ] {
        let world = World::with("", limits, sim::whatsapp::Faults::default()).await;
        let mut clients = Vec::new();
        for n in 0..2 {
            let connect = Connect::v5(&format!("c{n}"), &free(ACME, "alice"));
            clients.push(Client::connect(world.at(), Link::Tcp, &connect).await);
        }
        let v5 = refused(&world, Link::WebSocket, &Connect::v5("c2", &free(ACME, "alice"))).await;
        assert_eq!((v5.code, v5.ending.websocket), (0x89, Some(4004)), "{limits}");
        let v311 = refused(&world, Link::Tcp, &Connect::v311("c2", &free(ACME, "alice"))).await;
        assert_eq!(v311.code, 3, "{limits}");
        world.wait_for_metric("inboxd_broker_connections_refused_total", &[label], 2.0).await;
        // The same device once more takes its own session over, and is no more than before.
        clients.push(Client::connect(world.at(), Link::Tcp, &Connect::v5("c1", &free(ACME, "alice"))).await);
        assert_eq!(clients[1].ended().await.code(), Some(0x8E));
        // Another account is not concerned, unless it is about the address.
        let other = Connect::v5("o", &free(GLOBEX, "gina"));
        let let_in = Client::try_connect(world.at(), Link::Tcp, &other).await.is_ok();
        assert_eq!(let_in, limits.contains("account"), "{limits}");
        // Who leaves makes room.
        clients.remove(0).disconnect().await;
        tests::deadline::until("room", || async {
            let connect = Connect::v5("c3", &free(ACME, "alice"));
            Client::try_connect(world.at(), Link::Tcp, &connect).await.ok()
        })
        .await;
    }
}

#[tokio::test]
async fn subscriptions_of_a_session_are_limited() {
    let world =
        World::with("", "[limits]\nsubscriptions_per_session = 2\n", sim::whatsapp::Faults::default()).await;
    for (version, refusal) in [(Version::V5, 0x97), (Version::V311, 0x80)] {
        let connect = Connect::new(version, "c", &free(ACME, "alice"));
        let mut client = Client::connect(world.at(), Link::Tcp, &connect).await;
        let codes = client.subscribe_with(&[("a", 1), ("b", 1), ("c", 1)], &Properties::none()).await;
        assert_eq!(codes, [1, 1, refusal]);
        client.unsubscribe("a").await;
        client.subscribe("c", 1).await;
    }
}

/// Says something through a connection whose proxy is trusted, and gives the first bytes of the answer.
async fn behind_proxy(world: &World, header: &[u8], connect: &Connect) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(world.at().mqtt).await.expect("the kernel accepts");
    stream.write_all(&[header, &connect.packet()].concat()).await.expect("sent");
    let mut answer = vec![0; 64];
    let read = tests::deadline::within("an answer", stream.read(&mut answer)).await.unwrap_or(0);
    answer.truncate(read);
    (stream, answer)
}

#[tokio::test]
async fn limits_count_the_address_that_the_proxy_names() {
    let mut world =
        World::stopped("", "[limits]\nconnections_per_address = 1\n", sim::whatsapp::Faults::default()).await;
    world.server.set("INBOXD_LISTEN__TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#);
    world.server.set("INBOXD_LISTEN__PROXY_PROTOCOL", r#"["mqtt"]"#);
    world.start_server().await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 7, 10, 0, 0, 1, 0x10, 0xE1, 0x07, 0x5B]);
    let v1 = b"PROXY TCP4 203.0.113.8 10.0.0.1 4321 1883\r\n";
    let connect = |name: &str| Connect::v311(name, &free(ACME, "alice"));
    let (_first, answer) = behind_proxy(&world, &v2, &connect("a")).await;
    assert_eq!(answer, [0x20, 2, 0, 0]);
    let (_second, answer) = behind_proxy(&world, v1, &connect("b")).await;
    assert_eq!(answer, [0x20, 2, 0, 0], "another client of the same proxy");
    let (_third, answer) = behind_proxy(&world, &v2, &connect("c")).await;
    assert_eq!(answer, [0x20, 2, 0, 3], "a second one from the first address");
    let (_without, answer) = behind_proxy(&world, b"", &connect("d")).await;
    assert!(answer.is_empty(), "a proxy that does not say whose it is: {answer:02x?}");
}
