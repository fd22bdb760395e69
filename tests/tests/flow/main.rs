//! The flow, from a webhook to a device and back, on the real binary. Names carry the tags of docs/ARCHITECTURE.md.
//!
//! Each test has a server, a simulator and a folder of its own, so all of them run at once. Not here: what needs a
//! crash in the middle (`crash`) or the order of system calls (`durability`).

mod anything;
mod clients;
mod exactly_once;
mod general_topics;
mod inbound_i1_i8;
mod isolation;
mod operations;
mod outbound_o1_o10;
mod refusals;
mod retained;
mod sessions_i7_i8;
mod shares;
mod sync_s1_s4;
mod wills;
