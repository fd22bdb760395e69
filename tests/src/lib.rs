//! What the tests across crates stand on: the real binary in a folder of its own, the simulator of WhatsApp in this
//! process, a raw MQTT client, an HTTP client, real clients of others.
//!
//! | module | is |
//! |---|---|
//! | [`world`] | a simulator and a server that know each other: where most tests start |
//! | [`server`] | the binary: start, stop, `kill -9`, start again on the same data |
//! | [`store`] | its store: embedded, or a keyspace on a server |
//! | [`cassandra`] | the node beneath it, for tests that kill it |
//! | [`mqtt`] | a client whose every packet is the test's own doing |
//! | [`http`], [`webhooks`] | the API, and WhatsApp's side of the webhook |
//! | [`tls`] | certificates, and clients that believe them |
//! | [`token`] | tokens signed with the secret of the configuration |
//! | [`event`] | inbox events read by the contract's names |
//! | [`clients`] | MQTT.js, paho, mosquitto: run where they are installed, loudly skipped where not |
//! | [`trace`] | system calls of the binary in order, from strace |
//! | [`deadline`] | waiting for things to happen |
//! | [`chance`] | seeded randomness |
//!
//! The tests themselves are in `tests/`: `flow`, `hostile`, `crash`, `durability`. Not here: anything the product does; nothing in
//! this crate is built on the product's own code but the simulator, which is no part of it.

pub mod cassandra;
pub mod chance;
pub mod clients;
pub mod deadline;
pub mod event;
pub mod http;
pub mod metrics;
pub mod mqtt;
pub mod server;
pub mod store;
pub mod tls;
pub mod token;
pub mod trace;
pub mod webhooks;
pub mod world;
