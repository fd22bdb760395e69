//! SUBSCRIBE and UNSUBSCRIBE.
//!
//! Each filter is granted or refused by itself. What is granted is stored first; then SUBACK, then what it brings.

use std::num::NonZeroU16;

use schemas::topic::{self, UserTopic, UserTopicKind};
use schemas::{QoS, Subscription};

use super::connect::is_queued;
use super::pending::{Subscribing, Waiting};
use super::window::StatusFilter;
use super::{Cause, Online};
use crate::io::{Action, Answer, ChangedFilter, Gate, Limits, Now, Output, Request, SubscribedFilter};
use crate::packet::{Filter, Start, Subscribe};
use crate::reason::v5;

/// A client asks about more filters at once than fit an answer that it takes. `[v5:3.1.2-24]`
const TOO_LARGE: Cause =
    Cause::error(v5::TOO_LARGE, "v5:3.1.2-24", "the answer is larger than the client takes");

/// Reason string of a SUBACK: the code alone would not say which of the packet's many parts is meant.
const START_INVALID: &str =
    "parameter_invalid: user property `after` must be the number of an event; `epoch` stands beside it";

/// Why a filter is not granted.
struct Refused {
    reason: u8,
    told: Option<&'static str>,
}

/// Bytes of a filter that take one place among the subscriptions of a session: memory and the time to match a topic grow
/// with the bytes, and a filter may have 65,535.
const PLACE_BYTES: usize = 1_024;

/// Places that a filter takes.
pub(super) fn places_of(filter: &str) -> u32 {
    u32::try_from(filter.len() / PLACE_BYTES).unwrap_or(u32::MAX - 1) + 1
}

impl Online {
    pub(super) fn subscribe(
        &mut self,
        limits: &Limits,
        now: Now,
        gate: &dyn Gate,
        subscribe: Subscribe,
        out: &mut Output,
    ) -> Result<(), Cause> {
        let Subscribe { id, subscription_id, filters, start } = subscribe;
        let mut codes = Vec::with_capacity(filters.len());
        let mut granted = Vec::new();
        let mut places = self.subscriptions as usize;
        let mut why = None;
        // [v311:3.8.4-4] [v5:3.8.4-5] [v311:3.8.3-2]
        for filter in filters {
            let wanted = places + places_of(&filter.filter) as usize;
            match self.grant(gate, &filter, start, wanted > limits.subscriptions_max) {
                Ok(qos) => {
                    places = wanted;
                    codes.push(qos as u8);
                    granted.push(Subscription {
                        filter: filter.filter,
                        qos,
                        no_local: filter.no_local,
                        retain_as_published: filter.retain_as_published,
                        retain_handling: filter.retain_handling,
                        id: subscription_id,
                    });
                }
                Err(Refused { reason, told }) => {
                    codes.push(reason);
                    why = why.or(told);
                }
            }
        }
        let filters = granted.clone();
        let waiting = Waiting::Subscribe(Box::new(Subscribing { id, codes, why, granted }));
        if filters.is_empty() {
            self.pending.push_answered(now.mono_ms, waiting, Answer::Subscribed(Vec::new()));
            return self.settle(now, out);
        }
        let token = self.pending.push(now.mono_ms, waiting);
        out.actions.push(Action::Listen(filters.clone()));
        let request = Request::Subscribe { filters, start };
        out.actions.push(Action::Submit { token, request: Box::new(request) });
        Ok(())
    }

    /// The QoS granted to a filter, or the reason why it is refused.
    fn grant(&self, gate: &dyn Gate, filter: &Filter, start: Start, full: bool) -> Result<QoS, Refused> {
        let refused = |reason| Refused { reason, told: None };
        // [v311:4.7.1-2] [v311:4.7.1-3] [v5:4.7.1-1] [v5:4.7.1-2] [v5:4.8.2-1] [v5:4.8.2-2]
        topic::check_filter(&filter.filter).map_err(|_| refused(v5::FILTER_INVALID))?;
        gate.subscribe(&self.claims, &filter.filter).map_err(|denied| refused(denied.reason))?;
        if full {
            return Err(refused(v5::QUOTA));
        }
        if is_own(self, &filter.filter, UserTopicKind::Inbox) && start == Start::Invalid {
            return Err(Refused { reason: v5::IMPLEMENTATION, told: Some(START_INVALID) });
        }
        Ok(filter.qos)
    }

