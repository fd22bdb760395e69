//! Persons outside, and how they are found: by BSUID, parent BSUID or phone.

use schemas::{AccountId, Contact, ContactId, ids::hash128};
use serde::{Deserialize, Serialize};

/// Table `contact`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContactRow {
    pub(crate) account: String,
    pub(crate) name: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) parent_user_id: Option<String>,
    pub(crate) username: Option<String>,
}

impl ContactRow {
    /// As clients see it.
    pub(crate) fn contact(&self, id: ContactId) -> Contact {
        let name = [&self.name, &self.username, &self.phone, &self.user_id].into_iter().flatten().next();
        Contact {
            id,
            name: name.cloned().unwrap_or_else(|| id.to_string()),
            phone: self.phone.clone(),
            user_id: self.user_id.clone(),
            username: self.username.clone(),
        }
    }
}

/// Which kind of identity; the names are part of hashes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityKind {
    UserId,
    ParentUserId,
    Phone,
}

impl IdentityKind {
    const fn label(self) -> &'static str {
        match self {
            Self::UserId => "bsuid",
            Self::ParentUserId => "parent",
            Self::Phone => "phone",
        }
    }
}

/// Key of table `identity`.
pub(crate) fn identity_hash(account: &AccountId, kind: IdentityKind, value: &str) -> u128 {
    hash128(kind.label(), &[account.as_str().as_bytes(), value.as_bytes()])
}
