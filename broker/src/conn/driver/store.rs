//! O3, I6. What the machine wants of the store: requests in order, pages from memory or from rows.

use std::sync::Arc;
use std::task::{Context, Poll};

use ::store::{CommitSink, InboxPage, Permit, QueuePage, ReadError};
use broker_protocol::{Action, Now, Output, Request};

use super::super::store_io::{self, Owner};
use super::super::transport::Transport;
use super::{Connection, PAGES_MAX};

impl<T: Transport> Connection<T> {
    /// Pages and permits that had to be waited for.
    pub(super) fn take_store(&mut self, cx: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let Some(busy) = &mut self.busy else {
            return false;
        };
        if let Some(typing) = &mut busy.typing
            && typing.as_mut().poll(cx).is_ready()
        {
            busy.typing = None;
        }
        let inbox = match &mut busy.reading_inbox {
            Some(read) => read.as_mut().poll(cx),
            None => Poll::Pending,
        };
        let queue = match &mut busy.reading_queue {
            Some(read) => read.as_mut().poll(cx),
            None => Poll::Pending,
        };
        let permit = match &mut busy.permit {
            Some(wait) => wait.as_mut().poll(cx),
            None => Poll::Pending,
        };
        let mut moved = false;
        if let Poll::Ready((after, page)) = inbox {
            busy.reading_inbox = None;
            self.hand_inbox(now, after, page, out);
            moved = true;
        }
        if let Poll::Ready((after, page)) = queue {
            self.busy().reading_queue = None;
            self.hand_queue(now, after, page, out);
            moved = true;
        }
        if let Poll::Ready(permit) = permit {
            let busy = self.busy();
            busy.permit = None;
            if let Some(Action::Submit { token, request }) = busy.actions.pop_front() {
                self.submit(now, token, *request, permit);
            }
            moved = true;
        }
        moved
    }

    /// Carries out what the machine wants, until it wants nothing more.
    pub(super) fn work_off(&mut self, now: Now, out: &mut Output) {
        for _ in 0..PAGES_MAX {
            if out.actions.is_empty() {
                return;
            }
            let mut paged = false;
            for action in std::mem::take(&mut out.actions) {
                match action {
                    Action::ReadInbox { after, limit } => paged |= self.read_inbox(now, after, limit, out),
                    Action::ReadQueue { after, limit } => paged |= self.read_queue(now, after, limit, out),
                    Action::Submit { token, request } => self.try_submit(now, token, request),
                    other => self.act(now, other, out),
                }
            }
            if paged {
                self.session.flush(now, out);
            }
        }
    }

    fn try_submit(&mut self, now: Now, token: u64, request: Box<Request>) {
        // Behind those that wait already.
        if let Some(busy) = self.busy.as_mut().filter(|busy| !busy.actions.is_empty()) {
            busy.actions.push_back(Action::Submit { token, request });
            return;
        }
        if self.waits_for_session(&request) {
            self.busy().actions.push_back(Action::Submit { token, request });
            return;
        }
        let bytes = self.cost(&request);
        match self.guest.hub.store.try_permit(bytes) {
            Some(permit) => self.submit(now, token, *request, permit),
            None => {
                self.busy().actions.push_back(Action::Submit { token, request });
                self.wait_for_permit(bytes);
            }
        }
    }

    /// Takes the session that is to be opened. True while an older connection still has it: what its client sent before
    /// this one came counts (a DISCONNECT takes the will away, PUBACKs move the cursor), so that one is closed first.
    fn waits_for_session(&mut self, request: &Request) -> bool {
        let Request::Open { account, user, client, version, .. } = request else {
            return false;
        };
        let owner = Box::new(Owner::new(account, user, client, *version));
        let waits = self.guest.hub.registry.take_over(owner.session, &self.guest.mailbox);
        self.owner = Some(owner);
        self.guest.let_in();
        waits
    }

