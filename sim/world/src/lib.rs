//! A seeded world around the commit path: the store's own plan, write and tell, driven step by step among customers,
//! agents, devices, a sender and a WhatsApp, while crashes, lost answers, repeats, failed writes and second owners
//! come between any two steps. I1–I8, O1–O10 as effects.
//!
//! ```text
//!  seed ─▶ weather ─▶ world: actors ⇄ stepper (plan · write · tell) ─▶ disk that forgets (model | embedded)
//!                       └─▶ history ─▶ check: P1–P6, by what was promised and not by how it is done
//! ```
//! A failure is a seed: the same seed gives the same bytes of history. What it does not run: threads, sockets, the
//! HTTP shells, Meta's JSON; `tests/flow` and `tests/crash` run those on the real binary.
//!
//! [`mqtt`] is a world of its own: devices, the MQTT session machine and the same store.

mod agents;
pub mod check;
mod devices;
pub mod history;
pub mod mqtt;
mod node;
mod sessions;
mod weather;
mod whatsapp;
mod workers;
mod world;

use store::OpenError;
use store::stepper::{Disk, Planted};

pub use check::Violation;
pub use history::History;

/// What keeps the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The model in memory.
    Model,
    /// The embedded engine in a temporary folder.
    Embedded,
}

/// A mistake built in on purpose, to see that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// P1: told before written.
    AcknowledgeBeforeCommit,
    /// P3: the cursor moves when an event is sent, not when it is acknowledged.
    CursorAtSend,
    /// P4: the command's id is not remembered.
    DedupeLost,
    /// P2: numbers given again while an aborted commit is still on its way.
    SeqReused,
    /// P5: a status set without a look at the present one.
    StatusOverwritten,
    /// P1, P2: a stale owner may write.
    FenceIgnored,
    /// P6: the POST is made before its attempt is on disk.
    PostBeforeStart,
}

impl Bug {
    /// All of them with their names on the command line.
    pub const ALL: [(&str, Self); 7] = [
        ("acknowledge-before-commit", Self::AcknowledgeBeforeCommit),
        ("cursor-at-send", Self::CursorAtSend),
        ("dedupe-lost", Self::DedupeLost),
        ("seq-reused", Self::SeqReused),
        ("status-overwritten", Self::StatusOverwritten),
        ("fence-ignored", Self::FenceIgnored),
        ("post-before-start", Self::PostBeforeStart),
    ];

    /// Where it sits in the store; `None`: in the world's own server.
    pub(crate) const fn planted(self) -> Option<Planted> {
        match self {
            Self::AcknowledgeBeforeCommit => Some(Planted::AcknowledgeBeforeCommit),
            Self::CursorAtSend | Self::PostBeforeStart => None,
            Self::DedupeLost => Some(Planted::DedupeLost),
            Self::SeqReused => Some(Planted::SeqReused),
            Self::StatusOverwritten => Some(Planted::StatusOverwritten),
            Self::FenceIgnored => Some(Planted::FenceIgnored),
        }
    }
}

/// How a run is made; the seed decides the rest.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What keeps the rows.
    pub engine: Engine,
    /// What is planted.
    pub bug: Option<Bug>,
    /// Commands and customers' messages before the run calms down.
    pub actions: u32,
}

/// Actions of an ordinary run: some dozens of groups and a few crashes, in some milliseconds of real time.
pub const ACTIONS: u32 = 60;

impl Config {
    /// An ordinary run.
    #[must_use]
    pub const fn new(engine: Engine, bug: Option<Bug>) -> Self {
        Self { engine, bug, actions: ACTIONS }
    }
}

/// How often the odd things happened: a simulation in which they never do proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Crashes.
    pub crashes: u64,
    /// Unsynced batches that a crash lost.
    pub lost_batches: u64,
    /// Second owners.
    pub takeovers: u64,
    /// Stale owners stopped by the fence.
    pub fenced: u64,
    /// Writes without a certain answer.
    pub failed_writes: u64,
    /// Commands asked again.
    pub retried: u64,
    /// Commands that had been carried out before.
    pub repeated: u64,
    /// Webhooks journaled and worked off later.
    pub journaled: u64,
    /// Statuses that came before their message was known.
    pub parked: u64,
    /// Updates that had taken effect before.
    pub repeated_updates: u64,
    /// Events that came to a device again.
    pub again: u64,
    /// Connections taken over by their own device.
    pub taken_over: u64,
    /// Sends that ended unknown.
    pub unknown_sends: u64,
}

impl Marks {
    /// Adds those of another run.
    pub const fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.lost_batches += other.lost_batches;
        self.takeovers += other.takeovers;
        self.fenced += other.fenced;
        self.failed_writes += other.failed_writes;
        self.retried += other.retried;
        self.repeated += other.repeated;
        self.journaled += other.journaled;
        self.parked += other.parked;
        self.repeated_updates += other.repeated_updates;
        self.again += other.again;
        self.taken_over += other.taken_over;
        self.unknown_sends += other.unknown_sends;
    }

    /// All with their names.
    #[must_use]
    pub const fn all(&self) -> [(&'static str, u64); 13] {
        [
            ("crashes", self.crashes),
            ("lost_batches", self.lost_batches),
            ("takeovers", self.takeovers),
            ("fenced", self.fenced),
            ("failed_writes", self.failed_writes),
            ("retried", self.retried),
            ("repeated", self.repeated),
            ("journaled", self.journaled),
            ("parked", self.parked),
            ("repeated_updates", self.repeated_updates),
            ("again", self.again),
            ("taken_over", self.taken_over),
            ("unknown_sends", self.unknown_sends),
        ]
    }
}

/// What a run gave.
pub struct Run {
    /// What happened.
    pub history: History,
    /// What of it breaks a promise.
    pub violations: Vec<Violation>,
    /// How often odd things happened.
    pub marks: Marks,
}

/// Runs a seed.
///
/// # Errors
/// [`OpenError`]: the embedded engine does not open in a temporary folder.
pub fn run(seed: u64, config: Config) -> Result<Run, OpenError> {
    let engine = |why: String| OpenError::Engine { path: "a temporary folder".to_owned(), why };
    let folder = match config.engine {
        Engine::Model => None,
        Engine::Embedded => Some(tempfile::tempdir().map_err(|error| engine(error.to_string()))?),
    };
    let disk = match &folder {
        None => Disk::model(),
        Some(folder) => Disk::embedded(folder.path().to_owned())?,
    };
    let (history, marks) = world::World::new(seed, config, disk).run();
    let violations = check::check(&history);
    Ok(Run { history, violations, marks })
}
