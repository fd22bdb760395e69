//! I3, O9. A webhook and its effects in one commit; or its body alone, and its effects in parts.

use schemas::message::{Direction, SenderKind};
use schemas::{EventData, MessageId, Status};

use super::{Effects, Plan, View};
use crate::error::ReadError;
use crate::keys::JournalId;
use crate::ops::{Inbound, JournalApply, JournalOp, Outcome, Update, WebhookDone, WebhookOp};
use crate::read::{Origin, Path};
use crate::rows::{JournalRow, LogRow, ProgressRow, Table, decode_place, encode_place, keys, wamid_hash};

impl Plan {
    pub(super) fn webhook(
        &mut self,
        view: &mut View<'_>,
        op: &WebhookOp,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let id = self.journal_id();
        let row = JournalRow { received_us: op.received_us, body: op.body.clone() };
        view.put(keys::journal(Table::Journal, id), &row);
        self.updates(view, &op.updates, op.received_us, effects).map(Outcome::Webhook)
    }

    pub(super) fn journal(&mut self, view: &mut View<'_>, op: &JournalOp) -> Result<Outcome, ReadError> {
        let id = self.journal_id();
        let row = JournalRow { received_us: op.received_us, body: op.body.clone() };
        view.put(keys::journal(Table::Journal, id), &row);
        view.put(keys::journal(Table::Progress, id), &ProgressRow::default());
        Ok(Outcome::Journaled(id))
    }

    pub(super) fn journal_apply(
        &mut self,
        view: &mut View<'_>,
        op: &JournalApply,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let key = keys::journal(Table::Progress, op.journal);
        let open: Option<ProgressRow> = view.get(&key)?;
        // Applied before a crash or a lost answer: the stored progress knows.
        let Some(progress) = open.filter(|p| p.done <= op.from) else {
            return Ok(Outcome::Webhook(WebhookDone::default()));
        };
        let received_us = view
            .get::<JournalRow>(&keys::journal(Table::Journal, op.journal))?
            .map_or(self.now.0 * 1000, |row| row.received_us);
        let done = self.updates(view, &op.updates, received_us, effects)?;
        if op.last {
            view.remove(key);
        } else {
            let count = u32::try_from(op.updates.len()).unwrap_or(u32::MAX);
            view.put(key, &ProgressRow { done: progress.done.max(op.from.saturating_add(count)) });
        }
        Ok(Outcome::Webhook(done))
    }

    fn journal_id(&mut self) -> JournalId {
        JournalId(self.event_id().0)
    }

    fn updates(
        &mut self,
        view: &mut View<'_>,
        updates: &[Update],
        received_us: u64,
        effects: &mut Effects,
    ) -> Result<WebhookDone, ReadError> {
        let mut done = WebhookDone::default();
        for update in updates {
            match update {
                Update::Message(inbound) => self.inbound(view, inbound, received_us, &mut done, effects)?,
                Update::Status(status) => self.status(view, status, &mut done, effects)?,
            }
        }
        Ok(done)
    }

    /// A message from a person: one log row, one event per member, whatever how often it is delivered (P5).
    fn inbound(
        &mut self,
        view: &mut View<'_>,
        inbound: &Inbound,
        received_us: u64,
        done: &mut WebhookDone,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let Some(number) = self.numbers.get(&inbound.number).cloned() else {
            done.unknown_number += 1;
            return Ok(());
        };
        let wamid_key = keys::hashed(Table::Wamid, wamid_hash(&number.id, &inbound.wamid));
        if view.has(&wamid_key)? {
            done.repeated += 1;
            return Ok(());
        }
        let contact = self.contact_of(view, &number.account, &inbound.person)?;
        let conversation = self.whatsapp_conversation(view, &number, contact.id)?;
        if contact.changed {
            let data = EventData::ContactUpdated(contact.row.contact(contact.id));
            self.announce(view, conversation, data, None, effects)?;
        }
        let reply_to = match &inbound.reply_to {
            Some(wamid) => self.message_of_wamid(view, &number.id, wamid)?,
            None => None,
        };
        let Some(pos) = self.next_pos(view, conversation)? else {
            return Ok(());
        };
        let id = MessageId { conversation, pos };
        let row = LogRow {
            direction: Direction::In,
            sender_kind: SenderKind::Contact,
            sender_id: contact.id.to_string(),
            sender_name: Some(contact.row.contact(contact.id).name),
            kind: inbound.kind,
            text: inbound.text.clone(),
            media: inbound.media.as_ref().and_then(|media| serde_json::to_string(media).ok()),
            payload: inbound.payload.clone(),
            command_id: None,
            reply_to: reply_to.filter(|reply| reply.conversation == conversation).map(|reply| reply.pos),
            status: Status::Delivered,
            wamid: Some(inbound.wamid.clone()),
            created_at: inbound.at.0,
            received_us,
            written_at: self.now.0,
        };
        view.put(keys::log(id), &row);
        view.put_bytes(wamid_key, encode_place(id));
        self.open_window(view, conversation, inbound.at)?;
        let origin = Origin { path: Path::WhatsappToDevice, received_us };
        self.announce_created(view, id, &row, origin, effects)?;
        done.applied += 1;
        Ok(())
    }

    pub(super) fn message_of_wamid(
        &self,
        view: &View<'_>,
        number: &schemas::NumberId,
        wamid: &schemas::Wamid,
    ) -> Result<Option<MessageId>, ReadError> {
        let key = keys::hashed(Table::Wamid, wamid_hash(number, wamid));
        view.get_bytes(&key)?.map(|value| decode_place(&key, &value)).transpose()
    }
}
