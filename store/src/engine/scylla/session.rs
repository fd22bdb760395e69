//! The driver's session: nodes, keyspace, and every statement prepared with its consistency, time-out, retry and
//! speculation.
//!
//! | statements | consistency | repeated | time-out |
//! |---|---|---|---|
//! | reads of rows | LOCAL_QUORUM | by the driver, once ahead of time after 100 ms; then five times by `run` within 1.6 s | 10 s |
//! | rows applied | LOCAL_QUORUM | by the driver and by `apply` until they stand: they are idempotent | 10 s |
//! | conditional | LOCAL_QUORUM, LOCAL_SERIAL | never by the driver: an unknown outcome is settled by a serial read | 15 s |
//! | serial reads | LOCAL_SERIAL | as reads of rows, and by those who settle | 15 s |
//!
//! Not here: what the statements are (`tables`).

use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::{DefaultPolicy, LoadBalancingPolicy};
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};

use super::tables::{SPACES, applied, lease, shard_log, store_settings};
use super::tls::Tunnels;
use super::{Access, migrate};
use crate::error::{CommitError, OpenError, ReadError};
use crate::metrics::{self, count_cql};
use crate::url::ScyllaUrl;

/// A node that does not answer a connection by then is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for rows: above the server's own limit (5 s for reads, 2 s for writes in ScyllaDB), so that its answer,
/// which says more, comes first.
const ROWS_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a conditional statement, above the server's own.
const CONDITIONAL_TIMEOUT: Duration = Duration::from_secs(15);
/// A read that takes longer than this is asked of another replica as well.
const SPECULATE_AFTER: Duration = Duration::from_millis(100);

/// Attempts to find a schema that others may be making.
const SCHEMA_ATTEMPTS: u32 = 20;
/// Between two of them.
const SCHEMA_POLL: Duration = Duration::from_millis(250);
/// Before an idempotent statement is repeated; doubled each time …
const REPEAT_FIRST: Duration = Duration::from_millis(50);
/// … and below this: five repeats within 1.6 s, then whoever asked is told.
const REPEAT_END: Duration = Duration::from_millis(1_600);

/// Why the database could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CqlError(pub(super) String);

/// For all of the driver's errors: callers treat them alike.
pub(super) fn cql(error: impl std::fmt::Display) -> CqlError {
    CqlError(error.to_string())
}

impl From<CqlError> for ReadError {
    fn from(error: CqlError) -> Self {
        Self::Unavailable(error.0)
    }
}

impl From<CqlError> for CommitError {
    fn from(error: CqlError) -> Self {
        Self::Unavailable(error.0)
    }
}

/// Statements of one of the tables that hold rows.
pub(super) struct RowStatements {
    pub(super) get: PreparedStatement,
    pub(super) ascending: PreparedStatement,
    pub(super) descending: PreparedStatement,
    pub(super) put: PreparedStatement,
    pub(super) delete: PreparedStatement,
}

/// Statements of the log.
pub(super) struct LogStatements {
    pub(super) read_state: PreparedStatement,
    pub(super) advance: PreparedStatement,
    pub(super) hold: PreparedStatement,
    pub(super) insert_part: PreparedStatement,
    pub(super) create_slice: PreparedStatement,
    pub(super) seal: PreparedStatement,
    pub(super) raise: PreparedStatement,
    pub(super) read_entries: PreparedStatement,
    pub(super) delete_slice: PreparedStatement,
    pub(super) read_applied: PreparedStatement,
    pub(super) write_applied: PreparedStatement,
}

/// Statements of the lease.
pub(super) struct LeaseStatements {
    pub(super) read: PreparedStatement,
    pub(super) create: PreparedStatement,
    pub(super) take: PreparedStatement,
    pub(super) beat: PreparedStatement,
    pub(super) release: PreparedStatement,
}

/// A connected session with everything prepared.
pub(super) struct Cql {
    pub(super) session: Session,
    pub(super) rows: Vec<RowStatements>,
    pub(super) log: LogStatements,
    pub(super) lease: LeaseStatements,
    /// For batches of conditional statements.
    pub(super) conditional: ExecutionProfileHandle,
    /// For batches of rows.
    pub(super) writes: ExecutionProfileHandle,
    /// How many slots the store has.
    pub(super) slots: u16,
}

