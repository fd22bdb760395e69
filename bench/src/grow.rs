//! A store that grows: what should stay flat, and whether it does.
//!
//! Filled by webhooks of many messages each, in minutes what takes months; once the engine has come to rest from that,
//! writers append and readers read side by side for a while, and the store is closed and opened again: at each size.
//! Last, everything but the newest is given to retention.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use schemas::{AccountId, ConversationId, Millis, Seq, UserId};
use store::engine::embedded::{Sizes, open};
use store::{Asker, InboxKey, MessageRange, Op, OpenError, Store, WebhookOp, commit};

use crate::Error;
use crate::disk::percentile;
use crate::load::{OWNERS, inbound, now, settings};

/// How long is written and read at each size.
const TIME: Duration = Duration::from_secs(3);
/// Producers meanwhile.
const PRODUCERS: usize = 16;
/// Messages of a webhook that fills the store.
const FILL: usize = 100;
/// Webhooks that fill it under way at once.
const FILLING: usize = 8;
/// Events or items of a page.
const PAGE: usize = 100;
/// Longest wait for retention to be through.
const SWEEP_DEADLINE: Duration = Duration::from_secs(1_200);
/// A folder that has not changed for so long is at rest.
const SETTLED: Duration = Duration::from_secs(10);
/// Between two attempts to open a store again: the engine's own threads hold a closed one for a moment.
const LET_GO: Duration = Duration::from_millis(50);
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// Milliseconds between two rounds of retention, and some: the round that was on its way when the days went by looks at
/// the clock of before.
const ROUND_MS: u64 = 11 * 60_000;

/// What is measured at a size; each with its unit.
const COLUMNS: [&str; 9] = [
    "append p50 ms",
    "append p99 ms",
    "inbox page p50 ms",
    "inbox page p99 ms",
    "list page p50 ms",
    "messages page p50 ms",
    "CPU of a start ms",
    "start ms",
    "bytes per message",
];

struct Look {
    messages: usize,
    values: [f64; COLUMNS.len()],
}

/// Looks at a store at each of these sizes.
pub(crate) async fn run(folder: &Path, sizes: &[usize]) -> Result<(), Error> {
    let path = folder.join("grow");
    // Days pass when the bench says so.
    let ahead = Arc::new(AtomicU64::new(0));
    let mut settings = settings()?;
    // Pages are asked for anywhere in the inbox, so it keeps all; messages go in the end as well.
    settings.retention.inbox_max_events = 0;
    settings.retention.messages_days = 365;
    let reopen = || {
        let ahead = ahead.clone();
        let clock: store::Clock = Arc::new(move || Millis(now().0 + ahead.load(Ordering::Relaxed)));
        open(&path, Sizes::default(), settings.clone(), clock)
    };
    let mut store = reopen()?;
    let mut looks = Vec::new();
    let mut filled = 0;
    for size in sizes {
        fill(&store, filled, *size).await?;
        settled(&path).await?;
        filled = *size;
        let [append, inbox, list, page] = side_by_side(&store, *size).await?;
        store.close().await;
        drop(store);
        let bytes = disk_bytes(&path)?;
        let start;
        let cpu;
        (store, start, cpu) = loop {
            let (cpu, started) = (crate::load::cpu_time()?, Instant::now());
            match reopen() {
                Err(OpenError::InUse { .. }) => tokio::time::sleep(LET_GO).await,
                opened => {
                    break (opened?, started.elapsed(), crate::load::cpu_time()?.saturating_sub(cpu));
                }
            }
        };
        let values = [
            ms(percentile(&append, 0.5)),
            ms(percentile(&append, 0.99)),
            ms(percentile(&inbox, 0.5)),
            ms(percentile(&inbox, 0.99)),
            ms(percentile(&list, 0.5)),
            ms(percentile(&page, 0.5)),
            ms(cpu),
            ms(start),
            bytes as f64 / (*size + append.len()) as f64,
        ];
        filled += append.len();
        eprintln!("{size} messages looked at");
        looks.push(Look { messages: *size, values });
    }
    report(&looks);
    let before = disk_bytes(&path)?;
    ahead.store(400 * DAY_MS, Ordering::Relaxed);
    let started = Instant::now();
    swept(&*store, &ahead).await?;
    let took = started.elapsed();
    let after = settled(&path).await?;
    println!(
        "\nretention of all {filled}: {:.1} s, {before} bytes before, {after} after",
        took.as_secs_f64()
    );
    store.close().await;
    Ok(())
}

