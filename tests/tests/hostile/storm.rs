//! One account publishes as quickly as it can.

use std::time::{Duration, Instant};

use tests::mqtt::{Client, Connect, Link, Publish};
use tests::world::{ACME, GLOBEX, World};

use super::{free, print, resident, waits};

const PUBLISHERS: usize = 16;
/// Publishes of each that wait for their PUBACK.
const WINDOW: usize = 32;
const ROUNDS: usize = 300;

/// Publishes without a pause until told to stop; how many were acknowledged.
async fn storm(world: &World, n: usize, mut stop: tokio::sync::watch::Receiver<bool>) -> usize {
    let connect = Connect::v5(&format!("storm{n}"), &free(GLOBEX, "gina"));
    let mut client = Client::connect(world.at(), Link::Tcp, &connect).await;
    let mut acknowledged = 0;
    let publishing = async {
        loop {
            for _ in 0..WINDOW {
                let payload = vec![0; 200];
                client.start_publish(Publish { topic: "storm".into(), payload, ..Publish::default() }).await;
            }
            for _ in 0..WINDOW {
                client.next().await.expect("PUBACK");
                acknowledged += 1;
            }
        }
    };
    tokio::select! {
        () = publishing => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    acknowledged
}

async fn others_beside_a_storm(limits: &str) -> (usize, Duration) {
    let world = World::with("", limits, sim::whatsapp::Faults::default()).await;
    let mut other = Client::connect(world.at(), Link::Tcp, &Connect::v5("other", &free(ACME, "bob"))).await;
    let mut reader =
        Client::connect(world.at(), Link::Tcp, &Connect::v5("reader", &free(GLOBEX, "gina"))).await;
    // It is subscribed at QoS 1, so that every publish of the storm is stored.
    reader.subscribe("storm", 1).await;
    print("alone", waits(&mut other, ROUNDS).await);
    let before = resident(&world);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let start = Instant::now();
    let storms = (0..PUBLISHERS).map(|n| storm(&world, n, stopped.clone()));
    let (acknowledged, ()) = tokio::join!(futures_util::future::join_all(storms), async {
        let waited = waits(&mut other, ROUNDS).await;
        print(&format!("beside a storm {limits:?}"), waited);
        stop.send_replace(true);
    });
    let took = start.elapsed();
    let sum: usize = acknowledged.iter().sum();
    let grown = resident(&world).saturating_sub(before);
    eprintln!("the storm: {sum} acknowledged in {took:?}; memory: {} KiB more", grown >> 10);
    (sum, took)
}

#[tokio::test]
async fn another_accounts_storm_stops_nobody() {
    let (stored, _) = others_beside_a_storm("").await;
    assert!(stored > PUBLISHERS * WINDOW, "it was no storm: {stored}");
}

#[tokio::test]
async fn an_account_with_a_rate_keeps_to_it_and_loses_nothing() {
    const RATE: usize = 500;
    let (stored, took) = others_beside_a_storm(&format!("[limits]\npublishes_per_account = {RATE}\n")).await;
    // A second's worth at once, and what was read of each connection before it was noticed.
    let seconds = usize::try_from(took.as_secs()).expect("a short time") + 1;
    let most = RATE * (seconds + 1) + PUBLISHERS * WINDOW * 2;
    assert!(stored <= most, "{stored} in {took:?}, {most} allowed");
}
