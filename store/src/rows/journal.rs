//! I3. Webhooks as they came.

use serde::{Deserialize, Serialize};

/// Table `journal`: a webhook's raw body. Kept for `journal_days`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JournalRow {
    /// First byte received, µs.
    pub(crate) received_us: u64,
    /// As signed.
    pub(crate) body: bytes::Bytes,
}

/// Table `progress`: present while a journaled webhook is not worked off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgressRow {
    /// Updates below this index are applied.
    pub(crate) done: u32,
}
