//! Checks every invariant that rows can break: what `inboxd verify` and the crash tests run.
//!
//! Reads each table once, in key order, and follows its references. Knows the promises, not the plan: a fault of the
//! plan shows here. Not here: repairing. What is wrong is named by table and key, and stays as it is.

pub(crate) mod tail;

use std::collections::BTreeMap;

use schemas::invariant::InvariantId;
use schemas::{ConversationId, MessageId, Pos, Seq, Subscription};

use crate::engine::{KeyRange, Order, Rows};
use crate::error::ReadError;
use crate::history::edge;
use crate::keys::{InboxKey, SessionKey};
use crate::rows::{
    ContactRow, ConversationRow, CursorRow, DedupeRow, ExchangeRow, InboxBody, InboxRow, JournalRow,
    LeftoverRow, LogRow, MemberRow, OpenRow, ParkedRow, ProgressRow, QueueRow, ReplayRow, RetainedRow,
    RoomRow, SessionRow, StateRow, Table, UserRow, WillRow, decode, decode_place, decode_u128, keys,
};

/// Violations named one by one; more are only counted, so that a damaged store does not fill memory.
pub const NAMED_MAX: usize = 1_000;

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub invariant: InvariantId,
    /// Table of the row.
    pub table: &'static str,
    /// Key of the row, as hexadecimal digits.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows of each table.
    pub rows: BTreeMap<&'static str, u64>,
    /// The first [`NAMED_MAX`] violations.
    pub violations: Vec<Violation>,
    /// All of them.
    pub count: u64,
}

/// Rows after which it is told how far it is: some tenths of a second.
const TOLD_EVERY: u64 = 10_000;

/// Checks all rows. `progress` hears after so many rows and after each table: tables done, tables in all, rows read.
pub(crate) fn verify(
    rows: &dyn Rows,
    progress: &mut dyn FnMut(usize, usize, u64),
) -> Result<Report, ReadError> {
    let mut check = Check { rows, report: Report::default(), previous: None, retained: BTreeMap::new() };
    let mut read = 0;
    for (index, table) in Table::ALL.into_iter().enumerate() {
        read += check.table(table, &mut |rows| progress(index, Table::ALL.len(), read + rows))?;
        progress(index + 1, Table::ALL.len(), read);
    }
    Ok(check.report)
}

struct Check<'a> {
    rows: &'a dyn Rows,
    report: Report,
    /// Owner and number of the row before, in tables whose rows are numbered per owner.
    previous: Option<(u128, u64)>,
    /// What the retained messages of each account add up to.
    retained: BTreeMap<u128, RoomRow>,
}

