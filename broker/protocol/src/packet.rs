//! O1/I7. Packets of both MQTT versions in one shape, so that the session has one code path.
//!
//! What the codec made of bytes that came in. What goes out has no types: [`crate::codec::Encoder`] writes it straight
//! into the connection's output. Not here: bytes (`codec`), what a packet leads to (`session`).

use std::num::NonZeroU16;
use std::sync::Arc;

use schemas::{Encoding, Epoch, Publication, QoS};

/// Protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, level 4.
    V311,
    /// MQTT 5, level 5.
    V5,
}

impl Version {
    /// As a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// A packet that a client may send.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// CONNECT
    Connect(Box<Connect>),
    /// PUBLISH
    Publish(Box<Publish>),
    /// PUBACK; a reason of 0x80 or more acknowledges as well. `[v5:4.4.0-2]`
    PubAck(NonZeroU16),
    /// PUBREC
    PubRec {
        /// Packet identifier.
        id: NonZeroU16,
        /// Reason code; 0 in 3.1.1.
        reason: u8,
    },
    /// PUBREL
    PubRel(NonZeroU16),
    /// PUBCOMP
    PubComp(NonZeroU16),
    /// SUBSCRIBE
    Subscribe(Box<Subscribe>),
    /// UNSUBSCRIBE
    Unsubscribe {
        /// Packet identifier.
        id: NonZeroU16,
        /// Filters in order, never none.
        filters: Vec<String>,
    },
    /// PINGREQ
    PingReq,
    /// DISCONNECT
    Disconnect {
        /// Reason code; 0 in 3.1.1.
        reason: u8,
        /// New session expiry interval in seconds.
        expiry_s: Option<u32>,
    },
    /// AUTH
    Auth(Box<Auth>),
}

/// AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Reason code.
    pub reason: u8,
    /// Authentication method.
    pub method: Option<String>,
    /// Authentication data: the token.
    pub data: Option<Vec<u8>>,
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// Version of everything that follows.
    pub version: Version,
    /// Clean session or clean start.
    pub clean: bool,
    /// Keep alive in seconds, 0 = none.
    pub keep_alive_s: u16,
    /// Client id as sent; may be empty.
    pub client_id: String,
    /// Password: the token. Empty and missing are the same to us.
    pub password: Vec<u8>,
    /// What to publish when the connection breaks.
    pub will: Option<Box<Will>>,
    /// Session expiry interval in seconds; of 3.1.1: 0 with clean session, else for ever.
    pub session_expiry_s: u32,
    /// How many unacknowledged messages at QoS 1 and 2 the client takes at once.
    pub receive_max: u16,
    /// Largest packet the client takes, in bytes.
    pub packet_bytes_max: Option<u32>,
    /// Topic aliases the client takes.
    pub topic_alias_max: u16,
    /// May acknowledgements carry reason strings?
    pub problem_info: bool,
    /// Enhanced authentication method.
    pub auth_method: Option<String>,
    /// Enhanced authentication data: the token.
    pub auth_data: Option<Vec<u8>>,
    /// Encoding of inbox events.
    pub encoding: Encoding,
}

/// A will.
#[derive(Clone, Debug, PartialEq)]
pub struct Will {
    /// The message.
    pub message: Publication,
    /// Will delay interval in seconds.
    pub delay_s: u32,
}

/// PUBLISH from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Packet identifier; present at QoS 1 and 2.
    pub id: Option<NonZeroU16>,
    /// Topic alias.
    pub alias: Option<NonZeroU16>,
    /// The message. Its topic is empty where only an alias was sent; its payload is a slice of the read buffer, to be
    /// copied by whoever keeps it.
    pub message: Publication,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// Packet identifier.
    pub id: NonZeroU16,
    /// Subscription identifier.
    pub subscription_id: Option<u32>,
    /// Filters in order, never none.
    pub filters: Vec<Filter>,
    /// User properties `after` and `epoch`.
    pub start: Start,
}

/// Where an inbox subscription shall start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the head.
    #[default]
    Head,
    /// After a number of an epoch (the present one where none is given).
    After(u64, Option<Epoch>),
    /// The properties make no sense.
    Invalid,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The filter; its syntax is not checked yet.
    pub filter: Arc<str>,
    /// Highest QoS asked for.
    pub qos: QoS,
    /// Not one's own messages.
    pub no_local: bool,
    /// Keep the publisher's RETAIN flag.
    pub retain_as_published: bool,
    /// 0 send retained, 1 only for a new subscription, 2 never.
    pub retain_handling: u8,
}
