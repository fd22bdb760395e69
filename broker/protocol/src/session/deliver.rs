//! I7, I8. Deliveries of the two numbered sources: the user's inbox, with the gaps in it, and the session's queue of
//! general messages. What comes back for them: `acknowledge`. Not here: what is not numbered (`live`).
//!
//! ```text
//!        acked          sent        head
//!  ──────────┤ in flight ├── unread ─┤      one window over both sources: min(Receive Maximum, ours)
//! ```
//! **The packet identifier is a function of the number**: a redelivery has the identifier it had before, over reconnects
//! and crashes, and nothing needs to be stored for that (`[v5:4.4.0-1]`). Hence three ranges that never meet, and never
//! more than [`IDS_PER_SOURCE`] numbers between the lowest in flight and the highest sent.
//! A cursor stands below the lowest number in flight, so it moves by acknowledgement only, in whatever order they come
//! (P3). What was never put in flight (too large for the client, expired) does not hold it back.

use std::num::NonZeroU16;
use std::sync::Arc;

use schemas::{Epoch, Event, EventData, EventId, PublishProperties, QoS, Seq};

use super::timer::Moment;
use super::window::{GAP_ID, INBOX_BASE, QUEUE_BASE, Stage, Window, id};
use super::{Online, Phase, Session};
use crate::codec::PublishOut;
use crate::io::{
    Action, InboxEvent, InboxPage, Limits, Now, Output, Progress, QueueMessage, QueuePage, Told,
};

/// User property that says how many messages before this one retention removed (contract, section 5).
const MISSED: &str = "missed";
/// After reading has failed, it is tried again after so many milliseconds.
const READ_RETRY_MS: u64 = 500;
/// Most events asked for at once.
const READ_MAX: usize = 64;

impl Session {
    /// I5. There are events up to here in the user's inbox, messages up to here in the session's queue. A hint: one that
    /// is lost delays, and loses nothing.
    pub fn notice(&mut self, heads: Progress) {
        match &mut self.phase {
            Phase::Online(online) => {
                online.inbox.window.notice(heads.inbox);
                if heads.queue > 0 {
                    online.queue.notice(heads.queue);
                }
            }
            Phase::Opening(opening) => {
                opening.noticed.inbox = opening.noticed.inbox.max(heads.inbox);
                opening.noticed.queue = opening.noticed.queue.max(heads.queue);
            }
            _ => {}
        }
    }

    /// Notices may have been lost: look into both sources again.
    pub fn look_again(&mut self) {
        match &mut self.phase {
            Phase::Online(online) => {
                online.inbox.window.unknown = true;
                online.queue.unknown = true;
            }
            Phase::Opening(opening) => opening.look_again = true,
            _ => {}
        }
    }

    /// I6. The page that [`Action::ReadInbox`] asked for, with the number it asked after.
    pub fn inbox_page<'a>(
        &mut self,
        now: Now,
        after: u64,
        page: InboxPage,
        events: impl Iterator<Item = InboxEvent<'a>>,
        out: &mut Output,
    ) {
        let high = self.limits.output_bytes_high;
        if let Phase::Online(online) = &mut self.phase {
            online.inbox_page(now, after, page, events, high, out);
        }
    }

    /// The page that [`Action::ReadQueue`] asked for, with the number it asked after.
    pub fn queue_page<'a>(
        &mut self,
        now: Now,
        after: u64,
        page: QueuePage,
        messages: impl Iterator<Item = QueueMessage<'a>>,
        out: &mut Output,
    ) {
        let high = self.limits.output_bytes_high;
        if let Phase::Online(online) = &mut self.phase {
            online.queue_page(now, after, page, messages, high, out);
        }
    }

    /// A page could not be read: it is asked for again a little later, and the connection ends if that goes on.
    pub fn read_failed(&mut self, now: Now) {
        if let Phase::Online(online) = &mut self.phase {
            online.inbox.window.reading = false;
            online.queue.reading = false;
            online.note_failed_read(now);
        }
    }
}

impl Online {
    pub(super) fn flush(&mut self, now: Now, limits: &Limits, out: &mut Output) {
        if out.bytes.len() < limits.output_bytes_high && self.leaving.is_none() {
            self.waiting_statuses(out);
            if self.read_retry_ms.get().is_none() {
                self.ask(out);
                self.ask_replay(out);
            }
        }
        self.settling &= !self.queue.is_read();
        if self.held.is_some() && !self.holds() {
            self.release_held(limits.live_bytes_high, out);
        }
        self.advance(out);
        self.tell_caught_up(now, out);
    }

