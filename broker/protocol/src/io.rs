//! What goes into a session and what comes out, besides bytes.
//!
//! The store's own types are mirrored here in the few fields that a session needs, because this crate may know nothing
//! but `schemas`. Not here: what a session does with them.

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use schemas::{
    AccountId, Claims, ClientId, Command, CommandId, ConversationId, Epoch, ErrorCode, Event, Message,
    Millis, Publication, QoS, Subscription, UserId, command::TypingState,
};

use crate::packet::{Start, Version, Will};

/// Time, as an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since the Unix epoch: for timestamps and expiry.
    pub wall_us: u64,
    /// Milliseconds since anything, never going back: for time-outs.
    pub mono_ms: u64,
}

impl Now {
    /// Wall clock in milliseconds.
    #[must_use]
    pub const fn wall(self) -> Millis {
        Millis(self.wall_us / 1000)
    }
}

/// Limits of a connection. Every queue, packet and wait has one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest packet taken from a client, in bytes.
    pub packet_bytes_max: usize,
    /// Largest CONNECT, in bytes: before a token has been seen nobody may make us keep more.
    pub connect_bytes_max: usize,
    /// Publishes of a client at QoS 1 and 2 in flight (Receive Maximum).
    pub receive_max: u16,
    /// Deliveries to a client at QoS 1 and 2 in flight, whatever more it would take.
    pub window_max: u16,
    /// Topic aliases a client may use.
    pub topic_alias_max: u16,
    /// Keep alive is shortened to this, in seconds, for MQTT 5 clients; 0 = not shortened.
    pub keep_alive_max_s: u16,
    /// Session expiry is shortened to this, in seconds; `u32::MAX` = not shortened.
    pub session_expiry_max_s: u32,
    /// Subscriptions of one session; a filter counts once for each started KiB.
    pub subscriptions_max: usize,
    /// Time for CONNECT to arrive, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Time to wait for the store before the connection is closed, in milliseconds.
    pub store_wait_ms: u64,
    /// A refused publish ends the connection of a 3.1.1 client, instead of standing in its inbox.
    pub refused_publish_311_closes: bool,
    /// Output in bytes beyond which no further deliveries are written before the client has taken some.
    pub output_bytes_high: usize,
    /// Output in bytes beyond which live messages (QoS 0), which wait nowhere else, are dropped.
    pub live_bytes_high: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A text of 4,096 characters has at most 16 KiB; general topics get room for a picture's thumbnail.
            packet_bytes_max: 256 << 10,
            // One field of 64 KiB, as a test or a picture in a will may have, beside a token of at most 8 KiB.
            connect_bytes_max: 128 << 10,
            receive_max: 256,
            window_max: 64,
            topic_alias_max: 16,
            keep_alive_max_s: 0,
            session_expiry_max_s: u32::MAX,
            subscriptions_max: 1_000,
            connect_timeout_ms: 10_000,
            store_wait_ms: 10_000,
            refused_publish_311_closes: false,
            output_bytes_high: 128 << 10,
            // A burst of four thousand messages of 1 kB.
            live_bytes_high: 4 << 20,
        }
    }
}

/// O2. Who may come in and what he may do. Answers at once, from memory.
pub trait Gate {
    /// Verifies the token of a CONNECT and says which client id the connection has.
    ///
    /// # Errors
    /// [`Refused`] with a code of `schemas`.
    fn admit(&self, token: &[u8], client_id: &str, now: Now) -> Result<Admission, Refused>;

    /// May it publish to this topic?
    ///
    /// # Errors
    /// [`Denied`]; counted by the gate.
    fn publish(&self, claims: &Claims, topic: &str, qos: QoS, retain: bool) -> Result<(), Denied>;

    /// May it subscribe to this filter?
    ///
    /// # Errors
    /// [`Denied`]; counted by the gate.
    fn subscribe(&self, claims: &Claims, filter: &str) -> Result<(), Denied>;
}

/// A connection that may come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// Who it is.
    pub claims: Claims,
    /// Client id, as sent or assigned.
    pub client: ClientId,
    /// Was it assigned?
    pub assigned: bool,
}

/// A connection that may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: ErrorCode,
}

/// Something that the token does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Reason code of MQTT 5.
    pub reason: u8,
}

