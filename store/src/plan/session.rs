//! MQTT sessions: opened, taken over, closed, subscribed; their cursors (P3).

use schemas::topic::{UserTopic, UserTopicKind, is_reserved};
use schemas::{Millis, QoS, Seq, Subscription};

use super::retained::Page;
use super::share::is_shared;
use super::{Effects, Plan, View};
use crate::engine::{KeyRange, Order};
use crate::error::ReadError;
use crate::keys::{InboxKey, SessionKey};
use crate::ops::{
    InboxCursor, InboxStart, Outcome, Progress, Retained, SessionClose, SessionOpen, SessionState, Source,
    Subscribe, Subscribed, Unsubscribe,
};
use crate::rows::{CursorRow, LeftoverRow, SessionRow, Table, WillRow, decode, keys};

/// Expiry of a session that never ends by itself.
pub(super) const NEVER: u32 = u32::MAX;

impl Plan {
    pub(super) fn session_open(
        &mut self,
        view: &mut View<'_>,
        open: &SessionOpen,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        self.user_seen(view, &open.account, &open.user, open.agent)?;
        let session = SessionKey::of(&open.account, &open.user, &open.client);
        let stored: Option<SessionRow> = view.get(&keys::session(Table::Session, session))?;
        let connection = stored.as_ref().map_or(1, |row| row.connection + 1);
        // [v311:3.1.2-4] [v5:3.1.2-5] [v5:3.1.2-6] [v5:3.1.2-23] [v311:3.1.4-3] [v5:3.1.4-4]
        // [v311:4.1.0-1] [v5:4.1.0-1]
        let alive = self.take_over(view, session, stored, open.clean, effects)?;
        let present = alive.is_some();
        let cursor = self.cursor(view, session)?;
        self.discard_leftovers(view, session, cursor)?;
        let head = self.queue_head(view, session)?;
        let inbox_head = self.inbox_head(view, InboxKey::of(&open.account, &open.user))?.seq;
        let sent = match &alive {
            // Taken over while connected: nobody knows how far it had sent, so all there is counts as sent.
            Some(row) if row.connected => Progress { inbox: inbox_head, queue: head },
            Some(row) => Progress { inbox: Seq(row.sent_inbox), queue: row.sent_queue },
            None => Progress::default(),
        };
        let inbox_qos = alive.as_ref().and_then(|row| row.inbox_qos);
        let row = SessionRow {
            account: open.account.clone(),
            user: open.user.clone(),
            client: open.client.clone(),
            expiry_s: open.expiry_s,
            connected: true,
            connection,
            closed_at: 0,
            sent_inbox: sent.inbox.0,
            sent_queue: sent.queue,
            inbox_qos,
            due: 0,
        };
        view.put(keys::session(Table::Session, session), &row);
        if let Some(will) = &open.will {
            self.put_will(view, session, will);
        }
        let subscriptions = self.subscriptions_of(view, session)?;
        if subscriptions.iter().any(is_shared) {
            self.online.insert(session);
        }
        let state = SessionState {
            session,
            connection,
            present,
            subscriptions,
            inbox: match inbox_qos {
                Some(bits) => Some(self.inbox_cursor(view, &row, bits, cursor)?),
                None => None,
            },
            queue_acked: cursor.queue,
            queue_head: head,
            replay: self.has_replay(view, session)?,
            sent,
            received: self.exchanges.of(session),
        };
        Ok(Outcome::Session(Box::new(state)))
    }

    /// Does what the arrival of a new connection means for the session as it was: it goes on, and is returned, or it
    /// ends; its will comes or is cancelled.
    fn take_over(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        stored: Option<SessionRow>,
        clean: bool,
        effects: &mut Effects,
    ) -> Result<Option<SessionRow>, ReadError> {
        let Some(row) = stored else {
            // A queue's numbers may be left of an earlier one.
            self.end_session(view, session)?;
            return Ok(None);
        };
        // One that ends with its connection ended when this one came. [v311:3.1.2-6] [v5:3.1.2-4] [v5:4.1.0-2]
        let ends = clean || Self::has_expired(&row, self.now) || (row.connected && row.expiry_s == 0);
        let will = self.take_will(view, session)?;
        self.remove_due(view, session, &row);
        if ends {
            self.end_session(view, session)?;
        }
        match will {
            // Its own connection was ended by this one, or its session was. [v5:3.1.3-9]
            Some(will) if ends || (row.connected && will.delay_s == 0) => {
                self.publish_will(view, session, &row, will, effects)?;
            }
            _ => {}
        }
        Ok((!ends).then_some(row))
    }

