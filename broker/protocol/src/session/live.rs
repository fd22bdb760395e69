//! I5. What comes to a session live and is not numbered: general messages at QoS 0, signals, statuses of users.
//!
//! Nothing of it is stored for the session: what a slow client has no room for is dropped, but a status, of which the
//! newest waits. Messages wait for SUBACK, and for what was retained before them (`holds`).
//! Not here: numbered deliveries (`deliver`), who gets what (`broker`'s index of online subscriptions).

use bytes::Bytes;
use schemas::topic::{self, UserTopic, UserTopicKind};
use schemas::{Encoding, Publication, QoS, UserId};

use super::replay::Replay;
use super::{Online, Phase, Session};
use crate::codec::PublishOut;
use crate::io::{LiveMessage, Output, Told};

/// Live messages that wait for SUBACK: a moment's worth, and QoS 0.
const HELD_MAX: usize = 1_024;
/// Statuses that wait for room in a session's window; a status is only ever the newest of its user.
const WAITING_STATUSES_MAX: usize = 4_096;

impl Session {
    /// A message that is not numbered.
    pub fn live(&mut self, message: LiveMessage, out: &mut Output) {
        let limits = &self.limits;
        if let Phase::Online(online) = &mut self.phase
            && online.leaving.is_none()
        {
            match message {
                LiveMessage::Status { user, payload } => {
                    online.status(user, payload, limits.output_bytes_high, out);
                }
                message @ LiveMessage::Publication { .. } if online.holds() => online.hold(message, out),
                LiveMessage::Publication { message, subscription_ids, retain } => {
                    online.publication(&message, &subscription_ids, retain, limits.live_bytes_high, out);
                }
            }
        }
    }
}

impl Online {
    /// Is what was retained when a subscription was made still on its way?
    const fn replays(&self) -> bool {
        self.settling || !matches!(self.replay, Replay::None)
    }

    /// Is what comes live to be kept for now? Behind SUBACK and behind what was retained, lest a client end with an older
    /// message than the topic has. Not behind a client that acknowledges nothing.
    pub(super) fn holds(&self) -> bool {
        self.pending.is_subscribing() || (self.replays() && self.room() > 0)
    }

    fn hold(&mut self, message: LiveMessage, out: &mut Output) {
        let held = &mut self.held.get_or_insert_default().0;
        if held.len() < HELD_MAX {
            held.push(message);
        } else {
            Self::tell(out, Told::DroppedSlow);
        }
    }

    pub(super) fn release_held(&mut self, high: usize, out: &mut Output) {
        for held in self.held.take().unwrap_or_default().0 {
            if let LiveMessage::Publication { message, subscription_ids, retain } = held {
                self.publication(&message, &subscription_ids, retain, high, out);
            }
        }
    }

    pub(super) fn publication(
        &mut self,
        message: &Publication,
        subscription_ids: &[u32],
        retain: bool,
        high: usize,
        out: &mut Output,
    ) {
        let signal = UserTopic::parse(&message.topic).is_some_and(|t| t.kind == UserTopicKind::Signals);
        let own_id = self.signals.flatten();
        let subscription_ids = match (signal, self.signals) {
            (true, None) => return,
            (true, Some(_)) => own_id.as_slice(),
            (false, _) => subscription_ids,
        };
        if out.bytes.len() >= high {
            return Self::tell(out, Told::DroppedSlow);
        }
        let properties = message.properties.as_deref();
        let sent = self.write(
            &PublishOut {
                topic: &message.topic,
                payload: &message.payload,
                qos: QoS::AtMostOnce,
                id: None,
                alias: None,
                dup: false,
                retain,
                properties,
                expiry_s: properties.and_then(|p| p.message_expiry_s),
                content_type: None,
                subscription_ids,
            },
            out,
        );
        if !sent {
            Self::tell(out, Told::TooLarge);
        }
    }

    fn status(&mut self, user: UserId, payload: Bytes, high: usize, out: &mut Output) {
        let full = out.bytes.len() >= high || self.room() == 0;
        match &mut self.statuses {
            // It does not follow any, or not any more.
            None => {}
            Some(_) if !full => self.send_status(&user, &payload, out),
            Some(statuses) => {
                let waiting = &mut statuses.waiting;
                if waiting.len() < WAITING_STATUSES_MAX || waiting.contains_key(&user) {
                    waiting.insert(user, payload);
                } else {
                    Self::tell(out, Told::DroppedSlow);
                }
            }
        }
    }

    pub(super) fn waiting_statuses(&mut self, out: &mut Output) {
        while self.room() > 0
            && let Some((user, payload)) = self.statuses.as_mut().and_then(|all| all.waiting.pop_first())
        {
            self.send_status(&user, &payload, out);
        }
    }

    fn send_status(&mut self, user: &UserId, payload: &[u8], out: &mut Output) {
        let name = UserTopic { user: user.clone(), kind: UserTopicKind::Status }.to_string();
        let Some(statuses) = &mut self.statuses else { return };
        let matching = || statuses.filters.iter().filter(|status| topic::matches(&status.filter, &name));
        // [v311:3.3.5-1] [v5:3.3.4-2]
        let Some(qos) = matching().map(|status| status.qos).max() else {
            return;
        };
        let ids: Vec<u32> = matching().filter_map(|status| status.id).collect();
        // A status is published at QoS 1. [v311:3.8.4-6] [v5:3.8.4-8]
        let qos = qos.min(QoS::AtLeastOnce);
        let id = (qos != QoS::AtMostOnce).then(|| statuses.loose.fly());
        let sent = self.write(
            &PublishOut {
                topic: &name,
                payload,
                qos,
                id,
                alias: None,
                dup: false,
                retain: true,
                properties: None,
                expiry_s: None,
                content_type: Some(Encoding::Json.content_type()),
                subscription_ids: &ids,
            },
            out,
        );
        if let (false, Some(id), Some(statuses)) = (sent, id, &mut self.statuses) {
            statuses.loose.land(id);
        }
    }
}
