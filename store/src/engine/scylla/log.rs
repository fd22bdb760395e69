//! The commit point: an entry of a shard's log is one conditional batch, refused unless fence and index are ours.
//!
//! ```text
//! slice 7 (sealed)              slice 8
//! fence 3  next 120             fence 3  next 131   ◀─ moved by the batch that writes the entry
//! 100 101 … 119                 120 121 … 130
//! ```
//! An entry above [`BATCH_BYTES`] is written ahead in parts, under the same condition but without moving `next`; nobody
//! reads at or above `next`, so parts without a commit point are nothing, and the next entry writes over them.
//!
//! **An unknown outcome** (a time-out, a connection that broke) is settled by a serial read, which also finishes what a
//! coordinator left half done. If `next` has not moved, the *same* batch is sent again: should the first attempt come
//! through after all, it writes the same rows to the same place, and only one of the two passes the condition.
//! Nobody is told "not committed" while an attempt may still come through, however long the database is away.
//!
//! Not here: what entries mean for the rows (`apply`), when an owner may write (`lease`).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scylla::statement::batch::{Batch as CqlBatch, BatchType};
use scylla::value::CqlValue;
use tokio::time::Instant;

use super::Faults;
use super::lease::Lease;
use super::progress::LogSizes;
use super::session::{Cql, CqlError, cql, was_applied};
use crate::engine::{Batch, record};

/// Bytes of a part of an entry: a row of the log.
const PART_BYTES: usize = 256 << 10;
/// Bytes of entries in one conditional batch. The database refuses mutations above half a commit log segment, 16 MiB.
const BATCH_BYTES: usize = 4 << 20;
/// Longest wait for the log's end at a start.
const TAKE_WAIT: Duration = Duration::from_secs(60);
/// How long an outcome may stay unknown once the process ends: then the next start finds it in the log, or not.
const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// Before asking again.
const SETTLE_POLL: Duration = Duration::from_millis(100);
/// Rows of the log read at once: 4 MiB at most.
const READ_ROWS: i32 = 16;

/// One entry: the changes of a commit, and the timestamp that all of its rows carry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LogEntry {
    pub(super) index: i64,
    pub(super) timestamp: i64,
    pub(super) batch: Batch,
}

/// Why an entry was not committed, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error(
        "another process has taken this store over (fence {found}, ours is {ours}); this one can write no more"
    )]
    Fenced { found: i64, ours: i64 },
    #[error("{0}")]
    Unknown(#[from] CqlError),
}

/// What a slice says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SliceState {
    fence: i64,
    next: i64,
    last_ts: i64,
    sealed: bool,
}

/// For how long an unknown outcome is waited for: for ever, until the process is to end.
#[derive(Default)]
pub(super) struct Patience(Mutex<Option<Instant>>);

impl Patience {
    /// The process is to end.
    pub(super) fn ends(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// The process was to end a while ago.
    pub(super) fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() >= CLOSE_WAIT)
    }
}

/// The end of the log, where its owner writes.
pub(super) struct LogEnd {
    lease: Lease,
    sizes: LogSizes,
    patience: Arc<Patience>,
    slice: i64,
    slice_bytes: usize,
    slice_since: Instant,
    /// Index of the next entry.
    pub(super) next: i64,
    last_ts: i64,
}

async fn read_state(db: &Cql, shard: i8, slice: i64) -> Result<Option<SliceState>, CqlError> {
    let rows = db.run(&db.log.read_state, (shard, slice)).await?.into_rows_result().map_err(cql)?;
    let row = rows.maybe_first_row::<(Option<i64>, Option<i64>, Option<i64>, Option<bool>)>().map_err(cql)?;
    Ok(row.and_then(|(fence, next, last_ts, sealed)| {
        Some(SliceState { fence: fence?, next: next?, last_ts: last_ts?, sealed: sealed.unwrap_or(false) })
    }))
}

