//! Reading ahead: which rows the plan will ask for, so that an engine whose reads cross a network reads those of a
//! whole group side by side, instead of one after the other while it is planned. Pure; a hint in both directions: a row
//! too many costs a read, a row forgotten is read when it is asked for.
//!
//! Three rounds, because keys stand in rows: hashes → persons and messages → their conversations and members.

use schemas::command::{MessageSend, Target};
use schemas::{AccountId, Command, CommandBody, ContactId, ConversationId, MessageId, NumberId, Wamid};

use super::Plan;
use crate::engine::Rows;
use crate::keys::{InboxKey, SessionKey};
use crate::ops::{CommandOp, Inbound, Op, Person, SendResult, StatusUpdate, Update};
use crate::rows::{
    IdentityKind, Key, Table, command_hash, decode_place, decode_u128, identity_hash, keys, wamid_hash,
};

/// What a round looks for.
#[derive(Default)]
struct Wanted {
    keys: Vec<Key>,
    /// Rows that name a contact of a number.
    persons: Vec<(AccountId, NumberId, Key)>,
    /// Rows that name a message.
    places: Vec<Key>,
    conversations: Vec<ConversationId>,
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
        for id in std::mem::take(&mut wanted.conversations) {
            self.members_of(rows, id, &mut wanted.keys);
        }
        rows.warm(wanted.keys);
    }

    fn first_round(&self, op: &Op, wanted: &mut Wanted) {
        match op {
            Op::UserSeen(seen) => wanted.user(&seen.account, &seen.user),
            Op::SessionOpen(open) => {
                wanted.user(&open.account, &open.user);
                wanted.session(SessionKey::of(&open.account, &open.user, &open.client));
            }
            Op::SessionClose(close) => wanted.session(close.session),
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
                        let number = number.as_ref().map(|number| (&op.account, number));
                        wanted
                            .conversations
                            .extend(number.map(|(account, number)| {
                                ConversationId::whatsapp(account, number, *contact)
                            }));
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
        for (account, number, key) in std::mem::take(&mut wanted.persons) {
            let row = rows.get(&key).ok().flatten();
            if let Some(contact) = row.and_then(|value| decode_u128(&key, &value).ok()).map(ContactId) {
                wanted.keys.push(keys::contact(contact));
                wanted.conversation(ConversationId::whatsapp(&account, &number, contact));
            }
        }
        for key in std::mem::take(&mut wanted.places) {
            let row = rows.get(&key).ok().flatten();
            if let Some(message) = row.and_then(|value| decode_place(&key, &value).ok()) {
                wanted.message(message);
            }
        }
        // In memory already, with the members that matter.
        wanted.conversations.retain(|id| !self.conversations.contains_key(id));
        wanted.conversations.sort_unstable();
        wanted.conversations.dedup();
        wanted.keys.extend(wanted.conversations.iter().map(|id| keys::conversation(*id)));
    }

    fn members_of(&self, rows: &dyn Rows, id: ConversationId, wanted: &mut Vec<Key>) {
        let key = keys::conversation(id);
        let Some(value) = rows.get(&key).ok().flatten() else { return };
        let Ok(row) = crate::rows::decode::<crate::rows::ConversationRow>(&key, &value) else { return };
        let members = self.members(&row);
        wanted.extend(members.iter().map(|user| keys::member(InboxKey::of(&row.account, user), id)));
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
        self.conversations.push(id);
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
        for (kind, value) in identities {
            let Some(value) = value else { continue };
            let key = keys::hashed(Table::Identity, identity_hash(account, kind, value));
            self.keys.push(key.clone());
            self.persons.push((account.clone(), number.clone(), key));
        }
    }
}
