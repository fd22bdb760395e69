//! Clients that do not read what they get.

use tests::deadline::within;
use tests::mqtt::{Client, Connect, Link, PINGREQ, Publish};
use tests::world::World;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{of_acme, print, resident, waits};

/// What is sent to somebody who does not read, in bytes: far more than sockets and limits hold.
const FLOOD: usize = 256 << 20;
const PAYLOAD: usize = 128 << 10;
/// More than the server may grow by meanwhile: of each slow client at most `output_bytes_max` and a packet; the rest is
/// what the live bus keeps of its newest, buffers of the store and pages of the allocator, whoever reads or not.
const GROWTH_MAX: u64 = 96 << 20;
const LIMITS: &str = "[limits]\nstalled_timeout_ms = 2000\n";

#[tokio::test]
async fn a_reader_that_stops_reading_costs_little_and_is_cut_off() {
    let world = World::with("", LIMITS, sim::whatsapp::Faults::default()).await;
    let mut other = Client::connect(world.at(), Link::Tcp, &Connect::v5("other", &of_acme("bob"))).await;
    let mut writer = Client::connect(world.at(), Link::Tcp, &Connect::v5("writer", &of_acme("bob"))).await;
    // One on each way; neither is read from again.
    let mut stuck = Vec::new();
    for link in [Link::Tcp, Link::WebSocket] {
        let connect = Connect::v5(&format!("{link:?}"), &of_acme("alice")).kept();
        let mut client = Client::connect(world.at(), link, &connect).await;
        client.subscribe("flood/+", 1).await;
        stuck.push(client);
    }
    let before = resident(&world);
    let mut waited = Vec::new();
    for n in 0..FLOOD / PAYLOAD {
        if n % 8 == 0 {
            // Kept for them until they come back.
            assert_eq!(writer.publish("flood/kept", n.to_string()).await.code, 0);
            waited.extend(waits(&mut other, 1).await);
        } else {
            writer.publish_qos0("flood/live", vec![0; PAYLOAD]).await;
        }
    }
    writer.ping().await;
    let grown = resident(&world).saturating_sub(before);
    print("beside two readers that do not read", waited);
    eprintln!("memory: {} KiB more", grown >> 10);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    world.wait_for_metric("inboxd_broker_connections_stalled_total", &[], 2.0).await;
    drop(stuck);
    // What was kept comes, in order and without a gap.
    let connect = Connect::v5("Tcp", &of_acme("alice")).kept();
    let mut back = Client::connect(world.at(), Link::Tcp, &connect).await;
    for n in (0..FLOOD / PAYLOAD).step_by(8) {
        let message = back.message().await;
        assert_eq!(String::from_utf8_lossy(&message.payload), n.to_string());
        back.ack(message.id).await;
    }
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_listen_is_not_answered_for_ever() {
    let world = World::with("", LIMITS, sim::whatsapp::Faults::default()).await;
    let before = resident(&world);
    let mut stream = TcpStream::connect(world.at().mqtt).await.expect("the kernel accepts");
    stream.write_all(&Connect::v5("deaf", &of_acme("alice")).packet()).await.expect("sent");
    let pings = PINGREQ.repeat(64 << 10);
    // Until the server has closed: its socket takes no more once it is not read.
    let asking = async { while stream.write_all(&pings).await.is_ok() {} };
    within("the end of a client that does not listen", asking).await;
    let grown = resident(&world).saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    world.wait_for_metric("inboxd_broker_connections_stalled_total", &[], 1.0).await;
    let mut other = Client::connect(world.at(), Link::Tcp, &Connect::v5("other", &of_acme("bob"))).await;
    let publish = Publish { topic: "a".to_owned(), ..Publish::default() };
    assert_eq!(other.publish_with(publish).await.code & 0x80, 0);
}
