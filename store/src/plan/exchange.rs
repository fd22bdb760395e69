//! O3, I8. QoS 2, exactly once: what is half-way stands in rows, so that neither a crash nor another connection of the
//! session carries it out twice.
//!
//! ```text
//! publish   PUBLISH ─▶ effects + row(packet id) ─▶ PUBREC      PUBREL ─▶ row goes ─▶ PUBCOMP
//! delivery  PUBREC ─▶ row(number, owed) ─▶ PUBREL              PUBCOMP ─▶ row goes, or stays `complete` above the cursor
//! ```
//! Not here: cursors and queues (`session`, `topics`).

use std::collections::{BTreeMap, HashMap};

use super::{Effects, Plan, View};
use crate::engine::{KeyRange, Order};
use crate::error::ReadError;
use crate::keys::SessionKey;
use crate::ops::{
    Delivered, Delivery, Op, Outcome, Progress, PublishOnce, PublishReleased, SessionClose, Source,
};
use crate::rows::{CursorRow, ExchangeKind, ExchangeRow, SessionRow, Table, decode, keys};

/// Deliveries that have rows; true = over. A copy of rows, so that a cursor that moves need not look for them.
#[derive(Default)]
pub(super) struct Exchanges {
    sessions: HashMap<SessionKey, BTreeMap<Delivered, bool>>,
}

impl Exchanges {
    fn note(&mut self, session: SessionKey, delivered: Delivered, complete: bool) {
        self.sessions.entry(session).or_default().insert(delivered, complete);
    }

    fn forget(&mut self, session: SessionKey, delivered: Delivered) {
        if let Some(of_session) = self.sessions.get_mut(&session) {
            of_session.remove(&delivered);
            if of_session.is_empty() {
                self.sessions.remove(&session);
            }
        }
    }

    fn has(&self, session: SessionKey, delivered: Delivered) -> bool {
        self.sessions.get(&session).is_some_and(|known| known.contains_key(&delivered))
    }

    /// Those of a session that are over, of one source, up to a number.
    fn complete_up_to(&self, session: SessionKey, source: Source, n: u64) -> Vec<Delivered> {
        let Some(known) = self.sessions.get(&session) else { return Vec::new() };
        let range = Delivered { source, n: 0 }..=Delivered { source, n };
        known.range(range).filter(|(_, complete)| **complete).map(|(delivered, _)| *delivered).collect()
    }

    /// Those that must not come again; true: PUBREL is owed.
    pub(super) fn of(&self, session: SessionKey) -> Vec<(Delivered, bool)> {
        let Some(known) = self.sessions.get(&session) else { return Vec::new() };
        known.iter().map(|(delivered, complete)| (*delivered, !complete)).collect()
    }
}

fn key(session: SessionKey, delivered: Delivered) -> crate::rows::Key {
    keys::exchange(session, ExchangeKind::of_source(delivered.source), delivered.n)
}

impl Plan {
    /// Fills the copy from rows.
    pub(super) fn load_exchanges(&mut self, view: &View<'_>) -> Result<(), ReadError> {
        self.exchanges = Exchanges::default();
        for (key, value) in
            view.scan(&KeyRange::prefix(keys::all(Table::Exchange)), Order::Ascending, usize::MAX)?
        {
            let row: ExchangeRow = decode(&key, &value)?;
            let source = keys::kind_of(&key).and_then(ExchangeKind::source);
            let (Some(source), Some(n)) = (source, keys::number_of(&key)) else { continue };
            let session = SessionKey(keys::owner_of(&key).unwrap_or_default());
            self.exchanges.note(session, Delivered { source, n }, row.complete);
        }
        Ok(())
    }

    fn is_of(view: &View<'_>, session: SessionKey, connection: u64) -> Result<bool, ReadError> {
        let row: Option<SessionRow> = view.get(&keys::session(Table::Session, session))?;
        Ok(row.is_some_and(|row| row.connection == connection))
    }

    /// `[v311:4.3.3-2] [v5:4.3.3-8] [v5:4.3.3-10]`
    pub(super) fn publish_once(
        &mut self,
        view: &mut View<'_>,
        once: &PublishOnce,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        if !Self::is_of(view, once.session, once.connection)? {
            return Ok(Outcome::Superseded);
        }
        let key = keys::exchange(once.session, ExchangeKind::Publish, u64::from(once.packet));
        if view.has(&key)? {
            return Ok(Outcome::Repeated);
        }
        let outcome = self.apply(view, &once.op, effects)?;
        // [v5:4.3.3-9] PUBREC says no and the identifier is free; 3.1.1 has only a yes, and its PUBREL comes.
        let told = match &*once.op {
            Op::Command(command) => !command.report_refusal,
            Op::Publish(publish) => publish.report_refusal.is_none(),
            _ => false,
        };
        if !(told && matches!(outcome, Outcome::Refused(_))) {
            view.put(key, &ExchangeRow::default());
        }
        Ok(outcome)
    }

