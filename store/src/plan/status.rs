//! O9. Statuses of messages: applied by the contract's rule only, kept until their message is known.

use schemas::message::MessageError;
use schemas::{ConversationId, EventData, MessageId, Millis, NumberId, Status, Wamid};

use super::{Effects, Plan, View};
use crate::engine::{KeyRange, Order};
use crate::error::ReadError;
use crate::ops::{StatusUpdate, WebhookDone};
use crate::rows::{
    ConversationRow, LogRow, OpenRow, ParkedRow, StateRow, Table, decode, encode_place, error_json, keys,
    wamid_hash,
};

/// Statuses of one wamid that can be parked: one per rank.
const PARKED_MAX: usize = 8;

/// A change of a message's state.
pub(super) struct StateChange {
    pub(super) status: Option<Status>,
    pub(super) wamid: Option<Wamid>,
    pub(super) error: Option<MessageError>,
    pub(super) at: Millis,
}

impl Plan {
    /// A status from a webhook.
    pub(super) fn status(
        &mut self,
        view: &mut View<'_>,
        update: &StatusUpdate,
        done: &mut WebhookDone,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        if !self.numbers.contains_key(&update.number) {
            done.unknown_number += 1;
            return Ok(());
        }
        let ours = match update.message {
            Some(id) if self.is_of_number(view, id, &update.number)? => Some(id),
            _ => self.message_of_wamid(view, &update.number, &update.wamid)?,
        };
        let Some(id) = ours else {
            self.park(view, update, done)?;
            return Ok(());
        };
        let change = StateChange {
            status: Some(update.status),
            wamid: Some(update.wamid.clone()),
            error: update.error.clone(),
            at: update.at,
        };
        let moved = self.change_state(view, id, &update.number, change, effects)?;
        *(if moved { &mut done.applied } else { &mut done.repeated }) += 1;
        self.settle(view, id, effects)
    }

    /// `biz_opaque_callback_data` is whatever somebody wrote there: it must name a message we sent by that number.
    fn is_of_number(&mut self, view: &View<'_>, id: MessageId, number: &NumberId) -> Result<bool, ReadError> {
        let of_number = self
            .conversation(view, id.conversation)?
            .is_some_and(|cached| cached.row.number.as_ref() == Some(number));
        Ok(of_number && view.get::<LogRow>(&keys::log(id))?.is_some_and(|row| row.author().is_some()))
    }

    /// Applies a change by the rule; announces it to the members. True where something moved.
    pub(super) fn change_state(
        &mut self,
        view: &mut View<'_>,
        id: MessageId,
        number: &NumberId,
        change: StateChange,
        effects: &mut Effects,
    ) -> Result<bool, ReadError> {
        let Some(log) = view.get::<LogRow>(&keys::log(id))? else {
            return Ok(false);
        };
        let mut state: StateRow = view.get(&keys::state(id))?.unwrap_or_default();
        let current = state.status.unwrap_or(log.status);
        let moved = change.status.filter(|next| current.may_become(*next));
        let named = change.wamid.filter(|_| state.wamid.is_none() && log.wamid.is_none());
        if moved.is_none() && named.is_none() {
            return Ok(false);
        }
        if let Some(status) = moved {
            state.status = Some(status);
            state.error = change.error.as_ref().map(error_json);
        }
        let newly_named = named.is_some();
        if let Some(wamid) = named {
            let key = keys::hashed(Table::Wamid, wamid_hash(number, &wamid));
            view.put_bytes(key, encode_place(id));
            state.wamid = Some(wamid);
            state.accepted_at = self.now.0;
        }
        let arrived = |status: Status| status >= Status::Delivered;
        if moved.is_some_and(arrived) && !arrived(current) && state.accepted_at > 0 {
            effects.delivered_after_ms.push(self.now.since(Millis(state.accepted_at)));
        }
        state.updated_at = self.now.0;
        view.put(keys::state(id), &state);
        let data = EventData::MessageStatus {
            message: id,
            wamid: state.wamid.clone().or_else(|| log.wamid.clone()),
            status: state.status.unwrap_or(log.status),
            error: state.error(),
            at: change.at,
        };
        self.announce(view, id.conversation, data, None, effects)?;
        if newly_named && let Some(wamid) = &state.wamid {
            self.unpark(view, id, number, wamid, effects)?;
        }
        Ok(true)
    }

    /// A status shows that WhatsApp took the message: an attempt left open is settled (P6). While the attempt is still
    /// under way its own end will close it.
    fn settle(&self, view: &mut View<'_>, id: MessageId, effects: &mut Effects) -> Result<(), ReadError> {
        if view.get::<OpenRow>(&keys::open(id))?.is_some_and(|open| open.state == super::send::UNKNOWN) {
            view.remove(keys::open(id));
            effects.sends.insert(id);
        }
        Ok(())
    }

    fn park(
        &self,
        view: &mut View<'_>,
        update: &StatusUpdate,
        done: &mut WebhookDone,
    ) -> Result<(), ReadError> {
        let key = keys::parked(wamid_hash(&update.number, &update.wamid), update.status as u8);
        if view.has(&key)? {
            done.repeated += 1;
            return Ok(());
        }
        let row = ParkedRow {
            status: update.status,
            at: update.at.0,
            error: update.error.as_ref().map(error_json),
            parked_at: self.now.0,
        };
        view.put(key, &row);
        done.parked += 1;
        Ok(())
    }

    /// The wamid appeared: what was said of it before is applied now.
    fn unpark(
        &mut self,
        view: &mut View<'_>,
        id: MessageId,
        number: &NumberId,
        wamid: &Wamid,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let prefix = keys::hashed(Table::Parked, wamid_hash(number, wamid));
        for (key, value) in view.scan(&KeyRange::prefix(prefix), Order::Ascending, PARKED_MAX)? {
            let row: ParkedRow = decode(&key, &value)?;
            view.remove(key);
            let error = row.error.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let change = StateChange { status: Some(row.status), wamid: None, error, at: Millis(row.at) };
            self.change_state(view, id, number, change, effects)?;
        }
        Ok(())
    }

    /// The row of a conversation, for those who need number and account of a message.
    pub(super) fn conversation_row(
        &mut self,
        view: &View<'_>,
        id: ConversationId,
    ) -> Result<Option<ConversationRow>, ReadError> {
        Ok(self.conversation(view, id)?.map(|cached| cached.row.clone()))
    }
}
