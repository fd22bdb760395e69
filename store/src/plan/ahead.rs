//! Reading ahead: which rows the plan will ask for, so that an engine whose reads cross a network reads those of a
//! whole group side by side, instead of one after the other while it is planned. Pure; a hint in both directions: a row
//! too many costs a read, a row forgotten is read when it is asked for.
//!
//! A key may also be a prefix that ends with an owner: then where his rows are is read, not the rows.
//! Three rounds, because keys stand in rows: hashes → persons and messages → their conversations and members.

use std::collections::BTreeMap;

use schemas::command::{MessageSend, Target};
use schemas::{AccountId, Command, CommandBody, ContactId, ConversationId, MessageId, NumberId, Wamid};

use super::Plan;
use super::people::new_contact;
use crate::engine::Rows;
use crate::keys::{InboxKey, SessionKey};
use crate::ops::{CommandOp, Inbound, Op, Person, SendResult, StatusUpdate, Update};
use crate::rows::{
    ConversationRow, ExchangeKind, IdentityKind, Key, Table, account_hash, command_hash, decode,
    decode_place, decode_u128, identity_hash, keys, wamid_hash,
};

/// What a round looks for.
#[derive(Default)]
struct Wanted {
    keys: Vec<Key>,
    /// Persons who write to a number or are written to, with the rows that may name them.
    persons: Vec<(AccountId, NumberId, Person, Vec<Key>)>,
    /// Rows that name a message.
    places: Vec<Key>,
    /// Conversations, and the number of those that may have to be made.
    conversations: BTreeMap<ConversationId, Option<NumberId>>,
}

