//! What can be committed: commands and facts in ([`Op`]), what became of them out ([`Outcome`]).
//!
//! I3, O3, O7, O9 and the sessions' life. One op is one atomic unit: all of its effects are on disk or none.
//! Ops carry no time and no numbers: the commit plan assigns both. Not here: how (that is `plan`).

use bytes::Bytes;
use schemas::message::{Kind, Media, MessageError};
use schemas::{
    AccountId, ClientId, Command, CommandId, Epoch, ErrorCode, Message, MessageId, Millis, NumberId,
    Publication, QoS, Seq, Status, Subscription, UserId, Wamid,
};

use crate::keys::{JournalId, SessionKey};
use crate::read::OpenSend;

/// Most updates of one webhook that are carried out in the commit that journals it; a larger one is journaled
/// alone, answered, and worked off in parts of this size, so that no webhook holds up a commit group.
pub const WEBHOOK_EFFECTS_MAX: usize = 200;

/// One atomic unit of change.
#[derive(Clone, Debug)]
pub enum Op {
    /// A user connected, or configuration names him: he has an inbox from now on.
    UserSeen(UserSeen),
    /// CONNECT: opens or resumes a session and takes it over from an older connection.
    SessionOpen(SessionOpen),
    /// A connection ended.
    SessionClose(SessionClose),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// The next page of retained messages for a session whose subscriptions have not got all: into its queue.
    Replay(SessionKey),
    /// O3. A message on a general topic at QoS 1 or 2, or to be retained.
    Publish(Publish),
    /// O3. A publish of QoS 2: carried out once for its packet identifier, which is kept with it.
    PublishOnce(PublishOnce),
    /// PUBREL: a packet identifier is free again.
    PublishReleased(PublishReleased),
    /// I8. PUBREC: a delivery of QoS 2 is the client's; on disk before PUBREL.
    DeliveryReceived(Delivery),
    /// I8. PUBCOMP: a delivery of QoS 2 is over. Asks for no sync: lost, PUBREL is sent again.
    DeliveryComplete(Delivery),
    /// O3. A command from an outbox or over HTTP.
    Command(CommandOp),
    /// A refusal that only the inbox can tell (3.1.1 has no reason codes): appends `command.failed`.
    ReportFailure(ReportFailure),
    /// I3, O9. A webhook with its effects (at most [`WEBHOOK_EFFECTS_MAX`]).
    Webhook(WebhookOp),
    /// I3. A webhook's raw body alone, to be worked off by [`Op::JournalApply`].
    Journal(JournalOp),
    /// I3, O9. The next part of a journaled webhook.
    JournalApply(JournalApply),
    /// O6. An attempt to send is about to be made: on disk before the POST, so that a crash leaves it `unknown`.
    SendStart(MessageId),
    /// O7. What became of an attempt.
    SendEnd(SendEnd),
}

/// See [`Op::UserSeen`].
#[derive(Clone, Debug)]
pub struct UserSeen {
    /// Account.
    pub account: AccountId,
    /// User.
    pub user: UserId,
    /// Is he one of those meant by `agents = "all"`? Once true it stays true.
    pub agent: bool,
}

/// See [`Op::SessionOpen`].
#[derive(Clone, Debug)]
pub struct SessionOpen {
    /// Account of the token.
    pub account: AccountId,
    /// User of the token.
    pub user: UserId,
    /// Client id, assigned or given.
    pub client: ClientId,
    /// Does the token's role make him one of "all agents"?
    pub agent: bool,
    /// Throw away what is stored (clean session, clean start).
    pub clean: bool,
    /// Seconds the session outlives its connection: 0 = not at all, `u32::MAX` = for ever (3.1.1 without clean
    /// session).
    pub expiry_s: u32,
    /// To be published when the connection breaks.
    pub will: Option<Box<Will>>,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The message; to an outbox it is a command.
    pub message: Publication,
    /// Seconds between the end of the connection and the will.
    pub delay_s: u32,
}

