//! Names and shapes that cross a border: ids, topics, messages, events, commands, error codes, tokens' claims.
//!
//! Every other room builds on these types, so that a name of the contract (docs/contract.md) is spelled in one
//! place only. Nothing here does I/O, reads a clock or draws a random number, and no crate of ours is used.
//! Not here: how things are stored (`store`), how packets look (`broker-protocol`), who may do what (`auth-hook`).

pub mod claims;
pub mod command;
pub mod error_code;
pub mod event;
pub mod ids;
pub mod invariant;
pub mod message;
pub mod problem;
pub mod publish;
pub mod time;
pub mod topic;
pub mod whatsapp;
pub mod wire;

pub use claims::{Acl, Claims, Role};
pub use command::{Command, CommandBody, CommandError};
pub use error_code::ErrorCode;
pub use event::{Event, EventData};
pub use ids::{
    AccountId, ClientId, CommandId, ContactId, ConversationId, Epoch, EventId, MessageId, NumberId, Pos, Seq,
    UserId, Wamid,
};
pub use message::{Contact, Conversation, Message, Status};
pub use publish::{Publication, PublishProperties, QoS, Subscription};
pub use time::Millis;
pub use wire::Encoding;
