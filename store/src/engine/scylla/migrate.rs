//! Keyspace and tables: migrations by number, safe when several nodes start at once.
//!
//! A migration is a file of statements that may be run twice (`IF NOT EXISTS`). One node runs them, under a lock row
//! that is taken conditionally and ends by itself; what ran is in a ledger. Two nodes that make the *ledger* at the
//! same instant both succeed; the database settles the schema.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::statement::{Consistency, SerialConsistency, Statement};
use tokio::time::Instant;

use super::session::{CqlError, cql};
use crate::error::OpenError;
use crate::url::ScyllaUrl;

/// Number, name, statements.
const MIGRATIONS: [(i32, &str, &str); 1] = [(1, "tables", include_str!("migrations/001_tables.cql"))];
const LEDGER: &str = include_str!("migrations/000_ledger.cql");

/// A lock that its owner left behind ends after this; far above what one migration takes.
const LOCK_SECONDS: i32 = 120;
/// Longest wait for another node's migrations.
const LOCK_WAIT: Duration = Duration::from_secs(180);
/// Between two looks at the lock.
const LOCK_POLL: Duration = Duration::from_millis(250);
/// Attempts to let go of the lock.
const UNLOCK_ATTEMPTS: u32 = 8;
/// DDL waits until all nodes agree.
const DDL_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes the keyspace where there is none.
pub(super) async fn keyspace(session: &Session, url: &ScyllaUrl, dc: &str) -> Result<(), CqlError> {
    if session.get_cluster_state().get_keyspace(&url.keyspace).is_some() {
        return Ok(()); // also where this user may not make one
    }
    let tablets = match url.tablets {
        Some(on) => format!(" AND tablets = {{'enabled': {on}}}"),
        None => String::new(),
    };
    let (name, rf) = (&url.keyspace, url.rf);
    ddl(session, &format!(
        "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {{'class': 'NetworkTopologyStrategy', '{dc}': {rf}}}{tablets}"
    ))
    .await
}

/// Drops the keyspace of a test.
#[cfg(any(test, feature = "conformance"))]
pub(super) async fn drop_keyspace(access: &super::Access) -> Result<(), CqlError> {
    let session = super::session::connect(access).await?;
    ddl(&session, &format!("DROP KEYSPACE IF EXISTS {}", access.url.keyspace)).await
}

/// Runs what has not run yet.
pub(super) async fn run(session: &Session, place: &str) -> Result<(), OpenError> {
    let failed = |error: CqlError| OpenError::Engine { path: place.to_owned(), why: error.0 };
    for statement in statements(LEDGER) {
        ddl(session, &statement).await.map_err(failed)?;
    }
    let newest = MIGRATIONS.last().map_or(0, |(id, ..)| *id);
    let found = newest_run(session).await.map_err(failed)?;
    if found > newest {
        let number = |id| u32::try_from(id).unwrap_or_default();
        return Err(OpenError::Format {
            path: place.to_owned(),
            found: number(found),
            expected: number(newest),
        });
    }
    if found == newest {
        return Ok(());
    }
    let owner = super::process_name();
    lock(session, &owner).await.map_err(failed)?;
    let result = run_locked(session).await;
    unlock(session, &owner).await;
    result.map_err(failed)
}

async fn run_locked(session: &Session) -> Result<(), CqlError> {
    // Read again: another node may have run them while this one waited for the lock.
    let found = newest_run(session).await?;
    for (id, name, text) in MIGRATIONS.iter().filter(|(id, ..)| *id > found) {
        for statement in statements(text) {
            ddl(session, &statement).await?;
        }
        let record = Statement::new("INSERT INTO schema_migrations (id, name) VALUES (?, ?)");
        session.query_unpaged(quorum(record), (*id, *name)).await.map_err(cql)?;
        tracing::info!(id, name, "migration ran");
    }
    Ok(())
}

async fn newest_run(session: &Session) -> Result<i32, CqlError> {
    // A handful of rows, read once at a start.
    let all = quorum(Statement::new("SELECT id FROM schema_migrations"));
    let rows = session.query_unpaged(all, ()).await.map_err(cql)?.into_rows_result().map_err(cql)?;
    let mut newest = 0;
    for row in rows.rows::<(i32,)>().map_err(cql)? {
        newest = newest.max(row.map_err(cql)?.0);
    }
    Ok(newest)
}

async fn lock(session: &Session, owner: &str) -> Result<(), CqlError> {
    let deadline = Instant::now() + LOCK_WAIT;
    let text = format!(
        "INSERT INTO migration_lock (id, owner) VALUES (0, ?) IF NOT EXISTS USING TTL {LOCK_SECONDS}"
    );
    loop {
        // Whether this one was applied is seen by reading: also where its answer was lost.
        let answer = session.query_unpaged(conditional(&text), (owner,)).await;
        if locked_by(session).await?.as_deref() == Some(owner) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            answer.map_err(cql)?;
            return Err(CqlError("another node has been migrating for too long".to_owned()));
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

async fn locked_by(session: &Session) -> Result<Option<String>, CqlError> {
    let mut read = Statement::new("SELECT owner FROM migration_lock WHERE id = 0");
    read.set_consistency(Consistency::LocalSerial);
    let rows = session.query_unpaged(read, ()).await.map_err(cql)?.into_rows_result().map_err(cql)?;
    Ok(rows.maybe_first_row::<(Option<String>,)>().map_err(cql)?.and_then(|(owner,)| owner))
}

/// Every other node would wait for a lock that is left, so it is not left easily.
async fn unlock(session: &Session, owner: &str) {
    let text = "DELETE FROM migration_lock WHERE id = 0 IF owner = ?";
    for _ in 1..UNLOCK_ATTEMPTS {
        if session.query_unpaged(conditional(text), (owner,)).await.is_ok() {
            return;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
    if let Err(error) = session.query_unpaged(conditional(text), (owner,)).await {
        tracing::warn!(%error, "the migration lock was not released; it ends by itself");
    }
}

fn quorum(mut statement: Statement) -> Statement {
    statement.set_consistency(Consistency::LocalQuorum);
    statement
}

fn conditional(text: &str) -> Statement {
    let mut statement = quorum(Statement::new(text));
    statement.set_serial_consistency(Some(SerialConsistency::LocalSerial));
    statement
}

async fn ddl(session: &Session, text: &str) -> Result<(), CqlError> {
    let mut statement = Statement::new(text);
    statement.set_request_timeout(Some(DDL_TIMEOUT));
    session.query_unpaged(statement, ()).await.map(drop).map_err(cql)
}

/// The statements of a file, without its comments.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    code.join("\n").split(';').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_and_may_run_twice() {
        for (index, (id, name, text)) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(*id), Ok(index + 1), "{name}");
            assert!(statements(text).iter().all(|s| s.contains("IF NOT EXISTS")), "{name}");
        }
        assert_eq!(statements(LEDGER).len(), 2);
    }
}
