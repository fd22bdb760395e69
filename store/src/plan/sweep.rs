//! Retention: what is older than it may become is removed, a little at a time, by the hand that writes everything else.
//!
//! A *round* walks the tables once, in steps of bounded work, and remembers where it stands; then it rests. All of a
//! round goes by the time at which it began, and events go before the messages they refer to: so nothing that is left
//! ever refers to what is gone, wherever a round is interrupted. Removals ask for no sync: a crash brings some rows
//! back, and the next round removes them again. Not here: when a step is made (`writer`), how readers tell what is
//! missing (`history`, P3).

use std::ops::ControlFlow;

use schemas::{MessageId, Millis, NumberId, Seq};

use super::inbox::kept;
use super::{Plan, View};
use crate::engine::{KeyRange, after_prefix};
use crate::error::ReadError;
use crate::keys::{InboxKey, JournalId, SessionKey};
use crate::rows::{
    ConversationRow, DedupeRow, InboxBody, InboxRow, Key, LogRow, ParkedRow, SessionRow, StateRow, Table,
    UserRow, decode, keys, wamid_hash,
};
use crate::settings::Retention;

/// Most rows removed by one step: 2,500 took 38 ms in the worst case, and a commit group may wait for one step.
const STEP_REMOVALS_MAX: usize = 2_000;
/// Most looks of one step, in units of one row of a scan (about 1 µs): a step without removals is shorter than a sync.
const STEP_LOOKS_MAX: usize = 20_000;
/// What finding a place costs, in the same unit.
const SEEK_LOOKS: usize = 20;
/// Most sessions ended by one step: each has up to hundreds of subscriptions.
const STEP_SESSIONS_MAX: usize = 50;
/// Pause between rounds. Retention counts in days, so minutes do not matter, and a round reads whole tables.
const REST_MS: u64 = 10 * 60 * 1000;
/// How long a status waits for its message (contract, section 5).
const PARKED_DAYS: u32 = 7;
/// Messages stay this much longer than the events that refer to them: a reader who has read an event fetches its
/// message a moment later.
const MESSAGES_LAG_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;

/// The order of a round: inboxes, by their users, come first, and messages last: see the module.
const TABLES: [Table; 8] = [
    Table::User,
    Table::Journal,
    Table::Dedupe,
    Table::Parked,
    Table::Session,
    Table::Retained,
    Table::Queue,
    Table::Log,
];

/// Where retention stands.
pub(super) struct Sweep {
    retention: Retention,
    round: Option<Round>,
    /// When the next round begins.
    next: Millis,
}

struct Round {
    /// When it began: everything is as old as it was then.
    now: Millis,
    /// Index into [`TABLES`].
    table: usize,
    /// Rows below are done.
    from: Key,
}

/// What is left of a step.
struct Budget {
    removals: usize,
    looks: usize,
}

impl Budget {
    const fn new() -> Self {
        Self { removals: STEP_REMOVALS_MAX, looks: STEP_LOOKS_MAX }
    }

    const fn look(&mut self, looks: usize) {
        self.looks = self.looks.saturating_sub(looks);
    }

    const fn remove(&mut self, rows: usize) {
        self.removals = self.removals.saturating_sub(rows);
    }

    const fn spent(&self) -> bool {
        self.removals == 0 || self.looks == 0
    }
}

/// Is something from `at` old enough to go? `days` 0: never.
const fn is_over(now: Millis, at: u64, days: u32) -> bool {
    days > 0 && now.0.saturating_sub(at) >= days as u64 * DAY_MS
}

impl Sweep {
    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, round: None, next: Millis::default() }
    }

    pub(super) const fn retention(&self) -> Retention {
        self.retention
    }
}

/// Where a table's walk goes on in the next step; `None`: it is done.
type GoOn = Option<Key>;

impl Plan {
    /// Is there a step to be made?
    pub(crate) fn sweep_is_due(&self, now: Millis) -> bool {
        self.sweep.round.is_some() || now >= self.sweep.next
    }

