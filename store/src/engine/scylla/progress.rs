//! How far the log is applied, what of that is noted, and which of its slices are still wanted.
//!
//! Not here: applying (`apply`), the statements (`owner`).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// When a slice of the log ends, and how long what is applied is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSizes {
    /// A slice ends at so many bytes …
    pub slice_bytes: usize,
    /// … or so long after its begin.
    pub slice_time: Duration,
    /// How long a slice is kept after all of it is noted as applied: for looking at after an accident.
    pub slice_kept: Duration,
    /// How far the note of what is applied lags behind. Conditional batches are synced before they are answered, plain
    /// writes every 10 s (the default of ScyllaDB and Cassandra): were all replicas to lose power, rows applied since
    /// then would be gone, and the log has them. Three times that; a start replays so much of the log.
    pub applied_lag: Duration,
}

impl Default for LogSizes {
    fn default() -> Self {
        Self {
            slice_bytes: 64 << 20,
            slice_time: Duration::from_secs(600),
            slice_kept: Duration::from_secs(3_600),
            applied_lag: Duration::from_secs(30),
        }
    }
}

/// A slice that ended.
struct Ended {
    slice: i64,
    /// Index of the first entry behind it.
    end: i64,
    /// Since when it is known to be wholly applied.
    done: Option<Instant>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Progress {
    /// Everything below stands.
    next: i64,
    /// Stands above it.
    beyond: BTreeSet<i64>,
    /// What stood when, oldest first, as far as it is not due to be noted.
    marks: VecDeque<(Instant, i64)>,
    /// What is to be noted.
    due: i64,
    /// What is noted: see [`LogSizes::applied_lag`].
    noted: i64,
    slices: Vec<Ended>,
}

impl Progress {
    /// At a start: the log is replayed from what was noted, up to `next`; these slices of it ended.
    pub(super) fn begin(&mut self, noted: i64, next: i64, ended: impl Iterator<Item = i64>) {
        self.next = next;
        self.noted = noted;
        self.slices = ended.map(|slice| Ended { slice, end: next, done: None }).collect();
    }

    /// An entry stands.
    pub(super) fn applied(&mut self, index: i64) {
        self.beyond.insert(index);
        while self.beyond.first() == Some(&self.next) {
            self.beyond.pop_first();
            self.next += 1;
        }
    }

    /// A slice ended before this entry.
    pub(super) fn ended(&mut self, slice: i64, end: i64) {
        self.slices.push(Ended { slice, end, done: None });
    }

    /// What was applied `lag` ago, where that is not noted yet.
    pub(super) fn due_at(&mut self, now: Instant, lag: Duration) -> Option<i64> {
        self.marks.push_back((now, self.next));
        while let Some((_, mark)) =
            self.marks.front().filter(|(at, _)| now.saturating_duration_since(*at) >= lag)
        {
            self.due = *mark;
            self.marks.pop_front();
        }
        Some(self.due).filter(|due| *due > self.noted)
    }

    /// It is noted.
    pub(super) fn noted(&mut self, next: i64) {
        self.noted = next;
    }

    /// The oldest slice that is still wanted; `None` where none ended.
    pub(super) fn first_slice(&mut self, now: Instant, kept: Duration) -> Option<i64> {
        // By what is noted: a start reads on from there, so it must not be gone.
        for ended in self.slices.iter_mut().filter(|ended| ended.end <= self.noted) {
            ended.done.get_or_insert(now);
        }
        let wanted =
            |ended: &&Ended| ended.done.is_none_or(|since| now.saturating_duration_since(since) < kept);
        let oldest = self.slices.iter().find(wanted).map(|ended| ended.slice);
        oldest.or(self.slices.last().map(|ended| ended.slice + 1))
    }

    /// Slices that ended, below one.
    pub(super) fn below(&self, slice: i64) -> Vec<i64> {
        self.slices.iter().map(|ended| ended.slice).filter(|number| *number < slice).collect()
    }

    /// A slice is deleted.
    pub(super) fn deleted(&mut self, slice: i64) {
        self.slices.retain(|ended| ended.slice != slice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_noted_is_what_stood_a_while_ago_without_a_gap() {
        let (mut progress, begin) = (Progress::default(), Instant::now());
        progress.begin(5, 7, std::iter::empty());
        progress.applied(8);
        assert_eq!(progress.due_at(begin, SECOND), None, "7 is missing, and nothing is a second old");
        assert_eq!(progress.due_at(begin + SECOND, SECOND), Some(7));
        progress.noted(7);
        progress.applied(7);
        assert_eq!(progress.due_at(begin + SECOND * 2, SECOND), None);
        assert_eq!(progress.due_at(begin + SECOND * 4, SECOND), Some(9));
    }

    #[test]
    fn a_slice_goes_when_all_of_it_is_noted_and_its_time_is_over() {
        let (mut progress, begin) = (Progress::default(), Instant::now());
        progress.begin(0, 0, std::iter::empty());
        assert_eq!(progress.first_slice(begin, SECOND), None);
        progress.ended(3, 10);
        progress.ended(4, 20);
        assert_eq!(progress.first_slice(begin, SECOND), Some(3));
        progress.noted(12);
        assert_eq!(progress.first_slice(begin, SECOND), Some(3), "noted, but not for long enough");
        assert_eq!(progress.first_slice(begin + SECOND, SECOND), Some(4));
        assert_eq!(progress.below(4), [3]);
        progress.deleted(3);
        progress.noted(20);
        assert_eq!(progress.first_slice(begin + SECOND, SECOND), Some(4));
        assert_eq!(progress.first_slice(begin + SECOND * 2, SECOND), Some(5), "the one that is written");
    }
}
