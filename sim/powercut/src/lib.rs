//! A power cut at every sync: one run's file calls are recorded, the data folder is rebuilt as a cut may leave it, and
//! each image is opened with the real store and judged (P1, P2, P4, P5).
//!
//! ```text
//!  program record ──strace──▶ trace ──▶ calls ──▶ disk: what is synced, what waits ──▶ images ──▶ store ──▶ judge
//!    seeded load    (text)    trace.rs  steps.rs  disk.rs, image.rs                              load.rs   judge.rs
//! ```
//! `trace`, `steps`, `disk` and `image` are pure. What a run acknowledged stands in a side file ([`MARKS`]), whose writes
//! are in the trace too: so it is known at every moment what had been promised. `flips` damages single bits instead.
//! A leaf: no product code depends on it. Not here: `kill -9` (`tests/tests/crash`), the order of syncs and network
//! (`tests/tests/durability`).

pub mod campaign;
pub mod disk;
pub mod flips;
pub mod image;
pub mod judge;
pub mod load;
pub mod record;
pub mod steps;
pub mod trace;

/// Beside the store's folder: what the run was told, line by line.
pub const MARKS: &str = "marks";
/// The store's folder in the folder of a run.
pub const STORE: &str = "store";
