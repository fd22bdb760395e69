//! Sessions in the simulation: devices by the standard, the production session machine, the real commit path. O1–O4, I5–I8.
//!
//! ```text
//!  client (sim::mqtt) ⇄ chunks, cuts ⇄ Session (broker-protocol) ⇄ requests as ops (broker) ⇄ stepper (plan · write · tell)
//!        └───────── history ─▶ check: P1–P4, QoS 2 exactly once, order per topic, DUP ─────────┘
//! ```
//! Two devices of alice and one of bob, all subscribed to their inbox and to `t/#`, publish to topics and write to each
//! other. Connections are cut with bytes under way in both directions, taken over while the old one still stands, and the
//! server crashes between any two steps. Not here: threads, sockets, WhatsApp (`world`).

pub mod check;
mod device;
mod server;

use std::fmt;

use schemas::invariant::InvariantId;
use store::OpenError;
use store::stepper::{Disk, Planted};

use crate::Engine;
use device::World;

/// A mistake built in on purpose, to see that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// P1: told before written.
    AcknowledgeBeforeCommit,
    /// P3: the cursor moves when a delivery is sent.
    CursorAtSend,
    /// P4: the packet identifier of a publish at QoS 2 is free at its PUBREC.
    IdFreedAtPubRec,
    /// P3: PUBREC of a delivery is not stored before its PUBREL.
    PubRelNotStored,
    /// P4: a connection that was taken over may still write.
    TakeoverWithoutFence,
    /// P3: what comes again has no DUP.
    DupNotSet,
}

impl Bug {
    /// All of them with their names on the command line.
    pub const ALL: [(&str, Self); 6] = [
        ("mqtt-acknowledge-before-commit", Self::AcknowledgeBeforeCommit),
        ("mqtt-cursor-at-send", Self::CursorAtSend),
        ("id-freed-at-pubrec", Self::IdFreedAtPubRec),
        ("pubrel-not-stored", Self::PubRelNotStored),
        ("takeover-without-fence", Self::TakeoverWithoutFence),
        ("dup-not-set", Self::DupNotSet),
    ];

    const fn planted(self) -> Option<Planted> {
        match self {
            Self::AcknowledgeBeforeCommit => Some(Planted::AcknowledgeBeforeCommit),
            _ => None,
        }
    }
}

/// What a delivery brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// An event of the inbox: its number, and the command that made it.
    Event(u64, Option<String>),
    /// A message on a topic, by its publisher and the publisher's number of it.
    Message {
        /// Topic.
        topic: String,
        /// Publisher.
        by: usize,
        /// Rising for each publisher.
        key: u64,
    },
    /// The will of a connection.
    Will(u64),
}

/// One thing that happened. Devices are numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// All devices are connected and subscribed; faults begin.
    Ready,
    /// CONNACK reached a device.
    Connected(usize, u64),
    /// A device publishes for the first time: publisher, number, topic, QoS; with a message expiry?
    Publish(usize, u64, String, u8, bool),
    /// PUBACK or PUBREC reached it.
    Stored(usize, u64),
    /// A delivery reached a device, at this QoS, with DUP or not; a mere repetition before its PUBREL is none.
    Delivered(usize, What, u8, bool),
    /// It acknowledged an event (PUBACK or PUBREC).
    Acked(usize, u64),
    /// The server moved a session's cursor.
    Cursor(usize, u64),
    /// The server crashed.
    Crash,
    /// The standard was broken where a client can see it.
    Broken(usize, String),
    /// Everything came to its end.
    Rest,
    /// It did not.
    NoRest(String),
    /// `store::verify` found a broken promise.
    Verify(InvariantId, String),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// How often the odd things happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Crashes of the server.
    pub crashes: u64,
    /// Cut connections.
    pub cuts: u64,
    /// Connections that took over one that still stood.
    pub taken_over: u64,
    /// Deliveries that came again.
    pub again: u64,
    /// Publishes at QoS 2 that came to their end.
    pub exactly_once: u64,
    /// Wills delivered.
    pub wills: u64,
    /// Events delivered.
    pub events: u64,
    /// Messages on topics delivered.
    pub messages: u64,
}

impl Marks {
    /// All with their names.
    #[must_use]
    pub const fn all(&self) -> [(&'static str, u64); 8] {
        [
            ("crashes", self.crashes),
            ("cuts", self.cuts),
            ("taken_over", self.taken_over),
            ("again", self.again),
            ("exactly_once", self.exactly_once),
            ("wills", self.wills),
            ("events", self.events),
            ("messages", self.messages),
        ]
    }

    /// Adds those of another run.
    pub const fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.taken_over += other.taken_over;
        self.again += other.again;
        self.exactly_once += other.exactly_once;
        self.wills += other.wills;
        self.events += other.events;
        self.messages += other.messages;
    }
}

/// What a run gave.
pub struct Run {
    /// What happened, in order.
    pub history: Vec<Entry>,
    /// What of it breaks a promise.
    pub violations: Vec<crate::Violation>,
    /// How often odd things happened.
    pub marks: Marks,
}

impl Run {
    /// The history as lines of text; the same seed gives the same bytes.
    #[must_use]
    pub fn text(&self) -> String {
        self.history.iter().enumerate().map(|(line, entry)| format!("{:>5} {entry}\n", line + 1)).collect()
    }
}

/// Runs a seed.
///
/// # Errors
/// [`OpenError`]: the embedded engine does not open in a temporary folder.
pub fn run(seed: u64, engine: Engine, bug: Option<Bug>) -> Result<Run, OpenError> {
    let failed = |why: String| OpenError::Engine { path: "a temporary folder".to_owned(), why };
    let folder = match engine {
        Engine::Model => None,
        Engine::Embedded => Some(tempfile::tempdir().map_err(|error| failed(error.to_string()))?),
    };
    let disk = match &folder {
        None => Disk::model(),
        Some(folder) => Disk::embedded(folder.path().to_owned())?,
    };
    let (history, marks) = World::new(seed, disk, bug)?.run();
    let violations = check::check(&history);
    Ok(Run { history, violations, marks })
}
