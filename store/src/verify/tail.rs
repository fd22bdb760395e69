//! A look at the newest rows at every start: what a crash or a failing disk would have hurt.
//!
//! Bounded, so that a start stays a start: the newest conversations of each number with the ends of their logs, the
//! ends of inboxes, sends under way. What is found is logged and counted; only what going on would make worse keeps
//! the store closed. The whole is checked by `inboxd verify`.

use std::collections::BTreeMap;

use schemas::{ConversationId, Pos};

use super::{Check, Report};
use crate::engine::{KeyRange, Order, Rows};
use crate::error::ReadError;
use crate::keys::InboxKey;
use crate::plan::conversation::list_of_number;
use crate::rows::{ConversationRow, Key, Table, decode, keys};
use crate::settings::Number;

/// Newest conversations of each number.
const CONVERSATIONS: usize = 20;
/// Newest rows of each log and of each inbox.
const ROWS_EACH: usize = 100;
/// Inboxes, and sends under way.
const OWNERS: usize = 100;
/// Most rows looked at in all; each costs about 10 µs.
const ROWS_MAX: usize = 20_000;

/// What was found; and a conversation whose next message would overwrite one, if there is one.
pub(crate) struct Tail {
    pub(crate) report: Report,
    pub(crate) overwrites: Option<ConversationId>,
}

/// Looks at the newest rows.
pub(crate) fn check(rows: &dyn Rows, numbers: &[Number]) -> Result<Tail, ReadError> {
    let mut check = Check { rows, report: Report::default(), previous: None, retained: BTreeMap::new() };
    let mut left = ROWS_MAX;
    let mut overwrites = None;
    for number in numbers {
        let list = keys::activity_of(list_of_number(&number.account, &number.id));
        for (key, _) in newest(rows, list, CONVERSATIONS, &mut left)? {
            check.activity(&key)?;
            let Some((_, id)) = crate::history::place_of(&key) else { continue };
            let id = ConversationId(id);
            let log = newest(rows, keys::log_of(id), ROWS_EACH, &mut left)?;
            let end = log.last().and_then(|(key, _)| keys::number_of(key)).map(Pos);
            let conversation = keys::conversation(id);
            if let Some(value) = rows.get(&conversation)? {
                check.note(Table::Conversation, &conversation, &value)?;
                let head = decode::<ConversationRow>(&conversation, &value).map(|row| row.head);
                if head.is_ok_and(|head| end.is_some_and(|end| end > head)) {
                    overwrites = Some(id);
                }
            }
            check.all(Table::Log, &log)?;
        }
    }
    let mut users = Vec::new();
    rows.scan(&KeyRange::prefix(keys::all(Table::User)), Order::Ascending, &mut |key, _| {
        users.extend(keys::owner_of(key).map(InboxKey));
        Ok(users.len() < OWNERS)
    })?;
    for inbox in users {
        check.all(Table::Inbox, &newest(rows, keys::inbox_of(inbox), ROWS_EACH, &mut left)?)?;
    }
    check.all(Table::Open, &newest(rows, keys::all(Table::Open), OWNERS, &mut left)?)?;
    Ok(Tail { report: check.report, overwrites })
}

/// The highest rows of a prefix, in ascending order.
fn newest(
    rows: &dyn Rows,
    prefix: Key,
    limit: usize,
    left: &mut usize,
) -> Result<Vec<(Key, Vec<u8>)>, ReadError> {
    let limit = limit.min(*left);
    let mut found = Vec::new();
    if limit > 0 {
        rows.scan(&KeyRange::prefix(prefix), Order::Descending, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(found.len() < limit)
        })?;
    }
    *left -= found.len();
    found.reverse();
    Ok(found)
}

impl Check<'_> {
    /// Rows of one owner, or of a table whose rows stand alone.
    fn all(&mut self, table: Table, rows: &[(Key, Vec<u8>)]) -> Result<(), ReadError> {
        self.previous = None;
        rows.iter().try_for_each(|(key, value)| self.note(table, key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{account_id, number};
    use crate::engine::memory::Memory;
    use crate::rows::encode;
    use crate::{Agents, OpenError, Settings};
    use schemas::message::{ConversationKind, ConversationState};
    use schemas::{Epoch, MessageId, Millis};
    use std::sync::Arc;

    fn settings() -> Settings {
        let number =
            Number { id: number(), account: account_id("acme"), agents: Agents::All, triage: vec![] };
        Settings { numbers: vec![number], ..Settings::new(Epoch(7)) }
    }

    /// A conversation whose row says that `head` is its newest message, and whose log has `logged` rows.
    fn memory(head: u64, logged: u64) -> Arc<Memory> {
        let memory = Arc::new(Memory::default());
        let id = ConversationId(9);
        let conversation = ConversationRow {
            account: account_id("acme"),
            kind: ConversationKind::Whatsapp,
            number: Some(number()),
            contact: None,
            members: vec![],
            title: None,
            assignee: None,
            labels: vec![],
            state: ConversationState::Open,
            head: Pos(head),
            activity_at: 1,
            window_expires_at: None,
        };
        let list = list_of_number(&account_id("acme"), &number());
        let mut batch: crate::engine::Batch = [
            (keys::conversation(id), Some(encode(&conversation))),
            (keys::activity(list, 1, id), Some(Vec::new())),
        ]
        .into();
        for pos in 1..=logged {
            // Whether it can be read does not matter here; that it cannot is named too.
            batch.insert(keys::log(MessageId { conversation: id, pos: Pos(pos) }), Some(vec![1]));
        }
        memory.commit(batch, true).expect("memory takes everything");
        memory
    }

    #[test]
    fn what_is_broken_at_the_end_is_found_at_a_start() {
        for (head, logged, overwrites, found) in
            [(3, 2, false, true), (2, 3, true, true), (2, 2, false, false)]
        {
            let tail = check(&*memory(head, logged), &settings().numbers).expect("memory is readable");
            assert_eq!(tail.overwrites.is_some(), overwrites, "head {head}, log {logged}");
            let heads = tail.report.violations.iter().filter(|v| v.what.starts_with("its head is"));
            assert_eq!(heads.count() == 1, found, "head {head}, log {logged}");
        }
    }

    #[test]
    fn a_store_that_would_overwrite_messages_stays_closed() {
        let open = |memory| {
            crate::writer::Log::start(memory, settings(), Arc::new(|| Millis(1)), "memory").map(drop)
        };
        assert!(matches!(open(memory(2, 3)), Err(OpenError::Damaged { .. })));
        assert!(open(memory(3, 2)).is_ok(), "what cannot become worse is counted only");
    }
}