/// Takes the end of the log: raises the fence on its last slice, so that whoever wrote there before is refused.
pub(super) async fn take_over(
    db: &Cql,
    lease: &Lease,
    sizes: LogSizes,
    patience: Arc<Patience>,
) -> Result<LogEnd, LogError> {
    let (shard, fence) = (lease.shard, lease.fence);
    let mut slice = lease.first_slice;
    let mut carried = (0, 0);
    let deadline = Instant::now() + TAKE_WAIT;
    loop {
        if Instant::now() >= deadline {
            return Err(CqlError("the log's end cannot be taken".to_owned()).into());
        }
        let Some(state) = read_state(db, shard, slice).await? else {
            if slice == lease.first_slice && slice != 0 {
                return Err(CqlError(format!("slice {slice} of the log is gone")).into());
            }
            let (next, last_ts) = carried;
            let _ = db.conditionally(&db.log.create_slice, (shard, slice, fence, next, last_ts)).await;
            continue;
        };
        if state.fence > fence {
            return Err(LogError::Fenced { found: state.fence, ours: fence });
        }
        if state.sealed {
            carried = (state.next, state.last_ts);
            slice += 1;
            continue;
        }
        if state.fence == fence {
            return Ok(LogEnd {
                lease: lease.clone(),
                sizes,
                patience,
                slice,
                slice_bytes: 0,
                slice_since: Instant::now(),
                next: state.next,
                last_ts: state.last_ts,
            });
        }
        // Its outcome is seen by reading again, which the loop does.
        let _ = db.conditionally(&db.log.raise, (fence, shard, slice, fence)).await;
    }
}

/// The slices that are there.
#[cfg(any(test, feature = "conformance"))]
pub(super) async fn slices(access: &super::Access) -> Result<Vec<i64>, CqlError> {
    let session = super::session::connect(access).await?;
    let text = format!("SELECT DISTINCT shard, slice FROM {}.shard_log", access.url.keyspace);
    let rows = session.query_unpaged(text, ()).await.map_err(cql)?.into_rows_result().map_err(cql)?;
    let rows = rows.rows::<(i8, i64)>().map_err(cql)?;
    let mut slices =
        rows.map(|row| row.map(|(_, slice)| slice)).collect::<Result<Vec<_>, _>>().map_err(cql)?;
    slices.sort_unstable();
    Ok(slices)
}

/// Reads entries of a log from one on, in the slices that are kept, to its end.
pub(super) struct LogReader {
    shard: i8,
    slice: i64,
    last_slice: i64,
    /// The first entry that is not there yet.
    end: i64,
    after: (i64, i32),
    assembly: Assembly,
}

impl LogReader {
    pub(super) fn new(log: &LogEnd, from: i64) -> Self {
        Self {
            shard: log.lease.shard,
            slice: log.lease.first_slice,
            last_slice: log.slice,
            end: log.next,
            after: (from, -1),
            assembly: Assembly { index: from, data: Vec::new(), parts: 0 },
        }
    }

    /// Some more entries, possibly none of a page; `None` at the end.
    pub(super) async fn next(&mut self, db: &Cql) -> Result<Option<Vec<LogEntry>>, CqlError> {
        if self.slice > self.last_slice || self.assembly.index >= self.end {
            return match self.assembly.index {
                index if index < self.end => {
                    Err(CqlError(format!("entry {index} of the log is missing or not whole")))
                }
                _ => Ok(None),
            };
        }
        let values = (self.shard, self.slice, self.after.0, self.after.1, READ_ROWS);
        let rows = db.run(&db.log.read_entries, values).await?.into_rows_result().map_err(cql)?;
        let mut entries = Vec::new();
        let mut read = 0;
        for row in rows.rows::<(i64, i32, i32, i64, Vec<u8>)>().map_err(cql)? {
            let (index, part, count, timestamp, data) = row.map_err(cql)?;
            read += 1;
            self.after = (index, part);
            if index < self.end
                && let Some(data) = self.assembly.add(index, part, count, data)?
            {
                entries.push(LogEntry { index, timestamp, batch: record::decode(&data).map_err(cql)? });
            }
        }
        if read < READ_ROWS {
            // Parts without a commit point, left by an owner that ended, may stand at the end of a slice.
            self.assembly.restart();
            self.slice += 1;
            self.after = (self.assembly.index, -1);
        }
        Ok(Some(entries))
    }
}

/// Entries put together from their parts, in order.
struct Assembly {
    /// The entry that is due.
    index: i64,
    data: Vec<u8>,
    parts: i32,
}

impl Assembly {
    fn restart(&mut self) {
        self.data.clear();
        self.parts = 0;
    }

