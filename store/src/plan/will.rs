//! Wills, and what is due: a row per session that was left, in order of the time at which its will comes or it ends.
//!
//! A will is stored at CONNECT. It comes with the commit that closes the session, or after its delay, or when the
//! session ends, whichever is first (`[v311:3.1.2-8] [v5:3.1.2-8]`); a connection that continues the session before that
//! cancels it (`[v5:3.1.3-9]`). Not here: who may publish what (`auth-hook`, at CONNECT).
//! `[v5:3.1.2-7] [v311:3.1.2-12] [v5:U40]`

use std::sync::Arc;

use schemas::topic::{UserTopic, UserTopicKind};
use schemas::{Command, Encoding, Millis, QoS};

use super::{Effects, Plan, View};
use crate::Published;
use crate::engine::{KeyRange, Order};
use crate::error::ReadError;
use crate::keys::SessionKey;
use crate::ops::{CommandOp, Publish, ReportFailure, Will};
use crate::rows::{SessionRow, Table, WillRow, keys};

/// Most sessions whose due is done with one group: each may have hundreds of subscriptions to end.
const DUES_PER_GROUP: usize = 64;
/// After the dues could not be read they are looked at again so much later.
const DUE_RETRY_MS: u64 = 10_000;

/// When a session that was left has its will published or ends, in ms; 0: never.
fn due_at(row: &SessionRow, delay_s: Option<u32>) -> u64 {
    let after = |seconds: u32| row.closed_at.saturating_add(u64::from(seconds) * 1_000);
    let end = (row.expiry_s != super::session::NEVER).then(|| after(row.expiry_s));
    [end, delay_s.map(after)].into_iter().flatten().min().unwrap_or(0)
}

impl Plan {
    pub(super) fn put_will(&self, view: &mut View<'_>, session: SessionKey, will: &Will) {
        let row = WillRow { message: will.message.clone(), delay_s: will.delay_s };
        view.put(keys::session(Table::Will, session), &row);
    }

    /// Takes a session's will from its place. `[v311:3.1.2-10] [v5:3.1.2-10]`
    pub(super) fn take_will(
        &self,
        view: &mut View<'_>,
        session: SessionKey,
    ) -> Result<Option<WillRow>, ReadError> {
        let key = keys::session(Table::Will, session);
        let will = view.get(&key)?;
        if will.is_some() {
            view.remove(key);
        }
        Ok(will)
    }

    /// A session was left: notes when it is to be looked at. The session's row is the caller's to write.
    pub(super) fn put_due(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        row: &mut SessionRow,
        delay_s: Option<u32>,
    ) {
        row.due = due_at(row, delay_s);
        if row.due > 0 {
            view.put_bytes(keys::due(row.due, session), Vec::new());
            self.next_due = self.next_due.min(row.due);
        }
    }

    /// A session was continued or has ended.
    pub(super) fn remove_due(&self, view: &mut View<'_>, session: SessionKey, row: &SessionRow) {
        if row.due > 0 {
            view.remove(keys::due(row.due, session));
        }
    }

    /// Is there something to be done without an op?
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        self.next_due <= now.0 || !self.handovers.is_empty()
    }

    /// When [`Plan::is_due`] will say yes by itself.
    pub(crate) const fn next_due(&self) -> Millis {
        Millis(self.next_due)
    }

    /// Does some of what is due.
    pub(crate) fn run_due(&mut self, view: &mut View<'_>, effects: &mut Effects) -> Result<(), ReadError> {
        self.hand_over(view, effects)?;
        if self.next_due > self.now.0 {
            return Ok(());
        }
        let range = KeyRange::prefix(keys::all(Table::Due));
        let rows = view.scan(&range, Order::Ascending, DUES_PER_GROUP + 1)?;
        self.next_due = u64::MAX;
        for (done, (key, _)) in rows.into_iter().enumerate() {
            let Some((at, session)) = keys::due_of(&key) else { continue };
            if at > self.now.0 || done == DUES_PER_GROUP {
                self.next_due = self.next_due.min(at);
                break;
            }
            view.remove(key);
            self.due(view, session, at, effects)?;
        }
        Ok(())
    }

    /// What is due could not be done: tried again later, so that the ops of the group are not held up by it.
    pub(crate) const fn put_off_due(&mut self) {
        self.next_due = self.now.0 + DUE_RETRY_MS;
    }

    fn due(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        at: u64,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let key = keys::session(Table::Session, session);
        let Some(mut row) = view.get::<SessionRow>(&key)?.filter(|row| row.due == at) else {
            return Ok(());
        };
        let will = self.take_will(view, session)?;
        if Self::has_expired(&row, self.now) {
            row.due = 0;
            view.put(key, &row);
            self.remove_session(view, session)?;
        } else {
            self.put_due(view, session, &mut row, None);
            view.put(key, &row);
        }
        match will {
            Some(will) => self.publish_will(view, session, &row, will, effects),
            None => Ok(()),
        }
    }

    /// Publishes a will as any message. `[v311:3.1.2-14] [v311:3.1.2-16] [v311:3.1.2-17] [v5:3.1.2-14] [v5:3.1.2-15]`
    /// Nobody is left to be told what becomes of it.
    pub(super) fn publish_will(
        &mut self,
        view: &mut View<'_>,
        session: SessionKey,
        row: &SessionRow,
        will: WillRow,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let (account, user) = (row.account.clone(), row.user.clone());
        let message = will.message;
        let outbox =
            UserTopic::parse(&message.topic).is_some_and(|topic| topic.kind == UserTopicKind::Outbox);
        if outbox {
            let kind = message.properties.as_ref().and_then(|p| p.content_type.as_deref());
            let encoding = Encoding::detect(kind, &message.payload);
            let received_us = self.now.0 * 1_000;
            return match Command::read(encoding, &message.payload) {
                Ok(command) => {
                    let op = CommandOp { account, user, command, received_us, report_refusal: true };
                    self.command(view, &op, effects).map(drop)
                }
                Err(error) => {
                    let (id, code, detail) = (error.id, error.code, error.detail);
                    let report = ReportFailure { account, user, id, code, detail, topic: None };
                    self.report_failure(view, &report, effects).map(drop)
                }
            };
        }
        let live = Arc::new(message.clone());
        if message.qos > QoS::AtMostOnce || message.retain {
            let publish =
                Publish { account: account.clone(), publisher: session, message, report_refusal: None };
            self.publish(view, &publish, effects)?;
        }
        effects.wills.push(Published { account, publisher: session, message: live });
        Ok(())
    }
}