    /// What waits first goes on: the older connection is over.
    pub(super) fn go_on(&mut self) {
        if let Some(Action::Submit { request, .. }) = self.busy.as_ref().and_then(|busy| busy.actions.front())
        {
            let bytes = self.cost(request);
            self.wait_for_permit(bytes);
        }
    }

    fn wait_for_permit(&mut self, bytes: usize) {
        let store = Arc::clone(&self.guest.hub.store);
        self.busy().permit = Some(Box::pin(async move { store.permit(bytes).await }));
        self.again = true;
    }

    fn cost(&self, request: &Request) -> usize {
        // What the queue will hold of it, without making the op before there is room.
        const REQUEST_BYTES: usize = 256;
        REQUEST_BYTES
            + match request {
                Request::Publish { message, .. } => message.payload.len() + message.topic.len(),
                Request::Open { will: Some(will), .. } => {
                    will.message.payload.len() + will.message.topic.len()
                }
                Request::Once { request, .. } => self.cost(request),
                Request::Command { .. } => self.guest.hub.limits.packet_bytes_max.min(16 << 10),
                Request::Subscribe { filters, .. } => {
                    filters.iter().map(|f| f.filter.len() + REQUEST_BYTES).sum()
                }
                _ => 0,
            }
    }

    fn submit(&mut self, now: Now, token: u64, request: Request, permit: Permit) {
        let hub = &self.guest.hub;
        let mailbox = &self.guest.mailbox;
        let sink: Arc<dyn CommitSink> = Arc::clone(mailbox) as Arc<dyn CommitSink>;
        let publishes =
            matches!(request, Request::Publish { .. } | Request::Once { .. } | Request::Command { .. });
        if let Some(owner) = &mut self.owner {
            let closes = matches!(request, Request::Close { .. });
            owner.closed |= closes;
            hub.store.submit(store_io::op_of(request, owner), permit, token, sink);
            if closes {
                mailbox.over();
            }
        }
        if publishes {
            self.charge(now);
        }
        self.go_on();
    }

    /// True where a page was handed in at once.
    fn read_inbox(&mut self, now: Now, after: u64, limit: usize, out: &mut Output) -> bool {
        let Some(owner) = &self.owner else {
            return false;
        };
        let (inbox, seq) = (owner.inbox, schemas::Seq(after));
        if let Some(page) = self.guest.hub.store.inbox_hot(inbox, seq, limit) {
            self.hand_inbox(now, after, Ok(page), out);
            return true;
        }
        let store = Arc::clone(&self.guest.hub.store);
        self.busy().reading_inbox =
            Some(Box::pin(async move { (after, store.inbox(inbox, seq, limit).await) }));
        self.again = true;
        false
    }

    fn read_queue(&mut self, now: Now, after: u64, limit: usize, out: &mut Output) -> bool {
        let Some(owner) = &self.owner else {
            return false;
        };
        let session = owner.session;
        if let Some(page) = self.guest.hub.store.queue_hot(session, after, limit) {
            self.hand_queue(now, after, Ok(page), out);
            return true;
        }
        let store = Arc::clone(&self.guest.hub.store);
        self.busy().reading_queue =
            Some(Box::pin(async move { (after, store.queue(session, after, limit).await) }));
        self.again = true;
        false
    }

    fn hand_inbox(&mut self, now: Now, after: u64, page: Result<InboxPage, ReadError>, out: &mut Output) {
        match page {
            Ok(page) => {
                let (head, events) = store_io::inbox_page(&page);
                self.session.inbox_page(now, after, head, events, out);
            }
            Err(error) => self.read_failed(now, &error),
        }
    }

    fn hand_queue(&mut self, now: Now, after: u64, page: Result<QueuePage, ReadError>, out: &mut Output) {
        match page {
            Ok(page) => {
                let (head, messages) = store_io::queue_page(&page);
                self.session.queue_page(now, after, head, messages, out);
            }
            Err(error) => self.read_failed(now, &error),
        }
    }

    fn read_failed(&mut self, now: Now, error: &ReadError) {
        tracing::warn!(conn = self.guest.number(), %error, "an inbox could not be read");
        self.session.read_failed(now);
    }
}
