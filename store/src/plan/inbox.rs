//! I3. Appending to inboxes: the only place that gives out sequence numbers (P2).

use std::sync::Arc;

use schemas::event::ConversationChange;
use schemas::{
    AccountId, Contact, ConversationId, Event, EventData, EventId, Message, MessageId, Millis, Seq, UserId,
};

use super::{Effects, Plan, View};
use crate::engine::{KeyRange, Order, after_prefix};
use crate::error::ReadError;
use crate::keys::InboxKey;
use crate::ops::{Outcome, ReportFailure};
use crate::read::{Origin, StoredEvent};
use crate::rows::{InboxBody, InboxRow, UserRow, decode, error_json, keys};

/// What the plan knows of an inbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The newest number.
    pub(super) seq: Seq,
    /// The oldest number that is kept.
    pub(super) oldest: Seq,
}

/// An event to be appended to the inboxes of several members.
pub(super) struct Draft {
    pub(super) account: AccountId,
    pub(super) conversation: Option<ConversationId>,
    pub(super) data: EventData,
    pub(super) origin: Option<Origin>,
}

impl Plan {
    pub(super) fn inbox_head(&mut self, view: &View<'_>, inbox: InboxKey) -> Result<Head, ReadError> {
        if let Some(head) = self.inboxes.get(&inbox) {
            return Ok(*head);
        }
        let newest = view.last(keys::inbox_of(inbox))?.and_then(|(key, _)| keys::number_of(&key));
        let seq = Seq(newest.unwrap_or(0));
        let above = view.get::<UserRow>(&keys::user(inbox))?.map(|row| row.oldest).unwrap_or_default();
        let oldest = match view.scan(&kept(inbox, above), Order::Ascending, 1)?.pop() {
            Some((key, value)) => oldest_from(&key, &value)?,
            None => seq.next(),
        };
        let head = Head { seq, oldest };
        if seq.0 > 0 {
            // An inbox that was never used costs no memory here.
            self.inboxes.insert(inbox, head);
        }
        Ok(head)
    }

    /// Appends an event to every member's inbox, the author's included.
    pub(super) fn append(
        &mut self,
        view: &mut View<'_>,
        members: &[UserId],
        draft: &Draft,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let id = self.event_id();
        for user in members {
            let inbox = InboxKey::of(&draft.account, user);
            let unread = match draft.conversation {
                Some(conversation) => Some(self.unread(view, inbox, conversation)?),
                None => None,
            };
            self.append_one(view, inbox, id, unread, draft, effects)?;
        }
        Ok(())
    }

    fn append_one(
        &mut self,
        view: &mut View<'_>,
        inbox: InboxKey,
        id: EventId,
        unread: Option<u64>,
        draft: &Draft,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let mut head = self.inbox_head(view, inbox)?;
        head.seq = head.seq.next();
        let row = InboxRow {
            id: id.0,
            at: self.now.0,
            conversation: draft.conversation.map(|c| c.0),
            unread,
            body: body_of(&draft.data),
        };
        view.put(keys::inbox(inbox, head.seq), &row);
        self.inboxes.insert(inbox, head);
        let event = Event {
            epoch: self.epoch,
            seq: Some(head.seq),
            id,
            at: self.now,
            account: draft.account.clone(),
            conversation: draft.conversation,
            unread,
            data: draft.data.clone(),
        };
        effects.events.push((inbox, Arc::new(StoredEvent { event, origin: draft.origin })));
        Ok(())
    }

    /// `command.failed` for those who cannot be told otherwise.
    pub(super) fn report_failure(
        &mut self,
        view: &mut View<'_>,
        report: &ReportFailure,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let draft = Draft {
            account: report.account.clone(),
            conversation: None,
            data: EventData::CommandFailed {
                id: report.id.clone(),
                code: report.code,
                detail: report.detail.clone(),
                topic: report.topic.clone(),
            },
            origin: None,
        };
        self.append(view, std::slice::from_ref(&report.user), &draft, effects)?;
        Ok(Outcome::Done)
    }
}

/// The rows of an inbox, of which none is below `oldest` ([`UserRow::oldest`]).
pub(crate) fn kept(inbox: InboxKey, oldest: Seq) -> KeyRange {
    KeyRange { from: keys::inbox(inbox, oldest), to: after_prefix(keys::inbox_of(inbox)) }
}

/// The oldest number that is kept, from an inbox's first row.
pub(crate) fn oldest_from(key: &[u8], value: &[u8]) -> Result<Seq, ReadError> {
    let first = Seq(keys::number_of(key).unwrap_or_default());
    let row: InboxRow = decode(key, value)?;
    Ok(if row.body == InboxBody::Gone { first.next() } else { first })
}

/// The row of what happened. Kinds that are not appended yet have no row: see [`event_of`].
fn body_of(data: &EventData) -> InboxBody {
    match data {
        EventData::MessageCreated(message) => InboxBody::Created { pos: message.id.pos },
        EventData::MessageStatus { message, wamid, status, error, at } => InboxBody::Status {
            pos: message.pos,
            wamid: wamid.clone(),
            status: *status,
            error: error.as_ref().map(error_json),
            at: at.0,
        },
        EventData::CommandFailed { id, code, detail, topic } => {
            InboxBody::Failed { id: id.clone(), code: *code, detail: detail.clone(), topic: topic.clone() }
        }
        EventData::ConversationUpdated(change) => InboxBody::Conversation(json(change)),
        EventData::ContactUpdated(contact) => InboxBody::Contact(json(contact)),
        EventData::ReceiptRead { by, up_to } => InboxBody::Read { by: by.to_string(), pos: up_to.pos },
        other => unreachable!("{} is never appended", other.type_name()),
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a struct of strings and numbers")
}

/// The event of a row; `created` gives the message where the row refers to one.
pub(crate) fn event_of(
    row: &InboxRow,
    created: impl FnOnce(MessageId) -> Result<Option<Message>, ReadError>,
) -> Result<EventData, ReadError> {
    let corrupt = |why: &str| ReadError::Corrupt { table: "inbox", why: why.to_owned() };
    let conversation = || row.conversation.map(ConversationId).ok_or_else(|| corrupt("no conversation"));
    Ok(match &row.body {
        InboxBody::Created { pos } => {
            let id = MessageId { conversation: conversation()?, pos: *pos };
            EventData::MessageCreated(Arc::new(
                created(id)?.ok_or_else(|| corrupt("its message is missing"))?,
            ))
        }
        InboxBody::Status { pos, wamid, status, error, at } => EventData::MessageStatus {
            message: MessageId { conversation: conversation()?, pos: *pos },
            wamid: wamid.clone(),
            status: *status,
            error: error.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            at: Millis(*at),
        },
        InboxBody::Failed { id, code, detail, topic } => EventData::CommandFailed {
            id: id.clone(),
            code: *code,
            detail: detail.clone(),
            topic: topic.clone(),
        },
        InboxBody::Conversation(text) => {
            let change: ConversationChange =
                serde_json::from_str(text).map_err(|e| corrupt(&e.to_string()))?;
            EventData::ConversationUpdated(change)
        }
        InboxBody::Contact(text) => {
            let contact: Contact = serde_json::from_str(text).map_err(|e| corrupt(&e.to_string()))?;
            EventData::ContactUpdated(contact)
        }
        InboxBody::Read { by, pos } => EventData::ReceiptRead {
            by: UserId::new(by).map_err(|e| corrupt(&e.to_string()))?,
            up_to: MessageId { conversation: conversation()?, pos: *pos },
        },
        InboxBody::Gone => return Err(corrupt("retention took the event")),
    })
}