impl Cql {
    /// Connects, makes keyspace and tables where they are missing, and prepares.
    pub(super) async fn open(access: &Access) -> Result<Self, OpenError> {
        let url = &access.url;
        let place = place(url);
        let failed = |error: CqlError| OpenError::Engine { path: place.clone(), why: error.0 };
        let session = connect(access).await.map_err(failed)?;
        let dc = data_centre(&session, access).map_err(failed)?;
        let mut attempts = 1;
        while let Err(error) = schema(&session, url, &dc, &place).await {
            let again = matches!(error, OpenError::Engine { .. }) && attempts < SCHEMA_ATTEMPTS;
            if !again {
                return Err(error);
            }
            tracing::debug!(%error, "the schema is not there yet");
            attempts += 1;
            tokio::time::sleep(SCHEMA_POLL).await;
        }
        let profiles = Profiles::new(&dc);
        let slots = fixed(&session, &profiles, url, &dc).await.map_err(failed)?;
        Self::prepare(session, &profiles, slots).await.map_err(failed)
    }

    async fn prepare(session: Session, profiles: &Profiles, slots: u16) -> Result<Self, CqlError> {
        let mut rows = Vec::with_capacity(SPACES.len());
        for space in &SPACES {
            let name = space.name;
            let at = "shard = ? AND kind = ? AND part = ?";
            let range = format!("SELECT key, value FROM {name} WHERE {at} AND key >= ? AND key < ?");
            let get = format!("SELECT value FROM {name} WHERE {at} AND key = ?");
            let put = format!("INSERT INTO {name} (shard, kind, part, key, value) VALUES (?, ?, ?, ?, ?)");
            let delete = format!("DELETE FROM {name} WHERE {at} AND key = ?");
            let descending = format!("{range} ORDER BY key DESC LIMIT ?");
            rows.push(RowStatements {
                get: prepare(&session, &get, &profiles.reads, true).await?,
                ascending: prepare(&session, &format!("{range} LIMIT ?"), &profiles.reads, true).await?,
                descending: prepare(&session, &descending, &profiles.reads, true).await?,
                put: prepare(&session, &put, &profiles.writes, true).await?,
                delete: prepare(&session, &delete, &profiles.writes, true).await?,
            });
        }
        let (conditional, serial) = (&profiles.conditional, &profiles.serial);
        let log = LogStatements {
            read_state: prepare(&session, shard_log::READ_STATE, serial, true).await?,
            advance: prepare(&session, shard_log::ADVANCE, conditional, false).await?,
            hold: prepare(&session, shard_log::HOLD, conditional, false).await?,
            insert_part: prepare(&session, shard_log::INSERT_PART, conditional, false).await?,
            create_slice: prepare(&session, shard_log::CREATE_SLICE, conditional, false).await?,
            seal: prepare(&session, shard_log::SEAL, conditional, false).await?,
            raise: prepare(&session, shard_log::RAISE, conditional, false).await?,
            read_entries: prepare(&session, shard_log::READ_ENTRIES, &profiles.reads, true).await?,
            delete_slice: prepare(&session, shard_log::DELETE_SLICE, &profiles.writes, true).await?,
            read_applied: prepare(&session, applied::READ, &profiles.reads, true).await?,
            write_applied: prepare(&session, applied::WRITE, &profiles.writes, true).await?,
        };
        let lease = LeaseStatements {
            read: prepare(&session, lease::READ, serial, true).await?,
            create: prepare(&session, lease::CREATE, conditional, false).await?,
            take: prepare(&session, lease::TAKE, conditional, false).await?,
            beat: prepare(&session, lease::BEAT, conditional, false).await?,
            release: prepare(&session, lease::RELEASE, conditional, false).await?,
        };
        let (conditional, writes) = (profiles.conditional.clone(), profiles.writes.clone());
        Ok(Self { session, rows, log, lease, conditional, writes, slots })
    }

