//! One file per group of routes.

pub(crate) mod command;
pub(crate) mod read;
pub(crate) mod sync;