    /// `[v5:4.3.3-11] [v5:4.3.3-12]`: on disk before PUBCOMP, or the identifier's next message would be taken for this one.
    pub(super) fn publish_released(
        &self,
        view: &mut View<'_>,
        release: &PublishReleased,
    ) -> Result<Outcome, ReadError> {
        if !Self::is_of(view, release.session, release.connection)? {
            return Ok(Outcome::Superseded);
        }
        let key = keys::exchange(release.session, ExchangeKind::Publish, u64::from(release.packet));
        let held = view.has(&key)?;
        if held {
            view.remove(key);
        }
        Ok(Outcome::Released(held))
    }

    /// `[v5:4.3.3-4] [v5:4.3.3-6]`
    pub(super) fn delivery_received(
        &mut self,
        view: &mut View<'_>,
        delivery: &Delivery,
    ) -> Result<Outcome, ReadError> {
        if !Self::is_of(view, delivery.session, delivery.connection)? {
            return Ok(Outcome::Superseded);
        }
        view.put(key(delivery.session, delivery.delivered), &ExchangeRow::default());
        self.exchanges.note(delivery.session, delivery.delivered, false);
        Ok(Outcome::Done)
    }

    /// `[v5:4.3.3-5]`
    pub(super) fn delivery_complete(
        &mut self,
        view: &mut View<'_>,
        delivery: &Delivery,
    ) -> Result<Outcome, ReadError> {
        let Delivery { session, delivered, .. } = *delivery;
        if !self.exchanges.has(session, delivered) || !Self::is_of(view, session, delivery.connection)? {
            return Ok(Outcome::Done);
        }
        let cursor = self.cursor(view, session)?;
        if delivered.n <= acked_of(cursor, delivered.source) {
            view.remove_lazily(key(session, delivered));
            self.exchanges.forget(session, delivered);
        } else {
            view.put_lazily(key(session, delivered), &ExchangeRow { complete: true });
            self.exchanges.note(session, delivered, true);
        }
        Ok(Outcome::Done)
    }

    /// A cursor has moved: what is over and below it needs no row any more. In one batch with the cursor, so that a crash
    /// that loses one loses both.
    pub(super) fn exchanges_passed(&mut self, view: &mut View<'_>, session: SessionKey, acked: Progress) {
        for (source, n) in [(Source::Inbox, acked.inbox.0), (Source::Queue, acked.queue)] {
            for delivered in self.exchanges.complete_up_to(session, source, n) {
                view.remove_lazily(key(session, delivered));
                self.exchanges.forget(session, delivered);
            }
        }
    }

    /// A connection ends: what it acknowledged above its cursors does not come again. `[v5:4.4.0-2]`
    pub(super) fn note_acked_ahead(
        &mut self,
        view: &mut View<'_>,
        close: &SessionClose,
    ) -> Result<(), ReadError> {
        let cursor = if close.acked_ahead.is_empty() {
            return Ok(());
        } else {
            self.cursor(view, close.session)?
        };
        for delivered in &close.acked_ahead {
            if delivered.n > acked_of(cursor, delivered.source) {
                view.put(key(close.session, *delivered), &ExchangeRow { complete: true });
                self.exchanges.note(close.session, *delivered, true);
            }
        }
        Ok(())
    }

    /// An inbox subscription begins anew at a place of its own: what an earlier one had acknowledged says nothing now.
    pub(super) fn forget_complete(&mut self, view: &mut View<'_>, session: SessionKey) {
        for delivered in self.exchanges.complete_up_to(session, Source::Inbox, u64::MAX) {
            view.remove(key(session, delivered));
            self.exchanges.forget(session, delivered);
        }
    }

    /// A session ends: none of its flows goes on.
    pub(super) fn end_exchanges(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
    ) -> Result<(), ReadError> {
        let range = KeyRange::prefix(keys::session(Table::Exchange, session));
        for (key, _) in view.scan(&range, Order::Ascending, usize::MAX)? {
            view.remove(key);
        }
        self.exchanges.sessions.remove(&session);
        Ok(())
    }
}

const fn acked_of(cursor: CursorRow, source: Source) -> u64 {
    match source {
        Source::Inbox => cursor.inbox,
        Source::Queue => cursor.queue,
    }
}
