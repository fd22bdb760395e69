//! One connection's task: socket, mailbox, store and time on one side, the protocol's machine on the other.
//!
//! One task a connection and one write a wake: everything that is there is handed in, then the machine's output is
//! written at once. Buffers belong to the thread, not to the connection; a connection keeps bytes only of a packet that
//! is cut, or of output that the socket does not take (and then nothing more is read from it). So an idle connection
//! costs its state and nothing else (P8): what is only there while something is under way stands in [`Busy`].
//! A panic ends this connection and no other (P9).
//! Not here: requests and pages (`store`), what others see of it (`presence`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::store::{BoxFuture, InboxPage, Permit, QueuePage, ReadError};
use broker_protocol::{Action, Cause, LiveMessage, Now, Output, Session};
use bytes::BytesMut;

use super::guest::{Guest, limited_address};
use super::store_io::Owner;
use super::transport::Transport;
use crate::bus::BusEvent;
use crate::gate::Door;
use crate::metrics::{self, Dropped};
use crate::quota::Place;

mod presence;
mod store;

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
    guest: Guest,
    transport: T,
    session: Session,
    /// There while something is under way.
    busy: Option<Box<Busy>>,
    /// What it counts as; there once it was let in.
    place: Option<Box<Place>>,
    owner: Option<Box<Owner>>,
    backlog: u64,
    /// Where it comes from, where that is known; until it is let in.
    address: Option<Box<IpAddr>>,
    flushing: bool,
    /// A future was made that has not been polled yet.
    again: bool,
}

/// What an idle connection has none of.
#[derive(Default)]
struct Busy {
    /// The start of a packet that is cut, or packets that had to wait.
    input: BytesMut,
    /// `input` may hold a whole packet.
    parked: bool,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// How much of it the hub knows of.
    counted: usize,
    /// Since when it has taken nothing.
    stalled_ms: Option<u64>,
    /// Actions that wait for room in the store's queue, in order.
    actions: VecDeque<Action>,
    permit: Option<BoxFuture<'static, Permit>>,
    reading_inbox: Option<Read<InboxPage>>,
    reading_queue: Option<Read<QueuePage>>,
    typing: Option<BoxFuture<'static, ()>>,
    closing: Option<Closing>,
}

/// Good-bye was said.
#[derive(Clone, Copy)]
struct Closing {
    /// WebSocket close code.
    code: u16,
    /// Until when the client may take its time.
    until_ms: u64,
}

impl Busy {
    fn is_over(&self) -> bool {
        let waits = self.permit.is_some()
            || self.reading_inbox.is_some()
            || self.reading_queue.is_some()
            || self.typing.is_some()
            || self.closing.is_some();
        !waits && self.input.is_empty() && self.unsent.is_empty() && self.actions.is_empty()
    }
}

impl<T: Transport> Connection<T> {
    /// `address` is what limits per address count it under.
    pub(crate) fn new(guest: Guest, transport: T, address: Option<IpAddr>) -> Self {
        let session = Session::new(Arc::clone(&guest.hub.limits), guest.hub.now());
        let address = address.map(limited_address).map(Box::new);
        Self {
            guest,
            transport,
            session,
            busy: None,
            place: None,
            owner: None,
            backlog: 0,
            address,
            flushing: false,
            again: false,
        }
    }