    fn inbox_cursor(
        &mut self,
        view: &View<'_>,
        row: &SessionRow,
        qos: u8,
        cursor: CursorRow,
    ) -> Result<InboxCursor, ReadError> {
        let head = self.inbox_head(view, InboxKey::of(&row.account, &row.user))?;
        let acked = Seq(cursor.inbox.min(head.seq.0));
        let gap = (acked.next() < head.oldest).then(|| (acked.next(), Seq(head.oldest.0 - 1)));
        Ok(InboxCursor { qos: QoS::from_bits(qos).unwrap_or_default(), acked, gap })
    }

    /// `[v311:4.1.0-2] [v5:U42]`
    pub(super) fn has_expired(row: &SessionRow, now: Millis) -> bool {
        let outlived = row.closed_at.saturating_add(u64::from(row.expiry_s) * 1000);
        !row.connected && row.expiry_s != NEVER && outlived <= now.0
    }

    /// Removals ask for no sync, so a crash may bring acknowledged rows back: they go when the session is next opened.
    fn discard_leftovers(
        &mut self,
        view: &View<'_>,
        session: SessionKey,
        cursor: CursorRow,
    ) -> Result<(), ReadError> {
        // What others are to get stands below the cursor, too.
        if self.handovers.iter().any(|handover| handover.session == session) {
            return Ok(());
        }
        let first =
            view.first(keys::session(Table::Queue, session))?.and_then(|(key, _)| keys::number_of(&key));
        self.discard(session, first.unwrap_or(u64::MAX), cursor.queue);
        Ok(())
    }

    pub(super) fn cursor(&self, view: &View<'_>, session: SessionKey) -> Result<CursorRow, ReadError> {
        Ok(view.get(&keys::session(Table::Cursor, session))?.unwrap_or_default())
    }

    fn subscriptions_of(&self, view: &View<'_>, session: SessionKey) -> Result<Vec<Subscription>, ReadError> {
        let range = KeyRange::prefix(keys::subscription(session, ""));
        view.scan(&range, Order::Ascending, usize::MAX)?
            .iter()
            .map(|(key, value)| decode(key, value))
            .collect()
    }

    /// Subscriptions, cursor and queue of a session go; its row and its will are the caller's.
    pub(super) fn end_session(&mut self, view: &mut View<'_>, session: SessionKey) -> Result<(), ReadError> {
        let row: Option<SessionRow> = view.get(&keys::session(Table::Session, session))?;
        let mut shared = false;
        for subscription in self.subscriptions_of(view, session)? {
            shared |= is_shared(&subscription);
            view.remove(keys::subscription(session, &subscription.filter));
            if let Some(row) = &row {
                self.subscriptions.remove(&row.account, session, &subscription.filter);
            }
        }
        if shared {
            // What it acknowledged above its cursor is nobody else's.
            for (delivered, _) in self.exchanges.of(session) {
                if delivered.source == Source::Queue {
                    view.remove(keys::queue(session, delivered.n));
                }
            }
        }
        if row.is_some() {
            self.end_exchanges(view, session)?;
        }
        self.online.remove(&session);
        self.end_replays(view, session)?;
        // The queue's numbers go on: what is left of it lies below the cursor, where nobody looks.
        let acked = self.cursor(view, session)?.queue;
        let head = self.queue_head(view, session)?;
        match row.filter(|_| shared) {
            Some(row) => {
                // Of one that is connected nobody knows what was sent.
                let sent = if row.connected { head } else { row.sent_queue };
                self.leave_to_others(
                    view,
                    session,
                    acked + 1,
                    LeftoverRow { account: row.account, last: head, sent },
                );
            }
            None => self.discard(session, acked + 1, head),
        }
        if head > 0 || acked > 0 {
            view.put(keys::session(Table::Cursor, session), &CursorRow { inbox: 0, queue: head });
        }
        self.queues.remove(&session);
        Ok(())
    }

    /// A session is over: nothing is left of it but the numbers of its queue, which are never given twice.
    pub(super) fn remove_session(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
    ) -> Result<(), ReadError> {
        self.end_session(view, session)?;
        view.remove(keys::session(Table::Session, session));
        if self.cursor(view, session)?.queue == 0 {
            view.remove(keys::session(Table::Cursor, session));
        }
        Ok(())
    }

