//! Metrics of the binary itself.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const BUILD: &str = "inboxd_build_info";
const CONNECTIONS: &str = "inboxd_server_http_connections";
const TLS_RELOADS: &str = "inboxd_server_tls_reloads_total";

const OK: &str = "ok";
const FAILED: &str = "failed";

/// Tells the recorder what they mean, and which build this is.
pub(crate) fn describe() {
    describe_gauge!(BUILD, "1, with the version of this build");
    describe_gauge!(CONNECTIONS, "Open HTTP connections, by listener");
    describe_counter!(TLS_RELOADS, "Times that changed certificates were read, by outcome");
    for outcome in [OK, FAILED] {
        counter!(TLS_RELOADS, "outcome" => outcome).increment(0);
    }
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Changed certificates were read.
pub(crate) fn count_tls_reload(ok: bool) {
    counter!(TLS_RELOADS, "outcome" => if ok { OK } else { FAILED }).increment(1);
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
