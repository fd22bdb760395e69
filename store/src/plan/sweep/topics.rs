//! General topics: messages that have waited too long for their session, retained ones whose time is over.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use schemas::Millis;

use super::{Budget, GoOn, Retention, SEEK_LOOKS, by_owner, is_over, walk, walk_range};
use crate::engine::{KeyRange, after_prefix};
use crate::error::ReadError;
use crate::keys::SessionKey;
use crate::plan::{Plan, View};
use crate::rows::{Key, QueueRow, RetainedRow, RoomRow, Table, decode, keys};

impl Plan {
    /// Queues: a look at each, and only where its oldest message may go are rows removed.
    pub(super) fn sweep_queues(
        &self,
        view: &mut View<'_>,
        now: Millis,
        from: Key,
        budget: &mut Budget,
    ) -> Result<GoOn, ReadError> {
        by_owner(view, Table::Queue, from, budget, &mut |view, owner, first, budget| {
            self.sweep_queue(view, now, SessionKey(owner), first, budget)
        })
    }

    /// The bounds of an inbox are those of a queue. Its newest message stays: its number tells how many went before it,
    /// which the session is told. What is acknowledged, or of a session that is no more, was left by a crash.
    fn sweep_queue(
        &self,
        view: &mut View<'_>,
        now: Millis,
        session: SessionKey,
        first: Key,
        budget: &mut Budget,
    ) -> Result<GoOn, ReadError> {
        if self.handovers.iter().any(|handover| handover.session == session) {
            return Ok(None);
        }
        let Retention { inbox_days, inbox_max_events, .. } = self.sweep.retention;
        budget.look(3 * SEEK_LOOKS);
        let prefix = keys::session(Table::Queue, session);
        let head = view.last(prefix.clone())?.and_then(|(key, _)| keys::number_of(&key)).unwrap_or_default();
        let left = !view.has(&keys::session(Table::Session, session))?;
        let acked = self.cursor(view, session)?.queue;
        let too_many = if inbox_max_events == 0 { 0 } else { head.saturating_sub(inbox_max_events) };
        let mut gone = Vec::new();
        let range = KeyRange { from: first, to: after_prefix(prefix) };
        let go_on = walk_range(view, &range, budget, &mut |key, value, budget| {
            let n = keys::number_of(key).unwrap_or_default();
            let over = || decode::<QueueRow>(key, value).is_ok_and(|row| is_over(now, row.at, inbox_days));
            if left || n <= acked || n <= too_many || (n < head && over()) {
                gone.push(key.to_vec());
                budget.remove(1);
                return Ok(ControlFlow::Continue(()));
            }
            Ok(ControlFlow::Break(None))
        })?;
        for key in gone {
            view.remove_lazily(key);
        }
        Ok(go_on)
    }

    /// Readers pass them over already; here they give their room back.
    pub(super) fn sweep_retained(
        &self,
        view: &mut View<'_>,
        now: Millis,
        from: Key,
        budget: &mut Budget,
    ) -> Result<GoOn, ReadError> {
        let mut expired = Vec::new();
        let go_on = walk(view, Table::Retained, from, budget, &mut |key, value, budget| {
            let row = decode::<RetainedRow>(key, value).ok().filter(|row| row.has_expired(now.0));
            if let Some(row) = row {
                expired.push((key.to_vec(), row.bytes()));
                budget.remove(1);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut freed: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
        for (key, bytes) in expired {
            let freed = freed.entry(keys::owner_of(&key).unwrap_or_default()).or_default();
            *freed = (freed.0 + 1, freed.1 + bytes);
            view.remove_lazily(key);
        }
        for (account, (messages, bytes)) in freed {
            let mut room: RoomRow = view.get(&keys::room(account))?.unwrap_or_default();
            room.messages = room.messages.saturating_sub(messages);
            room.bytes = room.bytes.saturating_sub(bytes);
            view.put_lazily(keys::room(account), &room);
        }
        Ok(go_on)
    }
}
