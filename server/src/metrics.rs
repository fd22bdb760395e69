//! Metrics of the binary itself.

use metrics::{describe_gauge, gauge};

const BUILD: &str = "inboxd_build_info";
const CONNECTIONS: &str = "inboxd_server_http_connections";

/// Tells the recorder what they mean, and which build this is.
pub(crate) fn describe() {
    describe_gauge!(BUILD, "1, with the version of this build");
    describe_gauge!(CONNECTIONS, "Open HTTP connections, by listener");
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Counts a connection until it is dropped.
pub(crate) struct Connection(metrics::Gauge);

/// `listener`: one of the two.
pub(crate) fn count_connection(listener: &'static str) -> Connection {
    let open = gauge!(CONNECTIONS, "listener" => listener);
    open.increment(1.0);
    Connection(open)
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
