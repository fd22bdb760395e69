//! Coming online and leaving: what of a connection others can see.

use std::sync::Arc;

use broker_protocol::{ChangedFilter, LiveMessage, Now, Output, Progress, Request};
use schemas::topic::{self, UserTopic, UserTopicKind};

use store::CommitSink;

use super::super::store_io;
use super::super::transport::Transport;
use super::Connection;
use crate::metrics;

impl<T: Transport> Connection<T> {
    pub(super) fn come_online(&mut self, now: Now) {
        if let (Some(owner), Some(version)) = (&self.owner, self.version) {
            self.hub.registry.online(&owner.account, &owner.user, self.number, &self.mailbox, now.mono_ms);
            metrics::connected(T::KIND, version, 1.0);
            self.let_in();
        }
    }

    /// No longer counted among those that have not been let in.
    fn let_in(&mut self) {
        if std::mem::take(&mut self.handshaking) {
            self.hub.handshake_over();
        }
    }

    pub(super) fn subscribed(&mut self, now: Now, change: &ChangedFilter, out: &mut Output) {
        let Some(owner) = &self.owner else {
            return;
        };
        let subscription = &change.subscription;
        let filter = &subscription.filter;
        if !topic::is_reserved(filter) {
            self.hub.live.insert(&owner.account, self.number, owner.session, &self.mailbox, subscription);
            if !self.filters.contains(filter) {
                self.filters.push(Arc::clone(filter));
            }
        } else if UserTopic::split(filter).is_some_and(|(_, kind)| kind == UserTopicKind::Status) {
            let registry = &self.hub.registry;
            let statuses = registry.follow(&owner.account, self.number, &self.mailbox, filter, now.wall());
            // [v5:3.3.1-9] [v5:3.3.1-10] [v5:3.3.1-11]
            let wanted = match subscription.retain_handling {
                0 => true,
                1 => !change.existed,
                _ => false,
            };
            for (user, payload) in statuses.into_iter().filter(|_| wanted) {
                self.session.live(now, LiveMessage::Status { user, payload }, out);
            }
        }
    }

    pub(super) fn unsubscribed(&mut self, filters: &[String]) {
        let Some(owner) = &self.owner else {
            return;
        };
        self.hub.live.remove(&owner.account, self.number, filters.iter());
        self.filters.retain(|known| !filters.iter().any(|filter| *filter == **known));
        for filter in filters {
            self.hub.registry.unfollow(&owner.account, self.number, filter);
        }
    }

    /// Nothing more is for this connection. Once; `Drop` calls it as well.
    pub(super) fn leave(&mut self, now: Now) {
        let Some(owner) = &self.owner else {
            return;
        };
        let hub = &self.hub;
        hub.live.remove(&owner.account, self.number, self.filters.drain(..));
        let (wall, now_ms) = (now.wall(), now.mono_ms);
        hub.registry.offline(&owner.account, &owner.user, owner.session, self.number, wall, now_ms);
        if !self.handshaking
            && let Some(version) = self.version.take()
        {
            metrics::connected(T::KIND, version, -1.0);
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
            let request =
                Request::Close { expiry_s: None, sent: Progress::default(), acked_ahead: Vec::new() };
            let op = store_io::op_of(request, owner);
            if let Some(permit) = self.hub.store.try_permit(op.cost()) {
                self.hub.store.submit(op, permit, 0, Arc::clone(&self.mailbox) as Arc<dyn CommitSink>);
            }
        }
    }
}

/// Whatever way a connection ends, nobody counts on it afterwards.
impl<T: Transport> Drop for Connection<T> {
    fn drop(&mut self) {
        let now = self.hub.now();
        self.leave(now);
        self.close_left_open();
        metrics::backlog_changed(self.backlog, 0);
        self.mailbox.close();
        self.hub.registry.disconnected(self.number);
        if std::mem::take(&mut self.handshaking) {
            self.hub.handshake_over();
        }
        self.hub.connection_over();
    }
}
