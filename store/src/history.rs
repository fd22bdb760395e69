//! S3, I6, O5. Reading pages from rows. Used by every engine; blocking, so the store runs it where it may block.
//!
//! Not here: who may ask (`auth-hook`), how pages look over HTTP (`history-api`).

use std::sync::Arc;

use schemas::message::ConversationKind;
use schemas::{
    AccountId, ContactId, Conversation, ConversationId, Epoch, Event, EventId, Message, MessageId, Millis,
    Seq, UserId,
};

use crate::engine::{KeyRange, Order, Rows};
use crate::error::ReadError;
use crate::keys::{InboxKey, JournalId, SessionKey};
use crate::plan::inbox::{event_of, kept, oldest_from};
use crate::plan::{conversation, send};
use crate::read::{
    ActivityCursor, Asker, ConversationPage, INBOX_PAGE_MAX, InboxPage, LIST_PAGE_MAX, MessagePage,
    MessageRange, OpenJournal, OpenSend, Origin, Path, QueuePage, SendState, StoredEvent,
};
use crate::rows::{
    ContactRow, ConversationRow, InboxBody, InboxRow, JournalRow, LogRow, MemberRow, OpenRow, ProgressRow,
    QueueRow, StateRow, Table, UserRow, decode, keys,
};
use crate::settings::{Agents, Number, Settings};

/// Reader over the rows of a store.
pub(crate) struct History {
    rows: Arc<dyn Rows>,
    epoch: Epoch,
    numbers: Vec<Number>,
}

/// Does this user answer this number? `has_role` is asked only where all agents do.
pub(crate) fn is_agent(
    number: &Number,
    user: &UserId,
    has_role: impl FnOnce() -> Result<bool, ReadError>,
) -> Result<bool, ReadError> {
    match &number.agents {
        Agents::Named(users) => Ok(users.contains(user) || number.triage.contains(user)),
        Agents::All => has_role(),
    }
}

/// A send as the bridge needs it, from the rows it is made of. `None` where they are not those of a send.
pub(crate) fn open_send(
    message: MessageId,
    open: OpenRow,
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, ReadError>,
) -> Result<Option<OpenSend>, ReadError> {
    fn row<T: serde::de::DeserializeOwned>(
        key: &[u8],
        get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        get(key)?.map(|value| decode(key, &value)).transpose()
    }
    let Some(log) = row::<LogRow>(&keys::log(message), &get)? else {
        return Ok(None);
    };
    let Some(conversation) = row::<ConversationRow>(&keys::conversation(message.conversation), &get)? else {
        return Ok(None);
    };
    let (Some(number), Some(contact)) = (conversation.number, conversation.contact.map(ContactId)) else {
        return Ok(None);
    };
    let person: ContactRow = row(&keys::contact(contact), &get)?.unwrap_or_default();
    let answered = match log.reply_to {
        Some(pos) => row::<LogRow>(&keys::log(MessageId { pos, ..message }), &get)?.and_then(|r| r.wamid),
        None => None,
    };
    let state = match open.state {
        send::QUEUED => SendState::Queued { due: Millis(open.at) },
        send::ATTEMPTING => SendState::Attempting { since: Millis(open.at) },
        _ => SendState::Unknown { since: Millis(open.at) },
    };
    Ok(Some(OpenSend {
        message,
        account: conversation.account,
        number,
        contact,
        phone: person.phone,
        user_id: person.user_id.or(person.parent_user_id),
        text: log.text.unwrap_or_default(),
        reply_to: answered,
        state,
        attempts: open.attempts,
        created_at: Millis(log.created_at),
        received_us: log.received_us,
    }))
}

/// The number of the first or last row, by `order`, of those whose keys start with `prefix`.
pub(crate) fn edge(rows: &dyn Rows, prefix: Vec<u8>, order: Order) -> Result<Option<u64>, ReadError> {
    let mut number = None;
    rows.scan(&KeyRange::prefix(prefix), order, &mut |key, _| {
        number = keys::number_of(key);
        Ok(false)
    })?;
    Ok(number)
}

impl History {
    pub(crate) fn new(rows: Arc<dyn Rows>, epoch: Epoch, settings: &Settings) -> Self {
        Self { rows, epoch, numbers: settings.numbers.clone() }
    }

