//! I8. What was sent, what is in flight, what is acknowledged; and which packet identifier a number has.
//!
//! Plain bookkeeping. Not here: writing deliveries (`deliver`).

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use schemas::{QoS, Subscription, UserId};

use crate::io::{OpenInbox, Origin};

/// Packet identifiers of each numbered source.
pub(super) const IDS_PER_SOURCE: u64 = 32_000;
/// First packet identifier of the queue: 1 to 32,000.
pub(super) const QUEUE_BASE: u16 = 1;
/// First packet identifier of the inbox: 32,001 to 64,000.
pub(super) const INBOX_BASE: u16 = 32_001;
/// First packet identifier of statuses: 64,001 to 65,534, given in turn.
pub(super) const LOOSE_BASE: u16 = 64_001;
/// Packet identifier of `inbox.gap`, of which one is in flight at a time.
pub(super) const GAP_ID: NonZeroU16 = NonZeroU16::MAX;
/// Acknowledged deliveries above a cursor that are stored at the end of a connection; more come again, with DUP.
const ACKED_AHEAD_MAX: usize = 1_000;

/// What a delivery in flight waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// PUBACK: QoS 1.
    Ack,
    /// PUBREC: QoS 2.
    Rec,
    /// The store, to have PUBREC on disk.
    Storing,
    /// PUBCOMP: PUBREL was sent.
    Comp,
}

impl Stage {
    /// Is it the client's? `[v5:4.3.3-6]`: then it never comes again, and holds no cursor back.
    const fn is_received(self) -> bool {
        matches!(self, Self::Comp)
    }
}

/// A delivery in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) n: u64,
    pub(super) stage: Stage,
    /// To be measured when it is acknowledged.
    pub(super) origin: Option<(Origin, u64)>,
}

/// A numbered source.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Highest number that was sent or passed over.
    pub(super) sent: u64,
    /// Newest number known.
    pub(super) head: u64,
    /// What comes again up to here has DUP.
    /// `[v311:3.3.1-1] [v5:3.3.1-1] [v5:4.3.2-2] [v5:4.3.3-2]`
    pub(super) dup_to: u64,
    /// Sent and not over, rising.
    /// `[v311:4.3.2-1] [v5:4.3.2-3] [v5:4.3.3-3] [v311:4.6.0-1] [v5:4.6.0-1] [v5:4.3.3-13]`
    pub(super) flight: VecDeque<Flight>,
    /// Numbers above `sent` that the client had received on an earlier connection: they do not come again.
    pub(super) received: Box<[u64]>,
    /// Where the cursor was last moved to.
    pub(super) advanced: u64,
    /// A page is being read.
    pub(super) reading: bool,
    /// Is there something to be read, whatever `head` says? True at first: nobody has told a head yet.
    pub(super) unknown: bool,
    /// The last page had nothing although more was promised.
    pub(super) short: bool,
    /// The next number's packet identifier is in flight: nothing more is read before an acknowledgement.
    pub(super) blocked: bool,
    /// Is it subscribed at all?
    pub(super) wanted: bool,
}

impl Window {
    pub(super) fn at(acked: u64, dup_to: u64) -> Self {
        Self { sent: acked, head: acked, dup_to, advanced: acked, unknown: true, ..Self::default() }
    }

