//! MQTT sessions and their cursors.

use schemas::{AccountId, ClientId, UserId};
use serde::{Deserialize, Serialize};

/// Table `session`. Written when a connection begins and ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    pub(crate) account: AccountId,
    pub(crate) user: UserId,
    pub(crate) client: ClientId,
    /// Seconds it outlives its connection; `u32::MAX` = for ever.
    pub(crate) expiry_s: u32,
    /// Is a connection on it? After a crash this is still true: see `plan::session::recover`.
    pub(crate) connected: bool,
    /// Number of its latest connection.
    pub(crate) connection: u64,
    /// When the latest connection ended, ms.
    pub(crate) closed_at: u64,
    /// Deliveries up to these numbers may have been sent.
    pub(crate) sent_inbox: u64,
    pub(crate) sent_queue: u64,
    /// QoS of the inbox subscription, where there is one.
    pub(crate) inbox_qos: Option<u8>,
    /// Its row in table `due`, ms; 0: it has none.
    #[serde(default)]
    pub(crate) due: u64,
}

/// Table `cursor`. Rides on commits, so it may lag: what it does not know comes again with DUP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CursorRow {
    pub(crate) inbox: u64,
    pub(crate) queue: u64,
}