    fn row<T: serde::de::DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, ReadError> {
        self.rows.get(key)?.map(|value| decode(key, &value)).transpose()
    }

    fn edge(&self, prefix: Vec<u8>, order: Order) -> Result<Option<u64>, ReadError> {
        edge(&*self.rows, prefix, order)
    }

    fn head(&self, inbox: InboxKey) -> Result<Seq, ReadError> {
        Ok(Seq(self.edge(keys::inbox_of(inbox), Order::Descending)?.unwrap_or(0)))
    }

    fn oldest(&self, inbox: InboxKey, above: Seq) -> Result<Option<Seq>, ReadError> {
        let mut oldest = None;
        self.rows.scan(&kept(inbox, above), Order::Ascending, &mut |key, value| {
            oldest = Some(oldest_from(key, value)?);
            Ok(false)
        })?;
        Ok(oldest)
    }

    pub(crate) fn inbox(&self, inbox: InboxKey, after: Seq, limit: usize) -> Result<InboxPage, ReadError> {
        // The head first: a commit in between may only add what a later page brings.
        let head = self.head(inbox)?;
        let owner = self.row::<UserRow>(&keys::user(inbox))?;
        let above = owner.as_ref().map(|row| row.oldest).unwrap_or_default();
        let mut oldest = self.oldest(inbox, above)?.unwrap_or(head.next());
        let mut events = Vec::new();
        let range = kept(inbox, above.max(after.next()));
        let limit = limit.min(INBOX_PAGE_MAX);
        self.rows.scan(&range, Order::Ascending, &mut |key, value| {
            if events.len() >= limit || keys::number_of(key).is_none_or(|seq| seq > head.0) {
                return Ok(false);
            }
            events.extend(self.event(key, value, owner.as_ref().map(|row| &row.account))?.map(Arc::new));
            Ok(events.len() < limit)
        })?;
        // Retention may have removed more between the two looks: what is missing must be announced (P3).
        let expected = after.next().max(oldest);
        match events.first().and_then(|stored: &Arc<StoredEvent>| stored.event.seq) {
            Some(first) if first > expected => oldest = first,
            None if limit > 0 && expected <= head => {
                oldest = self.oldest(inbox, above)?.unwrap_or(head.next());
            }
            _ => {}
        }
        Ok(InboxPage { epoch: self.epoch, head, oldest, events })
    }

    /// The event of a row; `None` where retention took it and only its number stays.
    fn event(
        &self,
        key: &[u8],
        value: &[u8],
        account: Option<&AccountId>,
    ) -> Result<Option<StoredEvent>, ReadError> {
        let corrupt = |why: &str| ReadError::Corrupt { table: "inbox", why: why.to_owned() };
        let row: InboxRow = decode(key, value)?;
        if row.body == InboxBody::Gone {
            return Ok(None);
        }
        let mut origin = None;
        let data = event_of(&row, |id| {
            let log: Option<LogRow> = self.row(&keys::log(id))?;
            origin = log.as_ref().map(|log| Origin {
                path: if log.author().is_some() { Path::DeviceToDevice } else { Path::WhatsappToDevice },
                received_us: log.received_us,
            });
            Ok(log.map(|log| log.message(id, None)))
        })?;
        let event = Event {
            epoch: self.epoch,
            seq: keys::number_of(key).map(Seq),
            id: EventId(row.id),
            at: Millis(row.at),
            account: account.cloned().ok_or_else(|| corrupt("its user is missing"))?,
            conversation: row.conversation.map(ConversationId),
            unread: row.unread,
            data,
        };
        Ok(Some(StoredEvent { event, origin }))
    }

    pub(crate) fn queue(
        &self,
        session: SessionKey,
        after: u64,
        limit: usize,
    ) -> Result<QueuePage, ReadError> {
        let prefix = keys::session(Table::Queue, session);
        let head = self.edge(prefix.clone(), Order::Descending)?.unwrap_or(0);
        let mut messages = Vec::new();
        let limit = limit.min(INBOX_PAGE_MAX);
        self.rows.scan(
            &KeyRange::after(prefix, keys::queue(session, after)),
            Order::Ascending,
            &mut |key, value| {
                let Some(n) = keys::number_of(key).filter(|n| *n <= head && messages.len() < limit) else {
                    return Ok(false);
                };
                messages.push(Arc::new(decode::<QueueRow>(key, value)?.message(n)));
                Ok(messages.len() < limit)
            },
        )?;
        Ok(QueuePage { head, messages })
    }