    /// Makes one step, into a view of its own. On error throw the view away and call [`Plan::reload`]; the round ends.
    pub(crate) fn sweep(&mut self, view: &mut View<'_>, now: Millis) -> Result<(), ReadError> {
        self.now = self.now.max(now);
        let mut round = self.sweep.round.take().unwrap_or_else(|| Round {
            now: self.now,
            table: 0,
            from: keys::all(TABLES[0]),
        });
        let goes_on = self.sweep_step(view, &mut round);
        match goes_on {
            Ok(true) => self.sweep.round = Some(round),
            Ok(false) | Err(_) => self.sweep.next = self.now.plus(REST_MS),
        }
        goes_on.map(drop)
    }

    fn sweep_step(&mut self, view: &mut View<'_>, round: &mut Round) -> Result<bool, ReadError> {
        // What ended sessions left behind, before more of them end.
        if !self.garbage.is_empty() {
            self.collect_garbage(view);
            return Ok(true);
        }
        let mut budget = Budget::new();
        while let Some(table) = TABLES.get(round.table) {
            let from = std::mem::take(&mut round.from);
            let go_on = match table {
                Table::User => self.sweep_inboxes(view, round.now, from, &mut budget)?,
                Table::Queue => self.sweep_queues(view, round.now, from, &mut budget)?,
                Table::Session => self.sweep_sessions(view, round.now, from, &mut budget)?,
                Table::Retained => self.sweep_retained(view, round.now, from, &mut budget)?,
                Table::Log => self.sweep_messages(view, round.now, from, &mut budget)?,
                other => self.sweep_rows(view, round.now, *other, from, &mut budget)?,
            };
            if let Some(from) = go_on {
                round.from = from;
                return Ok(true);
            }
            round.table += 1;
            round.from = TABLES.get(round.table).map(|table| keys::all(*table)).unwrap_or_default();
        }
        Ok(!self.garbage.is_empty())
    }

