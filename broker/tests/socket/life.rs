//! The life of connections and sessions: keep alive, expiry, stopping, slow readers, pipelining.

use std::time::Duration;

use broker::BusKind;

use crate::support::client::{Client, End};
use crate::support::packet::{Connect, V5, V311, puback, publish, subscribe};
use crate::support::{DEADLINE, World};

/// `[v311:3.1.2-24] [v5:3.1.2-22]`: the shortest keep alive, one second, is over after one and a half.
#[tokio::test]
async fn a_silent_client_is_closed() {
    let world = World::start().await;
    for level in [V311, V5] {
        let mut connect = Connect::new(level, "c", &world.acl_token("alice"));
        connect.keep_alive = 1;
        connect.will = Some(("will".to_owned(), b"silent".to_vec(), 1));
        let mut watcher = Client::user(&world, V5, "bob").await;
        watcher.subscribe("will", 1).await;
        let (mut client, _) = Client::connect(&world, &connect).await;
        if level == V5 {
            let farewell = client.next().await;
            assert_eq!((farewell.first, farewell.body[0]), (0xE0, 0x8D));
        }
        assert_eq!(client.ended().await, End::Eof);
        assert_eq!(watcher.published().await.payload, b"silent");
    }
}

/// `[v5:3.1.2-21]`
#[tokio::test]
async fn the_server_may_ask_for_a_shorter_keep_alive() {
    let world = World::start_with(|config| config.limits.keep_alive_max_s = 1, BusKind::Direct).await;
    let mut connect = Connect::new(V5, "c", &world.token("alice"));
    connect.keep_alive = 0;
    let mut client = Client::tcp(world.mqtt, V5).await;
    client.send(&connect.bytes()).await;
    assert!(client.next().await.body.windows(3).any(|w| w == [0x13, 0, 1]));
    assert_eq!(client.next().await.body[0], 0x8D);
}

/// `[v311:U22] [v5:U22]`: no CONNECT, or half of one.
#[tokio::test]
async fn whoever_does_not_connect_is_closed() {
    let world = World::start_with(|config| config.limits.connect_timeout_ms = 50, BusKind::Direct).await;
    let mut silent = Client::tcp(world.mqtt, V5).await;
    let mut half = Client::tcp(world.mqtt, V5).await;
    half.send(&Connect::new(V5, "c", &world.token("alice")).bytes()[..20]).await;
    assert_eq!(silent.ended().await, End::Eof);
    assert_eq!(half.ended().await, End::Eof);
}

/// `[v311:3.1.2-6] [v5:3.1.2-4] [v5:3.1.2-23]`
#[tokio::test]
async fn sessions_end_when_they_should() {
    let world = World::start().await;
    for level in [V311, V5] {
        let token = world.token("alice");
        let name = format!("c{level}");
        let lasting = Connect::persistent(level, &name, &token);
        let clean = Connect::new(level, &name, &token);
        for (connect, present) in [(&lasting, false), (&lasting, true), (&clean, false), (&lasting, false)] {
            let (client, found) = Client::connect(&world, connect).await;
            assert_eq!(found, present);
            client.disconnect().await;
        }
    }
    // DISCONNECT may end a session that would have lasted, and may not let one last that would have ended. [v5:U26]
    let lasting = Connect::persistent(V5, "d", &world.token("alice"));
    let (mut client, _) = Client::connect(&world, &lasting).await;
    client.send(&[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0]).await;
    assert_eq!(client.ended().await, End::Eof);
    assert!(!Client::connect(&world, &lasting).await.1);
    let (mut client, _) = Client::connect(&world, &Connect::new(V5, "e", &world.token("alice"))).await;
    client.send(&[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9]).await;
    assert_eq!(client.next().await.body[0], 0x82);
}

/// CONNECT and what follows in one write.
#[tokio::test]
async fn packets_behind_connect_wait_for_it() {
    let world = World::start().await;
    for level in [V311, V5] {
        let mut client = Client::tcp(world.mqtt, level).await;
        let connect = Connect::new(level, "c", &world.acl_token("alice")).bytes();
        let all =
            [connect, subscribe(level, 1, &[("t", 1)]), publish(level, "t", Some(2), b"x"), vec![0xC0, 0]];
        client.send(&all.concat()).await;
        let mut firsts = Vec::new();
        for _ in 0..5 {
            firsts.push(client.next().await.first >> 4);
        }
        assert_eq!(firsts[0], 2, "CONNACK is first");
        firsts.sort_unstable();
        assert_eq!(firsts, [2, 3, 4, 9, 13]);
    }
}

#[tokio::test]
async fn stopping_tells_everybody() {
    let world = World::start().await;
    let mut five = Client::user(&world, V5, "alice").await;
    let mut old = Client::user(&world, V311, "bob").await;
    let mut ws = Client::ws(world.ws, V5).await;
    ws.send(&Connect::new(V5, "ws", &world.token("carol")).bytes()).await;
    ws.next().await;
    let World { handle, mqtt, .. } = world;
    let stopping = tokio::spawn(handle.shutdown(DEADLINE));
    let farewell = five.next().await;
    assert_eq!((farewell.first, farewell.body[0]), (0xE0, 0x8B));
    assert_eq!(old.ended().await, End::Eof);
    assert_eq!(ws.next().await.body[0], 0x8B);
    assert_eq!(ws.ended().await, End::Code(4007));
    drop((five, old, ws));
    assert_eq!(stopping.await.unwrap(), 0, "all are gone");
    assert!(tokio::net::TcpStream::connect(mqtt).await.is_err());
}