    /// Lists the asker may see: those of the numbers he answers, and his own.
    fn lists(&self, asker: &Asker) -> Result<Vec<u128>, ReadError> {
        let mut lists = vec![conversation::list_of_user(&asker.account, &asker.user)];
        for number in self.numbers.iter().filter(|number| number.account == asker.account) {
            if self.is_agent(number, &asker.user)? {
                lists.push(conversation::list_of_number(&asker.account, &number.id));
            }
        }
        Ok(lists)
    }

    fn is_agent(&self, number: &Number, user: &UserId) -> Result<bool, ReadError> {
        is_agent(number, user, || {
            Ok(self
                .row::<UserRow>(&keys::user(InboxKey::of(&number.account, user)))?
                .is_some_and(|row| row.agent))
        })
    }

    pub(crate) fn conversations(
        &self,
        asker: &Asker,
        after: Option<ActivityCursor>,
        limit: usize,
    ) -> Result<ConversationPage, ReadError> {
        let limit = limit.min(LIST_PAGE_MAX);
        let head = self.head(asker.inbox())?;
        let mut places: Vec<(u64, u128)> = Vec::new();
        for list in self.lists(asker)? {
            let prefix = keys::activity_of(list);
            let range = match after {
                Some(cursor) => {
                    KeyRange::before(prefix, keys::activity(list, cursor.at.0, cursor.conversation))
                }
                None => KeyRange::prefix(prefix),
            };
            let mut taken = 0;
            self.rows.scan(&range, Order::Descending, &mut |key, _| {
                places.extend(place_of(key));
                taken += 1;
                // One more than asked for tells whether there is a next page.
                Ok(taken <= limit)
            })?;
        }
        places.sort_unstable_by(|a, b| b.cmp(a));
        let more = places.len() > limit;
        places.truncate(limit);
        let next = places
            .last()
            .filter(|_| more)
            .map(|(at, id)| ActivityCursor { at: Millis(*at), conversation: ConversationId(*id) });
        let mut items = Vec::with_capacity(places.len());
        for (_, id) in places {
            items.extend(self.conversation(asker, ConversationId(id))?);
        }
        Ok(ConversationPage { epoch: self.epoch, head, items, next })
    }

    fn visible(&self, asker: &Asker, id: ConversationId) -> Result<Option<ConversationRow>, ReadError> {
        let Some(row) = self.row::<ConversationRow>(&keys::conversation(id))? else {
            return Ok(None);
        };
        if row.account != asker.account {
            return Ok(None);
        }
        let member = match &row.number {
            Some(id) => match self.numbers.iter().find(|number| number.id == *id) {
                Some(number) => self.is_agent(number, &asker.user)?,
                None => false,
            },
            None => row.members.contains(&asker.user),
        };
        Ok(member.then_some(row))
    }

    pub(crate) fn conversation(
        &self,
        asker: &Asker,
        id: ConversationId,
    ) -> Result<Option<Conversation>, ReadError> {
        let Some(row) = self.visible(asker, id)? else {
            return Ok(None);
        };
        let contact = match row.contact.map(ContactId) {
            Some(contact) => {
                let known: ContactRow = self.row(&keys::contact(contact))?.unwrap_or_default();
                Some(known.contact(contact))
            }
            None => None,
        };
        let member: MemberRow = self.row(&keys::member(asker.inbox(), id))?.unwrap_or_default();
        let others = row.members.iter().filter(|user| **user != asker.user).map(ToString::to_string);
        let title = row.title.clone().or_else(|| contact.as_ref().map(|c| c.name.clone()));
        Ok(Some(Conversation {
            id,
            kind: row.kind,
            title: title.unwrap_or_else(|| others.collect::<Vec<_>>().join(", ")),
            contact,
            number: row.number,
            members: (row.kind != ConversationKind::Whatsapp).then_some(row.members),
            unread: row.head.0.saturating_sub(member.read.0).saturating_sub(member.own_since),
            last_message: self.message_at(MessageId { conversation: id, pos: row.head })?,
            assignee: row.assignee,
            labels: row.labels,
            state: row.state,
            window_expires_at: row.window_expires_at.map(Millis),
            updated_at: Millis(row.activity_at),
        }))
    }

