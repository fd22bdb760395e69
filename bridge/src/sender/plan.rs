//! O5. Which message goes to WhatsApp next, and when. Pure: open sends and times in, actions out.
//!
//! ```text
//!  store.open_sends ──page──▶ pairs (one per number and person, in order) ──▶ ready ──▶ Start
//!        notice ──open_send──▶   │ head: queued, due later ──────────────▶ timer
//!                                │ an attempt is open: nothing else of the pair starts (P6)
//!                                └ unknown for unknown_after: Settle (release or resend)
//! ```
//!
//! The store is the truth: after every action and notice the send is read again and handed to [`Planner::learn`].
//! What is kept here is bounded: [`SENDS_PER_NUMBER_MAX`] sends of a number, [`PAIR_WINDOW`] of a pair; the rest is
//! fetched page by page as room appears. A pair is only ever known from its oldest send on, so that what does not fit
//! cannot be overtaken. A pair is named by its conversation, which belongs to one number and one person.
//! Not here: I/O, what an answer means (`outcome`).

mod pair;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemas::{ConversationId, MessageId, Millis, NumberId, Pos};
use store::{OpenSend, SendResult, SendState};

use super::outcome::NumberHint;
use super::rate::{Bucket, Rate};
use crate::config::{NumberConfig, OnUnknown};
use pair::{Pair, Phase, Place, Slot};

/// Most sends of one number kept in memory (some 100 bytes each).
pub const SENDS_PER_NUMBER_MAX: usize = 20_000;
/// Most sends of one pair kept in memory: at one per 6 seconds, ten minutes' worth.
pub const PAIR_WINDOW: usize = 100;
/// Sends asked for with one page.
pub const PAGE: usize = 500;
/// Attempts of one number under way at a time: at 80 a second and Meta's usual third of a second, 27 would do.
pub const NUMBER_CONCURRENCY: usize = 64;
/// Meta's throughput of a number: 80 messages a second.
pub const NUMBER_RATE: Rate = Rate { interval_us: 12_500, burst: 80 };
/// Meta's limit of a pair: one message in 6 seconds, of which 45 may be borrowed.
pub const PAIR_RATE: Rate = Rate { interval_us: 6_000_000, burst: 45 };
/// First pause of a number that is too fast or out of order; doubles.
const PAUSE_MS: u64 = 1_000;
/// Longest such pause.
const PAUSE_MAX_MS: u64 = 60_000;

/// What is to be done. After it, [`Planner::done`], then the send is read again and learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make an attempt.
    Start(MessageId),
    /// Record this end of an attempt that is not under way.
    Settle(MessageId, SendResult),
}

/// Which sends are to be read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// After this one.
    pub after: Option<MessageId>,
    /// At most so many.
    pub limit: usize,
    /// Only those of one pair are wanted.
    pair: Option<ConversationId>,
}

/// What is known of a number.
#[derive(Debug)]
struct Number {
    on_unknown: OnUnknown,
    unknown_after_ms: u64,
    in_flight: usize,
    sends: usize,
    /// Some of its sends found no room: none that is new may be taken in before everything was looked through again.
    overflow: bool,
    bucket: Bucket,
    paused_until: Millis,
    /// Refusals that were about the number since it last worked.
    strikes: u32,
    /// Pairs whose head may be sent, oldest command first.
    ready: BTreeSet<(Millis, ConversationId)>,
}

impl Number {
    /// While the number is refused, one attempt at a time finds out whether it works again.
    const fn concurrency(&self) -> usize {
        if self.strikes > 0 { 1 } else { NUMBER_CONCURRENCY }
    }

    /// From when on it may start another attempt; `None` while too many are under way or nothing is ready.
    fn opens(&self) -> Option<Millis> {
        let free = self.in_flight < self.concurrency() && !self.ready.is_empty();
        free.then(|| self.bucket.next(NUMBER_RATE).max(self.paused_until))
    }
}

/// The plan of all sends.
#[derive(Debug)]
pub struct Planner {
    numbers: BTreeMap<NumberId, Number>,
    pairs: BTreeMap<ConversationId, Pair>,
    /// When pairs are to be looked at again.
    timers: BTreeSet<(Millis, ConversationId)>,
    /// Pairs of which the store has more than fitted, and which have room now.
    refill: BTreeSet<ConversationId>,
    /// Where looking through all sends has come to; `None`: done.
    scan: Option<Option<MessageId>>,
    /// Ends of attempts that a former process left open.
    orphans: VecDeque<MessageId>,
    /// By age, for the gauge.
    ages: BTreeSet<(Millis, MessageId)>,
}

impl Planner {
    /// A plan that knows the numbers and wants to look through all open sends.
    #[must_use]
    pub fn new(numbers: &[NumberConfig]) -> Self {
        let number = |config: &NumberConfig| Number {
            on_unknown: config.on_unknown,
            unknown_after_ms: config.unknown_after_ms,
            in_flight: 0,
            sends: 0,
            overflow: false,
            bucket: Bucket::new(),
            paused_until: Millis(0),
            strikes: 0,
            ready: BTreeSet::new(),
        };
        Self {
            numbers: numbers.iter().map(|config| (config.id.clone(), number(config))).collect(),
            pairs: BTreeMap::new(),
            timers: BTreeSet::new(),
            refill: BTreeSet::new(),
            scan: Some(None),
            orphans: VecDeque::new(),
            ages: BTreeSet::new(),
        }
    }

