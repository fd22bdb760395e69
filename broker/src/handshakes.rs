//! Connections that have not been let in: how many there are, and who has to make room.
//!
//! Each costs memory and a descriptor although nobody knows yet whose it is. Where there are too many, one that has had
//! its time gives way to a newcomer: a thousand that never say anything cannot keep anybody out, and a fleet that comes
//! back all at once waits a moment in the kernel's queue instead of being sent away.
//! Not here: how long a handshake may take at most (`Limits::connect_timeout_ms`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker_protocol::Cause;
use tokio::sync::Notify;

use crate::conn::mailbox::Mailbox;
use crate::metrics::{self, TurnedAway};

/// After this long without a CONNECT a connection gives way where room is short, in milliseconds: from here it takes TLS one
/// or two round trips, of 300 ms on a slow mobile network, and CONNECT half of one.
const GRACE_MS: u64 = 1_000;

/// See the module.
pub(crate) struct Handshakes {
    max: usize,
    /// By number, and so by age: since when, and how to reach it.
    open: Mutex<BTreeMap<u64, (u64, Arc<Mailbox>)>>,
    /// Told whenever one is over.
    over: Notify,
}

impl Handshakes {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, open: Mutex::default(), over: Notify::new() }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, (u64, Arc<Mailbox>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more? If so it is counted; where there is none, the oldest goes if it has had its time.
    pub(crate) fn begin(&self, now_ms: u64, mailbox: &Arc<Mailbox>) -> bool {
        let mut open = self.open();
        if open.len() >= self.max {
            match open.first_entry() {
                Some(oldest) if now_ms.saturating_sub(oldest.get().0) >= GRACE_MS => {
                    let (_, evicted) = oldest.remove();
                    metrics::count_turned_away(TurnedAway::HandshakeEvicted);
                    evicted.end(Cause::Foreign);
                }
                _ => return false,
            }
        }
        open.insert(mailbox.number(), (now_ms, Arc::clone(mailbox)));
        true
    }

    /// It was let in, or is gone.
    pub(crate) fn end(&self, mailbox: &Mailbox) {
        let mut open = self.open();
        let was_full = open.len() >= self.max;
        open.remove(&mailbox.number());
        drop(open);
        if was_full {
            self.over.notify_one();
        }
    }

    /// Until one is over.
    pub(crate) async fn one_is_over(&self) {
        self.over.notified().await;
    }

    /// Tells how many there are.
    pub(crate) fn measure(&self) {
        metrics::handshakes(self.open().len());
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.open().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn was_told_to_end(mailbox: &Mailbox) -> bool {
        mailbox.take(Waker::noop()).is_some_and(|mail| mail.cause.is_some())
    }

    #[test]
    fn the_oldest_gives_way_once_it_has_had_its_time() {
        let handshakes = Handshakes::new(2);
        let guests: Vec<_> = (1..=4).map(|number| Arc::new(Mailbox::new(number))).collect();
        assert!(handshakes.begin(0, &guests[0]) && handshakes.begin(700, &guests[1]));
        assert!(!handshakes.begin(GRACE_MS - 1, &guests[2]));
        assert!(handshakes.begin(GRACE_MS, &guests[2]));
        assert!(was_told_to_end(&guests[0]) && !was_told_to_end(&guests[1]));
        // The next in line is young: the newcomer waits.
        assert!(!handshakes.begin(GRACE_MS + 1, &guests[3]));
        handshakes.end(&guests[1]);
        handshakes.end(&guests[1]);
        assert!(handshakes.begin(GRACE_MS + 2, &guests[3]));
        assert_eq!(handshakes.len(), 2);
    }
}
