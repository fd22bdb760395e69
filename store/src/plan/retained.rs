//! Retained messages: the last one of each topic, their room, and copies of them into the queues of new subscriptions.
//!
//! ```text
//!  SUBSCRIBE ─▶ page 1 into the queue, in the same commit ─▶ row `replay`: where the copy stands
//!               Op::Replay ─▶ page 2 … (asked for when the session has read its queue to the end)
//! ```
//! Not here: how a queue is delivered (`broker`).
//! `[v311:3.1.2-7] [v311:3.3.1-6] [v311:3.3.1-9] [v311:3.3.1-12] [v5:3.3.1-8] [v5:U30]`
//! `[v5:U31] [v5:U32]`

use schemas::{ErrorCode, Publication, QoS, Subscription, topic};

use super::topics::Delivery;
use super::{Effects, Plan, View};
use crate::engine::{KeyRange, Order, after_prefix};
use crate::error::ReadError;
use crate::keys::SessionKey;
use crate::ops::{Outcome, Publish, Refusal, ReportFailure, Retained};
use crate::rows::{ReplayRow, RetainedRow, RoomRow, SessionRow, Table, account_hash, decode, keys};

/// Messages of a page: twice a usual receive window, so that a page is a short part of a group.
const PAGE_MESSAGES: usize = 128;
/// Bytes of a page: four of the largest packets.
const PAGE_BYTES: u64 = 1 << 20;
/// Rows looked at for a page, whether they match or not: about 2 ms.
const PAGE_LOOKS: usize = 2_000;

/// What is left of a page.
pub(super) struct Page {
    messages: usize,
    bytes: u64,
    looks: usize,
}

impl Page {
    pub(super) const fn new() -> Self {
        Self { messages: PAGE_MESSAGES, bytes: PAGE_BYTES, looks: PAGE_LOOKS }
    }

    const fn is_full(&self) -> bool {
        self.messages == 0 || self.bytes == 0 || self.looks == 0
    }
}

/// Does a subscription get the retained messages of its topics?
/// `[v311:3.8.4-3] [v5:3.3.1-9] [v5:3.3.1-10] [v5:3.3.1-11]` Not where it is shared.
fn wants_retained(subscription: &Subscription, existed: bool) -> bool {
    // Shared ones begin with `$`.
    !topic::is_reserved(&subscription.filter)
        && match subscription.retain_handling {
            0 => true,
            1 => !existed,
            _ => false,
        }
}

/// What all topics that a filter matches begin with.
fn literal_front(filter: &str) -> &str {
    match filter.find(['+', '#']) {
        // `a/#` matches `a` as well.
        Some(at) if filter[at..].starts_with('#') => filter[..at].trim_end_matches('/'),
        Some(at) => &filter[..at],
        None => filter,
    }
}

impl Plan {
    /// Keeps or removes the retained message of a topic; says why not where there is no room.
    pub(super) fn retain(&mut self, view: &mut View<'_>, op: &Publish) -> Result<Option<Refusal>, ReadError> {
        let account = account_hash(&op.account);
        let (key, room_key) = (keys::retained(account, &op.message.topic), keys::room(account));
        let before: Option<RetainedRow> = view.get(&key)?;
        let mut room: RoomRow = view.get(&room_key)?.unwrap_or_default();
        if let Some(before) = &before {
            room.messages -= 1;
            room.bytes -= before.bytes();
        }
        let row = RetainedRow::of(&op.message, op.publisher, room.last + 1, self.now.0);
        // [v311:3.3.1-10] [v311:3.3.1-11] [v5:3.3.1-6] [v5:3.3.1-7]
        if op.message.payload.is_empty() || row.has_expired(self.now.0) {
            if before.is_some() {
                view.remove(key);
                view.put(room_key, &room);
            }
            return Ok(None);
        }
        room.messages += 1;
        room.bytes += row.bytes();
        room.last = row.n;
        let limits = self.sweep.retention();
        let grows = before.is_none_or(|before| before.bytes() < row.bytes());
        if grows && (room.messages > limits.retained_max_messages || room.bytes > limits.retained_max_bytes) {
            let detail = format!(
                "the account may have {} retained messages of {} bytes together; remove some, or publish without RETAIN",
                limits.retained_max_messages, limits.retained_max_bytes
            );
            return Ok(Some(Refusal { code: ErrorCode::QuotaExceeded, detail }));
        }
        // [v311:3.3.1-5] [v311:3.3.1-7] [v5:3.3.1-5]
        view.put(key, &row);
        view.put(room_key, &room);
        Ok(None)
    }

    pub(super) fn publish_refused(
        &mut self,
        view: &mut View<'_>,
        op: &Publish,
        refusal: Refusal,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        if let Some(user) = &op.report_refusal {
            let report = ReportFailure {
                account: op.account.clone(),
                user: user.clone(),
                id: None,
                code: refusal.code,
                detail: refusal.detail.clone(),
                topic: Some(op.message.topic.to_string()),
            };
            self.report_failure(view, &report, effects)?;
        }
        Ok(Outcome::Refused(refusal))
    }

