//! Plain values that the routes are made with.

/// Largest command taken, in bytes: a text of 4,096 characters, each written as two `\uXXXX`, has 49,152.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// What the routes are made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Largest body of a POST, in bytes (413 beyond it).
    pub command_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { command_bytes_max: COMMAND_BYTES_MAX }
    }
}