impl Plan {
    /// Reads ahead what a group needs. Errors are not looked at: they come back when the plan asks.
    pub(crate) fn read_ahead<'o>(
        &self,
        rows: &dyn Rows,
        ops: impl Iterator<Item = &'o Op>,
        cursors: impl Iterator<Item = &'o SessionKey>,
    ) {
        let mut wanted = Wanted::default();
        for op in ops {
            self.first_round(op, &mut wanted);
        }
        for session in cursors {
            wanted.session(*session);
        }
        rows.warm(std::mem::take(&mut wanted.keys));
        self.second_round(rows, &mut wanted);
        rows.warm(std::mem::take(&mut wanted.keys));
        for (id, number) in std::mem::take(&mut wanted.conversations) {
            self.members_of(rows, id, number.as_ref(), &mut wanted.keys);
        }
        rows.warm(wanted.keys);
    }

    fn first_round(&self, op: &Op, wanted: &mut Wanted) {
        match op {
            Op::UserSeen(seen) => wanted.user(&seen.account, &seen.user),
            Op::SessionOpen(open) => {
                wanted.user(&open.account, &open.user);
                let session = SessionKey::of(&open.account, &open.user, &open.client);
                wanted.session(session);
                wanted.keys.push(keys::session(Table::Will, session));
                // Where the ends of its queue and of its inbox are to be looked for.
                wanted.keys.push(keys::session(Table::Queue, session));
                wanted.keys.push(keys::inbox_of(InboxKey::of(&open.account, &open.user)));
            }
            Op::SessionClose(close) => {
                wanted.session(close.session);
                wanted.keys.push(keys::session(Table::Will, close.session));
            }
            Op::Subscribe(subscribe) => {
                wanted.session(subscribe.session);
                let filters = subscribe.filters.iter();
                wanted.keys.extend(filters.map(|f| keys::subscription(subscribe.session, &f.filter)));
            }
            Op::Unsubscribe(unsubscribe) => {
                wanted.session(unsubscribe.session);
                let filters = unsubscribe.filters.iter();
                wanted.keys.extend(filters.map(|f| keys::subscription(unsubscribe.session, f)));
            }
            Op::Replay(session) => wanted.session(*session),
            Op::Publish(publish) if publish.message.retain => {
                let account = account_hash(&publish.account);
                wanted.keys.push(keys::room(account));
                wanted.keys.push(keys::retained(account, &publish.message.topic));
            }
            Op::Command(command) => self.command_wants(command, wanted),
            Op::Webhook(webhook) => self.updates_want(&webhook.updates, wanted),
            Op::JournalApply(apply) => {
                wanted.keys.push(keys::journal(Table::Progress, apply.journal));
                wanted.keys.push(keys::journal(Table::Journal, apply.journal));
                self.updates_want(&apply.updates, wanted);
            }
            Op::SendStart(message) => wanted.message(*message),
            Op::SendEnd(end) => {
                wanted.message(end.message);
                if let SendResult::Accepted(wamid) = &end.result
                    && let Some(number) = self.number_of(end.message.conversation)
                {
                    wanted.keys.push(keys::hashed(Table::Wamid, wamid_hash(number, wamid)));
                }
            }
            Op::PublishOnce(once) => {
                wanted.session(once.session);
                wanted.keys.push(keys::exchange(once.session, ExchangeKind::Publish, u64::from(once.packet)));
                self.first_round(&once.op, wanted);
            }
            Op::PublishReleased(release) => {
                wanted.session(release.session);
                let packet = u64::from(release.packet);
                wanted.keys.push(keys::exchange(release.session, ExchangeKind::Publish, packet));
            }
            Op::DeliveryReceived(delivery) | Op::DeliveryComplete(delivery) => {
                wanted.session(delivery.session)
            }
            Op::Publish(_) | Op::ReportFailure(_) | Op::Journal(_) => {}
        }
    }

    fn number_of(&self, conversation: ConversationId) -> Option<&NumberId> {
        self.conversations.get(&conversation).and_then(|cached| cached.row.number.as_ref())
    }

    fn command_wants(&self, op: &CommandOp, wanted: &mut Wanted) {
        let Command { id, body } = &op.command;
        wanted.user(&op.account, &op.user);
        wanted.keys.push(keys::hashed(Table::Dedupe, command_hash(&op.account, &op.user, id)));
        match body {
            CommandBody::MessageSend(MessageSend { to, reply_to, .. }) => {
                wanted.keys.extend(reply_to.map(keys::log));
                match to {
                    Target::Conversation(id) => wanted.conversation(*id),
                    Target::WhatsApp { phone, number } => {
                        let person = Person { phone: Some(phone.clone()), ..Person::default() };
                        wanted.person(&op.account, number, &person);
                    }
                    Target::Contact { contact, number } => {
                        wanted.keys.push(keys::contact(*contact));
                        let of_account = self.numbers.values().filter(|n| n.account == op.account);
                        for id in
                            of_account.map(|n| &n.id).filter(|id| number.as_ref().is_none_or(|n| n == *id))
                        {
                            wanted.conversation_with(&op.account, id, *contact);
                        }
                    }
                    Target::User(other) => {
                        wanted.user(&op.account, other);
                        wanted.conversation(ConversationId::direct(&op.account, &op.user, other));
                    }
                }
            }
            CommandBody::MessageRead { conversation, up_to } => {
                wanted.conversation(*conversation);
                wanted.keys.push(keys::log(*up_to));
            }
        }
    }

    fn updates_want(&self, updates: &[Update], wanted: &mut Wanted) {
        for update in updates {
            match update {
                Update::Message(inbound) => self.inbound_wants(inbound, wanted),
                Update::Status(status) => {
                    let StatusUpdate { number, wamid, message, .. } = &**status;
                    wanted.place(number, wamid);
                    if let Some(message) = message {
                        wanted.message(*message);
                    }
                }
            }
        }
    }

    fn inbound_wants(&self, inbound: &Inbound, wanted: &mut Wanted) {
        let Some(number) = self.numbers.get(&inbound.number) else { return };
        wanted.keys.push(keys::hashed(Table::Wamid, wamid_hash(&number.id, &inbound.wamid)));
        wanted.person(&number.account, &number.id, &inbound.person);
        if let Some(wamid) = &inbound.reply_to {
            wanted.place(&number.id, wamid);
        }
    }

    fn second_round(&self, rows: &dyn Rows, wanted: &mut Wanted) {
        for (account, number, person, identities) in std::mem::take(&mut wanted.persons) {
            let named = identities.iter().find_map(|key| {
                let value = rows.get(key).ok().flatten()?;
                decode_u128(key, &value).ok().map(ContactId)
            });
            // A new one gets the same id when the op is planned: nothing is there under it, which is worth knowing.
            let contact = named.unwrap_or_else(|| new_contact(&account, &person, self.now));
            wanted.keys.push(keys::contact(contact));
            wanted.conversation_with(&account, &number, contact);
        }
        for key in std::mem::take(&mut wanted.places) {
            let row = rows.get(&key).ok().flatten();
            if let Some(message) = row.and_then(|value| decode_place(&key, &value).ok()) {
                wanted.message(message);
            }
        }
        // In memory already, with the members that matter.
        wanted.conversations.retain(|id, _| !self.conversations.contains_key(id));
        wanted.keys.extend(wanted.conversations.keys().map(|id| keys::conversation(*id)));
    }

    fn members_of(
        &self,
        rows: &dyn Rows,
        id: ConversationId,
        number: Option<&NumberId>,
        wanted: &mut Vec<Key>,
    ) {
        let key = keys::conversation(id);
        let row = rows.get(&key).ok().flatten();
        let (account, members) = match row.and_then(|value| decode::<ConversationRow>(&key, &value).ok()) {
            Some(row) => (row.account.clone(), self.members(&row)),
            // It is going to be made.
            None => match number.and_then(|number| self.numbers.get(number)) {
                Some(number) => (number.account.clone(), self.agents_of(number)),
                None => return,
            },
        };
        let members = members.iter().take(self.fanout_max);
        wanted.extend(members.map(|user| keys::member(InboxKey::of(&account, user), id)));
    }
}

