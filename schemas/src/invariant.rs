//! The promises P1–P9 as ids, and the check that counts what breaks them.
//!
//! `check_invariant!` panics in debug builds, so that tests fail, and tells the caller in release builds, so that
//! it can count (`inboxd_invariant_violations_total{id}`) and go on. Not here: the counter itself; this crate
//! touches no global state.

/// One promise of docs/invariants.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvariantId {
    /// An acknowledgement is given only after the write is on disk.
    P1,
    /// Each inbox is one sequence without gaps or repeats.
    P2,
    /// A session's cursor moves only by acknowledgement.
    P3,
    /// The same command id twice has the effect of once.
    P4,
    /// Each WhatsApp update takes effect once; a status moves by the rule only.
    P5,
    /// A message to WhatsApp is posted at most once, unless told otherwise.
    P6,
    /// A token opens its own account's and user's topics and rows and no others.
    P7,
    /// Memory is bounded by connections, subscriptions and configuration.
    P8,
    /// Whatever bytes arrive, nothing but that one connection ends.
    P9,
}

impl InvariantId {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::P1, Self::P2, Self::P3, Self::P4, Self::P5, Self::P6, Self::P7, Self::P8, Self::P9];

    /// The label value in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
            Self::P6 => "P6",
            Self::P7 => "P7",
            Self::P8 => "P8",
            Self::P9 => "P9",
        }
    }
}

/// True when the condition holds; otherwise panics in debug builds and is false in release builds.
#[macro_export]
macro_rules! check_invariant {
    ($id:expr, $holds:expr, $($why:tt)+) => {{
        let holds = $holds;
        debug_assert!(holds, "invariant {} broken: {}", $id.as_str(), format_args!($($why)+));
        holds
    }};
}
