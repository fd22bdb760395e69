//! Wills.

use schemas::Publication;
use serde::{Deserialize, Serialize};

/// Table `will`: what is published when a session's connection breaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WillRow {
    pub(crate) message: Publication,
    /// Seconds between the end of the connection and the will.
    pub(crate) delay_s: u32,
}