/// The bytes of a folder, once they have stopped to change.
async fn settled(path: &Path) -> Result<u64, Error> {
    let mut last = disk_bytes(path)?;
    loop {
        tokio::time::sleep(SETTLED).await;
        let bytes = disk_bytes(path)?;
        if bytes == last {
            return Ok(bytes);
        }
        last = bytes;
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn inbox() -> Result<InboxKey, Error> {
    Ok(InboxKey::of(&AccountId::new("acme")?, &UserId::new("alice")?))
}

async fn fill(store: &Arc<dyn Store>, from: usize, to: usize) -> Result<(), Error> {
    let mut under_way = tokio::task::JoinSet::new();
    for first in (from..to).step_by(FILL) {
        if under_way.len() >= FILLING
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
        let updates = (first..(first + FILL).min(to))
            .map(|n| inbound(n % OWNERS, &format!("wamid.fill.{n}")))
            .collect::<Result<Vec<_>, _>>()?;
        let op = Op::Webhook(WebhookOp { body: vec![b' '; FILL * 500].into(), updates, received_us: 0 });
        let store = store.clone();
        under_way.spawn(async move { commit(&*store, op).await.map(drop) });
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

/// Writers and readers for a while; the sorted times of appends, inbox pages, lists and message pages.
async fn side_by_side(store: &Arc<dyn Store>, size: usize) -> Result<[Vec<Duration>; 4], Error> {
    let started = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for producer in 0..PRODUCERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut times = Vec::new();
            while started.elapsed() < TIME {
                let wamid = format!("wamid.{size}.{producer}.{}", times.len());
                let updates = vec![inbound(times.len() % OWNERS, &wamid)?];
                let op = WebhookOp { body: vec![b' '; 700].into(), updates, received_us: 0 };
                let before = Instant::now();
                commit(&*store, Op::Webhook(op)).await?;
                times.push(before.elapsed());
            }
            Ok::<_, Error>(times)
        });
    }
    let [inbox, list, page] = read(&**store, size, started).await?;
    let mut append = Vec::new();
    while let Some(times) = writers.join_next().await {
        append.extend(times??);
    }
    let mut all = [append, inbox, list, page];
    all.iter_mut().for_each(|times| times.sort_unstable());
    Ok(all)
}

async fn read(store: &dyn Store, size: usize, started: Instant) -> Result<[Vec<Duration>; 3], Error> {
    let asker = Asker { account: AccountId::new("acme")?, user: UserId::new("alice")? };
    let inbox = inbox()?;
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let first = store.conversations(asker.clone(), None, PAGE).await?;
    let known: Vec<ConversationId> = first.items.iter().map(|item| item.id).collect();
    if known.is_empty() {
        return Err("the filled store has no conversations".into());
    }
    let mut n: u64 = 1;
    while started.elapsed() < TIME {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let before = Instant::now();
        store.inbox(inbox, Seq((n >> 33) % size as u64), PAGE).await?;
        times[0].push(before.elapsed());
        let before = Instant::now();
        store.conversations(asker.clone(), None, PAGE).await?;
        times[1].push(before.elapsed());
        let of = known[(n >> 33) as usize % known.len()];
        let before = Instant::now();
        store.messages(asker.clone(), of, MessageRange::Newest, PAGE).await?;
        times[2].push(before.elapsed());
    }
    Ok(times)
}

/// Waits until retention has removed every event, and every message but the newest of each conversation. What stands
/// alone (journal, dedupe keys) goes before the messages.
async fn swept(store: &dyn Store, ahead: &AtomicU64) -> Result<(), Error> {
    let asker = Asker { account: AccountId::new("acme")?, user: UserId::new("alice")? };
    let deadline = Instant::now() + SWEEP_DEADLINE;
    while Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let inbox = store.inbox(inbox()?, Seq(0), 1).await?;
        let list = store.conversations(asker.clone(), None, PAGE).await?;
        let mut full = !inbox.events.is_empty();
        for item in list.items {
            let messages = store.messages(asker.clone(), item.id, MessageRange::Newest, 2).await?;
            full |= messages.is_some_and(|page| page.items.len() > 1);
        }
        if !full {
            return Ok(());
        }
        ahead.fetch_add(ROUND_MS, Ordering::Relaxed);
    }
    Err("retention did not come to its end".into())
}

fn disk_bytes(path: &Path) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt as _;
    /// `st_blocks` counts these, whatever the file system's own are. Journals are made long and mostly empty.
    const BLOCK: u64 = 512;
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.blocks() * BLOCK };
    }
    Ok(bytes)
}

/// A table, and the exponent of each column's growth: 0 is flat, 1 grows as the messages do.
fn report(looks: &[Look]) {
    println!("| messages | {} |", COLUMNS.join(" | "));
    println!("|---|{}", "---|".repeat(COLUMNS.len()));
    for look in looks {
        let values: Vec<String> = look.values.iter().map(|value| format!("{value:.2}")).collect();
        println!("| {} | {} |", look.messages, values.join(" | "));
    }
    let exponents: Vec<String> = (0..COLUMNS.len())
        .map(|column| {
            let points = looks.iter().map(|look| (look.messages as f64, look.values[column]));
            format!("{:.2}", exponent(points))
        })
        .collect();
    println!("| exponent | {} |", exponents.join(" | "));
}

/// The slope of a line through the logarithms, by least squares.
fn exponent(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<_> = points.map(|(x, y)| (x.ln(), y.max(f64::MIN_POSITIVE).ln())).collect();
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x / n, sy + y / n));
    let over: f64 = points.iter().map(|(px, py)| (px - x) * (py - y)).sum();
    let under: f64 = points.iter().map(|(px, _)| (px - x).powi(2)).sum();
    over / under
}
