//! The broker over real sockets, with the model store behind it: both versions, TCP and WebSocket.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, also in a helper")]

mod deep;
mod exactly_once;
mod exchange;
mod general;
mod inbox;
mod life;
mod refusals;
mod shared;
mod statuses;
mod support;
mod websocket;
