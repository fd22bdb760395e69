//! MQTT 3.1.1 and 5 as a machine: packets, store results and time in; bytes, requests and deadlines out.
//!
//! O1 publish · O4 PUBACK · I7 deliver · I8 cursor. One [`Session`] a connection. No runtime, no I/O, no clock, no
//! randomness, no store: time is an argument ([`Now`]), ids come from the [`Gate`], what is to be stored or read is asked
//! for in an [`Action`] and answered with an [`Answer`] or a page.
//! What goes beyond the standard (inboxes, refusals told there) stands in topics and properties that a client may leave
//! alone. `[v311:7.0.0-2]`
//! Beside it the frames of WebSocket ([`websocket`]), which know nothing of MQTT.
//! Not here: sockets, the store, who is online (`broker`), who may do what (`auth-hook`).
//!
//! ```text
//!   bytes ──▶ codec ──▶ Session ──▶ Output { bytes, actions }
//!   answers, pages, notices, timeouts ──▶┘
//! ```

pub mod codec;
mod io;
mod packet;
pub mod reason;
mod session;
pub mod websocket;

pub use io::{
    Action, Admission, Answer, ChangedFilter, Delivered, Denied, Gate, InboxEvent, InboxPage, Limits,
    LiveMessage, Now, OpenInbox, Opened, Origin, Output, Progress, QueueMessage, QueuePage, Refused, Request,
    Source, SubscribedFilter, Told,
};
pub use packet::{Auth, Connect, Filter, Incoming, Publish, Start, Subscribe, Version, Will};
pub use session::{Cause, Session};
