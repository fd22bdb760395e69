//! Between the protocol's requests, answers and pages, and the store's.

use std::sync::Arc;

use broker_protocol::{
    Answer, Delivered, InboxEvent, InboxPage, OpenInbox, Opened, Origin, Progress, QueueMessage, QueuePage,
    Request, Source, Start, SubscribedFilter, Version,
};
use schemas::{AccountId, ClientId, Seq, UserId};
use store::{
    CommandOp, CommitResult, Delivery, InboxCursor, InboxKey, InboxStart, Op, Outcome, Path, Publish,
    PublishOnce, PublishReleased, QueuedMessage, ReportFailure, Retained, SessionClose, SessionKey,
    SessionOpen, StoredEvent, Subscribe, Unsubscribe, Will,
};

/// Who a connection belongs to, from the moment it was let in.
#[derive(Debug)]
pub struct Owner {
    /// Of its token.
    pub account: AccountId,
    /// Of its token.
    pub user: UserId,
    /// Its session.
    pub session: SessionKey,
    /// Its user's inbox.
    pub inbox: InboxKey,
    /// Number of this connection among those of its session; 0 before the store has opened it.
    pub connection: u64,
    /// General filters in the live index.
    pub(crate) filters: Vec<Arc<str>>,
    /// It published too quickly: until then it is not read, in [`broker_protocol::Now::mono_ms`].
    pub(crate) paused_until_ms: u64,
    pub(crate) version: Version,
    /// Counted among the connections.
    pub(crate) online: bool,
    /// The store was told that the connection has ended.
    pub(crate) closed: bool,
}

impl Owner {
    /// One that the store has not opened.
    #[must_use]
    pub fn new(account: &AccountId, user: &UserId, client: &ClientId, version: Version) -> Self {
        Self {
            account: account.clone(),
            user: user.clone(),
            session: SessionKey::of(account, user, client),
            inbox: InboxKey::of(account, user),
            connection: 0,
            filters: Vec::new(),
            paused_until_ms: 0,
            version,
            online: false,
            closed: false,
        }
    }
}

/// As the store has it.
#[must_use]
pub const fn store_progress(progress: Progress) -> store::Progress {
    store::Progress { inbox: Seq(progress.inbox), queue: progress.queue }
}

/// A request of a connection's session as an op.
#[must_use]
pub fn op_of(request: Request, owner: &Owner) -> Op {
    let (account, user, session) = (owner.account.clone(), owner.user.clone(), owner.session);
    match request {
        Request::Open { account, user, client, agent, clean, expiry_s, will, version: _ } => {
            let will = will.map(|will| Box::new(Will { message: will.message, delay_s: will.delay_s }));
            Op::SessionOpen(SessionOpen { account, user, client, agent, clean, expiry_s, will })
        }
        Request::Close { expiry_s, will, sent, acked_ahead } => Op::SessionClose(SessionClose {
            session,
            connection: owner.connection,
            expiry_s,
            will,
            sent: store_progress(sent),
            acked_ahead: acked_ahead.into_iter().map(store_delivered).collect(),
        }),
        Request::Subscribe { filters, start } => {
            let inbox_after = match start {
                Start::After(after, epoch) => Some(InboxStart { after: Seq(after), epoch }),
                Start::Head | Start::Invalid => None,
            };
            Op::Subscribe(Subscribe { session, filters, inbox_after })
        }
        Request::Unsubscribe { filters } => Op::Unsubscribe(Unsubscribe { session, filters }),
        Request::Replay => Op::Replay(session),
        Request::Publish { message, report_refusal } => {
            // The only other holder passes the message on live, once it is stored.
            let message = Arc::unwrap_or_clone(message);
            let report_refusal = report_refusal.then_some(user);
            Op::Publish(Publish { account, publisher: session, message, report_refusal })
        }
        Request::Once { packet, request } => Op::PublishOnce(PublishOnce {
            session,
            connection: owner.connection,
            packet: packet.get(),
            op: Box::new(op_of(*request, owner)),
        }),
        Request::Release { packet } => {
            let (connection, packet) = (owner.connection, packet.get());
            Op::PublishReleased(PublishReleased { session, connection, packet })
        }
        Request::Received(delivered) => Op::DeliveryReceived(delivery(delivered, owner)),
        Request::Complete(delivered) => Op::DeliveryComplete(delivery(delivered, owner)),
        Request::Command { command, received_us, report_refusal } => {
            Op::Command(CommandOp { account, user, command, received_us, report_refusal })
        }
        Request::Report { id, code, detail, topic } => {
            Op::ReportFailure(ReportFailure { account, user, id, code, detail, topic })
        }
    }
}