    /// The whole entry with its last part. What stands behind an entry's last part is left of an earlier attempt.
    fn add(&mut self, index: i64, part: i32, count: i32, data: Vec<u8>) -> Result<Option<Vec<u8>>, CqlError> {
        if index < self.index {
            return Ok(None);
        }
        if index != self.index || part != self.parts {
            return Err(CqlError(format!("entry {} of the log is not whole", self.index)));
        }
        self.data.extend(data);
        self.parts += 1;
        if self.parts < count {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.data);
        (self.index, self.parts) = (self.index + 1, 0);
        Ok(Some(whole))
    }
}

impl LogEnd {
    /// The slice that is written.
    pub(super) fn slice(&self) -> i64 {
        self.slice
    }

    /// Commits an entry: when this returns, it is in the log for good. `now` is microseconds since the Unix epoch.
    pub(super) async fn append(
        &mut self,
        db: &Cql,
        batch: Batch,
        now: i64,
        faults: &Faults,
    ) -> Result<LogEntry, LogError> {
        if self.slice_bytes >= self.sizes.slice_bytes || self.slice_since.elapsed() >= self.sizes.slice_time {
            self.roll(db).await?;
        }
        // Rises with the index whatever the clock does; far from it only while the clock was set back.
        let timestamp = now.max(self.last_ts + 1);
        let changes: Vec<_> = batch.iter().collect();
        let data = record::encode(&changes);
        let parts: Vec<&[u8]> = data.chunks(PART_BYTES).collect();
        let ahead = parts.len().saturating_sub(BATCH_BYTES / PART_BYTES);
        let count = i32::try_from(parts.len()).map_err(cql)?;
        let parts: Vec<(i32, &[u8])> = (0..count).zip(parts).collect();
        for chunk in parts[..ahead].chunks(BATCH_BYTES / PART_BYTES) {
            self.decide(db, chunk, count, timestamp, false, faults).await?;
        }
        self.decide(db, &parts[ahead..], count, timestamp, true, faults).await?;
        self.slice_bytes += data.len();
        self.last_ts = timestamp;
        let index = self.next;
        self.next += 1;
        Ok(LogEntry { index, timestamp, batch })
    }

