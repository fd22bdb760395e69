//! Why the bridge could not be started.

use store::ReadError;

/// Why the bridge could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `graph_url` is no URL, or a token cannot stand in a header.
    #[error("the configuration of WhatsApp is not usable: {0}")]
    Config(String),
    /// The HTTP client could not be made.
    #[error("cannot make the client of the Graph API")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The journal could not be read.
    #[error("cannot read the journal of webhooks")]
    Journal(#[from] ReadError),
}