/// See [`Op::SessionClose`].
#[derive(Clone, Debug)]
pub struct SessionClose {
    /// Which session.
    pub session: SessionKey,
    /// The number [`SessionState::connection`] of the connection that ended; an older one than the present changes
    /// nothing (it was taken over).
    pub connection: u64,
    /// New expiry, where DISCONNECT brought one.
    pub expiry_s: Option<u32>,
    /// Does its will come? Not after a DISCONNECT with reason 0.
    pub will: bool,
    /// How far deliveries had been sent: what comes again after it has not DUP.
    pub sent: Progress,
    /// Deliveries above the cursors that are acknowledged: they do not come again.
    pub acked_ahead: Vec<Delivered>,
}

/// How far a session's two numbered sources (its user's inbox, its own queue of general messages) have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Inbox.
    pub inbox: Seq,
    /// Queue of general messages.
    pub queue: u64,
}

/// See [`Op::Subscribe`].
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Which session.
    pub session: SessionKey,
    /// Granted filters, in order; the same filter again replaces the earlier one.
    pub filters: Vec<Subscription>,
    /// Where an inbox subscription among them shall start, if not at the head.
    pub inbox_after: Option<InboxStart>,
}

/// MQTT 5 user properties `after` and `epoch` of SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxStart {
    /// The last number the client has.
    pub after: Seq,
    /// The epoch it belongs to; the present one where none is given.
    pub epoch: Option<Epoch>,
}

/// See [`Op::Unsubscribe`].
#[derive(Clone, Debug)]
pub struct Unsubscribe {
    /// Which session.
    pub session: SessionKey,
    /// Filters, compared byte for byte.
    pub filters: Vec<String>,
}

/// See [`Op::Publish`].
#[derive(Clone, Debug)]
pub struct Publish {
    /// Account of the publisher: its subscribers only.
    pub account: AccountId,
    /// Session of the publisher, for No Local.
    pub publisher: SessionKey,
    /// The message. At QoS 0 it is retained, where it asks for that, and queued for nobody.
    pub message: Publication,
    /// Append `command.failed` to this user's inbox where it is refused (3.1.1 publishers).
    pub report_refusal: Option<UserId>,
}

/// See [`Op::PublishOnce`].
#[derive(Clone, Debug)]
pub struct PublishOnce {
    /// Session of the publisher.
    pub session: SessionKey,
    /// The number [`SessionState::connection`] of its connection. Of an older one than the present nothing is taken: its
    /// client sends again, and then it must not have been carried out for an identifier of an earlier session.
    pub connection: u64,
    /// Packet identifier, until [`Op::PublishReleased`].
    pub packet: u16,
    /// What to carry out. Refused for good without a report, it leaves the identifier free.
    pub op: Box<Op>,
}

/// See [`Op::PublishReleased`].
#[derive(Clone, Copy, Debug)]
pub struct PublishReleased {
    /// Session of the publisher.
    pub session: SessionKey,
    /// Number of its connection; an older one than the present changes nothing.
    pub connection: u64,
    /// Packet identifier.
    pub packet: u16,
}

/// See [`Op::DeliveryReceived`] and [`Op::DeliveryComplete`].
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Session of the receiver.
    pub session: SessionKey,
    /// Number of its connection; an older one than the present changes nothing.
    pub connection: u64,
    /// Which delivery.
    pub delivered: Delivered,
}

/// One of a session's numbered deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivered {
    /// From where.
    pub source: Source,
    /// Its number there.
    pub n: u64,
}

/// Where a session's numbered deliveries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Its user's inbox.
    Inbox,
    /// Its own queue of general messages.
    Queue,
}

/// See [`Op::Command`].
#[derive(Clone, Debug)]
pub struct CommandOp {
    /// Account of the token.
    pub account: AccountId,
    /// User of the token: the author.
    pub user: UserId,
    /// The command.
    pub command: Command,
    /// First byte received, microseconds since the Unix epoch; for `inboxd_delivery_seconds`.
    pub received_us: u64,
    /// Append `command.failed` to the author's inbox where it is refused (3.1.1 publishers).
    pub report_refusal: bool,
}

/// See [`Op::ReportFailure`].
#[derive(Clone, Debug)]
pub struct ReportFailure {
    /// Account.
    pub account: AccountId,
    /// Whose inbox.
    pub user: UserId,
    /// The command's id, where one could be read.
    pub id: Option<CommandId>,
    /// Stable code.
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub detail: String,
    /// The topic, where the refusal was about a topic.
    pub topic: Option<String>,
}

