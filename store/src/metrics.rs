//! What the store tells about itself. Names: docs/contract.md section 7 and docs/operating.md.

use std::time::Duration;

/// Describes the store's metrics; for the recorder's help texts.
pub fn describe() {
    metrics::describe_histogram!(
        "inboxd_store_commit_seconds",
        "Time from planning a commit group to its sync"
    );
    metrics::describe_histogram!("inboxd_store_commit_rows", "Rows changed by a commit group");
    metrics::describe_counter!("inboxd_store_ops_total", "Ops committed");
    metrics::describe_counter!(
        "inboxd_store_apply_retries_total",
        "Committed rows that had to be written again"
    );
    metrics::describe_counter!(
        "inboxd_store_replayed_entries_total",
        "Entries of the log that a start applied again"
    );
    metrics::describe_counter!("inboxd_store_cql_total", "Requests to ScyllaDB");
    for kind in ["read", "conditional", "rows"] {
        metrics::counter!("inboxd_store_cql_total", "kind" => kind).increment(0);
    }
    metrics::describe_gauge!("inboxd_store_free_bytes", "Free space where the store is");
    metrics::describe_gauge!(
        "inboxd_store_commit_running_seconds",
        "How long the present commit takes; 0: there is none"
    );
    metrics::describe_counter!("inboxd_store_swept_rows_total", "Rows that retention removed");
    metrics::describe_histogram!("inboxd_outbound_delivered_seconds", "Time from wamid to delivered");
    // Present from the start, empty.
    for name in
        ["inboxd_store_commit_seconds", "inboxd_store_commit_rows", "inboxd_outbound_delivered_seconds"]
    {
        let _ = metrics::histogram!(name);
    }
    for name in [
        "inboxd_store_ops_total",
        "inboxd_store_apply_retries_total",
        "inboxd_store_replayed_entries_total",
        "inboxd_store_swept_rows_total",
    ] {
        metrics::counter!(name).increment(0);
    }
}

/// A group that was synced.
pub(crate) fn observe_commit(elapsed: Duration, rows: usize, ops: usize) {
    metrics::histogram!("inboxd_store_commit_seconds").record(elapsed.as_secs_f64());
    metrics::histogram!("inboxd_store_commit_rows").record(rows as f64);
    metrics::counter!("inboxd_store_ops_total").increment(ops as u64);
}

/// Free space on the store's disk.
pub(crate) fn set_free_bytes(free: u64) {
    metrics::gauge!("inboxd_store_free_bytes").set(free as f64);
}

/// How long the present commit takes.
pub(crate) fn set_commit_running(elapsed: Duration) {
    metrics::gauge!("inboxd_store_commit_running_seconds").set(elapsed.as_secs_f64());
}

/// A broken promise found in rows.
pub(crate) fn count_violation(id: &'static str) {
    metrics::counter!("inboxd_invariant_violations_total", "id" => id).increment(1);
}

/// Rows removed by a step of retention.
pub(crate) fn count_swept(rows: usize) {
    metrics::counter!("inboxd_store_swept_rows_total").increment(rows as u64);
}

/// Messages that reached a device of their recipient.
pub(crate) fn observe_delivered(after_ms: &[u64]) {
    for millis in after_ms {
        metrics::histogram!("inboxd_outbound_delivered_seconds").record(*millis as f64 / 1000.0);
    }
}

/// A write of committed rows failed and is repeated.
#[cfg(feature = "scylla")]
pub(crate) fn count_apply_retry() {
    metrics::counter!("inboxd_store_apply_retries_total").increment(1);
}

/// A request to the database.
#[cfg(feature = "scylla")]
#[derive(Clone, Copy)]
pub(crate) enum Cql {
    /// A row, or rows of a partition; and the log's and the lease's own.
    Read,
    /// A conditional statement, or a batch with one: an entry of the log, a sign of life.
    Conditional,
    /// A batch of rows of one partition.
    Rows,
}

/// A request to the database.
#[cfg(feature = "scylla")]
pub(crate) fn count_cql(kind: Cql) {
    let kind = match kind {
        Cql::Read => "read",
        Cql::Conditional => "conditional",
        Cql::Rows => "rows",
    };
    metrics::counter!("inboxd_store_cql_total", "kind" => kind).increment(1);
}

/// Entries of the log that a start applied again.
#[cfg(feature = "scylla")]
pub(crate) fn count_replayed(entries: usize) {
    metrics::counter!("inboxd_store_replayed_entries_total").increment(entries as u64);
}