    /// Runs the connection until it is over.
    pub(crate) fn run(mut self) -> impl Future<Output = ()> + Send {
        poll_fn(move |cx| {
            catch_unwind(AssertUnwindSafe(|| self.poll(cx))).unwrap_or_else(|_| {
                // P9. `Drop` cleans up.
                metrics::count_panic();
                tracing::error!(conn = self.guest.number(), "a connection was ended by a panic");
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
        if let Some(busy) = self.busy.as_mut().filter(|busy| !busy.unsent.is_empty()) {
            // What the socket did not take counts as output of this wake: the machine sees how much there is.
            scratch.out.bytes = std::mem::take(&mut busy.unsent);
        }
        let polled = self.poll_rounds(cx, scratch);
        if !scratch.out.bytes.is_empty() {
            self.busy().unsent = std::mem::take(&mut scratch.out.bytes);
        } else if scratch.out.bytes.capacity() > KEPT_OUTPUT_BYTES {
            scratch.out.bytes = Vec::new();
        }
        if let Some(busy) = &mut self.busy {
            let before = std::mem::replace(&mut busy.counted, busy.unsent.len());
            if before != busy.counted {
                self.guest.hub.unsent_changed(before, busy.counted);
            }
        }
        if self.busy.as_ref().is_some_and(|busy| busy.is_over()) {
            self.busy = None;
        }
        polled
    }

    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    fn poll_rounds(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        for _ in 0..ROUNDS_MAX {
            let now = self.guest.hub.now();
            let mut moved = self.take_mail(cx, now, scratch);
            moved |= self.take_store(cx, now, &mut scratch.out);
            moved |= self.take_input(cx, now, scratch);
            self.take_time(now, &mut scratch.out);
            self.session.flush(now, &mut scratch.out);
            self.work_off(now, &mut scratch.out);
            moved |= self.send(cx, now, &mut scratch.out);
            self.tell_backlog();
            if self.poll_closed(cx, now, scratch.out.bytes.is_empty()).is_ready() {
                return Poll::Ready(());
            }
            if !moved && !std::mem::take(&mut self.again) {
                self.set_alarm(now);
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_mail(&mut self, cx: &mut Context<'_>, now: Now, scratch: &mut Scratch) -> bool {
        let Some(mail) = self.guest.mailbox.take(cx.waker()) else {
            return false;
        };
        if mail.tick {
            self.guest.woken();
        }
        if mail.turn {
            self.go_on();
        }
        let out = &mut scratch.out;
        if let Some(owner) = &mut self.owner {
            for (token, result) in mail.answers {
                let answer = super::store_io::answer_of(result, owner);
                self.session.answer(now, token, answer, out);
            }
        }
        self.session.notice(mail.heads);
        if mail.look_again {
            self.session.look_again();
        }
        let hub = &self.guest.hub;
        let full = out.bytes.len() >= hub.limits.output_bytes_high && hub.is_crowded();
        for message in mail.live.unwrap_or_default().0 {
            if full && matches!(message, LiveMessage::Publication { .. }) {
                metrics::count_dropped(Dropped::Slow);
            } else {
                self.session.live(message, out);
            }
        }
        if let Some(cause) = mail.cause {
            if *cause == Cause::TakenOver {
                self.hear_out(cx, now, scratch);
            }
            self.session.end(*cause, &mut scratch.out);
        }
        true
    }

    /// Takes what the client had sent before another connection came: it may have said DISCONNECT.
    fn hear_out(&mut self, cx: &mut Context<'_>, now: Now, scratch: &mut Scratch) {
        for _ in 0..ROUNDS_MAX {
            if !self.take_input(cx, now, scratch) {
                return;
            }
        }
    }

    /// Bytes of the client, as long as its machine takes them, the store has room for what they lead to, and it is not
    /// quicker than it may be.
    fn take_input(&mut self, cx: &mut Context<'_>, now: Now, scratch: &mut Scratch) -> bool {
        let waits = self.busy.as_ref().is_some_and(|busy| !busy.actions.is_empty());
        let throttled = self.owner.as_ref().is_some_and(|owner| owner.paused_until_ms > now.mono_ms);
        if waits || throttled {
            // It is not read, and so cannot be called silent.
            self.session.excuse_silence(now);
            return false;
        }
        let full = scratch.out.bytes.len() >= self.guest.hub.limits.output_bytes_high;
        if full || !self.session.accepts() || self.closing().is_some() {
            return false;
        }
        scratch.input.clear();
        if self.busy.as_ref().is_some_and(|busy| busy.parked) {
            self.receive(now, scratch);
            return true;
        }
        match self.transport.poll_read(cx, &mut scratch.input) {
            Poll::Pending => false,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.receive(now, scratch);
                true
            }
            // It has sent its last, and is owed answers.
            Poll::Ready(Ok(_)) if self.session.half_closed() => true,
            Poll::Ready(_) => {
                self.lost(now, &mut scratch.out);
                true
            }
        }
    }

    /// Hands in what was read, behind what had to wait.
    fn receive(&mut self, now: Now, scratch: &mut Scratch) {
        let Scratch { input, out } = scratch;
        let hub = &self.guest.hub;
        let door = Door {
            gate: &hub.gate,
            usage: &hub.usage,
            registry: &hub.registry,
            address: self.address.as_deref().copied(),
            has_place: self.place.is_some(),
            place: Cell::new(None),
        };
        let mut held = self.busy.as_mut().map(|busy| std::mem::take(&mut busy.input)).unwrap_or_default();
        if held.is_empty() {
            self.session.receive(now, &door, input, out);
            if !input.is_empty() {
                held = BytesMut::from(&input[..]);
            }
        } else {
            held.extend_from_slice(input);
            self.session.receive(now, &door, &mut held, out);
        }
        if let Some(place) = door.place.take() {
            self.place = Some(place);
            self.address = None;
        }
        if !held.is_empty() {
            let parked = !self.session.accepts();
            let busy = self.busy();
            busy.input = held;
            busy.parked = parked;
        } else if let Some(busy) = &mut self.busy {
            busy.input = BytesMut::new();
            busy.parked = false;
        }
    }

    /// The socket is gone, or the client has closed it.
    fn lost(&mut self, now: Now, out: &mut Output) {
        self.session.end(Cause::Lost, out);
        self.close(now, broker_protocol::reason::websocket::NORMAL);
    }

    fn close(&mut self, now: Now, code: u16) {
        let until_ms = now.mono_ms + CLOSE_WAIT_MS;
        self.busy().closing.get_or_insert(Closing { code, until_ms });
    }

    fn closing(&self) -> Option<Closing> {
        self.busy.as_ref().and_then(|busy| busy.closing)
    }

    /// Ends what has lasted too long.
    fn take_time(&mut self, now: Now, out: &mut Output) {
        if self.session.deadline(now).is_some_and(|at| at <= now.mono_ms) {
            self.session.timeout(now, out);
        }
        let stalled = self.busy.as_ref().and_then(|busy| busy.stalled_ms);
        if stalled.is_some_and(|since| now.mono_ms >= since + self.guest.hub.stalled_ms)
            && self.closing().is_none()
        {
            metrics::count_stalled();
            self.lost(now, out);
        }
    }

    /// Asks to be woken for the next thing that time brings.
    fn set_alarm(&mut self, now: Now) {
        let busy = self.busy.as_ref();
        let closing = busy.and_then(|busy| busy.closing).map(|closing| closing.until_ms);
        let stalled = busy.and_then(|busy| busy.stalled_ms).map(|since| since + self.guest.hub.stalled_ms);
        let paused = self.owner.as_ref().map(|owner| owner.paused_until_ms);
        let all = [closing, stalled, paused, self.session.deadline(now)];
        // One that is past has been seen to, or waits for something else than time.
        if let Some(next) = all.into_iter().flatten().filter(|at| *at > now.mono_ms).min() {
            self.guest.wake_at(next);
        }
    }

    /// Everything but requests and reads.
    fn act(&mut self, now: Now, action: Action, out: &mut Output) {
        match action {
            Action::Told(told) => metrics::told(told),
            Action::Close { websocket } => {
                self.close(now, websocket);
                self.leave(now);
                if self.busy.as_ref().is_none_or(|busy| busy.actions.is_empty()) {
                    self.guest.mailbox.over();
                }
            }
            action => self.act_as_owner(now, action, out),
        }
    }

    fn act_as_owner(&mut self, now: Now, action: Action, out: &mut Output) {
        let Some(owner) = &self.owner else {
            return;
        };
        let hub = &self.guest.hub;
        match action {
            Action::Advance(progress) => {
                hub.store.advance(owner.session, super::store_io::store_progress(progress));
            }
            Action::Online => self.come_online(now),
            Action::Listen(subscriptions) => self.listen(subscriptions),
            Action::Subscribed(changed) => {
                for change in changed {
                    self.subscribed(now, &change, out);
                }
            }
            Action::Unsubscribed(filters) => self.unsubscribed(&filters),
            Action::PublishLive(message) => {
                let stored = message.qos != schemas::QoS::AtMostOnce;
                if hub.live.may_want(&owner.account, stored) {
                    let (account, publisher) = (owner.account.clone(), owner.session);
                    hub.publish(BusEvent::Live { account, publisher, turn: hub.live.turn(), message });
                }
                if !stored {
                    self.charge(now);
                }
            }
            Action::Typing { conversation, state } => {
                if self.busy.as_ref().is_some_and(|busy| busy.typing.is_some()) {
                    metrics::count_dropped(Dropped::Typing);
                } else {
                    let hub = Arc::clone(hub);
                    let asker = ::store::Asker { account: owner.account.clone(), user: owner.user.clone() };
                    self.busy().typing =
                        Some(Box::pin(crate::typing::pass_on(hub, asker, conversation, state)));
                    self.again = true;
                }
                self.charge(now);
            }
            Action::Told(_)
            | Action::Close { .. }
            | Action::Submit { .. }
            | Action::ReadInbox { .. }
            | Action::ReadQueue { .. } => {}
        }
    }

    /// One more publish: is it time for a pause?
    fn charge(&mut self, now: Now) {
        if let (Some(owner), Some(place)) = (&mut self.owner, &self.place)
            && let Some(free_at_us) = place.publish(now.mono_ms * 1_000)
        {
            if owner.paused_until_ms <= now.mono_ms {
                metrics::count_throttled();
            }
            owner.paused_until_ms = free_at_us.div_ceil(1_000);
        }
    }

    /// Writes what there is; true where the socket took something that the machine may have waited for.
    fn send(&mut self, cx: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let before = out.bytes.len();
        match self.poll_send(cx, &mut out.bytes) {
            Poll::Ready(Ok(())) | Poll::Pending => {
                let moved = out.bytes.len() < before;
                if !out.bytes.is_empty() {
                    let stalled = &mut self.busy().stalled_ms;
                    *stalled = Some(if moved { now.mono_ms } else { stalled.unwrap_or(now.mono_ms) });
                } else if let Some(busy) = &mut self.busy {
                    busy.stalled_ms = None;
                }
                before >= self.guest.hub.limits.output_bytes_high && moved
            }
            Poll::Ready(Err(_)) => {
                out.bytes.clear();
                self.flushing = false;
                // The socket is broken: whatever comes next is not for it. Reading finds out as well, but perhaps late.
                let first = self.closing().is_none();
                self.lost(now, out);
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
        let Some(Closing { code, until_ms }) = self.closing() else {
            return Poll::Pending;
        };
        let late = now.mono_ms >= until_ms;
        // The store still opens the session, or has no room yet for what is to be stored at the end.
        if !self.session.has_ended() || self.busy.as_ref().is_some_and(|busy| !busy.actions.is_empty()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::mailbox::Mailbox;
    use crate::conn::transport::Raw;
    use tokio::net::TcpStream;

    /// What an idle connection is made of, in bytes: a hundred thousand of them shall fit beside a store (P8). Who has to
    /// raise a number has found out why, and what it costs a fleet.
    #[test]
    fn p8_an_idle_connection_is_small() {
        assert!(size_of::<Connection<Raw<TcpStream>>>() <= 152);
        // With the counts of its `Arc` it fills an allocation of 128.
        assert!(size_of::<Mailbox>() <= 112);
        assert!(size_of::<Owner>() <= 112);
    }
}