/// What comes out of a session. Filled, worked off and emptied by its driver; may be shared by many sessions in turn.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes for the client, in order.
    pub bytes: Vec<u8>,
    /// What else is to be done, in order.
    pub actions: Vec<Action>,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Store this; answer with the token.
    Submit {
        /// Goes back with the [`Answer`].
        token: u64,
        /// What.
        request: Box<Request>,
    },
    /// I6. Read the user's inbox; answer with a page or that reading failed.
    ReadInbox {
        /// Events after this number.
        after: u64,
        /// At most so many.
        limit: usize,
    },
    /// Read the session's queue; answer with a page or that reading failed.
    ReadQueue {
        /// Messages after this number.
        after: u64,
        /// At most so many.
        limit: usize,
    },
    /// I8. Move the cursors to here.
    Advance(Progress),
    /// The session is open: from now on it wants notices.
    Online,
    /// These filters are about to be subscribed, or are again: live messages are wanted from now on. Asked for before the
    /// store has them, so that nothing is missed between what is retained and what comes after it; until SUBACK the
    /// machine keeps what comes.
    Listen(Vec<Subscription>),
    /// These filters are subscribed now (again, where `existed`): tell it statuses from now on, and the present ones.
    Subscribed(Vec<ChangedFilter>),
    /// No messages and statuses for these filters any more.
    Unsubscribed(Vec<String>),
    /// A message for online sessions: at QoS 0, or at QoS 1 (stored already) for those that subscribed at QoS 0.
    PublishLive(Arc<Publication>),
    /// Somebody types in a conversation.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Began or ended.
        state: TypingState,
    },
    /// Something to be measured or counted.
    Told(Told),
    /// Send what stands in the output, then close.
    Close {
        /// WebSocket close code.
        websocket: u16,
    },
}

/// A filter that was subscribed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedFilter {
    /// As granted.
    pub subscription: Subscription,
    /// Did it exist before?
    pub existed: bool,
}

/// Something to be measured or counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// An event was acknowledged by the device that got it live.
    Delivered {
        /// Where it came from.
        origin: Origin,
        /// From its first byte to the PUBACK, in microseconds.
        took_us: u64,
    },
    /// A session that came back to a backlog has caught up, after so many milliseconds.
    CaughtUp {
        /// Milliseconds.
        took_ms: u64,
    },
    /// A QoS 0 publish was dropped: not allowed, or not understood.
    DroppedQoS0,
    /// A publish was refused for good.
    Refused(ErrorCode),
    /// A packet was larger than the client takes.
    TooLarge,
    /// A live message was dropped because the client is slow.
    DroppedSlow,
    /// Messages of the session's queue were removed by retention before it got them.
    Missed {
        /// How many.
        count: u64,
    },
    /// A number came out of order: promise P2 is broken.
    OutOfOrder,
    /// A command of a will could not be read or stored in order: the will was dropped.
    DroppedWill,
}

/// Which way an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Webhook to device.
    Whatsapp,
    /// Device to device.
    Device,
}

/// What is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Open or resume a session.
    Open {
        /// Account of the token.
        account: AccountId,
        /// User of the token.
        user: UserId,
        /// Client id.
        client: ClientId,
        /// Is he one of "all agents"?
        agent: bool,
        /// Throw away what is stored.
        clean: bool,
        /// Session expiry interval.
        expiry_s: u32,
        /// To be published when the connection breaks.
        will: Option<Box<Will>>,
        /// For the metrics.
        version: Version,
    },
    /// The connection has ended. Not answered.
    Close {
        /// New expiry, where DISCONNECT brought one.
        expiry_s: Option<u32>,
        /// Does the will come?
        will: bool,
        /// How far deliveries were sent.
        sent: Progress,
        /// Deliveries above the cursors that are acknowledged.
        acked_ahead: Vec<Delivered>,
    },
    /// Subscribe to these filters.
    Subscribe {
        /// Granted filters.
        filters: Vec<Subscription>,
        /// Where the inbox subscription among them shall start.
        start: Start,
    },
    /// Unsubscribe from these filters.
    Unsubscribe {
        /// Filters.
        filters: Vec<String>,
    },
    /// The next page of retained messages into the session's queue.
    Replay,
    /// O3. A message on a general topic at QoS 1 or 2, or to be retained.
    Publish {
        /// The message.
        message: Arc<Publication>,
        /// Tell a refusal in the publisher's inbox.
        report_refusal: bool,
    },
    /// O3. A publish at QoS 2: to be carried out once for its packet identifier.
    Once {
        /// Packet identifier.
        packet: NonZeroU16,
        /// What to carry out.
        request: Box<Self>,
    },
    /// PUBREL: the packet identifier is free again.
    Release {
        /// Packet identifier.
        packet: NonZeroU16,
    },
    /// I8. PUBREC: on disk before PUBREL.
    Received(Delivered),
    /// I8. PUBCOMP. Its answer is not waited for.
    Complete(Delivered),
    /// O3. A command.
    Command {
        /// The command.
        command: Command,
        /// First byte received.
        received_us: u64,
        /// Tell a refusal in the author's inbox.
        report_refusal: bool,
    },
    /// Tell a refusal in the author's inbox.
    Report {
        /// The command's id.
        id: Option<CommandId>,
        /// Code.
        code: ErrorCode,
        /// Detail.
        detail: String,
        /// Topic, where the refusal is about one.
        topic: Option<String>,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Of [`Request::Open`].
    Opened(Box<Opened>),
    /// Of [`Request::Subscribe`]: one per filter.
    Subscribed(Vec<SubscribedFilter>),
    /// Of [`Request::Unsubscribe`]: one per filter; false = there was none.
    Unsubscribed(Vec<bool>),
    /// Of [`Request::Replay`].
    Replayed {
        /// Is there another page?
        more: bool,
    },
    /// On disk.
    Done,
    /// Of [`Request::Command`], carried out: the message it made.
    Command(Option<Box<Message>>),
    /// Of [`Request::Once`]: it was on disk already, nothing happened now.
    Repeated,
    /// Of [`Request::Release`]: was there anything to be freed?
    Released(bool),
    /// Refused for good.
    Refused(ErrorCode),
    /// Not stored now.
    Unavailable,
}