/// See [`Op::Webhook`].
#[derive(Clone, Debug)]
pub struct WebhookOp {
    /// The raw body, as signed.
    pub body: Bytes,
    /// What it means, in its order. Empty where it could not be read.
    pub updates: Vec<Update>,
    /// First byte received, microseconds since the Unix epoch.
    pub received_us: u64,
}

/// See [`Op::Journal`].
#[derive(Clone, Debug)]
pub struct JournalOp {
    /// The raw body, as signed.
    pub body: Bytes,
    /// First byte received, microseconds since the Unix epoch.
    pub received_us: u64,
}

/// See [`Op::JournalApply`].
#[derive(Clone, Debug)]
pub struct JournalApply {
    /// Which webhook.
    pub journal: JournalId,
    /// Index of the first of `updates` in the whole webhook. A part that was applied already (its index is below
    /// the stored progress) has no effect.
    pub from: u32,
    /// At most [`WEBHOOK_EFFECTS_MAX`].
    pub updates: Vec<Update>,
    /// Nothing follows: the webhook is done.
    pub last: bool,
}

/// One thing that WhatsApp told, translated by the bridge.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A message from a person.
    Message(Box<Inbound>),
    /// A status of a message of ours.
    Status(Box<StatusUpdate>),
}

/// Who wrote, as far as WhatsApp says; any part may be missing, not all of `phone`, `user_id`, `parent_user_id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// `+` and digits.
    pub phone: Option<String>,
    /// BSUID.
    pub user_id: Option<String>,
    /// Parent BSUID.
    pub parent_user_id: Option<String>,
    /// Profile name.
    pub name: Option<String>,
    /// User name without `@`.
    pub username: Option<String>,
}

/// A message from a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// To which number of ours; its account is looked up.
    pub number: NumberId,
    /// From whom.
    pub person: Person,
    /// WhatsApp's id: the same one again has no effect.
    pub wamid: Wamid,
    /// WhatsApp's time.
    pub at: Millis,
    /// Kind.
    pub kind: Kind,
    /// Text or caption.
    pub text: Option<String>,
    /// File, `pending`.
    pub media: Option<Media>,
    /// Meta's object of that type, as JSON text.
    pub payload: Option<String>,
    /// wamid of the message it answers.
    pub reply_to: Option<Wamid>,
}

/// A status of a message of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusUpdate {
    /// Of which number.
    pub number: NumberId,
    /// WhatsApp's id.
    pub wamid: Wamid,
    /// Ours, from `biz_opaque_callback_data`.
    pub message: Option<MessageId>,
    /// Where it stands.
    pub status: Status,
    /// WhatsApp's time.
    pub at: Millis,
    /// Why it failed.
    pub error: Option<MessageError>,
}

/// See [`Op::SendEnd`].
#[derive(Clone, Debug)]
pub struct SendEnd {
    /// Which message.
    pub message: MessageId,
    /// What became of the attempt.
    pub result: SendResult,
}

/// What became of an attempt, or of an attempt left open.
#[derive(Clone, Debug, PartialEq)]
pub enum SendResult {
    /// WhatsApp took it and named it.
    Accepted(Wamid),
    /// WhatsApp refused it for now: queued again, not before `due`.
    RetryAt(Millis),
    /// WhatsApp refused it for good.
    Failed(MessageError),
    /// No certain answer: time-out, cut connection, 5xx, crash.
    Unknown,
    /// `on_unknown = "resend"`: unknown for long enough, send again (P6 allows it), not before `due`.
    Resend(Millis),
    /// `on_unknown = "hold"`: unknown for long enough, no longer holds back what follows for the same person. The
    /// message stays visible as `unknown`; a late status still settles it.
    Release,
}