    pub(super) const fn set_wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// Where to go on after a restart of the connection; what is in flight counts as sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.max(self.dup_to)
    }

    pub(super) fn acked(&self) -> u64 {
        let first = self.flight.iter().find(|flight| !flight.stage.is_received());
        first.map_or(self.sent, |first| first.n - 1)
    }

    pub(super) fn backlog(&self) -> u64 {
        if self.wanted { self.head.saturating_sub(self.acked()) } else { 0 }
    }

    pub(super) const fn wants_page(&self) -> bool {
        self.wanted && !self.reading && !self.blocked && (self.unknown || self.head > self.sent)
    }

    /// Is there nothing that was not read?
    pub(super) const fn is_read(&self) -> bool {
        self.wanted && !self.reading && !self.unknown && self.head <= self.sent
    }

    pub(super) fn is_caught_up(&self) -> bool {
        !self.wanted || (!self.unknown && self.head <= self.sent && self.flight.is_empty())
    }

    pub(super) fn notice(&mut self, head: u64) {
        self.short &= head <= self.head;
        self.head = self.head.max(head);
    }

    /// A page had nothing. Is that for the second time less than was promised? The first may have been read just before
    /// the notice came, and is asked for again at once.
    pub(super) const fn falls_short(&mut self) -> bool {
        let again = self.short;
        self.short = self.head > self.sent;
        self.short && again
    }

    /// Is there an identifier for this number that no number in flight has? If not, nothing is read until one lands.
    pub(super) fn id_is_free(&mut self, n: u64) -> bool {
        let first = self.flight.front();
        self.blocked = first.is_some_and(|first| n.saturating_sub(first.n) >= IDS_PER_SOURCE);
        !self.blocked
    }

    /// A number is sent, and then waits.
    pub(super) fn fly(&mut self, n: u64, stage: Stage, origin: Option<(Origin, u64)>) {
        // Behind all but those that were received ahead of it on an earlier connection.
        let at = self.flight.partition_point(|flight| flight.n < n);
        self.flight.insert(at, Flight { n, stage, origin });
    }

    /// A number that the client had received on an earlier connection; `owed`: it waits for PUBREL.
    pub(super) fn restore(&mut self, n: u64, owed: bool) {
        if owed {
            self.fly(n, Stage::Comp, None);
        }
        if n > self.sent {
            self.received = self.received.iter().copied().chain([n]).collect();
        }
    }

    /// Was it received on an earlier connection? Then it is passed over.
    pub(super) fn passes(&mut self, n: u64) -> bool {
        let passes = self.received.contains(&n);
        if passes {
            self.sent = n;
            self.received = self.received.iter().copied().filter(|received| *received > n).collect();
        }
        passes
    }

    /// The delivery that a packet identifier stands for, while it waits for this.
    pub(super) fn waiting(&mut self, n_of_id: u64, stage: Stage) -> Option<&mut Flight> {
        let is_it = |flight: &&mut Flight| flight.n % IDS_PER_SOURCE == n_of_id && flight.stage == stage;
        self.flight.iter_mut().find(is_it)
    }

    /// Does a packet identifier stand for anything?
    pub(super) fn has(&self, n_of_id: u64) -> bool {
        self.flight.iter().any(|flight| flight.n % IDS_PER_SOURCE == n_of_id)
    }

    /// A delivery is over.
    pub(super) fn land(&mut self, n: u64) -> Option<Flight> {
        let at = self.flight.iter().position(|flight| flight.n == n)?;
        let landed = self.flight.remove(at);
        self.blocked = false;
        if self.flight.is_empty() {
            // An idle connection holds no memory for a window it once filled.
            self.flight = VecDeque::new();
        }
        landed
    }

    /// Numbers above the cursor that are acknowledged; those that wait for PUBCOMP are stored already. `[v5:4.4.0-2]`
    pub(super) fn acked_ahead(&self) -> impl Iterator<Item = u64> {
        let acked = if self.wanted { self.acked() } else { self.sent };
        let mut flights = self.flight.iter().map(|flight| flight.n).peekable();
        (acked + 1..=self.sent)
            .filter(move |n| {
                while flights.next_if(|flight| flight < n).is_some() {}
                flights.peek() != Some(n)
            })
            .take(ACKED_AHEAD_MAX)
    }
}

/// `[v311:2.3.1-4] [v5:2.2.1-4] [v5:4.3.2-1] [v5:4.3.3-1]`
pub(super) fn id(base: u16, n: u64) -> NonZeroU16 {
    let offset = u16::try_from(n % IDS_PER_SOURCE).unwrap_or_default();
    NonZeroU16::new(base + offset).unwrap_or(NonZeroU16::MIN)
}

/// The inbox subscription.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) window: Window,
    pub(super) topic: Arc<str>,
    pub(super) subscription_id: Option<u32>,
    pub(super) qos: QoS,
    /// QoS 0 is live only: the first page tells the head, and what is before it is passed over.
    pub(super) skip_to_head: bool,
    /// A gap to be announced before anything else. (Boxed, like the next: few ever have one.)
    pub(super) gap: Option<Box<(u64, u64)>>,
    /// The gap that was announced and is not acknowledged.
    pub(super) gap_in_flight: Option<Box<(u64, u64)>>,
}