    /// What the plan wants to read next, if anything.
    #[must_use]
    pub fn wants(&self) -> Option<PageRequest> {
        if let Some(after) = self.scan {
            return Some(PageRequest { after, limit: PAGE, pair: None });
        }
        let conversation = *self.refill.first()?;
        let after = self.pairs.get(&conversation)?.last;
        Some(PageRequest { after: Some(after), limit: PAIR_WINDOW, pair: Some(conversation) })
    }

    /// Takes in a page that [`Planner::wants`] asked for.
    pub fn page(&mut self, request: PageRequest, sends: &[OpenSend], now: Millis) {
        let whole = sends.len() >= request.limit;
        let Some(conversation) = request.pair else {
            let mut skipped = None;
            for send in sends {
                let fits = self.take_in(send, now);
                skipped = (!fits).then_some(send.message.conversation);
            }
            // What did not fit is passed over as a whole: `more` or `overflow` remembers it.
            let after = sends.last().map(|last| match skipped {
                Some(conversation) => MessageId { conversation, pos: Pos(u64::MAX) },
                None => last.message,
            });
            self.scan = if whole { Some(after) } else { None };
            self.look_through_again();
            return;
        };
        self.refill.remove(&conversation);
        if let Some(pair) = self.pairs.get_mut(&conversation) {
            pair.more = false;
        }
        for send in sends.iter().filter(|send| send.message.conversation == conversation) {
            self.take_in(send, now);
        }
        if whole
            && sends.iter().all(|send| send.message.conversation == conversation)
            && let Some(pair) = self.pairs.get_mut(&conversation)
        {
            pair.more = true;
        }
        self.place(conversation, now);
    }

    /// Takes in what the store says of one send: after a notice, or after an action. `None`: it has ended.
    pub fn learn(&mut self, message: MessageId, send: Option<&OpenSend>, now: Millis) {
        match send {
            None => self.forget(message, now),
            // What the scan has not reached is left to it: before it, earlier ones of the pair may be unknown.
            Some(_) if !self.knows(message) && self.scan.is_some_and(|at| at < Some(message)) => {}
            Some(send) => {
                self.take_in(send, now);
            }
        }
    }

    fn knows(&self, message: MessageId) -> bool {
        self.pairs.get(&message.conversation).is_some_and(|pair| pair.sends.contains_key(&message))
    }

    /// False: there was no room for it.
    fn take_in(&mut self, send: &OpenSend, now: Millis) -> bool {
        // A number that is no longer configured: its sends stay in the store until it is again.
        let Some(number) = self.numbers.get_mut(&send.number) else { return true };
        let id = send.message;
        let phase = match send.state {
            SendState::Queued { due } => Phase::Queued { due },
            SendState::Unknown { since } => Phase::Unknown { until: since.plus(number.unknown_after_ms) },
            SendState::Attempting { .. } => Phase::Busy,
        };
        let known =
            self.pairs.get(&id.conversation).and_then(|pair| pair.sends.get(&id)).map(|slot| slot.phase);
        match known {
            // Under way here: whatever was read is older than what will be read after it.
            Some(Phase::Busy) => return true,
            Some(_) => {}
            None => {
                let pair = self.pairs.get_mut(&id.conversation);
                let full = pair.as_ref().is_some_and(|pair| pair.sends.len() >= PAIR_WINDOW);
                let gap = pair.as_ref().is_some_and(|pair| pair.more && id > pair.last);
                if let Some(pair) = pair.filter(|_| full || gap) {
                    pair.more = true;
                    return false;
                }
                if number.overflow || number.sends >= SENDS_PER_NUMBER_MAX {
                    number.overflow = true;
                    return false;
                }
                number.sends += 1;
                self.ages.insert((send.created_at, id));
            }
        }
        let pair = self.pairs.entry(id.conversation).or_insert_with(|| Pair::new(send.number.clone(), id));
        pair.last = pair.last.max(id);
        pair.sends.insert(id, Slot { phase, created_at: send.created_at });
        if matches!(send.state, SendState::Attempting { .. }) {
            self.orphans.push_back(id);
        }
        self.place(id.conversation, now);
        true
    }

    fn forget(&mut self, message: MessageId, now: Millis) {
        let Some(pair) = self.pairs.get_mut(&message.conversation) else { return };
        // A status may end a send while its attempt is still under way; its answer is waited for all the same.
        if pair.sends.get(&message).is_none_or(|slot| slot.phase == Phase::Busy) {
            return;
        }
        if let Some(slot) = pair.sends.remove(&message) {
            self.ages.remove(&(slot.created_at, message));
        }
        if pair.more && pair.sends.len() <= PAIR_WINDOW / 2 {
            self.refill.insert(message.conversation);
        }
        if let Some(number) = self.numbers.get_mut(&pair.number) {
            number.sends = number.sends.saturating_sub(1);
        }
        self.look_through_again();
        self.place(message.conversation, now);
    }