impl Wanted {
    fn user(&mut self, account: &AccountId, user: &schemas::UserId) {
        self.keys.push(keys::user(InboxKey::of(account, user)));
    }

    fn session(&mut self, session: SessionKey) {
        self.keys.push(keys::session(Table::Session, session));
        self.keys.push(keys::session(Table::Cursor, session));
    }

    fn conversation(&mut self, id: ConversationId) {
        self.conversations.entry(id).or_default();
    }

    fn conversation_with(&mut self, account: &AccountId, number: &NumberId, contact: ContactId) {
        let id = ConversationId::whatsapp(account, number, contact);
        self.conversations.insert(id, Some(number.clone()));
    }

    fn message(&mut self, id: MessageId) {
        self.keys.extend([keys::log(id), keys::state(id), keys::open(id)]);
        self.conversation(id.conversation);
    }

    fn place(&mut self, number: &NumberId, wamid: &Wamid) {
        let key = keys::hashed(Table::Wamid, wamid_hash(number, wamid));
        self.keys.push(key.clone());
        self.places.push(key);
    }

    fn person(&mut self, account: &AccountId, number: &NumberId, person: &Person) {
        let identities = [
            (IdentityKind::UserId, &person.user_id),
            (IdentityKind::ParentUserId, &person.parent_user_id),
            (IdentityKind::Phone, &person.phone),
        ];
        let identities = identities.into_iter().filter_map(|(kind, value)| Some((kind, value.as_deref()?)));
        let rows: Vec<Key> = identities
            .map(|(kind, value)| keys::hashed(Table::Identity, identity_hash(account, kind, value)))
            .collect();
        self.keys.extend_from_slice(&rows);
        self.persons.push((account.clone(), number.clone(), person.clone(), rows));
    }
}
