//! General messages waiting for a session.

use std::sync::Arc;

use schemas::{AccountId, Millis, Publication, PublishProperties, QoS};
use serde::{Deserialize, Serialize};

use crate::read::QueuedMessage;

/// Table `queue`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueueRow {
    pub(crate) topic: Arc<str>,
    pub(crate) payload: bytes::Bytes,
    pub(crate) qos: u8,
    /// The publisher's RETAIN flag.
    pub(crate) retained: bool,
    /// The RETAIN flag to send.
    pub(crate) retain: bool,
    pub(crate) properties: Option<Box<PublishProperties>>,
    pub(crate) subscription_ids: Vec<u32>,
    /// Commit time, ms.
    pub(crate) at: u64,
    /// Where it came by a shared subscription.
    #[serde(default)]
    pub(crate) share: Option<ShareRow>,
}

/// Which one, and what another member would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShareRow {
    /// `$share/{name}/{filter}`.
    pub(crate) filter: Arc<str>,
    /// The publisher's QoS.
    pub(crate) qos: u8,
}

/// Table `leftover`: messages of an ended session's queue, from the number in the key on, that other members of its
/// shared subscriptions are to get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftoverRow {
    pub(crate) account: AccountId,
    /// The last one.
    pub(crate) last: u64,
    /// Up to here they may have been sent to it.
    pub(crate) sent: u64,
}

impl QueueRow {
    pub(crate) fn of(queued: &QueuedMessage, share: Option<ShareRow>) -> Self {
        Self {
            topic: queued.message.topic.clone(),
            payload: queued.message.payload.clone(),
            qos: queued.message.qos as u8,
            retained: queued.message.retain,
            retain: queued.retain,
            properties: queued.message.properties.clone(),
            subscription_ids: queued.subscription_ids.clone(),
            at: queued.at.0,
            share,
        }
    }

    pub(crate) fn message(self, n: u64) -> QueuedMessage {
        QueuedMessage {
            n,
            message: Arc::new(Publication {
                topic: self.topic,
                payload: self.payload,
                qos: QoS::from_bits(self.qos).unwrap_or_default(),
                retain: self.retained,
                properties: self.properties,
            }),
            subscription_ids: self.subscription_ids,
            retain: self.retain,
            at: Millis(self.at),
        }
    }
}
