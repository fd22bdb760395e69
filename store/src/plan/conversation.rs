//! Conversations: whose they are, where they stand in lists, how much of them is unread.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use schemas::message::{ConversationKind, ConversationState};
use schemas::{AccountId, ContactId, ConversationId, MessageId, Millis, NumberId, Pos, UserId, ids::hash128};

use super::{Plan, View};
use crate::engine::{KeyRange, Order};
use crate::error::ReadError;
use crate::keys::InboxKey;
use crate::rows::{ConversationRow, LogRow, MemberRow, decode, keys};
use crate::settings::{Agents, Number};

/// Most log rows read to count a member's own messages after a read position that is not the head. Beyond it own
/// messages count as unread until the next read: a number on a badge, not an order of messages.
const OWN_SCAN_MAX: usize = 10_000;
/// WhatsApp's customer service window: 24 hours after the customer's last message.
const WINDOW_MS: u64 = 24 * 60 * 60 * 1000;

/// A conversation in the plan's memory.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    pub(super) row: ConversationRow,
    /// Its place in the lists as written, where it was written.
    written_at: Option<u64>,
    members: BTreeMap<InboxKey, Member>,
}

/// A member's read position in the plan's memory.
#[derive(Clone, Copy, Debug)]
struct Member {
    row: MemberRow,
    /// To be written at the end of the group.
    changed: bool,
}

/// The list of a number's conversations.
pub(crate) fn list_of_number(account: &AccountId, number: &NumberId) -> u128 {
    hash128("list of number", &[account.as_str().as_bytes(), number.as_str().as_bytes()])
}

/// The list of a user's direct and group conversations.
pub(crate) fn list_of_user(account: &AccountId, user: &UserId) -> u128 {
    hash128("list of user", &[account.as_str().as_bytes(), user.as_str().as_bytes()])
}

/// The lists a conversation stands in.
pub(crate) fn lists(row: &ConversationRow) -> Vec<u128> {
    match &row.number {
        Some(number) => vec![list_of_number(&row.account, number)],
        None => row.members.iter().map(|user| list_of_user(&row.account, user)).collect(),
    }
}

impl Plan {
    /// A conversation, from memory or rows.
    pub(super) fn conversation(
        &mut self,
        view: &View<'_>,
        id: ConversationId,
    ) -> Result<Option<&mut Cached>, ReadError> {
        match self.conversations.entry(id) {
            Entry::Occupied(entry) => Ok(Some(entry.into_mut())),
            Entry::Vacant(entry) => {
                let Some(row) = view.get::<ConversationRow>(&keys::conversation(id))? else {
                    return Ok(None);
                };
                let written_at = Some(row.activity_at);
                Ok(Some(entry.insert(Cached { row, written_at, members: BTreeMap::new() })))
            }
        }
    }

    /// The conversation of a number with a contact, made if there is none.
    pub(super) fn whatsapp_conversation(
        &mut self,
        view: &View<'_>,
        number: &Number,
        contact: ContactId,
    ) -> Result<ConversationId, ReadError> {
        let id = ConversationId::whatsapp(&number.account, &number.id, contact);
        if self.conversation(view, id)?.is_none() {
            let row = new_row(
                &number.account,
                ConversationKind::Whatsapp,
                Some(number.id.clone()),
                Some(contact),
                vec![],
            );
            self.make(id, row);
        }
        Ok(id)
    }

    /// The direct conversation of two users, made if there is none.
    pub(super) fn direct_conversation(
        &mut self,
        view: &View<'_>,
        account: &AccountId,
        one: &UserId,
        other: &UserId,
    ) -> Result<ConversationId, ReadError> {
        let id = ConversationId::direct(account, one, other);
        if self.conversation(view, id)?.is_none() {
            let mut members = vec![one.clone(), other.clone()];
            members.sort_unstable();
            members.dedup();
            self.make(id, new_row(account, ConversationKind::Direct, None, None, members));
        }
        Ok(id)
    }

    fn make(&mut self, id: ConversationId, row: ConversationRow) {
        self.conversations.insert(id, Cached { row, written_at: None, members: BTreeMap::new() });
        self.touched.insert(id);
    }

    /// Who gets the events of a conversation.
    pub(super) fn members(&self, row: &ConversationRow) -> Vec<UserId> {
        let Some(number) = row.number.as_ref().and_then(|id| self.numbers.get(id)) else {
            return row.members.clone();
        };
        let agents = self.agents_of(number);
        if agents.len() <= self.fanout_max {
            return agents;
        }
        match &row.assignee {
            Some(assignee) => vec![assignee.clone()],
            None => number.triage.iter().take(self.fanout_max).cloned().collect(),
        }
    }

    pub(super) fn agents_of(&self, number: &Number) -> Vec<UserId> {
        match &number.agents {
            Agents::Named(users) => users.clone(),
            Agents::All => self.agents.get(&number.account).into_iter().flatten().cloned().collect(),
        }
    }

    /// May this user write there? Every agent of the number, every member of a direct or group conversation.
    pub(super) fn is_member(
        &self,
        view: &View<'_>,
        row: &ConversationRow,
        user: &UserId,
    ) -> Result<bool, ReadError> {
        let Some(number) = row.number.as_ref().and_then(|id| self.numbers.get(id)) else {
            return Ok(row.members.contains(user));
        };
        self.is_agent(view, number, user)
    }

