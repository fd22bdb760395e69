//! What happened in a run, in order: every invocation, answer or its loss, delivery, acknowledgement, crash.
//!
//! The checker reads the entries; people read the text. The same seed gives the same bytes of it.
//! Not here: what of it is right (`check`).

use std::fmt;
use std::sync::Arc;

use schemas::invariant::InvariantId;
use schemas::{CommandBody, ErrorCode, Event, EventData, MessageId, Status, ids::hash128};
use store::{JournalId, SendResult, Update};

/// A device, by its place in the world's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId(pub usize);

/// What somebody asks of the store.
#[derive(Clone, Debug)]
pub enum Call {
    /// An agent's command, for the first time or again.
    Command {
        /// Who.
        user: String,
        /// The command's id.
        id: String,
        /// What.
        body: CommandBody,
    },
    /// A webhook and all of its effects, or its body alone.
    Webhook {
        /// What it tells.
        updates: Vec<Update>,
        /// To be worked off later.
        journaled: bool,
    },
    /// A part of a journaled webhook.
    Apply(JournalId),
    /// A device connects.
    Open(DeviceId),
    /// A device subscribes to its inbox.
    Subscribe {
        /// Which.
        device: DeviceId,
        /// After which number, where it says so.
        after: Option<u64>,
    },
    /// The server noticed that a connection ended.
    Close(DeviceId),
    /// O6.
    SendStart(MessageId),
    /// O7.
    SendEnd(MessageId, SendResult),
}

/// What the store answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, or nothing to tell.
    Done,
    /// A command was carried out, now or before.
    Command {
        /// The message it made.
        message: Option<MessageId>,
        /// Had it been carried out before?
        repeated: bool,
    },
    /// A command was refused.
    Refused(ErrorCode),
    /// May the attempt be made?
    Started(bool),
    /// Nobody knows whether it is on disk.
    Unknown,
    /// It is not on disk.
    NotDone,
}

/// What became of a POST to WhatsApp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// Taken and named; the answer may have been lost.
    Taken,
    /// It never arrived there.
    LostOnTheWay,
    /// Refused for now.
    TooFast,
    /// Refused for good.
    Refused,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An invocation reached the store.
    Call(u64, Call),
    /// The store answered it.
    Answer(u64, Answer),
    /// The answer did not reach who asked.
    Lost(u64),
    /// A connection may deliver from `acked` on.
    Opened {
        /// Whose.
        device: DeviceId,
        /// Which.
        link: u64,
        /// Does it go on where the session stood (true), or where its subscription starts (false)?
        resumed: bool,
        /// What the client asked to start after.
        after: Option<u64>,
        /// Where it stands.
        acked: u64,
    },
    /// An event reached a device.
    Delivered {
        /// Which.
        device: DeviceId,
        /// Whose.
        user: String,
        /// Over which connection.
        link: u64,
        /// Flag DUP.
        dup: bool,
        /// The event.
        event: Arc<Event>,
    },
    /// A device acknowledged (sent PUBACK).
    Acked(DeviceId, u64),
    /// The server took the acknowledgement and moved the session's cursor.
    Cursor(DeviceId, u64),
    /// A group was planned: number of ops.
    Planned(usize),
    /// It was written; synced?
    Written(bool),
    /// Its write got no certain answer.
    WriteFailed,
    /// All processes and the machine went down.
    Crash {
        /// Unsynced batches that survived.
        kept: usize,
        /// Unsynced batches.
        of: usize,
    },
    /// Another owner took the store over; the old one does not know it.
    TakenOver,
    /// An owner runs.
    Started,
    /// A POST to WhatsApp.
    Post(MessageId, Posted),
    /// All of a user's inbox, read after a start.
    Inbox {
        /// Whose.
        user: String,
        /// Its head.
        head: u64,
        /// Its events.
        events: Vec<Arc<Event>>,
    },
    /// Where all messages stand, read after a start.
    Statuses(Vec<(MessageId, Status)>),
    /// Faults end; what is under way ends.
    Calm,
    /// Nothing is under way any more.
    Rest,
    /// The world did not come to rest.
    NoRest(String),
    /// `store::verify` found a broken promise.
    Verify(InvariantId, String),
}

