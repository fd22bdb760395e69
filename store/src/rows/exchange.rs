//! Flows of QoS 2 that are not over.

use serde::{Deserialize, Serialize};

use crate::ops::Source;

/// Which way it goes, and from where. On disk: numbers stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum ExchangeKind {
    /// A publish of the client; its number is the packet identifier.
    Publish = 0,
    /// A delivery from the inbox.
    Inbox = 1,
    /// A delivery from the queue.
    Queue = 2,
}

impl ExchangeKind {
    pub(crate) const fn of(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Publish),
            1 => Some(Self::Inbox),
            2 => Some(Self::Queue),
            _ => None,
        }
    }

    /// Of a delivery.
    pub(crate) const fn of_source(source: Source) -> Self {
        match source {
            Source::Inbox => Self::Inbox,
            Source::Queue => Self::Queue,
        }
    }

    /// Where a delivery comes from; `None` for a publish.
    pub(crate) const fn source(self) -> Option<Source> {
        match self {
            Self::Publish => None,
            Self::Inbox => Some(Source::Inbox),
            Self::Queue => Some(Source::Queue),
        }
    }
}

/// Table `exchange`. For a publish: the client has not sent PUBREL. For a delivery: it has sent PUBREC, or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExchangeRow {
    /// A delivery that is over; the row stays until the cursor has passed it, so that it does not come again.
    pub(crate) complete: bool,
}