    /// Runs a statement. One that may run twice is repeated where it failed: the driver goes to another node at once,
    /// and there may be none until a connection is made again.
    pub(super) async fn run(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, CqlError> {
        let mut wait = REPEAT_FIRST;
        loop {
            count_cql(if statement.get_is_idempotent() {
                metrics::Cql::Read
            } else {
                metrics::Cql::Conditional
            });
            match self.session.execute_unpaged(statement, &values).await {
                Err(error) if statement.get_is_idempotent() && wait < REPEAT_END => {
                    tracing::debug!(%error, "a statement is repeated");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                done => return done.map_err(cql),
            }
        }
    }

    /// Runs a conditional statement: was it applied?
    pub(super) async fn conditionally(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<bool, CqlError> {
        was_applied(self.run(statement, values).await?)
    }
}

/// Makes keyspace and tables where they are missing. Where others make them at the same moment, what was made a moment
/// ago may not be there yet.
async fn schema(session: &Session, url: &ScyllaUrl, dc: &str, place: &str) -> Result<(), OpenError> {
    let failed = |error: CqlError| OpenError::Engine { path: place.to_owned(), why: error.0 };
    migrate::keyspace(session, url, dc).await.map_err(failed)?;
    session.use_keyspace(&url.keyspace, false).await.map_err(|e| failed(cql(e)))?;
    migrate::run(session, place).await?;
    session.await_schema_agreement().await.map(drop).map_err(|e| failed(cql(e)))
}

/// The place of a store in messages to people.
pub(super) fn place(url: &ScyllaUrl) -> String {
    format!("scylla://{}/{}", url.hosts.join(","), url.keyspace)
}

pub(super) async fn connect(access: &Access) -> Result<Session, CqlError> {
    let mut builder = SessionBuilder::new().connection_timeout(CONNECT_TIMEOUT);
    builder = match &access.tls {
        None => builder.known_nodes(&access.url.hosts),
        Some(tls) => {
            let tunnels = Arc::new(Tunnels::new(tls, &access.url.hosts)?);
            let points = tunnels.contact_points(&access.url.hosts).await?;
            // A shard-aware port chooses by the port one comes from, which a tunnel cannot pass on.
            let builder = builder.known_nodes_addr(points).disallow_shard_aware_port(true);
            builder.address_translator(tunnels)
        }
    };
    if let Some((user, password)) = &access.credentials {
        builder = builder.user(user, password);
    }
    builder.build().await.map_err(cql)
}

/// The configured data centre, or that of the first host.
fn data_centre(session: &Session, access: &Access) -> Result<String, CqlError> {
    let url = &access.url;
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info();
    let known = |dc: &String| nodes.iter().any(|node| node.datacenter.as_ref() == Some(dc));
    if let Some(dc) = &url.dc {
        let missing = || CqlError(format!("no node is in data centre {dc}"));
        return Some(dc.clone()).filter(known).ok_or_else(missing);
    }
    // A name may stand for several addresses, so the first host is compared where it is an address.
    // Behind tunnels all nodes are on the loopback.
    let first = url.hosts.first().filter(|_| access.tls.is_none());
    let first = first.and_then(|host| host.parse::<std::net::SocketAddr>().ok());
    let named = first.and_then(|first| nodes.iter().find(|node| node.address.ip() == first.ip()));
    let mut centres: Vec<&String> = nodes.iter().filter_map(|node| node.datacenter.as_ref()).collect();
    centres.sort_unstable();
    centres.dedup();
    match (named.and_then(|node| node.datacenter.as_ref()), &centres[..]) {
        (Some(dc), _) => Ok(dc.clone()),
        (None, [only]) => Ok((*only).clone()),
        _ => Err(CqlError("the cluster has several data centres: say which with ?dc=".to_owned())),
    }
}

struct Profiles {
    reads: ExecutionProfileHandle,
    writes: ExecutionProfileHandle,
    conditional: ExecutionProfileHandle,
    serial: ExecutionProfileHandle,
}

impl Profiles {
    fn new(dc: &str) -> Self {
        // Another data centre would answer LOCAL_SERIAL with its own truth: better no answer than that.
        let nodes: Arc<dyn LoadBalancingPolicy> = DefaultPolicy::builder()
            .prefer_datacenter(dc.to_owned())
            .token_aware(true)
            .permit_dc_failover(false)
            .build();
        let rows = || {
            ExecutionProfile::builder()
                .consistency(Consistency::LocalQuorum)
                .request_timeout(Some(ROWS_TIMEOUT))
                .retry_policy(Arc::new(DefaultRetryPolicy::new()))
                .load_balancing_policy(nodes.clone())
        };
        let once = || {
            ExecutionProfile::builder()
                .request_timeout(Some(CONDITIONAL_TIMEOUT))
                .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
                .load_balancing_policy(nodes.clone())
                .serial_consistency(Some(SerialConsistency::LocalSerial))
        };
        let ahead = SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval: SPECULATE_AFTER };
        Self {
            reads: rows().speculative_execution_policy(Some(Arc::new(ahead))).build().into_handle(),
            writes: rows().build().into_handle(),
            conditional: once().consistency(Consistency::LocalQuorum).build().into_handle(),
            serial: once().consistency(Consistency::LocalSerial).build().into_handle(),
        }
    }
}

async fn prepare(
    session: &Session,
    text: &str,
    profile: &ExecutionProfileHandle,
    idempotent: bool,
) -> Result<PreparedStatement, CqlError> {
    let mut statement = session.prepare(text).await.map_err(|e| CqlError(format!("{e} ({text})")))?;
    statement.set_execution_profile_handle(Some(profile.clone()));
    statement.set_is_idempotent(idempotent);
    Ok(statement)
}

/// What a conditional statement or batch says. ScyllaDB answers with a row per statement of a batch, and with the old
/// row also where it was applied; Cassandra with one row. Applied means: every row says so.
pub(super) fn was_applied(result: QueryResult) -> Result<bool, CqlError> {
    let rows = result.into_rows_result().map_err(cql)?;
    let mut answers = 0;
    for row in rows.rows::<Row>().map_err(cql)? {
        let row = row.map_err(cql)?;
        answers += 1;
        if !matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))) {
            return Ok(false);
        }
    }
    Ok(answers > 0)
}

