//! From the log to the rows: plain, idempotent writes, in no order, repeated until they stand.
//!
//! Every row of an entry carries the entry's timestamp, and timestamps rise with the index. So it does not matter when
//! or how often a row is written: a late repeat of an older entry loses to a newer one in the database itself. That is
//! why entries are applied side by side, why a start may replay what is applied already, and why an owner that was
//! locked out does no harm by finishing what it had committed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use scylla::statement::batch::{Batch as CqlBatch, BatchType};
use scylla::value::CqlValue;
use tokio::sync::Semaphore;

use super::layout::{Map, Partition};
use super::log::LogEntry;
use super::session::{Cql, cql};

/// Batches under way at once, over all entries.
pub(super) const BATCHES_AT_ONCE: usize = 64;
/// Rows of one batch; all of one partition, so it is one write there.
const BATCH_ROWS: usize = 64;
/// Bytes of one batch: the servers warn from 5 KiB (Cassandra) or 128 KiB (ScyllaDB) and refuse from 50 KiB or
/// 1 MiB, but count batches of several partitions only.
const BATCH_BYTES: usize = 64 << 10;
/// Before a batch that failed is repeated; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// Longest wait before a repeat.
const RETRY_MAX: Duration = Duration::from_secs(5);

struct Writes {
    batch: CqlBatch,
    values: Vec<Vec<CqlValue>>,
    bytes: usize,
}

/// Applies an entry. Returns when all of it stands, however long the database is away.
pub(super) async fn apply(db: &Cql, map: Map, slots: &Semaphore, entry: &LogEntry) {
    let writes = stream::iter(batches(db, map, entry));
    writes.for_each_concurrent(BATCHES_AT_ONCE, |write| until_it_stands(db, slots, write)).await;
}

async fn until_it_stands(db: &Cql, slots: &Semaphore, write: Writes) {
    let mut wait = RETRY_FIRST;
    loop {
        let error = {
            let Ok(_slot) = slots.acquire().await else { return };
            crate::metrics::count_cql(crate::metrics::Cql::Rows);
            match db.session.batch(&write.batch, &write.values).await.map_err(cql) {
                Ok(_) => return,
                Err(error) => error,
            }
        };
        tracing::warn!(%error, "committed rows cannot be applied yet");
        crate::metrics::count_apply_retry();
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

fn batches(db: &Cql, map: Map, entry: &LogEntry) -> Vec<Writes> {
    let mut open: BTreeMap<Partition, Writes> = BTreeMap::new();
    let mut full = Vec::new();
    for (key, value) in &entry.batch {
        let Some(at) = map.partition(key) else { continue };
        let statements = &db.rows[at.space];
        let mut row = vec![
            CqlValue::TinyInt(at.shard),
            CqlValue::TinyInt(at.kind),
            CqlValue::Blob(at.part.clone()),
            CqlValue::Blob(key[1..].to_vec()),
        ];
        let writes = open.entry(at.clone()).or_insert_with(|| begin(db, entry.timestamp));
        match value {
            Some(value) => {
                row.push(CqlValue::Blob(value.clone()));
                writes.batch.append_statement(statements.put.clone());
            }
            None => writes.batch.append_statement(statements.delete.clone()),
        }
        writes.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        writes.values.push(row);
        if writes.values.len() >= BATCH_ROWS || writes.bytes >= BATCH_BYTES {
            full.extend(open.remove(&at));
        }
    }
    full.extend(open.into_values());
    full
}

fn begin(db: &Cql, timestamp: i64) -> Writes {
    let mut batch = CqlBatch::new(BatchType::Unlogged);
    batch.set_execution_profile_handle(Some(db.writes.clone()));
    batch.set_is_idempotent(true);
    batch.set_timestamp(Some(timestamp));
    Writes { batch, values: Vec::new(), bytes: 0 }
}
