//! O3. Commands: carried out once per id, or refused with a stable code.
//!
//! Everything is checked before anything is changed, so a refusal leaves no trace but the one asked for.

use std::sync::Arc;

use schemas::command::{Content, MessageSend, Target};
use schemas::message::{ConversationKind, Direction, Kind, SenderKind};
use schemas::{
    AccountId, Command, CommandBody, ContactId, ConversationId, ErrorCode, EventData, MessageId, NumberId,
    Pos, Status, UserId,
};

use super::inbox::Draft;
use super::{Effects, Plan, View};
use crate::error::ReadError;
use crate::keys::InboxKey;
use crate::ops::{CommandDone, CommandOp, Outcome, Person, Refusal, ReportFailure};
use crate::read::{Origin, Path};
use crate::rows::{ContactRow, ConversationRow, DedupeRow, LogRow, OpenRow, Table, command_hash, keys};
use crate::settings::Number;

/// A command's way out: the engine failed, or the command is refused.
enum Stop {
    Read(ReadError),
    Refused(Refusal),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

fn refuse<T>(code: ErrorCode, detail: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal { code, detail: detail.into() }))
}

/// A message that is not in the conversation: nobody learns whether it is in another one.
fn not_there<T>(field: &str) -> Result<T, Stop> {
    refuse(ErrorCode::NotFound, format!("field `{field}`: there is no such message in this conversation"))
}

/// Where a message goes.
struct Destination {
    conversation: ConversationId,
    kind: ConversationKind,
}

impl Plan {
    pub(super) fn command(
        &mut self,
        view: &mut View<'_>,
        op: &CommandOp,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        match self.carry_out(view, op, effects) {
            Ok(done) => Ok(Outcome::Command(Box::new(done))),
            Err(Stop::Read(error)) => Err(error),
            Err(Stop::Refused(refusal)) => {
                if op.report_refusal {
                    let report = ReportFailure {
                        account: op.account.clone(),
                        user: op.user.clone(),
                        id: Some(op.command.id.clone()),
                        code: refusal.code,
                        detail: refusal.detail.clone(),
                        topic: None,
                    };
                    self.report_failure(view, &report, effects)?;
                }
                Ok(Outcome::Refused(refusal))
            }
        }
    }

    fn carry_out(
        &mut self,
        view: &mut View<'_>,
        op: &CommandOp,
        effects: &mut Effects,
    ) -> Result<CommandDone, Stop> {
        let key = keys::hashed(Table::Dedupe, command_hash(&op.account, &op.user, &op.command.id));
        let fingerprint = op.command.fingerprint();
        if let Some(before) = view.get::<DedupeRow>(&key)? {
            return repeated(view, &before, fingerprint);
        }
        let message = match &op.command.body {
            CommandBody::MessageSend(send) => Some(self.message_send(view, op, send, effects)?),
            CommandBody::MessageRead { conversation, up_to } => {
                self.message_read(view, op, *conversation, *up_to, effects)?;
                None
            }
        };
        view.put(key, &DedupeRow { fingerprint, message, at: self.now.0 });
        let message = match message {
            Some(id) => view.get::<LogRow>(&keys::log(id))?.map(|row| row.message(id, None)),
            None => None,
        };
        Ok(CommandDone { message, repeated: false })
    }

    fn message_send(
        &mut self,
        view: &mut View<'_>,
        op: &CommandOp,
        send: &MessageSend,
        effects: &mut Effects,
    ) -> Result<MessageId, Stop> {
        // Who is no member learns nothing of the messages there.
        if let Target::Conversation(id) = &send.to {
            self.existing(view, &op.account, &op.user, *id)?;
        }
        // A reply must be looked at before a conversation may be made for it.
        if let Some(reply) = send.reply_to
            && !view.has(&keys::log(reply))?
        {
            return not_there("reply_to");
        }
        let to = self.destination(view, &op.account, &op.user, &send.to)?;
        if send.reply_to.is_some_and(|reply| reply.conversation != to.conversation) {
            return not_there("reply_to");
        }
        let Some(pos) = self.next_pos(view, to.conversation)? else {
            return refuse(ErrorCode::ConversationUnknown, ErrorCode::ConversationUnknown.meaning());
        };
        let id = MessageId { conversation: to.conversation, pos };
        let row = self.sent_row(op, send, &to, send.reply_to.map(|r| r.pos));
        view.put(keys::log(id), &row);
        self.own_message(view, InboxKey::of(&op.account, &op.user), to.conversation)?;
        if to.kind == ConversationKind::Whatsapp {
            view.put(keys::open(id), &OpenRow { state: 0, at: self.now.0, attempts: 0 });
            effects.sends.insert(id);
        }
        let origin = Origin { path: Path::DeviceToDevice, received_us: op.received_us };
        self.announce_created(view, id, &row, origin, effects)?;
        Ok(id)
    }

