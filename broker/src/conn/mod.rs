//! Connections: sockets, one task each, what others have for it.

pub(crate) mod driver;
pub(crate) mod guest;
pub(crate) mod listener;
pub(crate) mod mailbox;
pub mod store_io;
pub(crate) mod transport;
pub(crate) mod upgrade;
mod websocket;
