//! A bus that is a function call: what goes in is delivered before the call returns.

use std::sync::{Arc, Weak};

use schemas::Seq;
use store::{InboxKey, SessionKey};

use super::{Batch, Bus, BusEvent, BusSink};

pub(crate) struct Direct<S>(Weak<S>);

impl<S: BusSink> Direct<S> {
    pub(crate) fn new(sink: &Arc<S>) -> Self {
        Self(Arc::downgrade(sink))
    }

    fn deliver(&self, batch: Batch) {
        if let Some(sink) = self.0.upgrade() {
            sink.deliver(batch);
        }
    }
}

impl<S: BusSink> Bus for Direct<S> {
    fn ring(&self, inboxes: &[(InboxKey, Seq)], queues: &[(SessionKey, u64)]) {
        self.deliver(Batch { inboxes: inboxes.to_vec(), queues: queues.to_vec(), events: Vec::new() });
    }

    fn publish(&self, event: BusEvent) {
        self.deliver(Batch { events: vec![event], ..Batch::default() });
    }

    fn stop(&self) {}
}
