//! `store_settings`: what is fixed when a store is made: layout version, shards, slots, data centre. One row each,
//! written once by a conditional statement.
//! Statements: as the log's; what was written is read again at LOCAL_SERIAL.

/// The first wins.
pub(crate) const PUT: &str = "INSERT INTO store_settings (name, value) VALUES (?, ?) IF NOT EXISTS";
/// Read at serial consistency.
pub(crate) const READ: &str = "SELECT value FROM store_settings WHERE name = ?";