    fn sent_row(
        &self,
        op: &CommandOp,
        send: &MessageSend,
        to: &Destination,
        reply_to: Option<Pos>,
    ) -> LogRow {
        let Content::Text(text) = &send.content;
        LogRow {
            direction: Direction::Out,
            sender_kind: SenderKind::User,
            sender_id: op.user.to_string(),
            sender_name: None,
            kind: Kind::Text,
            text: Some(text.clone()),
            media: None,
            payload: None,
            command_id: Some(op.command.id.clone()),
            reply_to,
            // User to user there is nothing beyond the commit to wait for.
            status: if to.kind == ConversationKind::Whatsapp { Status::Sending } else { Status::Sent },
            wamid: None,
            created_at: self.now.0,
            received_us: op.received_us,
            written_at: self.now.0,
        }
    }

    /// `message.created` to every member.
    pub(super) fn announce_created(
        &mut self,
        view: &mut View<'_>,
        id: MessageId,
        row: &LogRow,
        origin: Origin,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let data = EventData::MessageCreated(Arc::new(row.message(id, None)));
        self.announce(view, id.conversation, data, Some(origin), effects)
    }

    /// An event of a conversation to every member.
    pub(super) fn announce(
        &mut self,
        view: &mut View<'_>,
        conversation: ConversationId,
        data: EventData,
        origin: Option<Origin>,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let Some(cached) = self.conversation(view, conversation)? else {
            return Ok(());
        };
        let row: ConversationRow = cached.row.clone();
        let members = self.members(&row);
        let draft = Draft { account: row.account, conversation: Some(conversation), data, origin };
        self.append(view, &members, &draft, effects)
    }

    fn destination(
        &mut self,
        view: &mut View<'_>,
        account: &AccountId,
        user: &UserId,
        to: &Target,
    ) -> Result<Destination, Stop> {
        match to {
            Target::Conversation(id) => self.existing(view, account, user, *id),
            Target::WhatsApp { phone, number } => {
                let number = self.own_number(view, account, user, number)?;
                let person = Person { phone: Some(phone.clone()), ..Person::default() };
                let contact = self.contact_of(view, account, &person)?;
                self.with_contact(view, &number, contact.id)
            }
            Target::Contact { contact, number } => {
                let Some(row) = view.get::<ContactRow>(&keys::contact(*contact))? else {
                    return refuse(ErrorCode::ContactUnknown, ErrorCode::ContactUnknown.meaning());
                };
                if row.account != account.as_str() {
                    return refuse(ErrorCode::ContactUnknown, ErrorCode::ContactUnknown.meaning());
                }
                if row.phone.is_none() && row.user_id.is_none() && row.parent_user_id.is_none() {
                    return refuse(
                        ErrorCode::RecipientUnreachable,
                        ErrorCode::RecipientUnreachable.meaning(),
                    );
                }
                let number = match number {
                    Some(number) => self.own_number(view, account, user, number)?,
                    None => self.number_for(view, account, user, *contact)?,
                };
                self.with_contact(view, &number, *contact)
            }
            Target::User(other) => {
                if !self.user_exists(view, account, other)? {
                    return refuse(ErrorCode::UserUnknown, ErrorCode::UserUnknown.meaning());
                }
                self.user_seen(view, account, user, false)?;
                let conversation = self.direct_conversation(view, account, user, other)?;
                Ok(Destination { conversation, kind: ConversationKind::Direct })
            }
        }
    }

