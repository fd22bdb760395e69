//! One connection's task: socket, mailbox, store and timers on one side, the protocol's machine on the other.
//!
//! One task a connection and one write a wake: everything that is there is handed in, then the machine's output is
//! written at once. Buffers belong to the thread, not to the connection; a connection keeps bytes only of a packet that
//! is cut, or of output that the socket does not take (and then nothing more is read from it). So an idle connection
//! costs its state and nothing else (P8). A panic ends this connection and no other (P9).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use broker_protocol::{Action, Cause, Now, Output, Request, Session, Version};
use bytes::BytesMut;
use store::{BoxFuture, CommitSink, InboxPage, Permit, QueuePage, ReadError};

use super::mailbox::Mailbox;
use super::store_io::{self, Owner};
use super::transport::{CLOSE_UNSUPPORTED_DATA, Timer, Transport};
use crate::bus::BusEvent;
use crate::hub::Hub;
use crate::metrics::{self, Dropped};

/// Rounds of one wake before other tasks get their turn.
const ROUNDS_MAX: usize = 16;
/// Pages handed in within one round: a bound for a machine that would ask for ever.
const PAGES_MAX: usize = 64;
/// Time for the client to take what was sent last and to close, in milliseconds.
const CLOSE_WAIT_MS: u64 = 2_000;
/// Output capacity that a thread keeps between wakes.
const KEPT_OUTPUT_BYTES: usize = 1 << 20;

/// Buffers of a thread, used by one connection at a time.
#[derive(Default)]
struct Scratch {
    input: BytesMut,
    out: Output,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

type Read<T> = BoxFuture<'static, (u64, Result<T, ReadError>)>;

/// A connection.
pub(crate) struct Connection<T: Transport> {
    hub: Arc<Hub>,
    /// Number of the connection in this process.
    number: u64,
    mailbox: Arc<Mailbox>,
    transport: T,
    session: Session,
    /// The start of a packet that is cut, or packets that had to wait.
    input: BytesMut,
    /// `input` may hold a whole packet.
    parked: bool,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    flushing: bool,
    /// Actions that wait for room in the store's queue, in order.
    actions: VecDeque<Action>,
    permit: Option<BoxFuture<'static, Permit>>,
    reading_inbox: Option<Read<InboxPage>>,
    reading_queue: Option<Read<QueuePage>>,
    typing: Option<BoxFuture<'static, ()>>,
    /// A future was made that has not been polled yet.
    again: bool,
    timer: Timer,
    owner: Option<Box<Owner>>,
    /// General filters in the live index.
    filters: Vec<Arc<str>>,
    version: Option<Version>,
    backlog: u64,
    /// Close code, and until when the client may take its time.
    closing: Option<(u16, u64)>,
    /// Counted as one that has not been let in.
    handshaking: bool,
}

impl<T: Transport> Connection<T> {
    pub(crate) fn new(hub: Arc<Hub>, transport: T) -> Self {
        let now = hub.now();
        let number = hub.next_connection();
        let mailbox = Arc::new(Mailbox::default());
        hub.registry.connected(number, &mailbox);
        let session = Session::new(Arc::clone(&hub.limits), now);
        Self {
            hub,
            number,
            mailbox,
            transport,
            session,
            input: BytesMut::new(),
            parked: false,
            unsent: Vec::new(),
            flushing: false,
            actions: VecDeque::new(),
            permit: None,
            reading_inbox: None,
            reading_queue: None,
            typing: None,
            again: false,
            timer: Timer::default(),
            owner: None,
            filters: Vec::new(),
            version: None,
            backlog: 0,
            closing: None,
            handshaking: true,
        }
    }

    /// Runs the connection until it is over.
    pub(crate) fn run(mut self) -> impl Future<Output = ()> + Send {
        poll_fn(move |cx| {
            catch_unwind(AssertUnwindSafe(|| self.poll(cx))).unwrap_or_else(|_| {
                // P9. `Drop` cleans up.
                metrics::count_panic();
                tracing::error!(conn = self.number, "a connection was ended by a panic");
                Poll::Ready(())
            })
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.poll_with(cx, &mut scratch),
            Err(_) => self.poll_with(cx, &mut Scratch::default()),
        })
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        scratch.out.actions.clear();
        scratch.out.bytes.clear();
        if !self.unsent.is_empty() {
            // What the socket did not take counts as output of this wake: the machine sees how much there is.
            scratch.out.bytes = std::mem::take(&mut self.unsent);
        }
        let polled = self.poll_rounds(cx, scratch);
        if !scratch.out.bytes.is_empty() {
            self.unsent = std::mem::take(&mut scratch.out.bytes);
        } else if scratch.out.bytes.capacity() > KEPT_OUTPUT_BYTES {
            scratch.out.bytes = Vec::new();
        }
        polled
    }

