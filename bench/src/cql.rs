//! What a message costs on a cluster: requests and CPU of the database, beside plain inserts of the very same rows.
//!
//! One small node on this machine, so the ratio is what says something. Not here: the embedded store (`load` alone).

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use store::engine::scylla::{Access, drop_keyspace, open};

use crate::Error;
use crate::load::{self, Kind};

/// Producers of the rounds.
const PRODUCERS: [usize; 3] = [1, 16, 256];
/// Plain inserts under way at once: as many as the engine applies.
const AT_ONCE: usize = 64;
/// Tables that hold rows; all have one shape.
const TABLES: [&str; 7] = ["messages", "inbox", "queue", "activity", "journal", "lookup", "shard_rows"];
/// `USER_HZ` of Linux: /proc counts CPU in these.
const TICKS_PER_SECOND: f64 = 100.0;

type Row = (i8, i8, Vec<u8>, Vec<u8>, Vec<u8>);

pub(crate) fn run(server: Option<String>, process: Option<OsString>) -> Result<(), Error> {
    let (Some(server), Some(process)) = (server, process.and_then(|pid| pid.into_string().ok())) else {
        return Err("bench cql scylla://HOST:PORT PID".into());
    };
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        println!(
            "| what | producers | per second | p50 ms | p99 ms | rows | entries of the log | batches of rows | reads | database CPU µs |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        // The first warms the database's compiler up and is not shown.
        round(&server, &process, &metrics, PRODUCERS[2], false).await?;
        for producers in PRODUCERS {
            round(&server, &process, &metrics, producers, true).await?;
        }
        Ok(())
    })
}

/// A round of messages in a keyspace of its own, then the rows that it left as plain inserts.
async fn round(
    server: &str,
    process: &str,
    metrics: &PrometheusHandle,
    producers: usize,
    shown: bool,
) -> Result<(), Error> {
    let name = format!("bench{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let access = Access::new(format!("{}/{name}?rf=1", server.trim_end_matches('/')).parse()?);
    let (opening, clock) = (access.clone(), Arc::new(load::now));
    let store = tokio::task::spawn_blocking(move || {
        open(opening, load::settings().unwrap_or_else(|e| panic!("{e}")), clock)
    })
    .await??;
    let sessions = load::prepare(&*store).await?;
    let (counts, cpu) = (Counts::now(metrics), cpu_of(process)?);
    let measured = load::on(store, sessions, Kind::Webhook, producers).await?;
    let (counts, cpu) = (Counts::now(metrics).since(&counts), cpu_of(process)?.saturating_sub(cpu));
    let messages = measured.appends.max(1) as f64;
    if shown {
        println!(
            "| messages | {producers} | {:.0} | {:.1} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} | {:.0} |",
            messages / measured.elapsed.as_secs_f64(),
            measured.p50.as_secs_f64() * 1e3,
            measured.p99.as_secs_f64() * 1e3,
            counts.changed / messages,
            counts.conditional / messages,
            counts.rows / messages,
            counts.reads / messages,
            cpu.as_secs_f64() * 1e6 / messages,
        );
    }
    let session = connect(server, &name).await?;
    let rows = read(&session).await?;
    session.query_unpaged(format!("CREATE TABLE {name}.plain (shard tinyint, kind tinyint, part blob, key blob, value blob, PRIMARY KEY ((shard, kind, part), key))"), ()).await?;
    let per_message = counts.changed / messages;
    let (began, cpu) = (Instant::now(), cpu_of(process)?);
    let count = insert(&session, &name, rows).await?;
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), cpu_of(process)?.saturating_sub(cpu));
    if shown {
        let per_row = cpu.as_secs_f64() * 1e6 / count.max(1) as f64;
        println!(
            "| the rows left of them, inserted plainly | {AT_ONCE} | {:.0} rows | | | {per_message:.1} | | | | {:.0} ({per_row:.0} a row) |",
            count as f64 / elapsed,
            per_row * counts.changed / messages,
        );
    }
    drop(session);
    tokio::task::spawn_blocking(move || drop_keyspace(&access)).await??;
    Ok(())
}

async fn connect(server: &str, keyspace: &str) -> Result<Session, Error> {
    let host = server.strip_prefix("scylla://").ok_or("the server is scylla://HOST:PORT")?;
    let session = SessionBuilder::new().known_node(host.trim_end_matches('/')).build().await?;
    session.use_keyspace(keyspace, false).await?;
    Ok(session)
}

/// All rows of the store.
async fn read(session: &Session) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for table in TABLES {
        let text = format!("SELECT shard, kind, part, key, value FROM {table}");
        let mut found = session.query_iter(text, ()).await?.rows_stream::<Row>()?;
        while let Some(row) = found.try_next().await? {
            rows.push(row);
        }
    }
    Ok(rows)
}

async fn insert(session: &Session, keyspace: &str, rows: Vec<Row>) -> Result<usize, Error> {
    let text = format!("INSERT INTO {keyspace}.plain (shard, kind, part, key, value) VALUES (?, ?, ?, ?, ?)");
    let mut put = session.prepare(text).await?;
    put.set_consistency(Consistency::LocalQuorum);
    let (count, put) = (rows.len(), &put);
    let inserts = stream::iter(rows).map(Ok::<Row, Error>);
    inserts
        .try_for_each_concurrent(AT_ONCE, |row| async move {
            session.execute_unpaged(put, row).await?;
            Ok(())
        })
        .await?;
    Ok(count)
}

/// The engine's counters.
struct Counts {
    reads: f64,
    conditional: f64,
    rows: f64,
    /// Rows that commits changed.
    changed: f64,
}

impl Counts {
    fn now(metrics: &PrometheusHandle) -> Self {
        let text = metrics.render();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        let kind = |kind: &str| value(&format!("inboxd_store_cql_total{{kind=\"{kind}\"}}"));
        Self {
            reads: kind("read"),
            conditional: kind("conditional"),
            rows: kind("rows"),
            changed: value("inboxd_store_commit_rows_sum"),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            conditional: self.conditional - before.conditional,
            rows: self.rows - before.rows,
            changed: self.changed - before.changed,
        }
    }
}

/// CPU that a process has used: user and system, from /proc/PID/stat.
fn cpu_of(process: &str) -> Result<Duration, Error> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold blanks; fields are counted from behind it, and utime and stime are the 14th and 15th of all.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}
