//! Seeded randomness: a failure is repeated with the seed that it printed.

/// Set to repeat a run.
pub const SEED_VARIABLE: &str = "INBOXD_TEST_SEED";

/// SplitMix64: small, and good enough to choose moments.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of the environment, else one of the clock; printed, so that the run can be repeated.
    ///
    /// # Panics
    /// If the variable holds no number.
    #[must_use]
    pub fn from_environment() -> Self {
        let seed = match std::env::var(SEED_VARIABLE) {
            Ok(text) => text.parse().expect("a seed is a number"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_secs()),
        };
        eprintln!("{SEED_VARIABLE}={seed}");
        Self::new(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of a range; both ends are in it.
    pub fn among(&mut self, from: u64, to: u64) -> u64 {
        from + self.any() % (to - from + 1)
    }
}
