//! The protocol without a runtime: bytes ↔ packet ↔ clause, sessions in one thread under a clock of the test, and
//! whatever bytes may come.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, also in a helper")]

mod answers;
mod anything;
mod authentication;
mod clauses;
mod connect;
mod encoder;
mod exactly_once;
mod limits;
mod order;
mod retained;
mod session;
mod world;
