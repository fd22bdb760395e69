//! Room for connections: each costs a file descriptor, and shells give a process 1,024 unless it asks for more.
//!
//! Not here: limits on connections (`config`, `http`, `broker`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but connections: the store's files, listeners, calls to WhatsApp.
const OTHERS: u64 = 1_024;

/// Raises the limit as far as this process may, and says where that is less than `connections` need: beyond it,
/// accepting fails.
pub(crate) fn raise(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    // `None` is no limit at all.
    if let Some(limit) = limit.filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            wanted,
            "fewer files may be open than connections are allowed: raise LimitNOFILE (systemd) or ulimit -Hn, or lower connections_max"
        );
    }
}
