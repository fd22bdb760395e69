//! Who may write: one row per shard, taken, kept and left by conditional statements.
//!
//! Nobody compares clocks. An owner moves `beat` every second; who wants the lease watches, by its own clock, whether
//! `beat` stands still for [`LEASE`]. Taking it raises `fence`; that alone locks the old owner out, because every
//! commit is conditional on the fence (`log`): the time only says when taking over is polite.

use std::time::Duration;

use tokio::time::Instant;

use super::session::{Cql, CqlError, cql};

/// Between two signs of life.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// An owner without a sign of life for so long has lost its lease: others may take it, and it must not serve reads.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// Between two looks at another's lease.
const POLL: Duration = Duration::from_millis(200);

/// A lease that is held.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) shard: i8,
    pub(super) fence: i64,
    pub(super) owner: String,
    /// The oldest slice of the log that is kept.
    pub(super) first_slice: i64,
}

struct Seen {
    fence: i64,
    owner: Option<String>,
    beat: i64,
    first_slice: i64,
}

async fn read(db: &Cql, shard: i8) -> Result<Option<Seen>, CqlError> {
    let rows = db.run(&db.lease.read, (shard,)).await?.into_rows_result().map_err(cql)?;
    let row = rows.maybe_first_row::<(i64, Option<String>, i64, i64)>().map_err(cql)?;
    Ok(row.map(|(fence, owner, beat, first_slice)| Seen { fence, owner, beat, first_slice }))
}

/// Why there is no lease.
pub(super) enum TakeError {
    /// This owner lives.
    InUse(String),
    /// The database cannot be asked.
    Cql(CqlError),
}

impl From<CqlError> for TakeError {
    fn from(error: CqlError) -> Self {
        Self::Cql(error)
    }
}

/// Takes the lease: at once where it is free, else when its owner has shown no sign of life for [`LEASE`]. One that
/// lives is waited for: it may be about to leave (a restart).
///
/// # Errors
/// Another owner lives and has not left after `wait`; or the database cannot be asked.
pub(super) async fn take(db: &Cql, shard: i8, owner: &str, wait: Duration) -> Result<Lease, TakeError> {
    let deadline = Instant::now() + wait;
    let mut watched: Option<(i64, i64, Instant)> = None;
    let mut lives = false;
    loop {
        let Some(seen) = read(db, shard).await? else {
            // Whether this one was applied is seen by reading: also where its answer was lost.
            let _ = db.conditionally(&db.lease.create, (shard, owner)).await;
            if let Some(lease) = held(db, shard, owner).await? {
                return Ok(lease);
            }
            continue;
        };
        let still = match watched {
            Some((fence, beat, since)) if (fence, beat) == (seen.fence, seen.beat) => {
                since.elapsed() >= LEASE
            }
            before => {
                lives |= before.is_some();
                watched = Some((seen.fence, seen.beat, Instant::now()));
                false
            }
        };
        if seen.owner.is_none() || still {
            let values = (seen.fence + 1, owner, shard, seen.fence, seen.beat);
            let _ = db.conditionally(&db.lease.take, values).await;
            if let Some(lease) = held(db, shard, owner).await? {
                tracing::info!(fence = lease.fence, shard, "lease taken");
                return Ok(lease);
            }
            watched = None; // somebody was faster
        }
        if lives && Instant::now() >= deadline {
            let owner = seen.owner.unwrap_or_default();
            return Err(TakeError::InUse(format!("{owner}, fence {}", seen.fence)));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn held(db: &Cql, shard: i8, owner: &str) -> Result<Option<Lease>, CqlError> {
    Ok(read(db, shard).await?.filter(|seen| seen.owner.as_deref() == Some(owner)).map(|seen| Lease {
        shard,
        fence: seen.fence,
        owner: owner.to_owned(),
        first_slice: seen.first_slice,
    }))
}

/// A sign of life; false where the lease is another's. An unknown outcome is an error, and the next beat tells.
pub(super) async fn beat(db: &Cql, lease: &Lease, beat: i64, first_slice: i64) -> Result<bool, CqlError> {
    let values = (beat, first_slice, lease.shard, lease.fence, lease.owner.as_str());
    db.conditionally(&db.lease.beat, values).await
}

/// Leaves in order.
pub(super) async fn release(db: &Cql, lease: &Lease, beat: i64) -> Result<bool, CqlError> {
    let values = (beat, lease.shard, lease.fence, lease.owner.as_str());
    db.conditionally(&db.lease.release, values).await
}