/// Whoever was told and does not close is not waited for as long as there is grace.
#[tokio::test]
async fn stopping_does_not_wait_for_those_who_do_not_close() {
    let world = World::start().await;
    let told = Client::user(&world, V5, "alice").await;
    let mut ws = Client::ws(world.ws, V5).await;
    ws.send(&Connect::new(V5, "ws", &world.token("carol")).bytes()).await;
    ws.next().await;
    // Neither has said anything, nor will it.
    let (silent, half) = (Client::tcp(world.mqtt, V5).await, Client::ws(world.ws, V5).await);
    let World { handle, .. } = world;
    let ended = tokio::time::timeout(DEADLINE, handle.shutdown(Duration::MAX)).await;
    assert_eq!(ended.expect("it ends without them"), 0);
    drop((told, ws, silent, half));
}

/// The store is closed: a publish is not acknowledged, and the connection ends after `store_wait_ms`.
#[tokio::test]
async fn a_store_that_does_not_answer_ends_connections() {
    let world = World::start_with(|config| config.limits.store_wait_ms = 100, BusKind::Direct).await;
    let mut five = Client::user(&world, V5, "alice").await;
    let mut old = Client::user(&world, V311, "bob").await;
    world.store.close().await;
    five.send(&publish(V5, "t", Some(1), b"x")).await;
    let farewell = five.next().await;
    assert_eq!((farewell.first, farewell.body[0]), (0xE0, 0x88), "no PUBACK");
    old.send(&publish(V311, "t", Some(1), b"x")).await;
    assert_eq!(old.ended().await, End::Eof);
    for (level, code) in [(V5, 0x88), (V311, 3)] {
        let mut ws = Client::ws(world.ws, level).await;
        ws.send(&Connect::new(level, "c", &world.token("alice")).bytes()).await;
        assert_eq!(ws.next().await.body[1], code);
        assert_eq!(ws.ended().await, End::Code(4004));
    }
}

/// P8: somebody who does not read holds a cursor, not a queue, and disturbs nobody.
#[tokio::test]
async fn a_slow_reader_disturbs_nobody() {
    let world = World::start_with(|config| config.limits.output_bytes_high = 4 << 10, BusKind::Router).await;
    let mut slow = Client::connect(&world, &Connect::new(V311, "slow", &world.token("bob"))).await.0;
    slow.subscribe("user/bob/inbox", 0).await;
    let mut quick = Client::connect(&world, &Connect::new(V311, "quick", &world.token("bob"))).await.0;
    quick.subscribe("user/bob/inbox", 1).await;
    let mut alice = Client::user(&world, V5, "alice").await;
    let text = "x".repeat(4_000);
    for n in 0..500 {
        assert_eq!(alice.say("alice", "bob", &format!("c{n}"), &text).await, 0);
        let got = quick.published().await;
        assert_eq!(got.json()["seq"], n + 1);
        quick.puback(got.id).await;
    }
    // Two megabytes later it reads, and all of it comes, in order: the log is the queue.
    for n in 0..500 {
        assert_eq!(slow.published().await.json()["seq"], n + 1);
    }
    slow.fence().await;
}

/// Connections are counted while they are there, and not afterwards.
#[tokio::test]
async fn connections_are_counted() {
    let world = World::start().await;
    let one = Client::user(&world, V5, "alice").await;
    let two = Client::user(&world, V311, "bob").await;
    assert_eq!(world.handle.connections(), 2);
    drop(one);
    two.disconnect().await;
    tokio::time::timeout(DEADLINE, async {
        while world.handle.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all are gone");
}

/// `[v311:3.14.4-3] [v5:3.14.4-3]`: whoever says DISCONNECT and comes back before the server has read it has left no will,
/// and what it acknowledged is over. `[v311:4.4.0-1] [v5:4.4.0-1]`
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_comes_back_at_once_had_said_goodbye() {
    const TIMES: usize = 100;
    let world = World::start().await;
    for level in [V311, V5] {
        let mut watcher = Client::user(&world, level, "bob").await;
        watcher.subscribe("will", 0).await;
        let mut connect = Connect::persistent(level, &format!("c{level}"), &world.acl_token("alice"));
        connect.will = Some(("will".to_owned(), b"gone".to_vec(), 0));
        for n in 0..TIMES {
            let (mut client, present) = Client::connect(&world, &connect).await;
            assert_eq!(present, n > 0);
            client.subscribe("t", 1).await;
            let payload = n.to_string();
            assert_eq!(watcher.publish("t", payload.as_bytes()).await, 0);
            let got = client.published().await;
            assert_eq!(got.payload, payload.as_bytes(), "what was acknowledged does not come again");
            client.send(&[&puback(got.id.unwrap())[..], &[0xE0, 0]].concat()).await;
            drop(client);
        }
        watcher.fence().await;
    }
}
