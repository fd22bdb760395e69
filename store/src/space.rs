//! Free space on the disk: below a mark, what adds data is refused while there is still room to clean up.
//!
//! An engine that runs out of space in the middle of a commit ends the process, and cannot start again without room.
//! Refusing earlier keeps it alive: reading, sessions, cursors, ends of sends and retention go on, and what is refused
//! comes again, because nobody was told that it was taken (P1). Not here: how a disk is asked (`server`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use schemas::Millis;

use crate::error::CommitError;
use crate::ops::Op;

/// Bytes that are free where the store is; `None` where nobody can tell.
pub type FreeBytes = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// How much of the disk is to stay free.
#[derive(Clone)]
pub struct DiskSpace {
    /// Below it nothing that adds data is taken, until twice as much is free again.
    pub min_free_bytes: u64,
    /// Asked once a second at most, and again where much was written meanwhile.
    pub free: FreeBytes,
}

impl fmt::Debug for DiskSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskSpace").field("min_free_bytes", &self.min_free_bytes).finish_non_exhaustive()
    }
}

/// Time between two looks at the disk.
const LOOK_EVERY_MS: u64 = 1_000;
/// A look comes sooner where ops of this part of the mark came since the last one: what they write, journal, tables and
/// a compaction, then still fits below it however fast the disk is.
const LOOK_EVERY_PART: u64 = 16;
/// Free space must reach this many times the mark before ops are taken again: without a distance they would be
/// taken and refused in turn.
const TAKEN_AGAIN_AT: u64 = 2;

/// The mark, and on which side of it the disk is.
pub(crate) struct Watermark {
    space: Option<DiskSpace>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    at: Option<Millis>,
    /// Bytes of ops that came since.
    came: u64,
    free: u64,
    low: bool,
}

/// Below the mark it is low, from twice the mark on it is not; in between it stays what it was.
const fn is_low(was_low: bool, free: u64, min: u64) -> bool {
    free < if was_low { min.saturating_mul(TAKEN_AGAIN_AT) } else { min }
}

impl Watermark {
    pub(crate) fn new(space: Option<DiskSpace>) -> Self {
        Self { space, seen: Mutex::default() }
    }

    /// Ops of so many bytes are about to be planned.
    pub(crate) fn coming(&self, bytes: usize) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.came = seen.came.saturating_add(bytes as u64);
    }

    /// Why nothing that adds data is taken now; `None` where there is room.
    pub(crate) fn refusal(&self, now: Millis) -> Option<CommitError> {
        let space = self.space.as_ref()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not put off the next look.
        let much = seen.came > 0 && seen.came >= space.min_free_bytes / LOOK_EVERY_PART;
        if much || seen.at.is_none_or(|at| now < at || now.since(at) >= LOOK_EVERY_MS) {
            (seen.at, seen.came) = (Some(now), 0);
            if let Some(free) = (space.free)() {
                seen.look(free, space.min_free_bytes);
            }
        }
        let Seen { low, free, .. } = *seen;
        low.then_some(CommitError::DiskFull { free, min: space.min_free_bytes })
    }
}

impl Seen {
    fn look(&mut self, free: u64, min: u64) {
        crate::metrics::set_free_bytes(free);
        let low = is_low(self.low, free, min);
        match (self.low, low) {
            (false, true) => {
                tracing::error!(free, min, "the disk is nearly full: nothing that adds data is taken");
            }
            (true, false) => tracing::warn!(free, "there is room on the disk again"),
            _ => {}
        }
        self.free = free;
        self.low = low;
    }
}

/// Does an op bring data, so that it must wait for room? Sessions come and go as before: reading goes on, and their
/// rows are few and replace each other; so do pages of retained messages, one a session at a time. What ends a send must be written, or it would be sent again.
pub(crate) const fn needs_room(op: &Op) -> bool {
    match op {
        Op::Publish(_)
        | Op::PublishOnce(_)
        | Op::Command(_)
        | Op::ReportFailure(_)
        | Op::Webhook(_)
        | Op::Journal(_)
        | Op::JournalApply(_)
        | Op::SendStart(_) => true,
        Op::UserSeen(_)
        | Op::SessionOpen(_)
        | Op::SessionClose(_)
        | Op::Subscribe(_)
        | Op::Unsubscribe(_)
        | Op::PublishReleased(_)
        | Op::DeliveryReceived(_)
        | Op::DeliveryComplete(_)
        | Op::Replay(_)
        | Op::SendEnd(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn low_below_the_mark_until_twice_the_mark_is_free() {
        for (was_low, free, expected) in [
            (false, 100, false),
            (false, 99, true),
            (true, 199, true),
            (true, 200, false),
            (false, 199, false),
        ] {
            assert_eq!(is_low(was_low, free, 100), expected, "{was_low} {free}");
        }
        assert!(!is_low(false, 0, 0), "0 turns it off");
        assert!(!is_low(true, 0, 0));
    }

    #[test]
    fn the_disk_is_asked_once_a_second_and_an_unknown_answer_changes_nothing() {
        let (asked, free) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(50)));
        let (count, answer) = (asked.clone(), free.clone());
        let closure = move || {
            count.fetch_add(1, Ordering::SeqCst);
            Some(answer.load(Ordering::SeqCst)).filter(|free| *free > 0)
        };
        let mark = Watermark::new(Some(DiskSpace { min_free_bytes: 100, free: Arc::new(closure) }));
        for (now, bytes, refused, questions) in [
            (10_000, 50, true, 1),
            (10_999, 500, true, 1),
            (11_000, 150, true, 2),
            (12_000, 0, true, 3),
            (13_000, 200, false, 4),
            (9_000, 50, true, 5),
        ] {
            free.store(bytes, Ordering::SeqCst);
            assert_eq!(mark.refusal(Millis(now)).is_some(), refused, "at {now}");
            assert_eq!(asked.load(Ordering::SeqCst), questions, "at {now}");
        }
        mark.coming(5);
        mark.refusal(Millis(9_000));
        assert_eq!(asked.load(Ordering::SeqCst), 5, "little came");
        mark.coming(1);
        mark.refusal(Millis(9_000));
        assert_eq!(asked.load(Ordering::SeqCst), 6, "a sixteenth of the mark came");
        let why = mark.refusal(Millis(9_001)).expect("refused");
        assert!(why.is_retryable() && why.to_string().contains("disk full"), "{why}");
    }
}
