//! The front door of the real binary, with those in front of it who mean no good, or cannot do better: half-open
//! connections, a byte at a time, readers that stop, storms of publishes. Others must not notice: their slowest waits are
//! printed, and asserted is that they are served and that memory stays within its limits (P8, P9).

mod door;
mod limits;
mod slow;
mod storm;
mod tls;

use std::time::{Duration, Instant};

use tests::mqtt::Client;
use tests::token::Token;
use tests::world::{ACME, World};

/// A token for everything that is not reserved.
fn free(account: &str, user: &str) -> String {
    Token::of(account, user).acl(&["#"], &["#"]).sign()
}

/// The same in the account of most tests.
fn of_acme(user: &str) -> String {
    free(ACME, user)
}

/// Resident memory of the server, in bytes.
fn resident(world: &World) -> u64 {
    let path = format!("/proc/{}/status", world.server.process());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib * 1024
}

/// How long somebody who minds his own business waits for each of his round trips; printed, not judged.
async fn waits(client: &mut Client, rounds: usize) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        let ack = client.publish("elsewhere", "mine").await;
        assert_eq!(ack.code & 0x80, 0);
        waits.push(start.elapsed());
    }
    waits
}

fn print(what: &str, mut waits: Vec<Duration>) {
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    eprintln!("{what}: {} round trips, p50 {:?}, p99 {:?}, most {:?}", waits.len(), at(50), at(99), at(100));
}
