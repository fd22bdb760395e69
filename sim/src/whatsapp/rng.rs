//! The one source of chance in the model: SplitMix64 (Steele, Lea, Flood 2014), 64 bits of state.
//!
//! Our own fifteen lines rather than a crate, because a replay must give the same bytes after years and updates of
//! dependencies; `rand` reserves the right to change its streams.
//!
//! Not for secrets: whoever sees a few outputs knows the rest.

use super::faults::MsRange;

/// A seeded stream of numbers. Two with one seed give the same stream, on every platform.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A stream that is a function of `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// True with the given probability; anything ≤ 0 is never, anything ≥ 1 is always.
    ///
    /// A number is drawn in every case: turning one fault off must not shift the chances of all the others.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what an f64 holds exactly, so the quotient is uniform in [0, 1).
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < probability
    }

    /// A number in `0..bound`; 0 if `bound` is 0. The bias (below bound / 2^64) does not matter to a simulation.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A number of milliseconds within the range, both ends included.
    pub fn ms(&mut self, range: MsRange) -> u64 {
        let span = range.max.saturating_sub(range.min);
        range.min.saturating_add(self.below(span.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_matches_the_published_stream() {
        // The first outputs of the reference C code (https://prng.di.unimi.it/splitmix64.c) for seed 1234567.
        let mut rng = Rng::new(1_234_567);
        let got: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn chance_keeps_its_ends() {
        let mut rng = Rng::new(1);
        assert!((0..1_000).all(|_| !rng.chance(0.0)));
        assert!((0..1_000).all(|_| rng.chance(1.0)));
    }

    #[test]
    fn ranges_include_both_ends_and_nothing_else() {
        let mut rng = Rng::new(7);
        let mut seen = [false; 3];
        for _ in 0..200 {
            let ms = rng.ms(MsRange::new(10, 12));
            seen[usize::try_from(ms - 10).expect("10..=12")] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn an_inverted_range_is_its_minimum() {
        assert_eq!(Rng::new(7).ms(MsRange { min: 5, max: 1 }), 5);
    }
}