/// What became of an op that was committed.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// Of [`Op::SessionOpen`].
    Session(Box<SessionState>),
    /// Of [`Op::Subscribe`]: one per filter, in order.
    Subscribed(Vec<Subscribed>),
    /// Of [`Op::Unsubscribe`]: one per filter, in order; false = there was none.
    Unsubscribed(Vec<bool>),
    /// Of [`Op::Publish`]: how many sessions will get it from their queues.
    Published {
        /// Sessions.
        matched: usize,
    },
    /// Of [`Op::PublishOnce`]: its packet identifier was there already, nothing happened now.
    Repeated,
    /// Of [`Op::PublishReleased`]: was the packet identifier there?
    Released(bool),
    /// Of an op that names a connection: a newer one has the session, nothing happened.
    Superseded,
    /// Of [`Op::Replay`].
    Replayed {
        /// Is there another page?
        more: bool,
    },
    /// Of [`Op::Command`].
    Command(Box<CommandDone>),
    /// Of [`Op::Command`] and [`Op::Publish`]: refused for good. With `report_refusal` the refusal is on disk as `command.failed`.
    Refused(Refusal),
    /// Of [`Op::Webhook`] and [`Op::JournalApply`].
    Webhook(WebhookDone),
    /// Of [`Op::Journal`].
    Journaled(JournalId),
    /// Of [`Op::SendStart`]: what to POST; `None`: nothing to send any more (settled or done meanwhile), do not POST.
    SendStarted(Option<Box<OpenSend>>),
}

/// A session as it is after CONNECT.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// Its key.
    pub session: SessionKey,
    /// Numbers the connections of a session, rising; belongs into [`SessionClose`].
    pub connection: u64,
    /// Was there something to resume (session present)?
    pub present: bool,
    /// All its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Where its inbox subscription stands, if it has one.
    pub inbox: Option<InboxCursor>,
    /// Acknowledged of its queue.
    pub queue_acked: u64,
    /// Number of the newest message in its queue.
    pub queue_head: u64,
    /// Has it to get more retained messages ([`Op::Replay`])?
    pub replay: bool,
    /// Everything up to here may have been sent before: it comes again with DUP.
    pub sent: Progress,
    /// Deliveries that must not come again, in order; true: PUBREL is owed for it, false: it is over, but above the
    /// cursor.
    pub received: Vec<(Delivered, bool)>,
}

/// Where an inbox subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxCursor {
    /// Granted QoS.
    pub qos: QoS,
    /// Highest number below and at which everything is acknowledged.
    pub acked: Seq,
    /// Where the client's number belonged to another epoch or was passed by retention: first announce this gap
    /// (both included), then go on after `to`.
    pub gap: Option<(Seq, Seq)>,
}

/// What a filter of a SUBSCRIBE led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Did the subscription exist before (retain handling 1)?
    pub existed: bool,
    /// For the inbox filter: where it starts.
    pub inbox: Option<InboxCursor>,
    /// Retained messages that it brought.
    pub retained: Retained,
}

/// What a subscription brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retained {
    /// Nothing.
    #[default]
    None,
    /// All of it is in the session's queue.
    Queued,
    /// A part of it is; the rest comes with [`Op::Replay`].
    More,
}

/// A command carried out.
#[derive(Clone, Debug)]
pub struct CommandDone {
    /// The message it made, as it was made.
    pub message: Option<Message>,
    /// The command had been carried out before; nothing happened now.
    pub repeated: bool,
}

/// A command refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Stable code.
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub detail: String,
}

/// What a webhook's updates led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookDone {
    /// Took effect.
    pub applied: u32,
    /// Had taken effect before, or would have moved a status backwards.
    pub repeated: u32,
    /// Kept until the wamid they speak of appears.
    pub parked: u32,
    /// Belong to a number that no account has.
    pub unknown_number: u32,
}

/// Bytes of an op beside its payload, roughly: for counting the writer's queue.
const OP_BYTES: usize = 256;

impl Op {
    /// Bytes this op takes in the writer's queue, roughly: what to ask a permit for.
    #[must_use]
    pub fn cost(&self) -> usize {
        OP_BYTES
            + match self {
                Self::PublishOnce(once) => once.op.cost(),
                Self::Publish(publish) => publish.message.payload.len() + publish.message.topic.len(),
                Self::SessionOpen(SessionOpen { will: Some(will), .. }) => {
                    will.message.payload.len() + will.message.topic.len()
                }
                Self::Webhook(webhook) => webhook.body.len() + webhook.updates.len() * OP_BYTES,
                Self::Journal(journal) => journal.body.len(),
                Self::JournalApply(apply) => apply.updates.len() * OP_BYTES,
                Self::Command(op) => crate::plan::command::cost(&op.command),
                Self::Subscribe(subscribe) => {
                    subscribe.filters.iter().map(|f| f.filter.len() + OP_BYTES).sum()
                }
                _ => 0,
            }
    }
}
