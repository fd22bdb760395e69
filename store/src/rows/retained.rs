//! Retained messages, their room, and how far subscriptions have got them.

use std::sync::Arc;

use schemas::{AccountId, Publication, PublishProperties, QoS, Subscription, ids::hash128};
use serde::{Deserialize, Serialize};

use crate::keys::SessionKey;

/// Table `retained`: the last retained message of a topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RetainedRow {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: bytes::Bytes,
    pub(crate) qos: u8,
    pub(crate) properties: Option<Box<PublishProperties>>,
    /// Number among the account's, rising: what has a higher one than a subscription was published after it.
    pub(crate) n: u64,
    /// Commit time, ms; message expiry counts from here.
    pub(crate) at: u64,
    /// Session of the publisher, for No Local.
    pub(crate) publisher: u128,
}

/// Table `room`: what the retained messages of an account add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomRow {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Number of the newest.
    pub(crate) last: u64,
}

/// Table `replay`: a subscription that has not got all the retained messages it is to get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplayRow {
    pub(crate) subscription: Subscription,
    /// Those up to this number are for it.
    pub(crate) up_to: u64,
    /// Key of the last row looked at; empty at first.
    pub(crate) after: bytes::Bytes,
}

/// What a row costs beside what clients sent.
const ROW_BYTES: usize = 64;

impl RetainedRow {
    pub(crate) fn of(message: &Publication, publisher: SessionKey, n: u64, at: u64) -> Self {
        Self {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            qos: message.qos as u8,
            properties: message.properties.clone(),
            n,
            at,
            publisher: publisher.0,
        }
    }

    /// What it takes of its account's room.
    pub(crate) fn bytes(&self) -> u64 {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let properties = self.properties.as_ref().map_or(0, |p| {
            let users: usize = p.user_properties.iter().map(|(name, value)| name.len() + value.len()).sum();
            let data = p.correlation_data.as_ref().map_or(0, bytes::Bytes::len);
            text(&p.content_type) + text(&p.response_topic) + data + users
        });
        (ROW_BYTES + self.topic.len() + self.payload.len() + properties) as u64
    }

    /// Milliseconds it has waited, and whether its time is over. `[v5:3.3.2-5]`
    pub(crate) fn has_expired(&self, now: u64) -> bool {
        let expiry_s = self.properties.as_ref().and_then(|p| p.message_expiry_s);
        expiry_s.is_some_and(|expiry| now.saturating_sub(self.at) >= u64::from(expiry) * 1_000)
    }

    /// The message as it is to be delivered now: its expiry counted down. `[v5:3.3.2-6]`
    pub(crate) fn message(self, now: u64) -> Publication {
        let waited_s = u32::try_from(now.saturating_sub(self.at) / 1_000).unwrap_or(u32::MAX);
        let mut properties = self.properties;
        if let Some(expiry) = properties.as_mut().and_then(|p| p.message_expiry_s.as_mut()) {
            *expiry = expiry.saturating_sub(waited_s);
        }
        Publication {
            topic: self.topic,
            payload: self.payload,
            qos: QoS::from_bits(self.qos).unwrap_or_default(),
            retain: true,
            properties,
        }
    }
}

/// Owner of the keys of tables `retained` and `room`.
pub(crate) fn account_hash(account: &AccountId) -> u128 {
    hash128("account", &[account.as_str().as_bytes()])
}