impl Inbox {
    /// No subscription.
    pub(super) fn new(dup_to: u64) -> Self {
        Self {
            window: Window { dup_to, ..Window::default() },
            topic: Arc::default(),
            subscription_id: None,
            qos: QoS::AtMostOnce,
            skip_to_head: false,
            gap: None,
            gap_in_flight: None,
        }
    }

    /// The subscription of a session that came back.
    pub(super) fn resume(&mut self, subscription: &Subscription, cursor: OpenInbox, dup_to: u64) {
        self.start(subscription, cursor, dup_to);
        self.skip_to_head = cursor.qos == QoS::AtMostOnce;
    }

    /// SUBSCRIBE. One that existed in this live session keeps where it stands.
    pub(super) fn subscribe(&mut self, subscription: &Subscription, cursor: OpenInbox, existed: bool) {
        if existed && self.window.wanted {
            self.qos = subscription.qos;
            self.subscription_id = subscription.id;
        } else {
            self.start(subscription, cursor, 0);
        }
    }

    pub(super) fn start(&mut self, subscription: &Subscription, cursor: OpenInbox, dup_to: u64) {
        let mut window = Window::at(cursor.acked, dup_to);
        // [v311:3.10.4-3] [v5:3.10.4-3]: what is in flight from an earlier subscription may still be acknowledged, unless
        // its numbers come again. What was received is only waiting for PUBCOMP, and does not come again.
        let again = self.window.sent > cursor.acked;
        window.flight = std::mem::take(&mut self.window.flight);
        window.flight.retain(|flight| !again || matches!(flight.stage, Stage::Storing | Stage::Comp));
        window.received = window.flight.iter().map(|flight| flight.n).filter(|n| *n > cursor.acked).collect();
        window.wanted = true;
        window.reading = false;
        self.window = window;
        self.topic = Arc::clone(&subscription.filter);
        self.subscription_id = subscription.id;
        self.qos = subscription.qos;
        self.gap = cursor.gap.map(Box::new);
        self.gap_in_flight = None;
        self.skip_to_head = false;
    }

    pub(super) fn unsubscribe(&mut self) {
        self.window.wanted = false;
        self.gap = None;
        self.gap_in_flight = None;
    }

    pub(super) fn acked(&self) -> u64 {
        let gap = self.gap_in_flight.as_ref().or(self.gap.as_ref());
        let below_gap = gap.map_or(u64::MAX, |gap| gap.0.saturating_sub(1));
        self.window.acked().min(below_gap)
    }

    pub(super) fn backlog(&self) -> u64 {
        if self.qos == QoS::AtMostOnce { 0 } else { self.window.backlog() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.window.flight.len() + usize::from(self.gap_in_flight.is_some())
    }

    pub(super) const fn wants_page(&self) -> bool {
        // A second gap cannot be announced before the first is acknowledged.
        self.window.wants_page() && (self.gap.is_none() || self.gap_in_flight.is_none())
    }
}

/// Deliveries at QoS 1 that are not numbered: identifiers given in turn, not sent again after a reconnect.
#[derive(Debug, Default)]
pub(super) struct Loose {
    pub(super) flight: Vec<NonZeroU16>,
    pub(super) next: u16,
}

impl Loose {
    pub(super) fn fly(&mut self) -> NonZeroU16 {
        loop {
            let id = NonZeroU16::new(LOOSE_BASE + self.next % (GAP_ID.get() - LOOSE_BASE)).unwrap_or(GAP_ID);
            self.next = self.next.wrapping_add(1);
            // The window is smaller than the range, so a free one is found.
            if !self.flight.contains(&id) {
                self.flight.push(id);
                return id;
            }
        }
    }

    pub(super) fn land(&mut self, id: NonZeroU16) {
        if let Some(at) = self.flight.iter().position(|flight| *flight == id) {
            self.flight.swap_remove(at);
        }
    }
}

/// Statuses of users, for a connection that follows any.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    pub(super) filters: Vec<StatusFilter>,
    /// Those that wait for room in the window; the newest of each user only.
    pub(super) waiting: BTreeMap<UserId, Bytes>,
    pub(super) loose: Loose,
}

/// A subscription to statuses.
#[derive(Debug)]
pub(super) struct StatusFilter {
    pub(super) filter: Arc<str>,
    pub(super) qos: QoS,
    pub(super) id: Option<u32>,
}