    /// Does this user answer this number?
    pub(super) fn is_agent(
        &self,
        view: &View<'_>,
        number: &Number,
        user: &UserId,
    ) -> Result<bool, ReadError> {
        crate::history::is_agent(number, user, || {
            Ok(view
                .get::<crate::rows::UserRow>(&keys::user(InboxKey::of(&number.account, user)))?
                .is_some_and(|u| u.agent))
        })
    }

    /// Takes the next position of a conversation's log; its activity is now.
    pub(super) fn next_pos(&mut self, view: &View<'_>, id: ConversationId) -> Result<Option<Pos>, ReadError> {
        let now = self.now.0;
        let Some(cached) = self.conversation(view, id)? else {
            return Ok(None);
        };
        cached.row.head = cached.row.head.next();
        cached.row.activity_at = cached.row.activity_at.max(now);
        let pos = cached.row.head;
        self.touched.insert(id);
        Ok(Some(pos))
    }

    /// The customer wrote: the window is open for a day from then.
    pub(super) fn open_window(
        &mut self,
        view: &View<'_>,
        id: ConversationId,
        written: Millis,
    ) -> Result<(), ReadError> {
        if let Some(cached) = self.conversation(view, id)? {
            let until = written.plus(WINDOW_MS).0;
            cached.row.window_expires_at =
                Some(cached.row.window_expires_at.map_or(until, |old| old.max(until)));
        }
        self.touched.insert(id);
        Ok(())
    }

    fn member<'p>(
        &'p mut self,
        view: &View<'_>,
        inbox: InboxKey,
        id: ConversationId,
    ) -> Result<Option<(Pos, &'p mut Member)>, ReadError> {
        let Some(cached) = self.conversation(view, id)? else {
            return Ok(None);
        };
        let head = cached.row.head;
        let member = match cached.members.entry(inbox) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Member {
                row: view.get(&keys::member(inbox, id))?.unwrap_or_default(),
                changed: false,
            }),
        };
        Ok(Some((head, member)))
    }

    /// Unread = position − read position − own since.
    pub(super) fn unread(
        &mut self,
        view: &View<'_>,
        inbox: InboxKey,
        id: ConversationId,
    ) -> Result<u64, ReadError> {
        let member = self.member(view, inbox, id)?;
        Ok(member.map_or(0, |(head, Member { row, .. })| {
            head.0.saturating_sub(row.read.0).saturating_sub(row.own_since)
        }))
    }

    /// A member wrote a message himself: it is not unread for him.
    pub(super) fn own_message(
        &mut self,
        view: &View<'_>,
        inbox: InboxKey,
        id: ConversationId,
    ) -> Result<(), ReadError> {
        if let Some((_, member)) = self.member(view, inbox, id)? {
            member.row.own_since += 1;
            member.changed = true;
            self.touched.insert(id);
        }
        Ok(())
    }

    /// A member read up to a message. False where he had read that far before.
    pub(super) fn mark_read(
        &mut self,
        view: &View<'_>,
        account: &AccountId,
        user: &UserId,
        up_to: MessageId,
    ) -> Result<bool, ReadError> {
        let (id, inbox) = (up_to.conversation, InboxKey::of(account, user));
        let Some((head, Member { row, .. })) = self.member(view, inbox, id)? else {
            return Ok(false);
        };
        if up_to.pos <= row.read {
            return Ok(false);
        }
        let own_since = if up_to.pos >= head { 0 } else { own_after(view, up_to, user)? };
        if let Some((_, member)) = self.member(view, inbox, id)? {
            *member = Member { row: MemberRow { read: up_to.pos, own_since }, changed: true };
        }
        self.touched.insert(id);
        Ok(true)
    }

    /// Writes the conversations that the group touched: row, places in lists, read positions.
    pub(super) fn write_touched(&mut self, view: &mut View<'_>) {
        for id in std::mem::take(&mut self.touched) {
            let Some(cached) = self.conversations.get_mut(&id) else {
                continue;
            };
            if cached.written_at != Some(cached.row.activity_at) {
                for list in lists(&cached.row) {
                    if let Some(old) = cached.written_at {
                        view.remove(keys::activity(list, old, id));
                    }
                    view.put_bytes(keys::activity(list, cached.row.activity_at, id), Vec::new());
                }
                cached.written_at = Some(cached.row.activity_at);
            }
            view.put(keys::conversation(id), &cached.row);
            for (inbox, member) in &mut cached.members {
                if std::mem::take(&mut member.changed) {
                    view.put(keys::member(*inbox, id), &member.row);
                }
            }
        }
    }
}

/// How many messages after this one the user wrote himself.
fn own_after(view: &View<'_>, up_to: MessageId, user: &UserId) -> Result<u64, ReadError> {
    let range = KeyRange::after(keys::log_of(up_to.conversation), keys::log(up_to));
    let mut own = 0;
    for (key, value) in view.scan(&range, Order::Ascending, OWN_SCAN_MAX)? {
        let row: LogRow = decode(&key, &value)?;
        own += u64::from(row.author().as_ref() == Some(user));
    }
    Ok(own)
}

fn new_row(
    account: &AccountId,
    kind: ConversationKind,
    number: Option<NumberId>,
    contact: Option<ContactId>,
    members: Vec<UserId>,
) -> ConversationRow {
    ConversationRow {
        account: account.clone(),
        kind,
        number,
        contact: contact.map(|c| c.0),
        members,
        title: None,
        assignee: None,
        labels: Vec::new(),
        state: ConversationState::Open,
        head: Pos::default(),
        activity_at: 0,
        window_expires_at: None,
    }
}
