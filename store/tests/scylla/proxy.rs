//! A proxy between the engine and the database that delays, cuts and holds up what goes through it, by a seed or on
//! command; the whole suite through it, and what a silent database does to a store.
//!
//! Not here: a database that is killed (`tests/tests/crash`).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use schemas::Seq;
use store::conformance::Engine;
use store::engine::scylla::{Access, open, verify};
use store::verify::Report;
use store::{Clock, CommitError, InboxKey, Settings, Store, commit};

use crate::{Keyspace, account, event, new_inbox, server, start, texts, user};

/// One piece of so many is cut: part of it goes through, then the connection breaks. About four cuts a case of the suite.
const CUT_ONE_IN: u64 = 1_500;
/// One piece of so many is late.
const LATE_ONE_IN: u64 = 20;
/// By at most so many milliseconds.
const LATE_MS_MAX: u64 = 30;
/// Attempts to open a store through weather, as whoever runs the process would make them.
const OPENS_MAX: u32 = 50;
/// Only a fault takes longer.
const DEADLINE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Chooses the faults; without it the time does.
const SEED_VARIABLE: &str = "INBOXD_TEST_SEED";

fn seed() -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let given = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().expect("a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    // The same for all tests of a process, so that one number names them all.
    let before = SEED.compare_exchange(0, given.unwrap_or(now).max(1), Ordering::SeqCst, Ordering::SeqCst);
    before.unwrap_or_else(|there| there).max(SEED.load(Ordering::SeqCst))
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

#[derive(Default)]
struct Orders {
    /// Pieces are cut and late.
    weather: AtomicBool,
    /// Pieces wait: nothing is lost, nothing comes.
    held: AtomicBool,
    /// No more connections.
    over: AtomicBool,
    cuts: AtomicU32,
}

/// See the module. Its threads end with their connections, and it with this value.
struct Proxy {
    address: SocketAddr,
    orders: Arc<Orders>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn before(server: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (orders, open) = (Arc::new(Orders::default()), Arc::new(Mutex::new(Vec::new())));
        let to = server.strip_prefix("scylla://").expect("an address").trim_end_matches('/').to_owned();
        let (ordered, opened) = (orders.clone(), open.clone());
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (Ok(client), false) = (client, ordered.over.load(Ordering::SeqCst)) else { return };
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let pair = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
                let (Some((up, up_to)), Some((down_to, down)), Some((first, second))) =
                    (pair(), pair(), pair())
                else {
                    return;
                };
                opened.lock().unwrap_or_else(PoisonError::into_inner).extend([first, second]);
                for (way, from, to) in [(0, up, up_to), (1, down, down_to)] {
                    let dice = Dice(seed ^ (number as u64 * 2 + way).wrapping_mul(0xD6E8_FEB8_6659_FD93));
                    let orders = ordered.clone();
                    std::thread::spawn(move || pump(from, to, &orders, dice));
                }
            }
        });
        Self { address, orders, open }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.over.store(true, Ordering::SeqCst);
        self.orders.held.store(false, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // the listener looks at its orders
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Carries one direction of a connection until it ends or is cut.
fn pump(mut from: TcpStream, mut to: TcpStream, orders: &Orders, mut dice: Dice) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        while orders.held.load(Ordering::SeqCst) {
            std::thread::park_timeout(LOOK_AGAIN);
        }
        let mut passes = count;
        if orders.weather.load(Ordering::SeqCst) {
            if dice.below(LATE_ONE_IN) == 0 {
                std::thread::park_timeout(Duration::from_millis(1 + dice.below(LATE_MS_MAX)));
            }
            if dice.below(CUT_ONE_IN) == 0 {
                passes = dice.below(count as u64 + 1) as usize;
                orders.cuts.fetch_add(1, Ordering::SeqCst);
            }
        }
        if count == 0 || to.write_all(&buffer[..passes]).is_err() || passes < count {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A keyspace reached through a proxy.
struct Through {
    /// Made and dropped without the proxy.
    keyspace: Keyspace,
    proxy: Proxy,
    access: Access,
    seed: u64,
}

impl Through {
    fn new(server: &str) -> Self {
        let keyspace = Keyspace::new(server);
        let seed = seed();
        let proxy = Proxy::before(server, seed);
        let mut access = keyspace.0.clone();
        access.url.hosts = vec![proxy.address.to_string()];
        Self { keyspace, proxy, access, seed }
    }

    fn in_weather(server: &str) -> Self {
        let through = Self::new(server);
        through.proxy.orders.weather.store(true, Ordering::SeqCst);
        through
    }

    fn again_and_again<T, E: std::fmt::Display>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> T {
        for _ in 1..OPENS_MAX {
            if let Ok(done) = attempt() {
                return done;
            }
        }
        attempt().unwrap_or_else(|error| panic!("{what}, {SEED_VARIABLE}={}: {error}", self.seed))
    }
}

impl Engine for Through {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        self.again_and_again("open", || open(self.access.clone(), settings.clone(), clock.clone()))
    }

    fn verify(&self) -> Report {
        self.again_and_again("verify", || verify(self.access.clone(), &mut |_, _, _| {}))
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        let cuts = self.proxy.orders.cuts.load(Ordering::SeqCst);
        eprintln!("{}: {cuts} connections cut, {SEED_VARIABLE}={}", self.keyspace.0.url.keyspace, self.seed);
    }
}

/// The suite: as long as two runs without weather, so it has a name to be left out by.
mod weather {
    use super::{Through, server};

    store::conformance_suite!(match server() {
        Some(server) => Through::in_weather(&server),
        None => return,
    });
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        let _ = tokio::time::timeout(LOOK_AGAIN, std::future::pending::<()>()).await;
    }
}

/// P1, P2: no answer and no end of the connection either. What was under way ends well, once; what came meanwhile
/// was refused; what memory holds was readable.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_waited_for() {
    let Some(server) = server() else { return };
    let through = Through::new(&server);
    let store = start(&through.access);
    new_inbox(&*store).await;
    commit(&*store, event("before")).await.expect("the event is committed");
    through.proxy.orders.held.store(true, Ordering::SeqCst);
    let under_way = tokio::spawn({
        let store = store.clone();
        async move { commit(&*store, event("under way")).await }
    });
    until("the store says that it is away", || store.readiness().is_err()).await;
    assert_eq!(store.health(), Ok(()), "a new start would not help");
    let refused = commit(&*store, event("refused")).await.expect_err("nothing is taken");
    assert!(matches!(refused, CommitError::Unavailable(_)) && refused.is_retryable(), "{refused:?}");
    let inbox = InboxKey::of(&account(), &user());
    let hot = store.inbox_hot(inbox, Seq(0), 10).expect("memory holds it");
    assert_eq!(hot.events.len(), 1);
    assert!(store.inbox(inbox, Seq(0), 10).await.expect_err("rows may be old").is_retryable());
    through.proxy.orders.held.store(false, Ordering::SeqCst);
    until("the store is back", || store.readiness().is_ok()).await;
    under_way.await.expect("no panic").expect("it was committed after all");
    commit(&*store, event("after")).await.expect("the event is committed");
    assert_eq!(texts(&*store).await, ["before", "under way", "after"]);
    store.close().await;
    drop(store);
    assert_eq!(through.verify().violations, []);
}
