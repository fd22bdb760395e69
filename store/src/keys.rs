//! Fixed-size names of rows' owners: hashes of the ids that clients see, so that keys are short and of one length.

use schemas::{AccountId, ClientId, Millis, UserId, ids::hash128};

/// A user's inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxKey(pub u128);

impl InboxKey {
    /// The inbox of a user.
    #[must_use]
    pub fn of(account: &AccountId, user: &UserId) -> Self {
        Self(hash128("inbox", &[account.as_str().as_bytes(), user.as_str().as_bytes()]))
    }
}

/// A session: (account, user, client id), so that nobody can take over another user's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u128);

impl SessionKey {
    /// The session of a client.
    /// `[v311:3.1.3-2] [v5:3.1.3-2]`
    #[must_use]
    pub fn of(account: &AccountId, user: &UserId, client: &ClientId) -> Self {
        let parts = [account.as_str().as_bytes(), user.as_str().as_bytes(), client.as_str().as_bytes()];
        Self(hash128("session", &parts))
    }
}

/// A webhook in the journal: commit time and a number, so that the journal is in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub u128);

impl JournalId {
    /// When it was committed.
    #[must_use]
    pub const fn committed_at(self) -> Millis {
        // The time stands in front of commit number and index, as in event ids.
        Millis((self.0 >> 80) as u64)
    }
}

/// Number of shards; fixed when a store is made, because rows are spread by it.
pub const SHARDS: u8 = 64;

/// The shard of a key.
#[must_use]
pub const fn shard_of(key: u128) -> u8 {
    // The keys are hashes already; the top byte is as good as any.
    ((key >> 120) as u8) % SHARDS
}