    fn poll_rounds(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        for _ in 0..ROUNDS_MAX {
            let now = self.hub.now();
            let mut moved = self.take_mail(cx, now, &mut scratch.out);
            moved |= self.take_store(cx, now, &mut scratch.out);
            moved |= self.take_input(cx, now, scratch);
            moved |= self.take_time(cx, now, &mut scratch.out);
            self.session.flush(now, &mut scratch.out);
            self.work_off(now, &mut scratch.out);
            moved |= self.send(cx, now, &mut scratch.out);
            self.tell_backlog();
            if self.poll_closed(cx, now, scratch.out.bytes.is_empty()).is_ready() {
                return Poll::Ready(());
            }
            if !moved && !std::mem::take(&mut self.again) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_mail(&mut self, cx: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let Some(mail) = self.mailbox.take(cx.waker()) else {
            return false;
        };
        if let Some(owner) = &mut self.owner {
            for (token, result) in mail.answers {
                let answer = store_io::answer_of(result, owner);
                self.session.answer(now, token, answer, out);
            }
        }
        self.session.notice(mail.heads);
        if mail.look_again {
            self.session.look_again();
        }
        for message in mail.live {
            self.session.live(now, message, out);
        }
        if let Some(cause) = mail.cause {
            self.session.end(now, cause, out);
        }
        true
    }

    /// Pages and permits that had to be waited for.
    fn take_store(&mut self, cx: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let mut moved = false;
        if let Some(read) = &mut self.reading_inbox
            && let Poll::Ready((after, page)) = read.as_mut().poll(cx)
        {
            self.reading_inbox = None;
            self.hand_inbox(now, after, page, out);
            moved = true;
        }
        if let Some(read) = &mut self.reading_queue
            && let Poll::Ready((after, page)) = read.as_mut().poll(cx)
        {
            self.reading_queue = None;
            self.hand_queue(now, after, page, out);
            moved = true;
        }
        if let Some(typing) = &mut self.typing
            && typing.as_mut().poll(cx).is_ready()
        {
            self.typing = None;
        }
        if let Some(wait) = &mut self.permit
            && let Poll::Ready(permit) = wait.as_mut().poll(cx)
        {
            self.permit = None;
            if let Some(Action::Submit { token, request }) = self.actions.pop_front() {
                self.submit(token, *request, permit);
            }
            moved = true;
        }
        moved
    }

    /// Bytes of the client, as long as its machine takes them and the store has room for what they lead to.
    fn take_input(&mut self, cx: &mut Context<'_>, now: Now, scratch: &mut Scratch) -> bool {
        let hub = Arc::clone(&self.hub);
        if !self.actions.is_empty() {
            // The store's queue is full: the client waits, and cannot be called silent.
            self.session.excuse_silence(now);
            return false;
        }
        let full = scratch.out.bytes.len() >= hub.limits.output_bytes_high;
        if full || !self.session.accepts() || self.closing.is_some() {
            return false;
        }
        if self.parked {
            self.session.receive(now, &hub.gate, &mut self.input, &mut scratch.out);
            self.parked = !self.session.accepts() && !self.input.is_empty();
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
            return true;
        }
        scratch.input.clear();
        match self.transport.poll_read(cx, &mut scratch.input) {
            Poll::Pending => false,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.receive(now, &hub, scratch);
                true
            }
            Poll::Ready(result) => {
                let unsupported = result.is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
                self.lost(now, unsupported.then_some(CLOSE_UNSUPPORTED_DATA), &mut scratch.out);
                true
            }
        }
    }

    fn receive(&mut self, now: Now, hub: &Hub, scratch: &mut Scratch) {
        let Scratch { input, out } = scratch;
        if self.input.is_empty() {
            self.session.receive(now, &hub.gate, input, out);
            if !input.is_empty() {
                self.input = BytesMut::from(&input[..]);
            }
        } else {
            self.input.extend_from_slice(input);
            self.session.receive(now, &hub.gate, &mut self.input, out);
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
        }
        self.parked = !self.session.accepts() && !self.input.is_empty();
    }

    /// The socket is gone, or the client has closed it.
    fn lost(&mut self, now: Now, code: Option<u16>, out: &mut Output) {
        self.session.end(now, Cause::Lost, out);
        let code = code.unwrap_or(broker_protocol::reason::websocket::NORMAL);
        self.closing.get_or_insert((code, now.mono_ms + CLOSE_WAIT_MS));
    }

    fn take_time(&mut self, cx: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        if self.session.deadline(now).is_some_and(|at| at <= now.mono_ms) {
            self.session.timeout(now, out);
        }
        let closing = self.closing.map(|(_, until)| until);
        // One that is past has been seen to, or waits for something else than time.
        let next =
            [closing, self.session.deadline(now)].into_iter().flatten().filter(|at| *at > now.mono_ms).min();
        next.is_some_and(|at| self.timer.poll_due(cx, now.mono_ms, at))
    }

    /// Carries out what the machine wants, until it wants nothing more.
    fn work_off(&mut self, now: Now, out: &mut Output) {
        for _ in 0..PAGES_MAX {
            if out.actions.is_empty() {
                return;
            }
            let mut paged = false;
            for action in std::mem::take(&mut out.actions) {
                match action {
                    Action::ReadInbox { after, limit } => paged |= self.read_inbox(now, after, limit, out),
                    Action::ReadQueue { after, limit } => paged |= self.read_queue(now, after, limit, out),
                    Action::Submit { .. } if !self.actions.is_empty() => self.actions.push_back(action),
                    Action::Submit { token, request } => self.try_submit(token, request),
                    other => self.act(now, other, out),
                }
            }
            if paged {
                self.session.flush(now, out);
            }
        }
    }

    fn try_submit(&mut self, token: u64, request: Box<Request>) {
        let bytes = self.cost(&request);
        match self.hub.store.try_permit(bytes) {
            Some(permit) => self.submit(token, *request, permit),
            None => {
                self.actions.push_back(Action::Submit { token, request });
                self.wait_for_permit(bytes);
            }
        }
    }

    fn wait_for_permit(&mut self, bytes: usize) {
        let store = Arc::clone(&self.hub.store);
        self.permit = Some(Box::pin(async move { store.permit(bytes).await }));
        self.again = true;
    }

    fn cost(&self, request: &Request) -> usize {
        // What the queue will hold of it, without making the op before there is room.
        const REQUEST_BYTES: usize = 256;
        REQUEST_BYTES
            + match request {
                Request::Publish(message) => message.payload.len() + message.topic.len(),
                Request::Once { request, .. } => self.cost(request),
                Request::Command { .. } => self.hub.limits.packet_bytes_max.min(16 << 10),
                Request::Subscribe { filters, .. } => {
                    filters.iter().map(|f| f.filter.len() + REQUEST_BYTES).sum()
                }
                _ => 0,
            }
    }

    fn submit(&mut self, token: u64, request: Request, permit: Permit) {
        let sink: Arc<dyn CommitSink> = Arc::clone(&self.mailbox) as Arc<dyn CommitSink>;
        if let Request::Open { account, user, client, version, .. } = &request {
            let owner = Box::new(Owner::new(account, user, client));
            let session = owner.session;
            self.version = Some(*version);
            let op = store_io::op_of(request, &owner);
            self.owner = Some(owner);
            let store = Arc::clone(&self.hub.store);
            self.hub.registry.take_over(session, self.number, &self.mailbox, || {
                store.submit(op, permit, token, sink);
            });
        } else if let Some(owner) = &mut self.owner {
            owner.closed |= matches!(request, Request::Close { .. });
            self.hub.store.submit(store_io::op_of(request, owner), permit, token, sink);
        }
        // The next one that waits.
        if let Some(Action::Submit { request, .. }) = self.actions.front() {
            let bytes = self.cost(request);
            self.wait_for_permit(bytes);
        }
    }

    /// True where a page was handed in at once.
    fn read_inbox(&mut self, now: Now, after: u64, limit: usize, out: &mut Output) -> bool {
        let Some(owner) = &self.owner else {
            return false;
        };
        let (inbox, seq) = (owner.inbox, schemas::Seq(after));
        if let Some(page) = self.hub.store.inbox_hot(inbox, seq, limit) {
            self.hand_inbox(now, after, Ok(page), out);
            return true;
        }
        let store = Arc::clone(&self.hub.store);
        self.reading_inbox = Some(Box::pin(async move { (after, store.inbox(inbox, seq, limit).await) }));
        self.again = true;
        false
    }

    fn read_queue(&mut self, now: Now, after: u64, limit: usize, out: &mut Output) -> bool {
        let Some(owner) = &self.owner else {
            return false;
        };
        let session = owner.session;
        if let Some(page) = self.hub.store.queue_hot(session, after, limit) {
            self.hand_queue(now, after, Ok(page), out);
            return true;
        }
        let store = Arc::clone(&self.hub.store);
        self.reading_queue = Some(Box::pin(async move { (after, store.queue(session, after, limit).await) }));
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
        tracing::warn!(conn = self.number, %error, "an inbox could not be read");
        self.session.read_failed(now);
    }

    /// Everything but requests and reads.
    fn act(&mut self, now: Now, action: Action, out: &mut Output) {
        match action {
            Action::Told(told) => metrics::told(told),
            Action::Close { websocket } => {
                self.closing.get_or_insert((websocket, now.mono_ms + CLOSE_WAIT_MS));
                self.leave(now);
            }
            action => self.act_as_owner(now, action, out),
        }
    }

    fn act_as_owner(&mut self, now: Now, action: Action, out: &mut Output) {
        let Some(owner) = &self.owner else {
            return;
        };
        match action {
            Action::Advance(progress) => {
                self.hub.store.advance(owner.session, store_io::store_progress(progress));
            }
            Action::Online => self.come_online(now),
            Action::Subscribed(changed) => {
                for change in changed {
                    self.subscribed(now, &change, out);
                }
            }
            Action::Unsubscribed(filters) => self.unsubscribed(&filters),
            Action::PublishLive(message) => {
                if self.hub.live.has_any(&owner.account) {
                    let (account, publisher) = (owner.account.clone(), owner.session);
                    self.hub.publish(BusEvent::Live { account, publisher, message });
                }
            }
            Action::Typing { conversation, state } => {
                if self.typing.is_some() {
                    metrics::count_dropped(Dropped::Typing);
                } else {
                    let hub = Arc::clone(&self.hub);
                    let asker = store::Asker { account: owner.account.clone(), user: owner.user.clone() };
                    self.typing = Some(Box::pin(crate::typing::pass_on(hub, asker, conversation, state)));
                    self.again = true;
                }
            }
            Action::Told(_)
            | Action::Close { .. }
            | Action::Submit { .. }
            | Action::ReadInbox { .. }
            | Action::ReadQueue { .. } => {}
        }
    }

    /// Writes what there is; true where the socket took something that the machine may have waited for.
    fn send(&mut self, cx: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let before = out.bytes.len();
        match self.poll_send(cx, &mut out.bytes) {
            Poll::Ready(Ok(())) | Poll::Pending => {
                before >= self.hub.limits.output_bytes_high && out.bytes.len() < before
            }
            Poll::Ready(Err(_)) => {
                out.bytes.clear();
                self.flushing = false;
                // The socket is broken: whatever comes next is not for it. Reading finds out as well, but perhaps late.
                let first = self.closing.is_none();
                self.lost(now, None, out);
                self.work_off(now, out);
                out.bytes.clear();
                first
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<std::io::Result<()>> {
        let mut written = 0;
        while written < bytes.len() {
            match self.transport.poll_write(cx, &bytes[written..])? {
                Poll::Ready(count) => written += count,
                Poll::Pending => break,
            }
        }
        self.flushing |= written > 0;
        bytes.drain(..written);
        if self.flushing {
            ready!(self.transport.poll_flush(cx))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>, now: Now, sent: bool) -> Poll<()> {
        let Some((code, until)) = self.closing else {
            return Poll::Pending;
        };
        let late = now.mono_ms >= until;
        // The store still opens the session, or has no room yet for what is to be stored at the end.
        if !self.session.has_ended() || !self.actions.is_empty() {
            return Poll::Pending;
        }
        if sent && !self.flushing && self.transport.poll_close(cx, code).is_ready() {
            return Poll::Ready(());
        }
        if late { Poll::Ready(()) } else { Poll::Pending }
    }

    fn tell_backlog(&mut self) {
        let backlog = self.session.backlog();
        metrics::backlog_changed(self.backlog, backlog);
        self.backlog = backlog;
    }
}

mod presence;
