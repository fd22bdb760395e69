//! The store of the binary under test: embedded, or a keyspace of its own on the server that [`STORE_VARIABLE`] names.
//!
//! Not here: what a store promises (the tests say that, and say it alike for both).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Statement;

use crate::deadline::DEADLINE;

/// `scylla://host:port`, without a keyspace: the tests then run on that server. Absent: on the embedded store.
pub const STORE_VARIABLE: &str = "INBOXD_TEST_STORE";

/// A keyspace that no other test has; dropped with this, because a small server has no room for many.
pub struct Keyspace {
    server: String,
    name: String,
}

impl Keyspace {
    /// A name for one, where the tests run on a server; `inboxd` makes it.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let server = std::env::var(STORE_VARIABLE).ok().filter(|server| !server.is_empty())?;
        let server = server.trim_end_matches('/').to_owned();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let name = format!("t{}_{}_{number}", since.as_millis(), std::process::id());
        Some(Self { server, name })
    }

    /// The section of the configuration.
    #[must_use]
    pub fn section(&self) -> String {
        format!("[store]\nurl = \"{}\"\n", self.url(&self.server))
    }

    /// The address of this keyspace by way of another address of the server.
    #[must_use]
    pub fn url(&self, server: &str) -> String {
        format!("{server}/{}?rf=1&slots=1", self.name)
    }

    /// The server's `host:port`.
    ///
    /// # Panics
    /// If the variable holds something else than an address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.server.strip_prefix("scylla://").expect("the store's address is scylla://host:port")
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let (host, name) = (self.host().to_owned(), self.name.clone());
        // The test's own runtime must not be blocked by itself, nor waited for.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let session =
                    SessionBuilder::new().known_node(host).build().await.map_err(|e| e.to_string())?;
                let mut statement = Statement::new(format!("DROP KEYSPACE IF EXISTS {name}"));
                statement.set_request_timeout(Some(DEADLINE));
                session.query_unpaged(statement, ()).await.map(drop).map_err(|e| e.to_string())
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("keyspace {} is left: {error}", self.name);
        }
    }
}