    fn existing(
        &mut self,
        view: &View<'_>,
        account: &AccountId,
        user: &UserId,
        id: ConversationId,
    ) -> Result<Destination, Stop> {
        let row = self.conversation(view, id)?.map(|cached| cached.row.clone());
        match row {
            Some(row) if row.account == *account && self.is_member(view, &row, user)? => {
                Ok(Destination { conversation: id, kind: row.kind })
            }
            _ => refuse(ErrorCode::ConversationUnknown, ErrorCode::ConversationUnknown.meaning()),
        }
    }

    fn with_contact(
        &mut self,
        view: &View<'_>,
        number: &Number,
        contact: ContactId,
    ) -> Result<Destination, Stop> {
        let conversation = self.whatsapp_conversation(view, number, contact)?;
        Ok(Destination { conversation, kind: ConversationKind::Whatsapp })
    }

    fn own_number(
        &self,
        view: &View<'_>,
        account: &AccountId,
        user: &UserId,
        id: &NumberId,
    ) -> Result<Number, Stop> {
        match self.numbers.get(id) {
            Some(number) if number.account == *account && self.is_agent(view, number, user)? => {
                Ok(number.clone())
            }
            _ => refuse(ErrorCode::NumberUnknown, ErrorCode::NumberUnknown.meaning()),
        }
    }

    /// The number to write to a contact from where none is named: the account's only one, else the only one that the
    /// contact has talked to.
    fn number_for(
        &mut self,
        view: &View<'_>,
        account: &AccountId,
        user: &UserId,
        contact: ContactId,
    ) -> Result<Number, Stop> {
        let of_account = self.numbers.values().filter(|number| number.account == *account);
        let mut numbers: Vec<NumberId> = of_account.map(|number| number.id.clone()).collect();
        if numbers.is_empty() {
            return refuse(ErrorCode::NumberUnknown, "the account has no business number");
        }
        if numbers.len() > 1 {
            let mut talked_to = Vec::new();
            for number in numbers {
                let conversation = ConversationId::whatsapp(account, &number, contact);
                if self.conversation(view, conversation)?.is_some() {
                    talked_to.push(number);
                }
            }
            numbers = talked_to;
        }
        match numbers.as_slice() {
            [number] => self.own_number(view, account, user, number),
            [] => refuse(
                ErrorCode::CommandMalformed,
                "field `to.number`: is missing; the account has several business numbers, and the contact has talked to none",
            ),
            _ => refuse(
                ErrorCode::CommandMalformed,
                "field `to.number`: is missing; the contact has talked to several of the account's business numbers",
            ),
        }
    }

    fn message_read(
        &mut self,
        view: &mut View<'_>,
        op: &CommandOp,
        conversation: ConversationId,
        up_to: MessageId,
        effects: &mut Effects,
    ) -> Result<(), Stop> {
        self.existing(view, &op.account, &op.user, conversation)?;
        if up_to.conversation != conversation || !view.has(&keys::log(up_to))? {
            return not_there("up_to");
        }
        if self.mark_read(view, &op.account, &op.user, up_to)? {
            let data = EventData::ReceiptRead { by: op.user.clone(), up_to };
            self.announce(view, conversation, data, None, effects)?;
        }
        Ok(())
    }
}

/// The same id again: the same body is a repetition, another one a mistake.
fn repeated(view: &View<'_>, before: &DedupeRow, fingerprint: [u8; 8]) -> Result<CommandDone, Stop> {
    if before.fingerprint != fingerprint {
        return refuse(ErrorCode::IdReused, ErrorCode::IdReused.meaning());
    }
    let message = match before.message {
        Some(id) => view.get::<LogRow>(&keys::log(id))?.map(|row| row.message(id, None)),
        None => None,
    };
    Ok(CommandDone { message, repeated: true })
}

/// For the type's users elsewhere: a command op is as large as its text, roughly.
pub(crate) fn cost(command: &Command) -> usize {
    match &command.body {
        CommandBody::MessageSend(MessageSend { content: Content::Text(text), .. }) => text.len(),
        CommandBody::MessageRead { .. } => 0,
    }
}