    /// The store has taken the granted filters.
    pub(super) fn subscribed(
        &mut self,
        subscribing: Subscribing,
        results: &[SubscribedFilter],
        out: &mut Output,
    ) -> Result<(), Cause> {
        // [v311:3.8.4-1] [v311:3.8.4-2] [v5:3.8.4-1] [v5:3.8.4-2]
        if !self.encoder.suback(&mut out.bytes, subscribing.id, &subscribing.codes, subscribing.why) {
            return Err(TOO_LARGE);
        }
        let mut changed = Vec::with_capacity(results.len());
        for (subscription, result) in subscribing.granted.into_iter().zip(results) {
            if !result.existed {
                self.subscriptions += places_of(&subscription.filter);
            }
            self.follow(&subscription);
            if result.retained || is_queued(&subscription.filter, subscription.qos) {
                self.queue.set_wanted(true);
                self.queue.unknown |= result.retained;
                self.settling |= result.retained;
            }
            if result.replay {
                self.want_replay();
            }
            if let Some(cursor) = result.inbox {
                self.inbox.subscribe(&subscription, cursor, result.existed);
            }
            changed.push(ChangedFilter { subscription, existed: result.existed });
        }
        if !changed.is_empty() {
            out.actions.push(Action::Subscribed(changed));
        }
        Ok(())
    }

    /// Notes what a filter means for messages that are not numbered.
    pub(super) fn follow(&mut self, subscription: &Subscription) {
        match UserTopic::split(&subscription.filter) {
            Some((_, UserTopicKind::Status)) => {
                let filters = &mut self.statuses.get_or_insert_default().filters;
                filters.retain(|status| status.filter != subscription.filter);
                filters.push(StatusFilter {
                    filter: subscription.filter.clone(),
                    qos: subscription.qos,
                    id: subscription.id,
                });
            }
            Some((_, UserTopicKind::Signals)) => self.signals = Some(subscription.id),
            _ => {}
        }
    }

    pub(super) fn unsubscribe(&mut self, now: Now, id: NonZeroU16, filters: Vec<String>, out: &mut Output) {
        let waiting = Waiting::Unsubscribe { id, filters: filters.clone() };
        let token = self.pending.push(now.mono_ms, waiting);
        // At once: what the client publishes behind this must not come back to it.
        out.actions.push(Action::Unsubscribed(filters.clone()));
        out.actions.push(Action::Submit { token, request: Box::new(Request::Unsubscribe { filters }) });
    }

    pub(super) fn unsubscribed(
        &mut self,
        id: NonZeroU16,
        filters: &[String],
        existed: &[bool],
        out: &mut Output,
    ) -> Result<(), Cause> {
        // [v311:3.10.4-6] [v5:3.10.4-6]
        for filter in filters {
            // [v311:3.10.4-1] [v5:3.10.4-1]: byte for byte.
            match UserTopic::split(filter) {
                Some((_, UserTopicKind::Status)) => {
                    if let Some(statuses) = &mut self.statuses {
                        statuses.filters.retain(|status| *status.filter != **filter);
                    }
                }
                Some((_, UserTopicKind::Signals)) if is_own(self, filter, UserTopicKind::Signals) => {
                    self.signals = None;
                }
                Some((_, UserTopicKind::Inbox)) if is_own(self, filter, UserTopicKind::Inbox) => {
                    self.inbox.unsubscribe();
                }
                _ => {}
            }
        }
        for (filter, _) in filters.iter().zip(existed).filter(|(_, existed)| **existed) {
            self.subscriptions = self.subscriptions.saturating_sub(places_of(filter));
        }
        // [v311:3.10.4-4] [v311:3.10.4-5] [v5:3.10.4-5] [v5:3.11.3-1]
        let codes: Vec<u8> =
            existed.iter().map(|existed| if *existed { v5::SUCCESS } else { v5::NO_SUBSCRIPTION }).collect();
        if !self.encoder.unsuback(&mut out.bytes, id, &codes) {
            return Err(TOO_LARGE);
        }
        Ok(())
    }
}

fn is_own(online: &Online, filter: &str, kind: UserTopicKind) -> bool {
    UserTopic::parse(filter).is_some_and(|topic| topic.kind == kind && topic.user == online.claims.user)
}
