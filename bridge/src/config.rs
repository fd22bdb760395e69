//! Plain values that the bridge is started with; read from files by `server`.
//!
//! Not here: defaults of the product's configuration file.

use std::fmt;

use schemas::NumberId;

/// A secret text: kept out of logs and debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// As it stands in its file, without the trailing newline.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: only for where it is used.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What happens to a send whose fate stays unknown for `unknown_after_ms` (P6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// It stays visible as unknown: at most once.
    #[default]
    Hold,
    /// It is sent again: at least once.
    Resend,
}

/// A business number.
#[derive(Clone, Debug)]
pub struct NumberConfig {
    /// Meta's `phone_number_id`.
    pub id: NumberId,
    /// Token of the Graph API.
    pub access_token: Secret,
    /// Secret of the app that tells of this number, where it is not the common one. Then the common one does not
    /// speak for this number, nor this one for others.
    pub app_secret: Option<Secret>,
    /// See [`OnUnknown`].
    pub on_unknown: OnUnknown,
    /// How long an attempt may stay unknown and hold back what follows for the same person, in milliseconds.
    pub unknown_after_ms: u64,
}

/// What the bridge is started with.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Base of the Graph API, with version and without a trailing slash.
    pub graph_url: String,
    /// What Meta must say in `hub.verify_token`.
    pub verify_token: Secret,
    /// Secrets of the apps that tell of all numbers without one of their own; several while one replaces another.
    pub app_secrets: Vec<Secret>,
    /// All business numbers.
    pub numbers: Vec<NumberConfig>,
}
