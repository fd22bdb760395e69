//! Connections that never get as far as CONNECT.

use std::time::Instant;

use tests::deadline::{until, within};
use tests::mqtt::{Client, Connect, Link, Version};
use tests::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{of_acme, print, resident};

/// Half-open connections of each kind.
const SILENT: usize = 1_000;
/// More than a server may grow by for each of them (measured: 1 to 2 KiB, of TLS 3).
const BYTES_EACH: u64 = 16 << 10;

#[tokio::test]
async fn a_thousand_half_open_connections_of_each_kind_keep_nobody_out() {
    // Room for three quarters of them: the others have to give way.
    let world = World::secure("[limits]\nhandshakes_max = 1500\n", false).await;
    let before = resident(&world);
    let mut silent = Vec::new();
    for n in 0..2 * SILENT {
        let address = if n % 2 == 0 { world.at().mqtt } else { world.at().mqtts.expect("TLS is on") };
        let mut stream = within("connect", TcpStream::connect(address)).await.expect("the kernel accepts");
        // The first bytes of a CONNECT, of a TLS handshake; and nothing more.
        stream
            .write_all(if n % 2 == 0 { &b"\x10\x20\x00\x04MQ"[..] } else { b"\x16\x03\x01" })
            .await
            .expect("sent");
        silent.push(stream);
    }
    world.wait_for_metric("inboxd_broker_handshakes", &[], 1_499.0).await;
    let mut waits = Vec::new();
    for n in 0..40 {
        let link = [Link::Tcp, Link::Tls, Link::WebSocket][n % 3];
        let start = Instant::now();
        let connect = Connect::new([Version::V311, Version::V5][n % 2], &format!("c{n}"), &of_acme("alice"));
        let mut client = Client::connect(world.at(), link, &connect).await;
        client.subscribe("news", 1).await;
        waits.push(start.elapsed());
    }
    print("connect and subscribe beside 2,000 half-open connections", waits);
    let grown = resident(&world).saturating_sub(before);
    eprintln!("memory: {} KiB more", grown >> 10);
    assert!(grown < 2 * SILENT as u64 * BYTES_EACH, "{grown} bytes");
    world
        .wait_for_metric("inboxd_broker_connections_refused_total", &["reason=\"handshake_evicted\""], 1.0)
        .await;
}

#[tokio::test]
async fn a_byte_at_a_time_ends_at_the_time_for_connect() {
    // [v311:U22] [v5:U22]
    let world = World::secure("[limits]\nhandshake_timeout_ms = 1500\n", false).await;
    let connect = Connect::v5("slow", &of_acme("alice")).packet();
    // A record of a TLS handshake with a ClientHello of 508 bytes.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 32], &[0; 64]].concat();
    for (address, bytes) in [(world.at().mqtt, connect), (world.at().mqtts.expect("TLS is on"), hello)] {
        let mut stream = TcpStream::connect(address).await.expect("the kernel accepts");
        let start = Instant::now();
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(250));
        let dripping = async {
            for byte in bytes {
                tick.tick().await;
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                if let Ok(Ok(0) | Err(_)) =
                    tokio::time::timeout(std::time::Duration::ZERO, stream.read(&mut [0; 16])).await
                {
                    return;
                }
            }
            panic!("all of it was waited for");
        };
        within("the end of a connection that is too slow", dripping).await;
        eprintln!("closed after {:?}", start.elapsed());
    }
    // Nobody else has waited for it.
    Client::connect(world.at(), Link::Tcp, &Connect::v5("quick", &of_acme("alice"))).await;
    until("all handshakes are over", || async {
        (world.metrics().await.count("inboxd_broker_handshakes", &[]) < 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connect_larger_than_it_may_be_is_refused_at_its_first_bytes() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.at().mqtt).await.expect("the kernel accepts");
    // Announces 268,435,455 bytes.
    stream.write_all(b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05").await.expect("sent");
    let mut said = Vec::new();
    within("the end", stream.read_to_end(&mut said)).await.ok();
    assert!(said.len() < 64, "{said:02x?}");
}