    pub(super) fn session_close(
        &mut self,
        view: &mut View<'_>,
        close: &SessionClose,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let session = close.session;
        let key = keys::session(Table::Session, session);
        let Some(mut row) = view.get::<SessionRow>(&key)?.filter(|row| row.connection == close.connection)
        else {
            return Ok(Outcome::Done);
        };
        // [v311:3.14.4-3] [v5:3.14.4-3]
        let will = self.take_will(view, session)?.filter(|_| close.will);
        row.expiry_s = close.expiry_s.unwrap_or(row.expiry_s);
        row.connected = false;
        row.closed_at = self.now.0;
        row.sent_inbox = row.sent_inbox.max(close.sent.inbox.0);
        row.sent_queue = row.sent_queue.max(close.sent.queue);
        let ends = row.expiry_s == 0;
        self.note_acked_ahead(view, close)?;
        let (now, later) = match will {
            Some(will) if ends || will.delay_s == 0 => (Some(will), None),
            later => (None, later),
        };
        if !ends {
            self.put_due(view, session, &mut row, later.as_ref().map(|will| will.delay_s));
        }
        view.put(key, &row);
        if let Some(will) = later {
            view.put(keys::session(Table::Will, session), &will);
        }
        self.online.remove(&session);
        if ends {
            self.remove_session(view, session)?;
        }
        if let Some(will) = now {
            self.publish_will(view, session, &row, will, effects)?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn subscribe(
        &mut self,
        view: &mut View<'_>,
        op: &Subscribe,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let key = keys::session(Table::Session, op.session);
        let Some(mut row) = view.get::<SessionRow>(&key)? else {
            return Ok(Outcome::Subscribed(vec![
                Subscribed {
                    existed: false,
                    inbox: None,
                    retained: Retained::None
                };
                op.filters.len()
            ]));
        };
        let own = UserTopic { user: row.user.clone(), kind: UserTopicKind::Inbox }.to_string();
        let mut results = Vec::with_capacity(op.filters.len());
        let mut page = Page::new();
        for subscription in &op.filters {
            let sub_key = keys::subscription(op.session, &subscription.filter);
            let existed = view.has(&sub_key)?;
            // [v311:3.8.4-3] [v5:3.8.4-3] [v5:3.8.4-4] [v5:U38]
            view.put(sub_key, subscription);
            let inbox = if *subscription.filter == *own {
                Some(self.subscribe_inbox(view, &mut row, op, subscription.qos, existed)?)
            } else {
                self.index(&row, op.session, subscription.clone());
                None
            };
            let retained =
                self.bring_retained(view, (op.session, &row), subscription, existed, &mut page, effects)?;
            results.push(Subscribed { existed, inbox, retained });
        }
        Ok(Outcome::Subscribed(results))
    }

    /// Whose messages come with publishes. `user/…` has ways of its own.
    fn index(&mut self, row: &SessionRow, session: SessionKey, subscription: Subscription) {
        let shared = is_shared(&subscription);
        if shared && row.connected {
            self.online.insert(session);
        }
        if shared || !is_reserved(&subscription.filter) {
            self.subscriptions.insert(&row.account, session, subscription);
        }
    }

    fn subscribe_inbox(
        &mut self,
        view: &mut View<'_>,
        row: &mut SessionRow,
        op: &Subscribe,
        qos: QoS,
        existed: bool,
    ) -> Result<InboxCursor, ReadError> {
        let mut cursor = self.cursor(view, op.session)?;
        let head = self.inbox_head(view, InboxKey::of(&row.account, &row.user))?;
        let mut gap = None;
        // At QoS 0 nothing is acknowledged, so nothing is owed: what comes is what happens from now on.
        let start = op.inbox_after.filter(|_| qos != QoS::AtMostOnce);
        if !existed || start.is_some() {
            self.forget_complete(view, op.session);
        }
        match start {
            // Subscribing again keeps the cursor, unless the client says where to go on.
            None if existed => {}
            None => cursor.inbox = head.seq.0,
            Some(start) => (cursor.inbox, gap) = self.start_at(start, head.seq, head.oldest),
        }
        row.inbox_qos = Some(qos as u8);
        view.put(keys::session(Table::Session, op.session), row);
        view.put(keys::session(Table::Cursor, op.session), &cursor);
        Ok(InboxCursor { qos, acked: Seq(cursor.inbox), gap })
    }

    /// Where a client that says what it has goes on, and what it has to be told is missing.
    fn start_at(&self, start: InboxStart, head: Seq, oldest: Seq) -> (u64, Option<(Seq, Seq)>) {
        let kept_from = Seq(oldest.0.saturating_sub(1));
        if start.epoch.is_some_and(|epoch| epoch != self.epoch) {
            return (kept_from.0, Some((Seq(1.min(kept_from.0)), kept_from)));
        }
        if start.after < kept_from {
            return (kept_from.0, Some((start.after.next(), kept_from)));
        }
        (start.after.min(head).0, None)
    }

    pub(super) fn unsubscribe(
        &mut self,
        view: &mut View<'_>,
        op: &Unsubscribe,
    ) -> Result<Outcome, ReadError> {
        let key = keys::session(Table::Session, op.session);
        let Some(mut row) = view.get::<SessionRow>(&key)? else {
            return Ok(Outcome::Unsubscribed(vec![false; op.filters.len()]));
        };
        let own = UserTopic { user: row.user.clone(), kind: UserTopicKind::Inbox }.to_string();
        let mut results = Vec::with_capacity(op.filters.len());
        for filter in &op.filters {
            let sub_key = keys::subscription(op.session, filter);
            let existed = view.has(&sub_key)?;
            if existed {
                view.remove(sub_key);
                view.remove(keys::replay(op.session, filter));
                self.subscriptions.remove(&row.account, op.session, filter);
            }
            if existed && *filter == own {
                row.inbox_qos = None;
                view.put(key.clone(), &row);
            }
            results.push(existed);
        }
        Ok(Outcome::Unsubscribed(results))
    }

    /// I8. Cursors that sessions moved since the last group ride along.
    pub(crate) fn advance(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        acked: Progress,
    ) -> Result<(), ReadError> {
        let before = self.cursor(view, session)?;
        let after =
            CursorRow { inbox: before.inbox.max(acked.inbox.0), queue: before.queue.max(acked.queue) };
        if after != before && view.has(&keys::session(Table::Session, session))? {
            view.put_lazily(keys::session(Table::Cursor, session), &after);
            self.exchanges_passed(view, session, Progress { inbox: Seq(after.inbox), queue: after.queue });
            if let Some(queue) = self.queues.get_mut(&session) {
                queue.acked = after.queue;
            }
            self.discard(session, before.queue + 1, after.queue);
        }
        Ok(())
    }

    /// After a crash no connection is left: sessions that had one are closed now, with everything counted as sent, and
    /// those that were to end with their connection end.
    pub(super) fn recover_sessions(&mut self, view: &mut View<'_>) -> Result<(), ReadError> {
        for (key, value) in
            view.scan(&KeyRange::prefix(keys::all(Table::Session)), Order::Ascending, usize::MAX)?
        {
            let mut row: SessionRow = decode(&key, &value)?;
            if !row.connected {
                continue;
            }
            let session = SessionKey(keys::owner_of(&key).unwrap_or_default());
            let will: Option<WillRow> = view.get(&keys::session(Table::Will, session))?;
            if row.expiry_s == 0 && will.is_none() {
                self.remove_session(view, session)?;
                continue;
            }
            row.connected = false;
            row.closed_at = self.now.0;
            // The loss of all connections: their wills come once the store is at work.
            self.put_due(view, session, &mut row, will.map(|will| will.delay_s));
            row.sent_inbox = self.inbox_head(view, InboxKey::of(&row.account, &row.user))?.seq.0;
            row.sent_queue = self.queue_head(view, session)?;
            view.put(key, &row);
        }
        self.load_subscriptions(view)
    }

    /// Fills the trie from rows.
    pub(super) fn load_subscriptions(&mut self, view: &View<'_>) -> Result<(), ReadError> {
        self.subscriptions = super::topics::Subscriptions::default();
        self.online.clear();
        for (key, value) in
            view.scan(&KeyRange::prefix(keys::all(Table::Subscription)), Order::Ascending, usize::MAX)?
        {
            let session = SessionKey(keys::owner_of(&key).unwrap_or_default());
            let subscription: Subscription = decode(&key, &value)?;
            if is_reserved(&subscription.filter) && !is_shared(&subscription) {
                continue;
            }
            if let Some(row) = view.get::<SessionRow>(&keys::session(Table::Session, session))? {
                self.index(&row, session, subscription);
            }
        }
        Ok(())
    }
}
