//! P8, P9. Mutated connections against the real binary, over TCP and WebSocket: whatever comes, nothing but that one
//! connection ends; afterwards a good client is served and memory is what it was.
//!
//! How many: `INBOXD_FUZZ_LIVE`, default [`CONNECTIONS`]. What is sent is `sim/fuzz`'s, from the same seeds each time.

use std::net::SocketAddr;
use std::sync::Arc;

use fuzz::{corpus, live, memory};
use tests::deadline::within;
use tests::mqtt::{Client, Connect, Link};
use tests::token::Token;
use tests::world::{ACME, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Of an ordinary run.
const CONNECTIONS: u64 = 600;
const VARIABLE: &str = "INBOXD_FUZZ_LIVE";
/// At once.
const AT_ONCE: u64 = 16;
/// Memory is looked at first after this part of the connections, when caches and threads' buffers are there.
const WARM_PART: u64 = 5;
/// It may grow by so much from there on: what the store keeps in memory of sessions, retained topics and rows that these
/// clients made is bounded by its own caches (64 MiB) and the topics of the corpus.
const GROWTH_BYTES_MAX: u64 = 96 << 20;

/// Sends all of it and takes what comes until the server has closed. True where it was let in, as far as one can see.
async fn connection(to: SocketAddr, bytes: Vec<u8>) -> u64 {
    let mut stream = within("connect", TcpStream::connect(to)).await.expect("the server accepts");
    let (mut reading, mut writing) = stream.split();
    let send = async {
        // It may have closed before it has read all of it.
        let _ = writing.write_all(&bytes).await;
        let _ = writing.shutdown().await;
    };
    let mut got = Vec::new();
    let take = async {
        // A reset is an end as well.
        let _ = reading.read_to_end(&mut got).await;
    };
    within("the end of a mutated connection", async { tokio::join!(send, take) }).await;
    got.len() as u64
}

#[tokio::test]
async fn p8_p9_whatever_comes_a_good_client_is_served_afterwards() {
    let connections = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().expect("a number of connections"),
        Err(_) => CONNECTIONS,
    };
    let world = World::start().await;
    let at = world.at();
    let corpus = Arc::new(corpus::packets());
    let token = Token::of(ACME, "alice").acl(&["#"], &["#"]).sign();
    let (mut answered, mut packets, mut warm) = (0, 0, None);
    let mut case = 0;
    while case < connections {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let made = live::case(&corpus, &token, case);
            packets += made.packets;
            running.spawn(connection(if made.websocket { at.http } else { at.mqtt }, made.bytes));
            case += 1;
        }
        while let Some(bytes) = running.join_next().await {
            answered += u64::from(bytes.expect("a connection does not panic") > 0);
        }
        if warm.is_none() && case >= connections / WARM_PART {
            warm = Some(memory::resident_bytes(Some(world.server.process())));
        }
    }
    let (warm, now) = (warm.unwrap_or(0), memory::resident_bytes(Some(world.server.process())));
    eprintln!("{case} connections, {packets} packets, {answered} answered; {warm} → {now} bytes resident");
    assert!(answered > connections / 2, "most are let in: {answered}");
    assert!(now <= warm + GROWTH_BYTES_MAX, "memory has grown from {warm} to {now} bytes");
    for link in [Link::Tcp, Link::WebSocket] {
        let mut good = Client::connect(at, link, &Connect::v5("good", &token)).await;
        good.subscribe("good/+", 1).await;
        assert_eq!(good.publish("good/x", "still here").await.code, 0);
        let came = good.message().await;
        assert_eq!((&*came.topic, &*came.payload), ("good/x", &b"still here"[..]));
    }
}
