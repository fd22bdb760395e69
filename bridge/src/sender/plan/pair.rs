//! O5. The sends of one number to one person, in order. Pure.

use std::collections::BTreeMap;

use schemas::{MessageId, Millis, NumberId};

use super::super::rate::Bucket;
use super::PAIR_RATE;

/// Where a send stands, as far as the plan cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// May go from `due` on.
    Queued { due: Millis },
    /// An attempt's end is not known; given up or repeated at `until`.
    Unknown { until: Millis },
    /// Something is being done about it.
    Busy,
    /// Something was done about it, and what came of it has not been read yet.
    Stale,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    pub(super) created_at: Millis,
}

impl Slot {
    pub(super) fn is_overdue(&self, now: Millis) -> bool {
        matches!(self.phase, Phase::Unknown { until } if until <= now)
    }
}

/// In which of the plan's lists a pair stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the ready ones of its number, by the time of its oldest command.
    Ready(Millis),
    /// Behind a timer.
    Timer(Millis),
    /// Nowhere: something is being done, or there is nothing to do.
    None,
}

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) number: NumberId,
    /// From the oldest one on, without a gap up to `last`.
    pub(super) sends: BTreeMap<MessageId, Slot>,
    /// The newest that was taken in.
    pub(super) last: MessageId,
    /// The store has sends after `last` that did not fit.
    pub(super) more: bool,
    pub(super) bucket: Bucket,
    pub(super) place: Place,
}

impl Pair {
    pub(super) const fn new(number: NumberId, first: MessageId) -> Self {
        Self {
            number,
            sends: BTreeMap::new(),
            last: first,
            more: false,
            bucket: Bucket::new(),
            place: Place::None,
        }
    }

    /// Where the pair belongs now. One open attempt holds back everything else (P6).
    pub(super) fn wanted(&self, now: Millis) -> Place {
        let open = self.sends.values().find(|slot| !matches!(slot.phase, Phase::Queued { .. }));
        let head = open.or_else(|| self.sends.values().next());
        match head.map(|slot| (slot.phase, slot.created_at)) {
            Some((Phase::Busy | Phase::Stale, _)) => Place::None,
            Some((Phase::Unknown { until }, _)) => Place::Timer(until),
            Some((Phase::Queued { due }, created_at)) => {
                let at = due.max(self.bucket.next(PAIR_RATE));
                if at <= now { Place::Ready(created_at) } else { Place::Timer(at) }
            }
            // Kept until its bucket is full: a forgotten bucket would be a fresh one.
            None if self.bucket.full_at() > now => Place::Timer(self.bucket.full_at()),
            None => Place::None,
        }
    }

    /// Nothing is left that would have to be remembered.
    pub(super) fn is_over(&self, now: Millis) -> bool {
        self.sends.is_empty() && !self.more && self.bucket.full_at() <= now
    }
}
