//! Shared subscriptions: each message to one member, and what an ended member leaves to the others.
//!
//! Who is online counts first, then who has the fewest messages unacknowledged, then whose turn it is. Not here: QoS 0,
//! which the broker passes on to one who is online.
//! `[v5:4.8.2-4] [v5:4.8.2-6] [v5:U33] [v5:U34] [v5:U35] [v5:U36]`
//! `[v5:U37]`

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use schemas::{AccountId, Publication, QoS, Subscription, topic};

use super::topics::Delivery;
use super::{Effects, Plan, View};
use crate::engine::{KeyRange, Order};
use crate::error::ReadError;
use crate::keys::SessionKey;
use crate::ops::Publish;
use crate::rows::{LeftoverRow, QueueRow, ShareRow, Table, decode, keys};

/// Most messages of ended members that are handed over with one group: a part of a group, never a pause.
const HANDOVERS_PER_GROUP: u64 = 256;

/// The members of a shared subscription.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<SessionKey, Member>,
    /// Who got the last message: the search for the next one begins behind it.
    last: Option<SessionKey>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    qos: QoS,
    id: Option<u32>,
    retain_as_published: bool,
}

impl Group {
    pub(super) fn join(&mut self, session: SessionKey, subscription: &Subscription) {
        let member = Member {
            qos: subscription.qos,
            id: subscription.id,
            retain_as_published: subscription.retain_as_published,
        };
        self.members.insert(session, member);
    }

    /// True where nobody is left.
    pub(super) fn leave(&mut self, session: SessionKey) -> bool {
        self.members.remove(&session);
        self.members.is_empty()
    }

    /// All members once, in the order in which it is their turn.
    fn in_turn(&self) -> impl Iterator<Item = (SessionKey, Member)> {
        let (behind, others) = match self.last {
            Some(last) => ((Excluded(last), Unbounded), Some((Unbounded, Included(last)))),
            None => ((Unbounded, Unbounded), None),
        };
        let others = others.into_iter().flat_map(|others| self.members.range(others));
        self.members.range(behind).chain(others).map(|(session, member)| (*session, *member))
    }
}

/// A part of an ended session's queue that is to be handed over.
pub(super) struct Handover {
    pub(super) session: SessionKey,
    first: u64,
    left: LeftoverRow,
}

pub(super) fn is_shared(subscription: &Subscription) -> bool {
    topic::split_share(&subscription.filter).is_some()
}

impl Plan {
    /// One copy for each matching shared subscription; how many there were.
    pub(super) fn publish_shared(
        &mut self,
        view: &mut View<'_>,
        op: &Publish,
        effects: &mut Effects,
    ) -> Result<usize, ReadError> {
        if op.message.qos == QoS::AtMostOnce {
            return Ok(0);
        }
        let mut matched = 0;
        for filter in self.subscriptions.shares(&op.account, &op.message.topic) {
            let share = ShareRow { filter, qos: op.message.qos as u8 };
            matched += usize::from(self.give(view, &op.account, &op.message, share, effects)?);
        }
        Ok(matched)
    }

    /// Gives a message to one member; false where there is none.
    fn give(
        &mut self,
        view: &mut View<'_>,
        account: &AccountId,
        message: &Publication,
        share: ShareRow,
        effects: &mut Effects,
    ) -> Result<bool, ReadError> {
        let Some((session, member)) = self.choose(view, account, &share.filter)? else {
            return Ok(false);
        };
        // [v5:4.8.2-3]
        let published = QoS::from_bits(share.qos).unwrap_or_default();
        let message = Publication { qos: published.min(member.qos), ..message.clone() };
        let delivery = Delivery {
            retain: message.retain && member.retain_as_published,
            message,
            subscription_ids: member.id.into_iter().collect(),
            share: Some(share),
        };
        self.enqueue(view, session, delivery, effects)?;
        Ok(true)
    }

    fn choose(
        &mut self,
        view: &View<'_>,
        account: &AccountId,
        filter: &str,
    ) -> Result<Option<(SessionKey, Member)>, ReadError> {
        // Out of its place while queues are looked at; nobody else is there to miss it.
        let Some(mut group) = self.subscriptions.group(account, filter).map(std::mem::take) else {
            return Ok(None);
        };
        let chosen = self.choose_of(view, &group);
        if let Ok(Some((session, _))) = chosen {
            group.last = Some(session);
        }
        if let Some(place) = self.subscriptions.group(account, filter) {
            *place = group;
        }
        chosen
    }

    fn choose_of(
        &mut self,
        view: &View<'_>,
        group: &Group,
    ) -> Result<Option<(SessionKey, Member)>, ReadError> {
        let anybody = group.members.keys().any(|session| self.online.contains(session));
        let mut best: Option<(u64, SessionKey, Member)> = None;
        for (session, member) in group.in_turn() {
            if anybody && !self.online.contains(&session) {
                continue;
            }
            let queue = self.queue_state(view, session)?;
            let waiting = queue.n.saturating_sub(queue.acked);
            if best.is_none_or(|(least, ..)| waiting < least) {
                best = Some((waiting, session, member));
            }
        }
        Ok(best.map(|(_, session, member)| (session, member)))
    }

    /// A member's session has ended: numbers from `first` on are for the others.
    pub(super) fn leave_to_others(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        first: u64,
        left: LeftoverRow,
    ) {
        if first <= left.last {
            view.put(keys::leftover(session, first), &left);
            self.handovers.push_back(Handover { session, first, left });
        }
    }

    /// Reads which handovers a crash interrupted.
    pub(super) fn load_handovers(&mut self, view: &View<'_>) -> Result<(), ReadError> {
        self.handovers.clear();
        let range = KeyRange::prefix(keys::all(Table::Leftover));
        for (key, value) in view.scan(&range, Order::Ascending, usize::MAX)? {
            let session = SessionKey(keys::owner_of(&key).unwrap_or_default());
            let first = keys::number_of(&key).unwrap_or_default();
            self.handovers.push_back(Handover { session, first, left: decode(&key, &value)? });
        }
        Ok(())
    }

    /// Hands over some of what ended sessions left.
    pub(super) fn hand_over(&mut self, view: &mut View<'_>, effects: &mut Effects) -> Result<(), ReadError> {
        let mut budget = HANDOVERS_PER_GROUP;
        while budget > 0
            && let Some(Handover { session, first, left }) = self.handovers.pop_front()
        {
            let end = left.last.min(first.saturating_add(budget - 1));
            for n in first..=end {
                self.hand_over_one(view, session, n, &left, effects)?;
            }
            budget -= end + 1 - first;
            view.remove(keys::leftover(session, first));
            self.leave_to_others(view, session, end + 1, left);
        }
        Ok(())
    }

    fn hand_over_one(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        n: u64,
        left: &LeftoverRow,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let key = keys::queue(session, n);
        let Some(row) = view.get::<QueueRow>(&key)? else {
            return Ok(());
        };
        view.remove(key);
        let share = row.share.clone();
        let message = row.message(n).message;
        // What may have been received must not be received twice. [v5:4.8.2-5]
        let once = message.qos != QoS::AtLeastOnce;
        match share {
            Some(share) if n > left.sent || !once => {
                self.give(view, &left.account, &message, share, effects).map(drop)
            }
            _ => Ok(()),
        }
    }
}
