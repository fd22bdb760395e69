//! What can be read: pages of an inbox, of a session's queue, of conversations and messages; open sends.
//!
//! I6, S3, O5. Every page has a limit, named by its reader. Not here: how events look on the wire.

use std::sync::Arc;

use schemas::{
    AccountId, ContactId, Conversation, Epoch, Event, Message, MessageId, Millis, NumberId, Publication, Seq,
    UserId, Wamid,
};

use crate::keys::{InboxKey, JournalId};

/// Most events of one inbox page (contract: `/v1/sync` gives at most 1,000).
pub const INBOX_PAGE_MAX: usize = 1_000;
/// Most items of one page of conversations or messages (contract, section 6).
pub const LIST_PAGE_MAX: usize = 200;

/// Which way a message came, for `inboxd_delivery_seconds{path}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Webhook to device.
    WhatsappToDevice,
    /// Device to device.
    DeviceToDevice,
}

/// Where an event came from and when its first byte arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which way.
    pub path: Path,
    /// Microseconds since the Unix epoch.
    pub received_us: u64,
}

/// An event as read from an inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// As clients see it; `seq` is always present.
    pub event: Event,
    /// Set for `message.created`.
    pub origin: Option<Origin>,
}

/// Some events of an inbox, in order and without a gap.
#[derive(Clone, Debug)]
pub struct InboxPage {
    /// The inbox's epoch.
    pub epoch: Epoch,
    /// The number of the newest event, 0 where there is none.
    pub head: Seq,
    /// The first number still kept (head + 1 where none is): where the caller asked for less, the numbers between
    /// are gone, and he must say so (`inbox.gap`).
    pub oldest: Seq,
    /// Starts at the later of `after` + 1 and `oldest`.
    pub events: Vec<Arc<StoredEvent>>,
}

/// A general message in a session's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its number in the queue: 1, 2, 3 … rising; numbers may be missing (expired).
    pub n: u64,
    /// The message, `qos` lowered to what the subscription allows.
    pub message: Arc<Publication>,
    /// Identifiers of the subscriptions that matched.
    pub subscription_ids: Vec<u32>,
    /// RETAIN flag to be sent (retain as published).
    pub retain: bool,
    /// When it was committed; message expiry counts from here.
    pub at: Millis,
}

/// Some messages of a session's queue, in order.
#[derive(Clone, Debug)]
pub struct QueuePage {
    /// The number of the newest message, 0 where there is none.
    pub head: u64,
    /// Those after the number asked for.
    pub messages: Vec<Arc<QueuedMessage>>,
}

/// A page of conversations, newest activity first.
#[derive(Clone, Debug)]
pub struct ConversationPage {
    /// Epoch and head of the asker's inbox when the page was read: events with seq ≤ head are in it already.
    pub epoch: Epoch,
    /// See `epoch`.
    pub head: Seq,
    /// At most as many as asked for.
    pub items: Vec<Conversation>,
    /// Goes on after this one.
    pub next: Option<ActivityCursor>,
}

/// Where a list of conversations goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityCursor {
    /// Activity of the last conversation of the page.
    pub at: Millis,
    /// Its id.
    pub conversation: schemas::ConversationId,
}

/// A page of messages, newest first.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// At most as many as asked for.
    pub items: Vec<Message>,
    /// Are there more in the direction asked for?
    pub more: bool,
}

/// Which messages of a conversation; all exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageRange {
    /// The newest.
    Newest,
    /// Older than this one.
    Before(MessageId),
    /// Newer than this one (the oldest of those, still newest first).
    After(MessageId),
}

/// Where an open send stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendState {
    /// May be sent from `due` on.
    Queued {
        /// Not before.
        due: Millis,
    },
    /// An attempt was begun and has not ended. Found at a start, it is unknown.
    Attempting {
        /// Since when.
        since: Millis,
    },
    /// An attempt's end is not known.
    Unknown {
        /// Since when.
        since: Millis,
    },
}

/// A message on its way to WhatsApp.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSend {
    /// Which message: also its `biz_opaque_callback_data`.
    pub message: MessageId,
    /// Of which account.
    pub account: AccountId,
    /// From which number.
    pub number: NumberId,
    /// To whom: at most one attempt per (number, contact) is open at a time.
    pub contact: ContactId,
    /// `+` and digits.
    pub phone: Option<String>,
    /// BSUID.
    pub user_id: Option<String>,
    /// Text.
    pub text: String,
    /// wamid of the message it answers, where known.
    pub reply_to: Option<Wamid>,
    /// Where it stands.
    pub state: SendState,
    /// Attempts begun so far.
    pub attempts: u32,
    /// When the command was committed.
    pub created_at: Millis,
    /// First byte of the command, microseconds since the Unix epoch.
    pub received_us: u64,
}

/// A journaled webhook that is not worked off.
#[derive(Clone, Debug)]
pub struct OpenJournal {
    /// Which.
    pub id: JournalId,
    /// Updates below this index are applied.
    pub done: u32,
    /// The raw body.
    pub body: bytes::Bytes,
    /// First byte received, microseconds since the Unix epoch.
    pub received_us: u64,
}

/// Who asks: his own rows and his account's conversations only (P7).
#[derive(Clone, Debug)]
pub struct Asker {
    /// Account of the token.
    pub account: AccountId,
    /// User of the token.
    pub user: UserId,
}

impl Asker {
    /// His inbox.
    #[must_use]
    pub fn inbox(&self) -> InboxKey {
        InboxKey::of(&self.account, &self.user)
    }
}