/// All entries of a run with their times.
#[derive(Default)]
pub struct History {
    /// Virtual milliseconds since the start, and what happened.
    pub lines: Vec<(u64, Entry)>,
}

impl History {
    /// As compact lines of text.
    #[must_use]
    pub fn text(&self) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for (number, (at, entry)) in self.lines.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>5} {at:>6} {entry}", number + 1);
        }
        text
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device{}", self.0)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call, what) => write!(f, "call #{call} {what}"),
            Self::Answer(call, answer) => write!(f, "answer #{call} {answer:?}"),
            Self::Lost(call) => write!(f, "lost #{call}"),
            Self::Opened { device, link, resumed, after, acked } => {
                write!(f, "opened {device} link={link} resumed={resumed} after={after:?} acked={acked}")
            }
            Self::Delivered { device, link, dup, event, .. } => {
                write!(f, "deliver {device} link={link} dup={dup} {}", essence(event))
            }
            Self::Acked(device, seq) => write!(f, "ack {device} {seq}"),
            Self::Cursor(device, seq) => write!(f, "cursor {device} {seq}"),
            Self::Planned(ops) => write!(f, "planned {ops}"),
            Self::Written(synced) => write!(f, "written synced={synced}"),
            Self::WriteFailed => write!(f, "write failed"),
            Self::Crash { kept, of } => write!(f, "CRASH kept {kept} of {of} unsynced"),
            Self::TakenOver => write!(f, "TAKEN OVER"),
            Self::Started => write!(f, "STARTED"),
            Self::Post(message, posted) => write!(f, "post {message} {posted:?}"),
            Self::Inbox { user, head, events } => {
                let digest = hash128("inbox", &[format!("{events:?}").as_bytes()]);
                write!(f, "inbox {user} head={head} events={} digest={digest:032x}", events.len())
            }
            Self::Statuses(statuses) => {
                let digest = hash128("statuses", &[format!("{statuses:?}").as_bytes()]);
                write!(f, "statuses {} digest={digest:032x}", statuses.len())
            }
            Self::Calm => write!(f, "CALM"),
            Self::Rest => write!(f, "REST"),
            Self::NoRest(why) => write!(f, "NO REST {why}"),
            Self::Verify(id, what) => write!(f, "VERIFY {} {what}", id.as_str()),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { user, id, body } => write!(f, "command {user} {id} {body:?}"),
            Self::Webhook { updates, journaled } => {
                write!(f, "webhook journaled={journaled}")?;
                for update in updates {
                    match update {
                        Update::Message(inbound) => write!(f, " {}", inbound.wamid)?,
                        Update::Status(status) => {
                            let named = if status.message.is_some() { "!" } else { "" };
                            write!(f, " {}={:?}{named}", status.wamid, status.status)?;
                        }
                    }
                }
                Ok(())
            }
            Self::Apply(journal) => write!(f, "apply {:032x}", journal.0),
            Self::Open(device) => write!(f, "open {device}"),
            Self::Subscribe { device, after } => write!(f, "subscribe {device} after={after:?}"),
            Self::Close(device) => write!(f, "close {device}"),
            Self::SendStart(message) => write!(f, "send start {message}"),
            Self::SendEnd(message, result) => write!(f, "send end {message} {result:?}"),
        }
    }
}

/// An event in a line.
#[must_use]
pub fn essence(event: &Event) -> String {
    let seq = event.seq.unwrap_or_default().0;
    let what = match &event.data {
        EventData::MessageCreated(message) => {
            let wamid = message.wamid.as_ref().map_or("", |wamid| wamid.as_str());
            let command = message.command_id.as_ref().map_or("", |id| id.as_str());
            format!("{} {wamid}{command} by {}", message.id, message.sender.id)
        }
        EventData::MessageStatus { message, status, .. } => format!("{message} {status:?}"),
        EventData::ReceiptRead { by, up_to } => format!("{up_to} by {by}"),
        _ => String::new(),
    };
    format!("{seq} {} {what}", event.data.type_name())
}