    fn message_at(&self, id: MessageId) -> Result<Option<Message>, ReadError> {
        let Some(log) = self.row::<LogRow>(&keys::log(id))? else {
            return Ok(None);
        };
        let state: Option<StateRow> = self.row(&keys::state(id))?;
        Ok(Some(log.message(id, state.as_ref())))
    }

    pub(crate) fn message(&self, asker: &Asker, id: MessageId) -> Result<Option<Message>, ReadError> {
        match self.visible(asker, id.conversation)? {
            Some(_) => self.message_at(id),
            None => Ok(None),
        }
    }

    pub(crate) fn messages(
        &self,
        asker: &Asker,
        id: ConversationId,
        range: MessageRange,
        limit: usize,
    ) -> Result<Option<MessagePage>, ReadError> {
        if self.visible(asker, id)?.is_none() {
            return Ok(None);
        }
        let limit = limit.min(LIST_PAGE_MAX);
        let prefix = keys::log_of(id);
        let (range, order) = match range {
            MessageRange::Newest => (KeyRange::prefix(prefix), Order::Descending),
            MessageRange::Before(message) => {
                (KeyRange::before(prefix, keys::log(message)), Order::Descending)
            }
            MessageRange::After(message) => (KeyRange::after(prefix, keys::log(message)), Order::Ascending),
        };
        let mut items = Vec::new();
        let mut more = false;
        self.rows.scan(&range, order, &mut |key, value| {
            more = items.len() >= limit;
            if let (false, Some(message)) = (more, keys::message_of(key)) {
                let log: LogRow = decode(key, value)?;
                let state: Option<StateRow> = self.row(&keys::state(message))?;
                items.push(log.message(message, state.as_ref()));
            }
            Ok(!more)
        })?;
        if order == Order::Ascending {
            items.reverse();
        }
        Ok(Some(MessagePage { items, more }))
    }

    pub(crate) fn open_sends(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<OpenSend>, ReadError> {
        let prefix = keys::all(Table::Open);
        let range = match after {
            Some(message) => KeyRange::after(prefix, keys::open(message)),
            None => KeyRange::prefix(prefix),
        };
        let mut sends = Vec::new();
        self.rows.scan(&range, Order::Ascending, &mut |key, value| {
            if let Some(message) = keys::message_of(key) {
                sends.extend(open_send(message, decode(key, value)?, |key| self.rows.get(key))?);
            }
            Ok(sends.len() < limit)
        })?;
        Ok(sends)
    }

    pub(crate) fn open_send(&self, message: MessageId) -> Result<Option<OpenSend>, ReadError> {
        match self.row::<OpenRow>(&keys::open(message))? {
            Some(open) => open_send(message, open, |key| self.rows.get(key)),
            None => Ok(None),
        }
    }

    pub(crate) fn open_journal(&self) -> Result<Vec<OpenJournal>, ReadError> {
        let mut found = Vec::new();
        self.rows.scan(
            &KeyRange::prefix(keys::all(Table::Progress)),
            Order::Ascending,
            &mut |key, value| {
                let progress: ProgressRow = decode(key, value)?;
                let id = JournalId(keys::owner_of(key).unwrap_or_default());
                if let Some(row) = self.row::<JournalRow>(&keys::journal(Table::Journal, id))? {
                    found.push(OpenJournal {
                        id,
                        done: progress.done,
                        body: row.body,
                        received_us: row.received_us,
                    });
                }
                Ok(true)
            },
        )?;
        Ok(found)
    }
}

/// Time and conversation of an activity key.
pub(crate) fn place_of(key: &[u8]) -> Option<(u64, u128)> {
    let at = u64::from_be_bytes(key.get(17..25)?.try_into().ok()?);
    let id = u128::from_be_bytes(key.get(25..41)?.try_into().ok()?);
    Some((at, id))
}