    /// Tables whose rows stand alone: each row's own age decides.
    fn sweep_rows(
        &self,
        view: &mut View<'_>,
        now: Millis,
        table: Table,
        from: Key,
        budget: &mut Budget,
    ) -> Result<GoOn, ReadError> {
        let days = self.sweep.retention;
        let mut expired = Vec::new();
        let go_on = walk(view, table, from, budget, &mut |key, value, budget| {
            // A row that cannot be read is not for retention to judge: `verify` names it.
            let over =
                match table {
                    Table::Journal => {
                        let id = JournalId(keys::owner_of(key).unwrap_or_default());
                        if !is_over(now, id.committed_at().0, days.journal_days) {
                            // They stand in order of arrival.
                            return Ok(ControlFlow::Break(None));
                        }
                        !view.has(&keys::journal(Table::Progress, id))?
                    }
                    Table::Dedupe => decode::<DedupeRow>(key, value)
                        .is_ok_and(|row| is_over(now, row.at, days.dedupe_days)),
                    _ => decode::<ParkedRow>(key, value)
                        .is_ok_and(|row| is_over(now, row.parked_at, PARKED_DAYS)),
                };
            if over {
                expired.push(key.to_vec());
                budget.remove(1);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for key in expired {
            view.remove_lazily(key);
        }
        Ok(go_on)
    }

    fn sweep_sessions(
        &mut self,
        view: &mut View<'_>,
        now: Millis,
        from: Key,
        budget: &mut Budget,
    ) -> Result<GoOn, ReadError> {
        let mut expired = Vec::new();
        let go_on = walk(view, Table::Session, from, budget, &mut |key, value, _| {
            // One that has a due ends by that, with its will.
            let over = decode::<SessionRow>(key, value)
                .is_ok_and(|row| row.due == 0 && Self::has_expired(&row, now));
            if over {
                expired.extend(keys::owner_of(key).map(SessionKey));
            }
            if expired.len() < STEP_SESSIONS_MAX {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(ControlFlow::Break(Some(just_after(key))))
        })?;
        for session in expired {
            self.remove_session(view, session)?;
        }
        Ok(go_on)
    }

    /// Inboxes: a look at each, and only where its oldest event is over are rows removed.
    fn sweep_inboxes(
        &mut self,
        view: &mut View<'_>,
        now: Millis,
        from: Key,
        budget: &mut Budget,
    ) -> Result<GoOn, ReadError> {
        by_owner(view, Table::User, from, budget, &mut |view, owner, user, budget| {
            let all = self.sweep_inbox(view, now, InboxKey(owner), budget)?;
            // Where an inbox begins stands with its user, so the next step goes on there.
            Ok((!all).then_some(user))
        })
    }

    /// One inbox; false where there is more to be removed.
    fn sweep_inbox(
        &mut self,
        view: &mut View<'_>,
        now: Millis,
        inbox: InboxKey,
        budget: &mut Budget,
    ) -> Result<bool, ReadError> {
        let Retention { inbox_days, inbox_max_events, .. } = self.sweep.retention;
        let Some(mut user) = view.get::<UserRow>(&keys::user(inbox))? else {
            return Ok(true);
        };
        let head = match self.inboxes.get(&inbox) {
            Some(head) => head.seq,
            None => {
                budget.look(SEEK_LOOKS);
                let newest = view.last(keys::inbox_of(inbox))?;
                Seq(newest.and_then(|(key, _)| keys::number_of(&key)).unwrap_or_default())
            }
        };
        let too_many = if inbox_max_events == 0 { 0 } else { head.0.saturating_sub(inbox_max_events) };
        let mut gone = Vec::new();
        let mut newest = None;
        budget.look(SEEK_LOOKS);
        let go_on = walk_range(view, &kept(inbox, user.oldest), budget, &mut |key, value, budget| {
            let seq = keys::number_of(key).unwrap_or_default();
            let row = decode::<InboxRow>(key, value);
            let over = row.as_ref().is_ok_and(|row| is_over(now, row.at, inbox_days));
            if seq > too_many && !over {
                return Ok(ControlFlow::Break(None));
            }
            if seq < head.0 {
                gone.push(key.to_vec());
                budget.remove(1);
            } else {
                newest = row.ok().filter(|row| row.body != InboxBody::Gone);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut oldest = gone.last().and_then(|key| keys::number_of(key)).map(|seq| Seq(seq + 1));
        for key in gone {
            view.remove_lazily(key);
        }
        if let Some(first) = oldest {
            user.oldest = first;
            view.put_lazily(keys::user(inbox), &user);
        }
        if let Some(row) = newest {
            let gone = InboxRow { conversation: None, unread: None, body: InboxBody::Gone, ..row };
            view.put_lazily(keys::inbox(inbox, head), &gone);
            oldest = Some(head.next());
        }
        if let (Some(known), Some(oldest)) = (self.inboxes.get_mut(&inbox), oldest) {
            known.oldest = known.oldest.max(oldest);
        }
        Ok(go_on.is_none())
    }

    /// Messages, with what stands beside them: from the front of each conversation, never its newest, whose position
    /// is where the next one counts on (P2), and none that is on its way.
    fn sweep_messages(
        &self,
        view: &mut View<'_>,
        now: Millis,
        mut from: Key,
        budget: &mut Budget,
    ) -> Result<GoOn, ReadError> {
        let Retention { inbox_days, messages_days, dedupe_days, .. } = self.sweep.retention;
        let needed = [inbox_days, dedupe_days];
        if messages_days == 0 || needed.contains(&0) {
            return Ok(None);
        }
        let days = needed.into_iter().fold(messages_days, u32::max);
        let now = Millis(now.0.saturating_sub(MESSAGES_LAG_MS));
        while !budget.spent() {
            let Some(first) = first_key(view, Table::Log, &from, budget)? else {
                return Ok(None);
            };
            let Some(message) = keys::message_of(&first) else {
                return Ok(None);
            };
            from = match sweep_conversation(view, now, days, message, budget)? {
                Some(next) => return Ok(Some(next)),
                None => after_prefix(keys::log_of(message.conversation)),
            };
        }
        Ok(Some(from))
    }
}

/// What is done about one owner's rows, from the first of them on.
type Owned<'a> = dyn FnMut(&mut View<'_>, u128, Key, &mut Budget) -> Result<GoOn, ReadError> + 'a;

/// A table whose keys begin with sixteen bytes of an owner, one owner after the other.
fn by_owner(
    view: &mut View<'_>,
    table: Table,
    mut from: Key,
    budget: &mut Budget,
    each: &mut Owned<'_>,
) -> Result<GoOn, ReadError> {
    while !budget.spent() {
        let Some(first) = first_key(view, table, &from, budget)? else {
            return Ok(None);
        };
        let owner = keys::owner_of(&first).unwrap_or_default();
        from = match each(view, owner, first, budget)? {
            Some(next) => return Ok(Some(next)),
            None => after_prefix(keys::hashed(table, owner)),
        };
    }
    Ok(Some(from))
}

fn sweep_conversation(
    view: &mut View<'_>,
    now: Millis,
    days: u32,
    first: MessageId,
    budget: &mut Budget,
) -> Result<GoOn, ReadError> {
    budget.look(SEEK_LOOKS);
    let id = first.conversation;
    let Some(conversation) = view.get::<ConversationRow>(&keys::conversation(id))? else {
        return Ok(None);
    };
    let mut gone: Vec<(MessageId, Option<schemas::Wamid>)> = Vec::new();
    let range = KeyRange { from: keys::log(first), to: after_prefix(keys::log_of(id)) };
    let go_on = walk_range(view, &range, budget, &mut |key, value, budget| {
        let (Some(message), Ok(row)) = (keys::message_of(key), decode::<LogRow>(key, value)) else {
            return Ok(ControlFlow::Break(None));
        };
        if message.pos >= conversation.head || !is_over(now, row.committed_at(), days) {
            return Ok(ControlFlow::Break(None));
        }
        budget.look(2 * SEEK_LOOKS);
        if view.has(&keys::open(message))? {
            return Ok(ControlFlow::Break(None));
        }
        // Log, state, wamid.
        budget.remove(3);
        gone.push((message, row.wamid));
        Ok(ControlFlow::Continue(()))
    })?;
    for (message, wamid) in gone {
        let state = view.get::<StateRow>(&keys::state(message))?;
        let named = wamid.or_else(|| state.as_ref().and_then(|row| row.wamid.clone()));
        if let (Some(number), Some(wamid)) = (&conversation.number, named) {
            view.remove_lazily(wamid_key(number, &wamid));
        }
        if state.is_some() {
            view.remove_lazily(keys::state(message));
        }
        view.remove_lazily(keys::log(message));
    }
    Ok(go_on)
}

fn wamid_key(number: &NumberId, wamid: &schemas::Wamid) -> Key {
    keys::hashed(Table::Wamid, wamid_hash(number, wamid))
}

fn just_after(key: &[u8]) -> Key {
    [key, &[0]].concat()
}

/// The first key of a table from a place on.
fn first_key(
    view: &View<'_>,
    table: Table,
    from: &Key,
    budget: &mut Budget,
) -> Result<Option<Key>, ReadError> {
    budget.look(SEEK_LOOKS);
    let mut first = None;
    let range = KeyRange { from: from.clone(), to: after_prefix(keys::all(table)) };
    view.walk(&range, &mut |key, _| {
        first = Some(key.to_vec());
        Ok(false)
    })?;
    Ok(first)
}

/// Judges a row: goes on, or ends the walk, with the place where the next step goes on.
type Judge<'a> = dyn FnMut(&[u8], &[u8], &mut Budget) -> Result<ControlFlow<Option<Key>>, ReadError> + 'a;

fn walk(
    view: &View<'_>,
    table: Table,
    from: Key,
    budget: &mut Budget,
    judge: &mut Judge<'_>,
) -> Result<GoOn, ReadError> {
    budget.look(SEEK_LOOKS);
    walk_range(view, &KeyRange { from, to: after_prefix(keys::all(table)) }, budget, judge)
}

/// Judges the rows of a range until the judge or the budget ends it; the place where the next step goes on.
fn walk_range(
    view: &View<'_>,
    range: &KeyRange,
    budget: &mut Budget,
    judge: &mut Judge<'_>,
) -> Result<GoOn, ReadError> {
    let mut go_on = None;
    view.walk(range, &mut |key, value| {
        if budget.spent() {
            go_on = Some(key.to_vec());
            return Ok(false);
        }
        budget.look(1);
        match judge(key, value, budget)? {
            ControlFlow::Continue(()) => Ok(true),
            ControlFlow::Break(next) => {
                go_on = next;
                Ok(false)
            }
        }
    })?;
    Ok(go_on)
}

mod topics;

#[cfg(test)]
mod tests;
