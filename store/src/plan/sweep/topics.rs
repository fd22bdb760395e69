//! Retained messages whose time is over.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use schemas::Millis;

use super::{Budget, GoOn, walk};
use crate::error::ReadError;
use crate::plan::{Plan, View};
use crate::rows::{Key, RetainedRow, RoomRow, Table, decode, keys};

impl Plan {
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