    /// I8. Moves the cursors to what is acknowledged. Also when the connection ends: an acknowledgement may come with the
    /// DISCONNECT in one read, and what it acknowledged must not come again.
    pub(super) fn advance(&mut self, out: &mut Output) {
        let acked = Progress { inbox: self.inbox.acked(), queue: self.queue.acked() };
        let moved = |acked: u64, window: &Window| window.wanted && acked > window.advanced;
        if moved(acked.inbox, &self.inbox.window) || moved(acked.queue, &self.queue) {
            self.inbox.window.advanced = self.inbox.window.advanced.max(acked.inbox);
            self.queue.advanced = self.queue.advanced.max(acked.queue);
            out.actions.push(Action::Advance(Progress {
                inbox: self.inbox.window.advanced,
                queue: self.queue.advanced,
            }));
        }
    }

    fn tell_caught_up(&mut self, now: Now, out: &mut Output) {
        if let Some(since) = self.catching_up_ms.get()
            && self.inbox.window.is_caught_up()
            && self.queue.is_caught_up()
        {
            self.catching_up_ms = Moment::NONE;
            Self::tell(out, Told::CaughtUp { took_ms: now.mono_ms.saturating_sub(since) });
        }
    }

    /// Asks for as much as the window has room for; where both sources have something, they take turns and share.
    fn ask(&mut self, out: &mut Output) {
        let inbox_live = self.inbox.qos == QoS::AtMostOnce;
        let (inbox, queue) = (self.inbox.wants_page(), self.wants_queue_page());
        let room = self.room();
        let shared = if inbox && queue && !inbox_live { room.div_ceil(2) } else { room };
        self.queue_first = !self.queue_first;
        if inbox && (inbox_live || room > 0) {
            let limit = if inbox_live { READ_MAX } else { shared.min(READ_MAX) };
            // The head is all that is wanted, but a page of none might not tell it.
            let limit = if self.inbox.skip_to_head { 1 } else { limit };
            self.inbox.window.reading = true;
            out.actions.push(Action::ReadInbox { after: self.inbox.window.sent, limit });
        }
        if queue && room > 0 {
            self.queue.reading = true;
            out.actions.push(Action::ReadQueue { after: self.queue.sent, limit: shared.min(READ_MAX) });
            if self.queue_first
                && let Some(first) = out.actions.len().checked_sub(2)
                && matches!(out.actions[first], Action::ReadInbox { .. })
            {
                out.actions.swap(first, first + 1);
            }
        }
    }

    /// SUBACK goes before what its subscription brings: clients may expect that, though `[v5:3.8.4-1]` does not.
    fn wants_queue_page(&self) -> bool {
        self.queue.wants_page() && !self.pending.is_subscribing()
    }

    /// Deliveries that may still begin. `[v5:3.3.4-9] [v5:3.3.4-10] [v5:4.9.0-1] [v5:4.9.0-3]`
    pub(super) fn room(&self) -> usize {
        let loose = self.statuses.as_ref().map_or(0, |statuses| statuses.loose.flight.len());
        let in_flight = self.inbox.in_flight() + self.queue.flight.len() + loose;
        usize::from(self.window_max).saturating_sub(in_flight)
    }

