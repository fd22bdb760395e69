//! One model of WhatsApp: what Meta and the customers behind it do, seen from the two wires inboxd has to them.
//! Signed webhooks out (I1, O8), `POST /{phone_number_id}/messages` in (O6).
//!
//! | module | is | pure |
//! |---|---|---|
//! | [`model`] | accepts sends, lets customers write, schedules webhooks, applies faults | yes |
//! | [`faults`] | named probabilities, and exact orders for the next send | yes |
//! | [`envelope`] | builds webhook bodies; other crates' tests use it for fixtures | yes |
//! | [`customers`] | decides when a demo customer writes, and what | yes |
//! | [`sign`] | `X-Hub-Signature-256` | yes |
//! | [`graph_error`] | Meta's error codes and error bodies | yes |
//! | [`rng`] | the one source of chance, seeded | yes |
//! | [`http`] | serves the Graph API, delivers webhooks, control routes under `/_sim/` | no |
//!
//! Pure means: no I/O, no clock, no randomness; `now_ms` (Unix milliseconds) is an argument. The same seed and the same
//! calls give the same bytes.
//!
//! Not modelled: media upload and download, templates' approval and parameters, groups, calls, pricing.

pub mod customers;
pub mod envelope;
pub mod faults;
pub mod graph_error;
pub mod http;
pub mod model;
pub mod rng;
pub mod sign;

pub use customers::CustomersConfig;
pub use envelope::{BusinessNumber, Content, Person};
pub use faults::{Faults, MsRange, Script, ScriptedSend};
pub use http::{Handle, SimConfig, WhatsAppSim};
pub use model::{CustomerAction, Model, ModelConfig, Post};