    /// Sends a batch until it is known to stand, or to be another owner's turn.
    async fn decide(
        &self,
        db: &Cql,
        parts: &[(i32, &[u8])],
        count: i32,
        timestamp: i64,
        commits: bool,
        faults: &Faults,
    ) -> Result<(), LogError> {
        let (batch, values) = self.batch(db, parts, count, timestamp, commits);
        loop {
            crate::metrics::count_cql(crate::metrics::Cql::Conditional);
            let sent = async { was_applied(db.session.batch(&batch, &values).await.map_err(cql)?) };
            let answer = faults.lose(commits, sent).await;
            match &answer {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the outcome of a commit is unknown and is being settled")
                }
            }
            match self.settle(db).await? {
                // Someone moved it by one under our fence: only we could.
                next if commits && next == self.next + 1 => return Ok(()),
                next if next != self.next => {
                    return Err(CqlError(format!("the log is at {next}, not at {}", self.next)).into());
                }
                _ if self.patience.is_over() => {
                    return Err(CqlError("the database does not take the commit".to_owned()).into());
                }
                _ => tokio::time::sleep(SETTLE_POLL).await,
            }
        }
    }

    /// Where the log stands, read at serial consistency. An error where it is another's, or nobody answers and this
    /// process is to end.
    async fn settle(&self, db: &Cql) -> Result<i64, LogError> {
        let ours = self.lease.fence;
        loop {
            match read_state(db, self.lease.shard, self.slice).await {
                Ok(Some(state)) if state.fence == ours => return Ok(state.next),
                Ok(Some(state)) => return Err(LogError::Fenced { found: state.fence, ours }),
                Ok(None) => return Err(CqlError("the slice of the log is gone".to_owned()).into()),
                Err(error) if self.patience.is_over() => return Err(error.into()),
                Err(_) => tokio::time::sleep(SETTLE_POLL).await,
            }
        }
    }

    fn batch(
        &self,
        db: &Cql,
        parts: &[(i32, &[u8])],
        count: i32,
        timestamp: i64,
        commits: bool,
    ) -> (CqlBatch, Vec<Vec<CqlValue>>) {
        let (shard, slice, next) = (self.lease.shard, self.slice, self.next);
        let mut batch = CqlBatch::new(BatchType::Unlogged);
        batch.set_execution_profile_handle(Some(db.conditional.clone()));
        batch.set_is_idempotent(false);
        let place = [CqlValue::TinyInt(shard), CqlValue::BigInt(slice)];
        let condition = [CqlValue::BigInt(self.lease.fence), CqlValue::BigInt(next)];
        let mut first = if commits {
            batch.append_statement(db.log.advance.clone());
            vec![CqlValue::BigInt(next + 1), CqlValue::BigInt(timestamp)]
        } else {
            batch.append_statement(db.log.hold.clone());
            vec![CqlValue::BigInt(next)]
        };
        first.extend(place.iter().chain(&condition).cloned());
        let mut values = vec![first];
        for (part, data) in parts {
            batch.append_statement(db.log.insert_part.clone());
            let mut row = place.to_vec();
            row.extend([
                CqlValue::BigInt(next),
                CqlValue::Int(*part),
                CqlValue::Int(count),
                CqlValue::BigInt(timestamp),
                CqlValue::Blob(data.to_vec()),
            ]);
            values.push(row);
        }
        (batch, values)
    }

    /// Goes on in a new slice, which carries fence and index over.
    async fn roll(&mut self, db: &Cql) -> Result<(), LogError> {
        let (shard, fence) = (self.lease.shard, self.lease.fence);
        // Sealing twice is sealing; its outcome is read.
        loop {
            let _ = db.conditionally(&db.log.seal, (shard, self.slice, fence, self.next)).await;
            self.settle(db).await?;
            match read_state(db, shard, self.slice).await {
                Ok(Some(state)) if state.sealed => break,
                _ if self.patience.is_over() => {
                    return Err(CqlError("a slice of the log cannot be ended".to_owned()).into());
                }
                _ => tokio::time::sleep(SETTLE_POLL).await,
            }
        }
        let slice = self.slice + 1;
        loop {
            let values = (shard, slice, fence, self.next, self.last_ts);
            let _ = db.conditionally(&db.log.create_slice, values).await;
            match read_state(db, shard, slice).await {
                Ok(Some(state)) if state.fence == fence => break,
                Ok(Some(state)) => return Err(LogError::Fenced { found: state.fence, ours: fence }),
                _ if self.patience.is_over() => {
                    return Err(CqlError("a slice of the log cannot be begun".to_owned()).into());
                }
                _ => tokio::time::sleep(SETTLE_POLL).await,
            }
        }
        tracing::debug!(slice, next = self.next, "a slice of the log begins");
        (self.slice, self.slice_bytes, self.slice_since) = (slice, 0, Instant::now());
        Ok(())
    }
}

impl Faults {
    /// Tests: loses an answer after the statement ran, or the statement itself.
    async fn lose(
        &self,
        commits: bool,
        sent: impl Future<Output = Result<bool, CqlError>>,
    ) -> Result<bool, CqlError> {
        let lost = || Err(CqlError("injected: no answer".to_owned()));
        if commits
            && self
                .lose_requests
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok()
        {
            return lost();
        }
        let answer = sent.await;
        if commits
            && self
                .lose_answers
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok()
        {
            return lost();
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_put_together_and_leftovers_skipped() {
        let mut assembly = Assembly { index: 4, data: Vec::new(), parts: 0 };
        assert_eq!(assembly.add(3, 0, 1, vec![9]).unwrap(), None, "applied long ago");
        assert_eq!(assembly.add(4, 0, 2, vec![1]).unwrap(), None);
        assert_eq!(assembly.add(4, 1, 2, vec![2]).unwrap(), Some(vec![1, 2]));
        assert_eq!(assembly.add(4, 2, 9, vec![7]).unwrap(), None, "left of a larger attempt");
        assert_eq!(assembly.add(5, 0, 1, vec![3]).unwrap(), Some(vec![3]));
        assert!(assembly.add(6, 1, 2, vec![3]).is_err(), "its first part is missing");
        assert!(assembly.add(7, 0, 1, vec![3]).is_err(), "entry 6 is missing");
    }
}
