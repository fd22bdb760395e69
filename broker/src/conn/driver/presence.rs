//! Coming online and leaving: what of a connection others can see.

use std::sync::Arc;

use broker_protocol::{ChangedFilter, LiveMessage, Now, Output, Progress, Request};
use schemas::Subscription;
use schemas::topic::{self, UserTopic, UserTopicKind};

use ::store::CommitSink;

use super::super::guest::Guest;
use super::super::store_io;
use super::super::transport::Transport;
use super::Connection;
use crate::metrics;

impl<T: Transport> Connection<T> {
    pub(super) fn come_online(&mut self, now: Now) {
        if let Some(owner) = &mut self.owner {
            let Guest { hub, mailbox, .. } = &self.guest;
            hub.registry.online(&owner.account, &owner.user, owner.inbox, mailbox, now.mono_ms);
            metrics::connected(self.transport.kind(), owner.version, 1.0);
            owner.online = true;
        }
    }

    /// Live messages for these filters from now on.
    pub(super) fn listen(&mut self, subscriptions: Vec<Subscription>) {
        let Some(owner) = &mut self.owner else {
            return;
        };
        let Guest { hub, mailbox, .. } = &self.guest;
        for subscription in subscriptions {
            let filter = &subscription.filter;
            if topic::split_share(filter).is_none() && topic::is_reserved(filter) {
                continue;
            }
            hub.live.insert(&owner.account, owner.session, mailbox, &subscription);
            if !owner.filters.contains(filter) {
                if owner.filters.is_empty() {
                    // Most sessions have one.
                    owner.filters.reserve_exact(1);
                }
                owner.filters.push(subscription.filter);
            }
        }
    }

    pub(super) fn subscribed(&mut self, now: Now, change: &ChangedFilter, out: &mut Output) {
        let Some(owner) = &mut self.owner else {
            return;
        };
        let Guest { hub, mailbox, .. } = &self.guest;
        let filter = &change.subscription.filter;
        if UserTopic::split(filter).is_some_and(|(_, kind)| kind == UserTopicKind::Status) {
            let statuses = hub.registry.follow(&owner.account, mailbox, filter, now.wall());
            // [v5:3.3.1-9] [v5:3.3.1-10] [v5:3.3.1-11]
            let wanted = match change.subscription.retain_handling {
                0 => true,
                1 => !change.existed,
                _ => false,
            };
            for (user, payload) in statuses.into_iter().filter(|_| wanted) {
                self.session.live(LiveMessage::Status { user, payload }, out);
            }
        }
    }

    pub(super) fn unsubscribed(&mut self, filters: &[String]) {
        let Some(owner) = &mut self.owner else {
            return;
        };
        let (hub, number) = (&self.guest.hub, self.guest.number());
        hub.live.remove(&owner.account, number, filters.iter());
        owner.filters.retain(|known| !filters.iter().any(|filter| *filter == **known));
        for filter in filters {
            hub.registry.unfollow(&owner.account, number, filter);
        }
    }

    /// Nothing more is for this connection. Once; `Drop` calls it as well.
    pub(super) fn leave(&mut self, now: Now) {
        let Some(owner) = &mut self.owner else {
            return;
        };
        let (hub, number) = (&self.guest.hub, self.guest.number());
        hub.live.remove(&owner.account, number, owner.filters.drain(..));
        hub.registry.offline(&owner.account, owner.inbox, owner.session, number, now.wall(), now.mono_ms);
        if std::mem::take(&mut owner.online) {
            metrics::connected(self.transport.kind(), owner.version, -1.0);
        }
    }
}

impl<T: Transport> Connection<T> {
    /// After a panic the session was not closed as it should be; where the store has no room, its next start does it.
    fn close_left_open(&self) {
        if let Some(owner) = &self.owner
            && owner.connection > 0
            && !owner.closed
        {
            let request = Request::Close {
                expiry_s: None,
                will: true,
                sent: Progress::default(),
                acked_ahead: Vec::new(),
            };
            let op = store_io::op_of(request, owner);
            let Guest { hub, mailbox, .. } = &self.guest;
            if let Some(permit) = hub.store.try_permit(op.cost()) {
                hub.store.submit(op, permit, 0, Arc::clone(mailbox) as Arc<dyn CommitSink>);
            }
        }
    }
}

/// Whatever way a connection ends, nobody counts on it afterwards.
impl<T: Transport> Drop for Connection<T> {
    fn drop(&mut self) {
        let now = self.guest.hub.now();
        self.leave(now);
        self.close_left_open();
        metrics::backlog_changed(self.backlog, 0);
        if let Some(busy) = &self.busy {
            self.guest.hub.unsent_changed(busy.counted, 0);
        }
    }
}
