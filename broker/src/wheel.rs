//! Deadlines of all connections in one place: an entry of a few bytes each, where a timer of the runtime has over a hundred.
//!
//! Deadlines here are minutes (keep alive, end of a token) or patience (CONNECT, the store), so a quarter of a second late
//! is on time. Not here: what a deadline means (`broker-protocol`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::conn::mailbox::Mailbox;

/// How exact it is, in milliseconds: the contract lets revocation and expiry take a second.
pub(crate) const TICK_MS: u64 = 250;

/// See the module.
#[derive(Default)]
pub(crate) struct Wheel {
    /// By tick and connection, so that whoever ends takes his entry along.
    entries: Mutex<BTreeMap<(u64, u64), Arc<Mailbox>>>,
}

/// Where a connection stands in the wheel; 0 = nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot(u64);

impl Wheel {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Arc<Mailbox>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the connection is woken at `at_ms` or a tick later. It may be woken earlier, by an entry from before:
    /// a deadline that moves away with every packet costs nothing.
    pub(crate) fn set(&self, slot: &mut Slot, mailbox: &Arc<Mailbox>, at_ms: u64) {
        let wanted = at_ms.div_ceil(TICK_MS).max(1);
        if slot.0 != 0 && slot.0 <= wanted {
            return;
        }
        let mut entries = self.entries();
        entries.remove(&(slot.0, mailbox.number()));
        entries.insert((wanted, mailbox.number()), Arc::clone(mailbox));
        *slot = Slot(wanted);
    }

    /// The connection has ended.
    pub(crate) fn forget(&self, slot: &mut Slot, mailbox: &Mailbox) {
        let at = std::mem::take(slot).0;
        if at != 0 {
            self.entries().remove(&(at, mailbox.number()));
        }
    }

    /// Wakes everybody whose time has come.
    pub(crate) fn turn(&self, now_ms: u64) {
        let due = {
            let mut entries = self.entries();
            let later = entries.split_off(&(now_ms / TICK_MS + 1, 0));
            std::mem::replace(&mut *entries, later)
        };
        for mailbox in due.into_values() {
            mailbox.tick();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn is_woken(mailbox: &Mailbox) -> bool {
        mailbox.take(Waker::noop()).is_some_and(|mail| mail.tick)
    }

    #[test]
    fn the_earlier_of_two_deadlines_counts_and_each_wakes_once() {
        let wheel = Wheel::default();
        let (one, other) = (Arc::new(Mailbox::new(1)), Arc::new(Mailbox::new(2)));
        let (mut of_one, mut of_other) = (Slot::default(), Slot::default());
        wheel.set(&mut of_one, &one, 10_000);
        wheel.set(&mut of_one, &one, 90_000);
        wheel.set(&mut of_one, &one, 1_000);
        wheel.set(&mut of_other, &other, 1_100);
        wheel.turn(999);
        assert!(!is_woken(&one) && !is_woken(&other));
        wheel.turn(1_000);
        assert!(is_woken(&one) && !is_woken(&other));
        wheel.turn(1_250);
        assert!(!is_woken(&one) && is_woken(&other));
        wheel.turn(100_000);
        assert!(!is_woken(&one) && !is_woken(&other));
    }

    #[test]
    fn whoever_ends_leaves_nothing_behind() {
        let wheel = Wheel::default();
        let mailbox = Arc::new(Mailbox::new(1));
        let mut slot = Slot::default();
        wheel.set(&mut slot, &mailbox, 3_600_000);
        wheel.forget(&mut slot, &mailbox);
        assert!(wheel.entries().is_empty() && slot == Slot::default());
        assert_eq!(Arc::strong_count(&mailbox), 1);
        // After it was woken its slot is stale, and forgetting it harms nobody.
        wheel.set(&mut slot, &mailbox, 0);
        wheel.turn(u64::MAX);
        wheel.forget(&mut slot, &mailbox);
        assert_eq!(Arc::strong_count(&mailbox), 1);
    }
}
