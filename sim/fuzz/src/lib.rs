//! P8, P9. Mutated packets, sessions and WebSocket frames against the protocol, from a seed: whatever comes, nothing but
//! that one connection ends, and what a client that keeps the rules was told stays true.
//!
//! ```text
//!  corpus + seed ─▶ mutate ─▶ packets   bytes ↔ packets, both versions, against the limits
//!                          ─▶ sessions  the session machine, a store and a client by the standard, and their judge
//!                          ─▶ frames    the WebSocket transport of a real broker, in memory, and a model of RFC 6455
//! ```
//! A finding is a seed: each case has one of its own, so that any of ten million is replayed alone. The same against the
//! real binary over sockets is `tests/tests/flow/anything.rs`. Not here: the store's crashes (`sim/world`).

pub mod corpus;
pub mod frames;
pub mod live;
pub mod memory;
pub mod mutate;
pub mod packets;
pub mod sessions;

/// What a case found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Finding(pub String);

impl Finding {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Seed of a case: neighbours shall have nothing in common.
#[must_use]
pub const fn seed_of(target: u64, case: u64) -> u64 {
    (case ^ target.rotate_left(56)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Runs a case and takes its panic for a finding.
///
/// # Errors
/// [`Finding`].
pub fn guarded(case: impl FnOnce() -> Result<(), Finding>) -> Result<(), Finding> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
        Err(Finding::new(format!("a panic: {words}")))
    })
}