    /// A subscription was made, or made again: the first of its retained messages, and a note of the rest.
    pub(super) fn bring_retained(
        &mut self,
        view: &mut View<'_>,
        session: (SessionKey, &SessionRow),
        subscription: &Subscription,
        existed: bool,
        page: &mut Page,
        effects: &mut Effects,
    ) -> Result<Retained, ReadError> {
        let (session, row) = session;
        let key = keys::replay(session, &subscription.filter);
        if !wants_retained(subscription, existed) {
            // What it was to get it gets all the same, with its new options.
            let Some(replay) = view.get::<ReplayRow>(&key)? else {
                return Ok(Retained::None);
            };
            view.put(key, &ReplayRow { subscription: subscription.clone(), ..replay });
            return Ok(Retained::More);
        }
        let room: Option<RoomRow> = view.get(&keys::room(account_hash(&row.account)))?;
        let Some(room) = room.filter(|room| room.messages > 0) else {
            return Ok(Retained::None);
        };
        let mut replay =
            ReplayRow { subscription: subscription.clone(), up_to: room.last, after: bytes::Bytes::new() };
        let before = page.messages;
        if self.replay_page(view, (session, row), &mut replay, page, effects)? {
            if existed {
                view.remove(key);
            }
            let brought = page.messages < before;
            return Ok(if brought { Retained::Queued } else { Retained::None });
        }
        view.put(key, &replay);
        Ok(Retained::More)
    }

    /// The next page of what a session's subscriptions have not got.
    pub(super) fn replay(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let row: Option<SessionRow> = view.get(&keys::session(Table::Session, session))?;
        let mut page = Page::new();
        while let Some(row) = &row
            && let Some((key, value)) = view.first(keys::session(Table::Replay, session))?
        {
            if page.is_full() {
                return Ok(Outcome::Replayed { more: true });
            }
            let mut replay: ReplayRow = decode(&key, &value)?;
            if self.replay_page(view, (session, row), &mut replay, &mut page, effects)? {
                view.remove(key);
            } else {
                view.put(key, &replay);
            }
        }
        Ok(Outcome::Replayed { more: false })
    }

    pub(super) fn has_replay(&self, view: &View<'_>, session: SessionKey) -> Result<bool, ReadError> {
        Ok(view.first(keys::session(Table::Replay, session))?.is_some())
    }

    /// Forgets what a session's subscriptions have not got.
    pub(super) fn end_replays(&self, view: &mut View<'_>, session: SessionKey) -> Result<(), ReadError> {
        let range = KeyRange::prefix(keys::session(Table::Replay, session));
        for (key, _) in view.scan(&range, Order::Ascending, usize::MAX)? {
            view.remove(key);
        }
        Ok(())
    }

    /// Copies messages until the page is full; true where there are no more.
    fn replay_page(
        &mut self,
        view: &mut View<'_>,
        (session, row): (SessionKey, &SessionRow),
        replay: &mut ReplayRow,
        page: &mut Page,
        effects: &mut Effects,
    ) -> Result<bool, ReadError> {
        let filter = replay.subscription.filter.clone();
        let prefix = keys::names_of(Table::Retained, account_hash(&row.account), literal_front(&filter));
        let range = if filter.contains(['+', '#']) {
            match replay.after.is_empty() {
                true => KeyRange::prefix(prefix),
                false => KeyRange { from: [&replay.after[..], &[0]].concat(), to: after_prefix(prefix) },
            }
        } else {
            let from = keys::retained(account_hash(&row.account), &filter);
            let to = [from.as_slice(), &[0]].concat();
            KeyRange { from, to }
        };
        let (mut found, mut done) = (Vec::new(), true);
        let now = self.now.0;
        view.visit(&range, &mut |key, value| {
            if page.is_full() {
                done = false;
                return Ok(false);
            }
            page.looks -= 1;
            replay.after = bytes::Bytes::copy_from_slice(key);
            if keys::name_of(key).is_none_or(|name| topic::matches(&filter, name)) {
                let row: RetainedRow = decode(key, value)?;
                if is_for(&row, session, replay, now) {
                    page.messages -= 1;
                    page.bytes = page.bytes.saturating_sub(row.bytes());
                    found.push(row);
                }
            }
            Ok(true)
        })?;
        for row in found {
            let message = row.message(now);
            // [v5:3.8.4-8]
            let qos: QoS = message.qos.min(replay.subscription.qos);
            let delivery = Delivery {
                message: Publication { qos, ..message },
                subscription_ids: replay.subscription.id.into_iter().collect(), // [v5:3.3.4-3]
                retain: true,                                                   // [v311:3.3.1-8]
                share: None,
            };
            self.enqueue(view, session, delivery, effects)?;
        }
        Ok(done)
    }
}

/// Is a retained message for a subscription? Not what came after it: that it gets as it is published.
fn is_for(row: &RetainedRow, session: SessionKey, replay: &ReplayRow, now: u64) -> bool {
    let own = replay.subscription.no_local && row.publisher == session.0; // [v5:3.8.3-3]
    row.n <= replay.up_to
        && !own
        && !row.has_expired(now) // [v5:3.3.2-5]
        && topic::matches(&replay.subscription.filter, &row.topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_a_filter_begin_alike() {
        for (filter, front) in
            [("a/b", "a/b"), ("a/#", "a"), ("#", ""), ("+/x", ""), ("a/+/b", "a/"), ("/#", ""), ("a//#", "a")]
        {
            assert_eq!(literal_front(filter), front, "{filter}");
        }
    }
}