/// How far a session's two numbered sources have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Inbox.
    pub inbox: u64,
    /// Queue of general messages.
    pub queue: u64,
}

/// One of a session's numbered deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivered {
    /// From where.
    pub source: Source,
    /// Its number there.
    pub n: u64,
}

/// Where numbered deliveries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The user's inbox.
    Inbox,
    /// The session's queue of general messages.
    Queue,
}

/// A session as it was stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    /// Session present.
    pub present: bool,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Where its inbox subscription stands.
    pub inbox: Option<OpenInbox>,
    /// Acknowledged of its queue.
    pub queue_acked: u64,
    /// Number of the newest message in its queue.
    pub queue_head: u64,
    /// Are there retained messages that its subscriptions have not got?
    pub replay: bool,
    /// Everything up to here may have been sent before.
    pub sent: Progress,
    /// Deliveries that must not come again, in order; true: PUBREL is owed for it.
    pub received: Vec<(Delivered, bool)>,
}

/// Where an inbox subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenInbox {
    /// Granted QoS.
    pub qos: QoS,
    /// Acknowledged.
    pub acked: u64,
    /// To be announced first; goes on after its second number.
    pub gap: Option<(u64, u64)>,
}

/// What a filter of a SUBSCRIBE led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribedFilter {
    /// Did it exist before?
    pub existed: bool,
    /// For the inbox filter.
    pub inbox: Option<OpenInbox>,
    /// Retained messages for it are in the queue, or will be.
    pub retained: bool,
    /// There are more, for [`Request::Replay`].
    pub replay: bool,
}

/// Some events of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxPage {
    /// Epoch.
    pub epoch: Epoch,
    /// Number of the newest event.
    pub head: u64,
    /// The first number still kept; head + 1 where none is.
    pub oldest: u64,
}

/// An event of a page.
#[derive(Clone, Copy, Debug)]
pub struct InboxEvent<'a> {
    /// As clients see it.
    pub event: &'a Event,
    /// Where it came from, and the microsecond of its first byte.
    pub origin: Option<(Origin, u64)>,
}

/// Some messages of a session's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePage {
    /// Number of the newest message.
    pub head: u64,
}

/// A message of a page.
#[derive(Clone, Copy, Debug)]
pub struct QueueMessage<'a> {
    /// Its number.
    pub n: u64,
    /// The message.
    pub message: &'a Publication,
    /// Subscription identifiers.
    pub subscription_ids: &'a [u32],
    /// RETAIN.
    pub retain: bool,
    /// When it was committed.
    pub at: Millis,
}

/// A message that is not numbered.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveMessage {
    /// On a general topic or one's signals, at QoS 0.
    Publication {
        /// The message.
        message: Arc<Publication>,
        /// Subscription identifiers.
        subscription_ids: Vec<u32>,
        /// RETAIN.
        retain: bool,
    },
    /// A user's status, as retained.
    Status {
        /// Whose.
        user: UserId,
        /// JSON.
        payload: Bytes,
    },
}