    fn inbox_page<'a>(
        &mut self,
        now: Now,
        after: u64,
        page: InboxPage,
        events: impl Iterator<Item = InboxEvent<'a>>,
        high: usize,
        out: &mut Output,
    ) {
        let window = &mut self.inbox.window;
        if !window.wanted || after != window.sent {
            // Of a subscription that has ended or begun anew meanwhile.
            window.reading = false;
            return;
        }
        window.reading = false;
        if std::mem::take(&mut window.unknown) && page.head > after {
            self.catching_up_ms.begin(now.mono_ms);
        }
        let window = &mut self.inbox.window;
        window.head = window.head.max(page.head);
        self.read_failed_ms = Moment::NONE;
        if self.inbox.skip_to_head {
            self.inbox.skip_to_head = false;
            self.inbox.window.sent = page.head.max(after);
            self.inbox.window.advanced = self.inbox.window.sent;
            return;
        }
        if page.oldest > after + 1 && self.inbox.gap.is_none() {
            self.inbox.gap = Some(Box::new((after + 1, page.oldest - 1)));
        }
        if !self.announce_gap(now, page.epoch, out) {
            return;
        }
        let mut none = true;
        for event in events {
            if std::mem::take(&mut none) {
                self.inbox.window.short = false;
            }
            let Some(Seq(seq)) = event.event.seq else { continue };
            if seq <= self.inbox.window.sent {
                continue;
            }
            if out.bytes.len() >= high || !self.event(seq, &event, out) {
                return;
            }
        }
        if none && self.inbox.window.falls_short() {
            self.note_failed_read(now);
        }
    }

    /// Sends an event; false where there is no room for it now.
    fn event(&mut self, seq: u64, event: &InboxEvent<'_>, out: &mut Output) -> bool {
        if seq != self.inbox.window.sent + 1 {
            // P2: no numbers are missing. What is here is delivered all the same, and the fault is counted.
            Self::tell(out, Told::OutOfOrder);
        }
        let numbered = self.inbox.qos != QoS::AtMostOnce;
        if numbered && self.inbox.window.passes(seq) {
            return true;
        }
        if numbered && (self.room() == 0 || !self.inbox.window.id_is_free(seq)) {
            return false;
        }
        let packet_id = numbered.then(|| id(INBOX_BASE, seq));
        let dup = seq <= self.inbox.window.dup_to;
        let payload = self.encoding.write(event.event);
        // Only what was committed since this session is online tells how long a live delivery takes.
        let origin = event.origin.filter(|_| event.event.at.0 * 1000 >= self.opened_us);
        if self.send_event(&payload, self.inbox.qos, packet_id, dup, out) {
            if numbered {
                self.inbox.window.fly(seq, stage_of(self.inbox.qos), origin);
            }
        } else {
            // [v5:3.1.2-25]: as if it had been delivered.
            Self::tell(out, Told::TooLarge);
        }
        self.inbox.window.sent = seq;
        true
    }

    fn send_event(
        &mut self,
        payload: &[u8],
        qos: QoS,
        id: Option<NonZeroU16>,
        dup: bool,
        out: &mut Output,
    ) -> bool {
        let (topic, subscription_id) = (Arc::clone(&self.inbox.topic), self.inbox.subscription_id);
        self.write(
            &PublishOut {
                topic: &topic,
                payload,
                qos,
                id,
                alias: None,
                dup,
                retain: false,
                properties: None,
                expiry_s: None,
                content_type: Some(self.encoding.content_type()),
                subscription_ids: subscription_id.as_slice(),
            },
            out,
        )
    }

    /// Announces what retention removed, before what comes after it; false where it must wait.
    fn announce_gap(&mut self, now: Now, epoch: Epoch, out: &mut Output) -> bool {
        let Some((from, to)) = self.inbox.gap.as_deref().copied() else {
            return true;
        };
        let numbered = self.inbox.qos != QoS::AtMostOnce;
        if numbered && (self.inbox.gap_in_flight.is_some() || self.room() == 0) {
            return false;
        }
        let event = Event {
            epoch,
            seq: None,
            id: gap_id(epoch, from, to),
            at: now.wall(),
            account: self.claims.account.clone(),
            conversation: None,
            unread: None,
            data: EventData::InboxGap { from: Seq(from), to: Seq(to) },
        };
        let dup = to <= self.inbox.window.dup_to;
        let payload = self.encoding.write(&event);
        // It is of QoS 1, whatever is granted: the same gap announced twice tells nothing wrong.
        let qos = self.inbox.qos.min(QoS::AtLeastOnce);
        let sent = self.send_event(&payload, qos, numbered.then_some(GAP_ID), dup, out);
        self.inbox.gap = None;
        self.inbox.gap_in_flight = (numbered && sent).then(|| Box::new((from, to)));
        self.inbox.window.sent = self.inbox.window.sent.max(to);
        true
    }

    fn queue_page<'a>(
        &mut self,
        now: Now,
        after: u64,
        page: QueuePage,
        messages: impl Iterator<Item = QueueMessage<'a>>,
        high: usize,
        out: &mut Output,
    ) {
        self.queue.reading = false;
        if after != self.queue.sent || self.pending.is_subscribing() {
            return;
        }
        if std::mem::take(&mut self.queue.unknown) && page.head > after {
            self.catching_up_ms.begin(now.mono_ms);
        }
        self.queue.head = self.queue.head.max(page.head);
        self.read_failed_ms = Moment::NONE;
        let mut last = None;
        for message in messages {
            last = Some(message.n);
            self.queue.short = false;
            if message.n <= self.queue.sent || self.queue.passes(message.n) {
                continue;
            }
            self.note_missed(message.n, out);
            if out.bytes.len() >= high || self.room() == 0 || !self.queue.id_is_free(message.n) {
                return;
            }
            self.queued(now, &message, out);
        }
        if last.is_none() {
            // Numbers may be missing: what is left up to the head has expired.
            self.queue.sent = self.queue.sent.max(page.head);
            if self.queue.falls_short() {
                self.note_failed_read(now);
            }
        }
    }

    fn queued(&mut self, now: Now, queued: &QueueMessage<'_>, out: &mut Output) {
        let message = queued.message;
        self.queue.sent = queued.n;
        let properties = message.properties.as_deref();
        let expiry_s = properties.and_then(|p| p.message_expiry_s);
        let waited_s = u32::try_from(now.wall().since(queued.at) / 1000).unwrap_or(u32::MAX);
        let dup = queued.n <= self.queue.dup_to;
        let numbered = message.qos != QoS::AtMostOnce;
        if dup && !numbered {
            return; // it may have been sent, and QoS 0 is sent once
        }
        // [v5:3.3.2-5]: its time is over; but [v5:4.3.3-7] not once its delivery has begun.
        if !dup && waited_s > 0 && expiry_s.is_some_and(|expiry| expiry <= waited_s) {
            return;
        }
        let announced = self.announcing(properties);
        let properties = announced.as_ref().or(properties);
        let sent = self.write(
            &PublishOut {
                topic: &message.topic,
                payload: &message.payload,
                qos: message.qos,
                id: numbered.then(|| id(QUEUE_BASE, queued.n)),
                alias: None,
                dup,
                retain: queued.retain,
                properties,
                // [v5:3.3.2-6]
                expiry_s: expiry_s.map(|expiry| expiry.saturating_sub(waited_s)),
                content_type: None,
                subscription_ids: queued.subscription_ids,
            },
            out,
        );
        match (sent, numbered) {
            (true, true) => self.queue.fly(queued.n, stage_of(message.qos), None),
            (true, false) => {}
            // [v5:3.1.2-25]
            (false, _) => Self::tell(out, Told::TooLarge),
        }
    }

    /// Numbers before this one are not there: retention removed them before they were read.
    fn note_missed(&mut self, n: u64, out: &mut Output) {
        let count = n - self.queue.sent - 1;
        if count > 0 {
            self.queue.sent = n - 1;
            self.missed += count;
            Self::tell(out, Told::Missed { count });
        }
    }

    /// The properties of the next message, with what the client has missed; `None` where there is nothing to say.
    fn announcing(&mut self, properties: Option<&PublishProperties>) -> Option<PublishProperties> {
        let missed = std::mem::take(&mut self.missed);
        (missed > 0).then(|| {
            let mut properties = properties.cloned().unwrap_or_default();
            properties.user_properties.push((MISSED.to_owned(), missed.to_string()));
            properties
        })
    }

    pub(super) fn note_failed_read(&mut self, now: Now) {
        self.read_failed_ms.begin(now.mono_ms);
        self.read_retry_ms = Moment::at(now.mono_ms + READ_RETRY_MS);
    }

    /// `read_failed_ms` stays until a page arrives: it says for how long reading has failed.
    pub(super) fn retry_reads(&mut self, now: Now) {
        if self.read_retry_ms.get().is_some_and(|at| at <= now.mono_ms) {
            self.read_retry_ms = Moment::NONE;
        }
    }
}

/// What a delivery waits for once it is sent.
const fn stage_of(qos: QoS) -> Stage {
    match qos {
        QoS::ExactlyOnce => Stage::Rec,
        _ => Stage::Ack,
    }
}

/// The same gap announced again has the same id, so that a client can drop the repetition.
fn gap_id(epoch: Epoch, from: u64, to: u64) -> EventId {
    let parts = [&epoch.0.to_be_bytes()[..], &from.to_be_bytes()[..], &to.to_be_bytes()[..]];
    EventId(schemas::ids::hash128("inbox.gap", &parts))
}