    /// Starts over where a number had more sends than fitted and has room now.
    fn look_through_again(&mut self) {
        let has_room = |number: &Number| number.overflow && number.sends <= SENDS_PER_NUMBER_MAX / 2;
        if self.scan.is_none() && self.numbers.values().any(has_room) {
            self.lost_track();
        }
    }

    /// Notices were lost: looks through all open sends again.
    pub fn lost_track(&mut self) {
        self.scan = Some(None);
        self.numbers.values_mut().for_each(|number| number.overflow = false);
    }

    /// What is to be done now, in this order.
    pub fn poll(&mut self, now: Millis) -> Vec<Action> {
        let orphans = std::mem::take(&mut self.orphans);
        let mut actions: Vec<_> =
            orphans.into_iter().map(|message| Action::Settle(message, SendResult::Unknown)).collect();
        while let Some((_, conversation)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            actions.extend(self.settle(conversation, now));
            self.place(conversation, now);
        }
        let numbers: Vec<_> = self.numbers.keys().cloned().collect();
        for id in numbers {
            while let Some(message) = self.start(&id, now) {
                actions.push(Action::Start(message));
            }
        }
        actions
    }

    /// An unknown attempt of this pair that has been so for long enough.
    fn settle(&mut self, conversation: ConversationId, now: Millis) -> Option<Action> {
        let pair = self.pairs.get_mut(&conversation)?;
        let on_unknown = self.numbers.get(&pair.number)?.on_unknown;
        let (message, slot) = pair.sends.iter_mut().find(|(_, slot)| slot.is_overdue(now))?;
        slot.phase = Phase::Busy;
        let result = match on_unknown {
            OnUnknown::Hold => SendResult::Release,
            OnUnknown::Resend => SendResult::Resend(now),
        };
        Some(Action::Settle(*message, result))
    }

    fn start(&mut self, id: &NumberId, now: Millis) -> Option<MessageId> {
        let number = self.numbers.get_mut(id)?;
        number.opens().filter(|at| *at <= now)?;
        let (_, conversation) = number.ready.pop_first()?;
        let pair = self.pairs.get_mut(&conversation)?;
        pair.place = Place::None;
        let (message, slot) = pair.sends.iter_mut().next()?;
        slot.phase = Phase::Busy;
        number.in_flight += 1;
        number.bucket.take(NUMBER_RATE, now);
        pair.bucket.take(PAIR_RATE, now);
        Some(*message)
    }

    /// An action is done and on record, or could not be recorded and is to be looked at again. `started`: it was a
    /// [`Action::Start`]. Until it is learned again it holds its pair back.
    pub fn done(&mut self, message: MessageId, started: bool, hint: NumberHint, now: Millis) {
        let Some(pair) = self.pairs.get_mut(&message.conversation) else { return };
        if let Some(slot) = pair.sends.get_mut(&message) {
            slot.phase = Phase::Stale;
        }
        let Some(number) = self.numbers.get_mut(&pair.number) else { return };
        if started {
            number.in_flight = number.in_flight.saturating_sub(1);
        }
        match hint {
            NumberHint::None => {}
            NumberHint::Healthy => number.strikes = 0,
            NumberHint::SlowDown | NumberHint::OutOfOrder => {
                let pause = PAUSE_MS.saturating_mul(1 << number.strikes.min(16)).min(PAUSE_MAX_MS);
                number.strikes = number.strikes.saturating_add(1);
                number.paused_until = number.paused_until.max(now.plus(pause));
            }
        }
        self.place(message.conversation, now);
    }

    /// When to poll again, if nothing else happens; `None`: when something happens.
    #[must_use]
    pub fn next_poll(&self) -> Option<Millis> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let numbers = self.numbers.values().filter_map(Number::opens);
        timer.into_iter().chain(numbers).min()
    }

    /// Sends known, age of the oldest in milliseconds, numbers paused: for gauges.
    #[must_use]
    pub fn depth(&self, now: Millis) -> (usize, u64, usize) {
        let oldest = self.ages.first().map_or(0, |(at, _)| now.since(*at));
        (self.ages.len(), oldest, self.numbers.values().filter(|number| number.strikes > 0).count())
    }

    /// Puts a pair where it belongs: among the ready, behind a timer, or nowhere.
    fn place(&mut self, conversation: ConversationId, now: Millis) {
        let Some(pair) = self.pairs.get_mut(&conversation) else { return };
        let Some(number) = self.numbers.get_mut(&pair.number) else { return };
        match pair.place {
            Place::Ready(at) => number.ready.remove(&(at, conversation)),
            Place::Timer(at) => self.timers.remove(&(at, conversation)),
            Place::None => false,
        };
        pair.place = pair.wanted(now);
        match pair.place {
            Place::Ready(at) => number.ready.insert((at, conversation)),
            Place::Timer(at) => self.timers.insert((at, conversation)),
            Place::None => false,
        };
        if pair.is_over(now) {
            self.pairs.remove(&conversation);
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
