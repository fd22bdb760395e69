//! O1/I7. What an MQTT PUBLISH carries, independent of the protocol's version and of the codec.
//!
//! The broker's packets are turned into this at its border; the store keeps it; the bus carries it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum QoS {
    /// 0: at most once.
    #[default]
    AtMostOnce = 0,
    /// 1: at least once.
    AtLeastOnce = 1,
    /// 2: exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// From the two bits of the protocol; 3 is malformed.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// The MQTT 5 properties that travel with a message from publisher to subscriber unchanged, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishProperties {
    /// Payload format indicator: true = UTF-8 text.
    pub payload_is_utf8: Option<bool>,
    /// Message expiry interval in seconds as the publisher gave it; counted down from `received_at`.
    pub message_expiry_s: Option<u32>,
    /// Content type.
    pub content_type: Option<String>,
    /// Response topic.
    pub response_topic: Option<String>,
    /// Correlation data.
    pub correlation_data: Option<Bytes>,
    /// User properties, in order, duplicates kept.
    pub user_properties: Vec<(String, String)>,
}

/// A message on a general topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Topic name, checked.
    pub topic: Arc<str>,
    /// Payload.
    pub payload: Bytes,
    /// QoS of the publisher.
    pub qos: QoS,
    /// RETAIN flag of the publisher.
    pub retain: bool,
    /// Properties, where there are any.
    pub properties: Option<Box<PublishProperties>>,
}

/// What a session asked for with one filter of a SUBSCRIBE. 3.1.1 has the defaults in all but filter and QoS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Topic filter, checked; with `$share/…/` where it is shared.
    pub filter: Arc<str>,
    /// Highest QoS to deliver at (as granted).
    pub qos: QoS,
    /// Not to be sent what this client published itself.
    pub no_local: bool,
    /// Keep the publisher's RETAIN flag.
    pub retain_as_published: bool,
    /// 0 send retained, 1 only for a new subscription, 2 never.
    pub retain_handling: u8,
    /// Subscription identifier.
    pub id: Option<u32>,
}
