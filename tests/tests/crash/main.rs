//! The binary is killed in the middle of its work, many times, at moments that a seed chooses; what it acknowledged is
//! there afterwards, once and in order (P1–P4, P6).
//!
//! ```text
//!  customers ──webhooks──▶ ┐             ┌──▶ alice's phone (kept session, inbox)
//!  alice, bob ──commands─▶ ├── inboxd ───┼──▶ keeper (kept session, general topic)
//!  writer ──news/…───────▶ ┘   kill -9   └──▶ WhatsApp's model: counts POSTs
//! ```
//! `load` is what runs until the kill, `ledger` what must be true after it; `database` kills what is beneath the store. Rounds: `INBOXD_CRASH_ROUNDS`, default
//! [`ROUNDS`]; seed: `INBOXD_TEST_SEED`. Not here: power loss, which a process cannot show (`durability`, and the store's
//! own tests, do).

mod database;
mod ledger;
mod load;

use std::time::Duration;

use sim::whatsapp::Faults;
use tests::chance::Chance;
use tests::world::World;

use ledger::Ledger;
use load::Load;

/// Kills of a run that nobody asked for more of.
const ROUNDS: u64 = 3;
const ROUNDS_VARIABLE: &str = "INBOXD_CRASH_ROUNDS";
/// Acknowledgements of all kinds after which a kill may come: from the first on, and into the middle of everything.
const ACKNOWLEDGED: (u64, u64) = (1, 400);
/// Microseconds from that acknowledgement to the kill, so that kills do not only fall where one was just sent.
const LATER_US: (u64, u64) = (0, 10_000);
/// Milliseconds from a start to a kill within its recovery.
const RECOVERY_MS: (u64, u64) = (0, 60);
/// One round in so many is killed again while it recovers.
const KILLED_AGAIN: u64 = 3;
/// A send that a crash left open holds back its person no longer than this.
const UNKNOWN_AFTER: &str = "unknown_after_s = 1";

fn rounds() -> u64 {
    match std::env::var(ROUNDS_VARIABLE) {
        Ok(text) => text.parse().expect("a number of rounds"),
        Err(_) => ROUNDS,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p3_p4_p6_what_was_acknowledged_is_there_once_after_every_kill() {
    let rounds = rounds();
    let mut chance = Chance::from_environment();
    // Meta's patience is not what is tested: what was refused while the server was down comes again soon.
    let faults = Faults { retry_first_ms: 50, ..Faults::default() };
    let mut world = World::with(UNKNOWN_AFTER, "", faults).await;
    let mut ledger = Ledger::new(&world).await;
    for round in 1..=rounds {
        let acknowledged = chance.among(ACKNOWLEDGED.0, ACKNOWLEDGED.1);
        let later = Duration::from_micros(chance.among(LATER_US.0, LATER_US.1));
        eprintln!("round {round} of {rounds}: killed {later:?} after {acknowledged} acknowledgements");
        let load = Load::start(&world, round, &mut ledger).await;
        load.acknowledged(acknowledged).await;
        let _ = tokio::time::timeout(later, std::future::pending::<()>()).await;
        world.server.kill();
        ledger.note(load.ended().await);
        if chance.among(1, KILLED_AGAIN) == 1 {
            let delay = Duration::from_millis(chance.among(RECOVERY_MS.0, RECOVERY_MS.1));
            eprintln!("round {round}: killed again {delay:?} after its start");
            world.server.start_and_kill(delay).await;
        }
        world.start_server().await;
        ledger.check(&world).await;
    }
    ledger.check_sends(&world).await;
    eprintln!("{}", ledger.summary());
}