const fn store_delivered(delivered: Delivered) -> store::Delivered {
    let source = match delivered.source {
        Source::Inbox => store::Source::Inbox,
        Source::Queue => store::Source::Queue,
    };
    store::Delivered { source, n: delivered.n }
}

const fn own_delivered(delivered: store::Delivered) -> Delivered {
    let source = match delivered.source {
        store::Source::Inbox => Source::Inbox,
        store::Source::Queue => Source::Queue,
    };
    Delivered { source, n: delivered.n }
}

const fn delivery(delivered: Delivered, owner: &Owner) -> Delivery {
    let (session, connection) = (owner.session, owner.connection);
    Delivery { session, connection, delivered: store_delivered(delivered) }
}

const fn open_inbox(cursor: InboxCursor) -> OpenInbox {
    let gap = match cursor.gap {
        Some((from, to)) => Some((from.0, to.0)),
        None => None,
    };
    OpenInbox { qos: cursor.qos, acked: cursor.acked.0, gap }
}

/// The store's result as an answer; notes the connection's number where it is told.
pub fn answer_of(result: CommitResult, owner: &mut Owner) -> Answer {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(%error, retryable = error.is_retryable(), "the store did not take a client's request");
            return Answer::Unavailable;
        }
    };
    match outcome {
        Outcome::Session(state) => {
            owner.connection = state.connection;
            Answer::Opened(Box::new(Opened {
                present: state.present,
                subscriptions: state.subscriptions,
                inbox: state.inbox.map(open_inbox),
                queue_acked: state.queue_acked,
                queue_head: state.queue_head,
                replay: state.replay,
                sent: Progress { inbox: state.sent.inbox.0, queue: state.sent.queue },
                received: state.received.into_iter().map(|(d, owed)| (own_delivered(d), owed)).collect(),
            }))
        }
        Outcome::Subscribed(results) => Answer::Subscribed(
            results
                .into_iter()
                .map(|r| SubscribedFilter {
                    existed: r.existed,
                    inbox: r.inbox.map(open_inbox),
                    retained: r.retained != Retained::None,
                    replay: r.retained == Retained::More,
                })
                .collect(),
        ),
        Outcome::Unsubscribed(existed) => Answer::Unsubscribed(existed),
        Outcome::Command(done) => Answer::Command(done.message.map(Box::new)),
        Outcome::Replayed { more } => Answer::Replayed { more },
        Outcome::Repeated => Answer::Repeated,
        Outcome::Released(held) => Answer::Released(held),
        // A newer connection has the session; this one is about to hear of it.
        Outcome::Superseded => Answer::Unavailable,
        Outcome::Refused(refusal) => Answer::Refused(refusal.code),
        _ => Answer::Done,
    }
}

/// A page of an inbox for the session.
pub fn inbox_page(page: &store::InboxPage) -> (InboxPage, impl Iterator<Item = InboxEvent<'_>>) {
    let head = InboxPage { epoch: page.epoch, head: page.head.0, oldest: page.oldest.0 };
    (head, page.events.iter().map(|event| inbox_event(event)))
}

fn inbox_event(stored: &StoredEvent) -> InboxEvent<'_> {
    let origin = stored.origin.map(|origin| {
        let path = match origin.path {
            Path::WhatsappToDevice => Origin::Whatsapp,
            Path::DeviceToDevice => Origin::Device,
        };
        (path, origin.received_us)
    });
    InboxEvent { event: &stored.event, origin }
}

/// A page of a queue for the session.
pub fn queue_page(page: &store::QueuePage) -> (QueuePage, impl Iterator<Item = QueueMessage<'_>>) {
    (QueuePage { head: page.head }, page.messages.iter().map(|message| queue_message(message)))
}

fn queue_message(queued: &QueuedMessage) -> QueueMessage<'_> {
    QueueMessage {
        n: queued.n,
        message: &queued.message,
        subscription_ids: &queued.subscription_ids,
        retain: queued.retain,
        at: queued.at,
    }
}
