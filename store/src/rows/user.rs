//! Users that have an inbox.

use schemas::{AccountId, Seq, UserId};
use serde::{Deserialize, Serialize};

/// Table `user`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    pub(crate) account: AccountId,
    pub(crate) user: UserId,
    /// One of those meant by `agents = "all"`.
    pub(crate) agent: bool,
    /// No event of the inbox stands below this number. Where retention removed much, an engine finds the first row only by
    /// walking over what is gone: a read of 100 events took 66 ms above 900,000 that were.
    #[serde(default)]
    pub(crate) oldest: Seq,
}