impl Check<'_> {
    fn table(&mut self, table: Table, told: &mut dyn FnMut(u64)) -> Result<u64, ReadError> {
        self.previous = None;
        let mut count = 0;
        self.rows.scan(&KeyRange::prefix(keys::all(table)), Order::Ascending, &mut |key, value| {
            count += 1;
            self.note(table, key, value)?;
            if count % TOLD_EVERY == 0 {
                told(count);
            }
            Ok(true)
        })?;
        self.report.rows.insert(Table::name(table as u8), count);
        Ok(count)
    }

    /// Checks a row; one that cannot be read is a finding, not the end.
    fn note(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        match self.row(table, key, value) {
            Err(ReadError::Corrupt { why, .. }) => self.broken(InvariantId::P1, key, why),
            other => other?,
        }
        Ok(())
    }

    fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        match table {
            Table::Meta => Ok(()),
            Table::Log => self.log(key, value),
            Table::State => self.of_message(key, decode::<StateRow>(key, value).map(drop)),
            Table::Inbox => self.inbox(key, value),
            Table::Conversation => self.conversation(key, value),
            Table::Activity => self.activity(key),
            Table::Member => decode::<MemberRow>(key, value).map(drop),
            Table::Contact => decode::<ContactRow>(key, value).map(drop),
            Table::Identity => {
                let contact = schemas::ContactId(decode_u128(key, value)?);
                self.refers(InvariantId::P5, key, &keys::contact(contact), "its contact is missing")
            }
            Table::Wamid => {
                let message = decode_place(key, value)?;
                self.refers(InvariantId::P5, key, &keys::log(message), "its message is missing")
            }
            Table::Dedupe => match decode::<DedupeRow>(key, value)?.message {
                Some(message) => {
                    self.refers(InvariantId::P4, key, &keys::log(message), "its message is missing")
                }
                None => Ok(()),
            },
            Table::Open => self.of_message(key, decode::<OpenRow>(key, value).map(drop)),
            Table::Journal => decode::<JournalRow>(key, value).map(drop),
            Table::Progress => {
                decode::<ProgressRow>(key, value)?;
                let mut journal = key.to_vec();
                journal[0] = Table::Journal as u8;
                self.refers(InvariantId::P5, key, &journal, "its webhook is missing")
            }
            Table::Session => self.session(key, value),
            Table::Cursor => self.cursor(key, value),
            Table::Subscription => decode::<Subscription>(key, value).map(drop),
            Table::Queue => self.queue(key, value),
            Table::User => self.user(key, value),
            Table::Exchange => decode::<ExchangeRow>(key, value).map(drop),
            Table::Parked => decode::<ParkedRow>(key, value).map(drop),
            Table::Retained => self.retained(key, value),
            Table::Room => self.room(key, value),
            Table::Replay => {
                decode::<ReplayRow>(key, value)?;
                self.of_session(key)
            }
            Table::Will => {
                decode::<WillRow>(key, value)?;
                self.of_session(key)
            }
            Table::Due => self.due(key),
            Table::Leftover => decode::<LeftoverRow>(key, value).map(drop),
        }
    }

    fn broken(&mut self, invariant: InvariantId, key: &[u8], what: impl Into<String>) {
        self.report.count += 1;
        if self.report.violations.len() < NAMED_MAX {
            let hex = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let table = Table::name(key.first().copied().unwrap_or(0));
            self.report.violations.push(Violation { invariant, table, key: hex, what: what.into() });
        }
    }

    fn refers(&mut self, invariant: InvariantId, key: &[u8], to: &[u8], what: &str) -> Result<(), ReadError> {
        if self.rows.get(to)?.is_none() {
            self.broken(invariant, key, what);
        }
        Ok(())
    }

    fn of_message(&mut self, key: &[u8], row: Result<(), ReadError>) -> Result<(), ReadError> {
        row?;
        match keys::message_of(key) {
            Some(message) => self.refers(InvariantId::P1, key, &keys::log(message), "its message is missing"),
            None => Ok(()),
        }
    }

    /// Rows of one owner have numbers one after the other; the first may be any, because retention removes from the
    /// front.
    fn numbered(&mut self, key: &[u8]) {
        let (Some(owner), Some(number)) = (keys::owner_of(key), keys::number_of(key)) else {
            return self.broken(InvariantId::P2, key, "its key is too short");
        };
        let expected = match self.previous {
            Some((before, n)) if before == owner => Some(n + 1),
            _ => None,
        };
        if let Some(expected) = expected.filter(|expected| *expected != number) {
            self.broken(InvariantId::P2, key, format!("number {number} where {expected} should be"));
        }
        self.previous = Some((owner, number));
    }

    fn log(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        // Retention removes from the front here too, but never a message that something above it still needs.
        self.numbered(key);
        let row: LogRow = decode(key, value)?;
        if let (Some(reply), Some(own)) = (row.reply_to, keys::message_of(key)) {
            let to = MessageId { pos: reply, ..own };
            self.kept(InvariantId::P1, key, to, "the message it answers is missing")?;
        }
        let conversation = keys::conversation(ConversationId(keys::owner_of(key).unwrap_or_default()));
        self.refers(InvariantId::P1, key, &conversation, "its conversation is missing")
    }

    fn inbox(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        self.numbered(key);
        let row: InboxRow = decode(key, value)?;
        let missing = "the message it speaks of is missing";
        let conversation = ConversationId(row.conversation.unwrap_or_default());
        match row.body {
            InboxBody::Created { pos } => {
                self.refers(InvariantId::P2, key, &keys::log(MessageId { conversation, pos }), missing)
            }
            // They may speak of a message that is older than they are.
            InboxBody::Status { pos, .. } | InboxBody::Read { pos, .. } => {
                self.kept(InvariantId::P2, key, MessageId { conversation, pos }, missing)
            }
            InboxBody::Failed { .. }
            | InboxBody::Conversation(_)
            | InboxBody::Contact(_)
            | InboxBody::Gone => Ok(()),
        }
    }

    /// As [`Check::refers`], for a message that retention may have removed: then it stood before the first that is kept.
    fn kept(
        &mut self,
        invariant: InvariantId,
        key: &[u8],
        to: MessageId,
        what: &str,
    ) -> Result<(), ReadError> {
        let mut first = None;
        self.rows.scan(
            &KeyRange::prefix(keys::log_of(to.conversation)),
            Order::Ascending,
            &mut |key, _| {
                first = keys::number_of(key);
                Ok(false)
            },
        )?;
        match first {
            Some(first) if to.pos.0 < first => Ok(()),
            _ => self.refers(invariant, key, &keys::log(to), what),
        }
    }

    fn conversation(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let row: ConversationRow = decode(key, value)?;
        let id = ConversationId(keys::owner_of(key).unwrap_or_default());
        let head = Pos(edge(self.rows, keys::log_of(id), Order::Descending)?.unwrap_or_default());
        if head != row.head {
            self.broken(
                InvariantId::P2,
                key,
                format!("its head is {}, its log ends at {}", row.head.0, head.0),
            );
        }
        for list in crate::plan::conversation::lists(&row) {
            let place = keys::activity(list, row.activity_at, id);
            if row.head > Pos::default() {
                self.refers(InvariantId::P2, key, &place, "it is in the chat but not in the list")?;
            }
        }
        Ok(())
    }

    fn activity(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let Some((at, id)) = crate::history::place_of(key) else {
            self.broken(InvariantId::P2, key, "its key is too short");
            return Ok(());
        };
        let conversation = keys::conversation(ConversationId(id));
        match self.rows.get(&conversation)? {
            None => self.broken(InvariantId::P2, key, "it is in the list but not in the chat"),
            Some(value) => {
                let row: ConversationRow = decode(&conversation, &value)?;
                if row.activity_at != at {
                    self.broken(InvariantId::P2, key, "the conversation stands in the list twice");
                }
            }
        }
        Ok(())
    }

    fn cursor(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let cursor: CursorRow = decode(key, value)?;
        let mut session = key.to_vec();
        session[0] = Table::Session as u8;
        let Some(value) = self.rows.get(&session)? else { return Ok(()) };
        let row: SessionRow = decode(&session, &value)?;
        let inbox = InboxKey::of(&row.account, &row.user);
        let head = Seq(edge(self.rows, keys::inbox_of(inbox), Order::Descending)?.unwrap_or_default());
        if cursor.inbox > head.0 {
            self.broken(
                InvariantId::P3,
                key,
                format!("it stands at {}, its inbox ends at {}", cursor.inbox, head.0),
            );
        }
        Ok(())
    }

    fn queue(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        self.numbered(key);
        decode::<QueueRow>(key, value).map(drop)
    }

    fn session(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let row: SessionRow = decode(key, value)?;
        let session = SessionKey(keys::owner_of(key).unwrap_or_default());
        match row.due {
            0 => Ok(()),
            at => self.refers(InvariantId::P1, key, &keys::due(at, session), "its due is missing"),
        }
    }

    fn of_session(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let session = SessionKey(keys::owner_of(key).unwrap_or_default());
        let session = keys::session(Table::Session, session);
        self.refers(InvariantId::P1, key, &session, "its session is missing")
    }

    fn retained(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let row: RetainedRow = decode(key, value)?;
        let account = keys::owner_of(key).unwrap_or_default();
        if keys::retained(account, &row.topic) != key {
            self.broken(InvariantId::P1, key, "it stands under another topic's key");
        }
        let room = self.retained.entry(account).or_default();
        room.messages += 1;
        room.bytes += row.bytes();
        room.last = room.last.max(row.n);
        Ok(())
    }

    fn room(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let row: RoomRow = decode(key, value)?;
        let found = self.retained.remove(&keys::owner_of(key).unwrap_or_default()).unwrap_or_default();
        if (row.messages, row.bytes) != (found.messages, found.bytes) || row.last < found.last {
            self.broken(InvariantId::P8, key, format!("it says {row:?}, the messages say {found:?}"));
        }
        Ok(())
    }

    fn due(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let Some((at, session)) = keys::due_of(key) else {
            self.broken(InvariantId::P1, key, "its key is too short");
            return Ok(());
        };
        let session = keys::session(Table::Session, session);
        let due = match self.rows.get(&session)? {
            Some(value) => decode::<SessionRow>(&session, &value)?.due,
            None => 0,
        };
        if due != at {
            self.broken(InvariantId::P1, key, "its session knows nothing of it");
        }
        Ok(())
    }

    fn user(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let row: UserRow = decode(key, value)?;
        if keys::user(InboxKey::of(&row.account, &row.user)) != key {
            self.broken(InvariantId::P7, key, "it stands under another user's key");
        }
        let below = KeyRange {
            from: keys::inbox_of(InboxKey::of(&row.account, &row.user)),
            to: keys::inbox(InboxKey::of(&row.account, &row.user), row.oldest),
        };
        let mut hidden = false;
        self.rows.scan(&below, Order::Ascending, &mut |_, _| {
            hidden = true;
            Ok(false)
        })?;
        if hidden {
            self.broken(InvariantId::P3, key, "its inbox has events below its oldest");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::Memory;
    use crate::rows::encode;

    fn inbox_row(pos: u64) -> Vec<u8> {
        let body = InboxBody::Created { pos: Pos(pos) };
        encode(&InboxRow { id: 1, at: 1, conversation: Some(9), unread: None, body })
    }

    #[test]
    fn planted_faults_are_named_by_promise_and_place() {
        let memory = Memory::default();
        let inbox = InboxKey(5);
        let batch = [
            (keys::inbox(inbox, Seq(1)), Some(inbox_row(1))),
            (keys::inbox(inbox, Seq(3)), Some(inbox_row(2))),
            (keys::activity(7, 1, ConversationId(9)), Some(Vec::new())),
            (keys::user(InboxKey(1)), Some(vec![99])),
        ];
        memory.commit(batch.into_iter().collect(), true).expect("memory takes everything");
        let report = verify(&memory, &mut |_, _, _| {}).expect("memory is readable");
        let found: Vec<_> =
            report.violations.iter().map(|v| (v.invariant, v.table, v.what.as_str())).collect();
        assert_eq!(
            found,
            [
                (InvariantId::P2, "inbox", "the message it speaks of is missing"),
                (InvariantId::P2, "inbox", "number 3 where 2 should be"),
                (InvariantId::P2, "inbox", "the message it speaks of is missing"),
                (InvariantId::P2, "activity", "it is in the list but not in the chat"),
                (InvariantId::P1, "user", "value version 99, this program reads 1"),
            ]
        );
        assert_eq!(report.rows.get("inbox"), Some(&2));
        assert_eq!(report.count, 5);
    }
}