/// Layout facts that count from the moment the store is made; what stands there wins over what was asked for.
async fn fixed(session: &Session, profiles: &Profiles, url: &ScyllaUrl, dc: &str) -> Result<u16, CqlError> {
    let facts = Facts {
        session,
        put: prepare(session, store_settings::PUT, &profiles.conditional, false).await?,
        read: prepare(session, store_settings::READ, &profiles.serial, true).await?,
    };
    let shards = facts.settle("shards", &crate::SHARDS.to_string()).await?;
    if shards != crate::SHARDS.to_string() {
        return Err(CqlError(format!("the store has {shards} shards, this program {}", crate::SHARDS)));
    }
    // Conditions are decided by one data centre's replicas: two centres would give two truths.
    let home = facts.settle("dc", dc).await?;
    if home != dc {
        return Err(CqlError(format!("the store's home is data centre {home}, not {dc}")));
    }
    let slots = facts.settle("slots", &url.slots.to_string()).await?;
    slots.parse().map_err(|_| CqlError(format!("the store has {slots} slots")))
}

struct Facts<'a> {
    session: &'a Session,
    put: PreparedStatement,
    read: PreparedStatement,
}

impl Facts<'_> {
    /// The value that stands, after an attempt to be the first to write one.
    async fn settle(&self, name: &str, value: &str) -> Result<String, CqlError> {
        if let Some(value) = self.stored(name).await? {
            return Ok(value);
        }
        self.session.execute_unpaged(&self.put, (name, value)).await.map_err(cql)?;
        self.stored(name).await?.ok_or_else(|| CqlError(format!("setting {name} cannot be written")))
    }

    async fn stored(&self, name: &str) -> Result<Option<String>, CqlError> {
        let rows = self.session.execute_unpaged(&self.read, (name,)).await.map_err(cql)?;
        let rows = rows.into_rows_result().map_err(cql)?;
        Ok(rows.maybe_first_row::<(String,)>().map_err(cql)?.map(|(value,)| value))
    }
}
