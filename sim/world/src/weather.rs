//! How bad a run is: each fault's probability, drawn from the seed. Some seeds are calm in most things, so that one
//! fault alone is seen as well as all at once.

use sim::whatsapp::MsRange;
use sim::whatsapp::rng::Rng;

/// Probabilities and spans of a run.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Milliseconds on the way, and between two steps of the writer.
    pub(crate) delay: MsRange,
    /// A request or an answer gets lost.
    pub(crate) loss: f64,
    /// A notice gets lost.
    pub(crate) notice_loss: f64,
    /// A request arrives twice; an update is told again.
    pub(crate) duplicate: f64,
    /// A webhook's updates are told in another order than they came.
    pub(crate) shuffle: f64,
    /// A webhook is journaled and worked off later.
    pub(crate) journal: f64,
    /// A write gets no certain answer.
    pub(crate) write_failure: f64,
    /// Mean milliseconds between two crashes; 0 = never.
    pub(crate) crash_every: u64,
    /// Mean milliseconds between two takeovers; 0 = never.
    pub(crate) takeover_every: u64,
    /// Mean milliseconds between two cuts of some connection; 0 = never.
    pub(crate) cut_every: u64,
    /// A POST, or the answer to it, gets lost.
    pub(crate) post_loss: f64,
    /// WhatsApp refuses a POST, for now or for good.
    pub(crate) post_refusal: f64,
}

impl Weather {
    /// A seed's weather.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        // Never, seldom, often: a third each.
        let mut chance = |seldom: f64, often: f64| match rng.below(3) {
            0 => 0.0,
            1 => seldom,
            _ => often,
        };
        let loss = chance(0.03, 0.2);
        let notice_loss = chance(0.1, 0.6);
        let duplicate = chance(0.05, 0.3);
        let shuffle = chance(0.1, 0.7);
        let journal = chance(0.1, 0.5);
        let write_failure = chance(0.005, 0.03);
        let post_loss = chance(0.05, 0.3);
        let post_refusal = chance(0.05, 0.3);
        let mut every = |seldom: u64, often: u64| match rng.below(3) {
            0 => 0,
            1 => seldom,
            _ => often,
        };
        let crash_every = every(2_000, 400);
        let takeover_every = every(3_000, 700);
        let cut_every = every(600, 100);
        let delay = MsRange::new(0, [2, 15, 60][usize::try_from(rng.below(3)).unwrap_or(0)]);
        Self {
            delay,
            loss,
            notice_loss,
            duplicate,
            shuffle,
            journal,
            write_failure,
            crash_every,
            takeover_every,
            cut_every,
            post_loss,
            post_refusal,
        }
    }

    /// No faults: what is under way can end.
    pub(crate) fn calm() -> Self {
        Self {
            delay: MsRange::new(0, 2),
            loss: 0.0,
            notice_loss: 0.0,
            duplicate: 0.0,
            shuffle: 0.0,
            journal: 0.0,
            write_failure: 0.0,
            crash_every: 0,
            takeover_every: 0,
            cut_every: 0,
            post_loss: 0.0,
            post_refusal: 0.0,
        }
    }
}
