//! O5. Token buckets, as the time at which the next token is due (GCRA): two numbers, no timer. Pure.

use schemas::Millis;

/// How fast, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds between two tokens.
    pub interval_us: u64,
    /// Tokens of a full bucket.
    pub burst: u32,
}

/// A bucket; full when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// When it would be full again, microseconds since the Unix epoch.
    full_at_us: u64,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn new() -> Self {
        Self { full_at_us: 0 }
    }

    /// From when on a token may be taken.
    pub(crate) fn next(self, rate: Rate) -> Millis {
        let tolerance = rate.interval_us.saturating_mul(u64::from(rate.burst.saturating_sub(1)));
        Millis(self.full_at_us.saturating_sub(tolerance).div_ceil(1000))
    }

    /// Takes a token; not before [`Bucket::next`].
    pub(crate) fn take(&mut self, rate: Rate, now: Millis) {
        self.full_at_us = self.full_at_us.max(now.0.saturating_mul(1000)).saturating_add(rate.interval_us);
    }

    /// When it is full again: from then on it can be forgotten.
    pub(crate) const fn full_at(self) -> Millis {
        Millis(self.full_at_us.div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_per_interval() {
        let rate = Rate { interval_us: 6_000_000, burst: 45 };
        let mut bucket = Bucket::new();
        let start = Millis(1_000_000);
        for _ in 0..45 {
            assert!(bucket.next(rate) <= start);
            bucket.take(rate, start);
        }
        assert_eq!(bucket.next(rate), start.plus(6_000));
        bucket.take(rate, start.plus(6_000));
        assert_eq!(bucket.next(rate), start.plus(12_000));
        assert_eq!(bucket.full_at(), start.plus(46 * 6_000));
    }
}
