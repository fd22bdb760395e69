//! Users that have an inbox.

use schemas::{AccountId, UserId};
use serde::{Deserialize, Serialize};

/// Table `user`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    pub(crate) account: AccountId,
    pub(crate) user: UserId,
    /// One of those meant by `agents = "all"`.
    pub(crate) agent: bool,
}
