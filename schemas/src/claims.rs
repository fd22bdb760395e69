//! What a token says (contract, section 4). Not here: verifying it or deciding by it (`auth-hook`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, UserId};

/// What its bearer may do beyond his own inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers customers.
    #[default]
    Agent,
    /// Agent who also administers the account.
    Admin,
    /// A program of the account.
    Service,
}

/// Topic filters beyond the reserved topics; `{user}`, `{account}`, `{device}` are replaced from the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acl {
    /// Filters that cover the topics it may publish to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Filters that cover the filters it may subscribe to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<String>,
}

/// The claims of a token that verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// User.
    #[serde(rename = "sub")]
    pub user: UserId,
    /// Account.
    #[serde(rename = "acc")]
    pub account: AccountId,
    /// Device: when present, the MQTT client id must equal it. Same characters as a user id.
    #[serde(rename = "dev", default, skip_serializing_if = "Option::is_none")]
    pub device: Option<UserId>,
    /// Role; `agent` when absent.
    #[serde(default)]
    pub role: Role,
    /// Expiry, Unix seconds. Leeway 0.
    pub exp: u64,
    /// Issue time, Unix seconds. Leeway 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// General topics. Shared: most tokens of an account say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Arc<Acl>>,
}
