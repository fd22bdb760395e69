//! What stands on disk: one file per kind of row, its layout in the doc of its type.
//!
//! A key is the table's byte, then fixed-size big-endian parts, so that keys sort as their rows are read. A value
//! is a version byte and a MessagePack array (rmp-serde); a field is only ever added at the end, with a new version
//! where an old reader would misread it. Not here: which engine keeps the bytes (`engine`).

mod contact;
mod conversation;
mod exchange;
mod inbox;
mod journal;
mod message;
mod queue;
mod retained;
mod send;
mod session;
mod user;
mod will;

use schemas::{ContactId, ConversationId, MessageId, Pos, Seq};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ReadError;
use crate::keys::{InboxKey, JournalId, SessionKey};

pub(crate) use contact::{ContactRow, IdentityKind, identity_hash};
pub(crate) use conversation::{ConversationRow, MemberRow};
pub(crate) use exchange::{ExchangeKind, ExchangeRow};
pub(crate) use inbox::{InboxBody, InboxRow, error_json};
pub(crate) use journal::{JournalRow, ProgressRow};
pub(crate) use message::{LogRow, StateRow};
pub(crate) use queue::{LeftoverRow, QueueRow, ShareRow};
pub(crate) use retained::{ReplayRow, RetainedRow, RoomRow, account_hash};
pub(crate) use send::{DedupeRow, OpenRow, ParkedRow, command_hash, wamid_hash};
pub(crate) use session::{CursorRow, SessionRow};
pub(crate) use user::UserRow;
pub(crate) use will::WillRow;

/// Version of the whole format: in the store's `meta` row, checked at open.
///
/// - 1: every change stands in its table.
/// - 2: some changes may stand in records (`engine::behind`), which a program of format 1 would not see. A store of
///   format 1 is one of format 2 without records.
pub(crate) const FORMAT: u32 = 2;
/// The oldest format that is read.
pub(crate) const OLDEST_FORMAT: u32 = 1;
/// Version byte of every value.
const VALUE_VERSION: u8 = 1;

/// A table. The numbers are on disk: they must be kept stable, and a number is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Table {
    /// Store-wide facts. `name`
    Meta = 1,
    /// Messages, once. `conversation16 pos8` → [`LogRow`]
    Log = 2,
    /// What of a message changed since. `conversation16 pos8` → [`StateRow`]
    State = 3,
    /// Inboxes. `inbox16 seq8` → [`InboxRow`]
    Inbox = 4,
    /// Conversations. `conversation16` → [`ConversationRow`]
    Conversation = 5,
    /// Lists of conversations, newest last. `list16 at8 conversation16` → empty
    Activity = 6,
    /// Read positions. `inbox16 conversation16` → [`MemberRow`]
    Member = 7,
    /// Contacts. `contact16` → [`ContactRow`]
    Contact = 8,
    /// Their phone numbers and WhatsApp ids. `hash16` → contact16
    Identity = 9,
    /// Messages by wamid. `hash16` → `conversation16 pos8`
    Wamid = 10,
    /// Commands carried out. `hash16` → [`DedupeRow`]
    Dedupe = 11,
    /// Sends that have not ended. `conversation16 pos8` → [`OpenRow`]
    Open = 12,
    /// Raw webhooks. `journal16` → [`JournalRow`]
    Journal = 13,
    /// Webhooks not worked off. `journal16` → [`ProgressRow`]
    Progress = 14,
    /// Sessions. `session16` → [`SessionRow`]
    Session = 15,
    /// Their cursors. `session16` → [`CursorRow`]
    Cursor = 16,
    /// Their subscriptions. `session16 filter` → [`schemas::Subscription`]
    Subscription = 17,
    /// Their queues. `session16 n8` → [`QueueRow`]
    Queue = 18,
    /// Users. `inbox16` → [`UserRow`]
    User = 19,
    /// Statuses whose message is not known yet. `hash16 rank1` → [`ParkedRow`]
    Parked = 20,
    /// QoS 2 flows of sessions. `session16 kind1 n8` → [`ExchangeRow`]
    Exchange = 21,
    /// Retained messages. `account16 name` → [`RetainedRow`]
    Retained = 22,
    /// What they take of an account's room. `account16` → [`RoomRow`]
    Room = 23,
    /// Subscriptions that have not got all retained messages yet. `session16 name` → [`ReplayRow`]
    Replay = 24,
    /// Wills of sessions. `session16` → [`WillRow`]
    Will = 25,
    /// Sessions whose will or end is due. `time6 session10 session16` → empty
    Due = 26,
    /// Parts of ended sessions' queues that others shall have. `session16 n8` → [`LeftoverRow`]
    Leftover = 27,
}

impl Table {
    /// All tables, in the order of their numbers.
    pub(crate) const ALL: [Self; 27] = [
        Self::Meta,
        Self::Log,
        Self::State,
        Self::Inbox,
        Self::Conversation,
        Self::Activity,
        Self::Member,
        Self::Contact,
        Self::Identity,
        Self::Wamid,
        Self::Dedupe,
        Self::Open,
        Self::Journal,
        Self::Progress,
        Self::Session,
        Self::Cursor,
        Self::Subscription,
        Self::Queue,
        Self::User,
        Self::Parked,
        Self::Exchange,
        Self::Retained,
        Self::Room,
        Self::Replay,
        Self::Will,
        Self::Due,
        Self::Leftover,
    ];

    /// Are its rows written once and read by number? An engine with a write-behind layer writes them at once; all others
    /// are small, change again soon, and may come to their tables later (`engine::behind`). `table` is a key's first byte.
    pub(crate) const fn is_direct(table: u8) -> bool {
        const META: u8 = Table::Meta as u8;
        const LOG: u8 = Table::Log as u8;
        const INBOX: u8 = Table::Inbox as u8;
        const QUEUE: u8 = Table::Queue as u8;
        const JOURNAL: u8 = Table::Journal as u8;
        matches!(table, META | LOG | INBOX | QUEUE | JOURNAL)
    }

    /// Is a key of this table put once, perhaps removed, and then never put again? Places in lists are: they hold the time
    /// of the last activity, which only rises.
    pub(crate) const fn is_put_once(table: u8) -> bool {
        const ACTIVITY: u8 = Table::Activity as u8;
        matches!(table, ACTIVITY)
    }

    /// For error messages.
    pub(crate) fn name(byte: u8) -> &'static str {
        const NAMES: [&str; 27] = [
            "meta",
            "log",
            "state",
            "inbox",
            "conversation",
            "activity",
            "member",
            "contact",
            "identity",
            "wamid",
            "dedupe",
            "open",
            "journal",
            "progress",
            "session",
            "cursor",
            "subscription",
            "queue",
            "user",
            "parked",
            "exchange",
            "retained",
            "room",
            "replay",
            "will",
            "due",
            "leftover",
        ];
        NAMES.get(usize::from(byte).wrapping_sub(1)).copied().unwrap_or("unknown")
    }
}

/// A key: the table's byte and its parts.
pub(crate) type Key = Vec<u8>;

fn key(table: Table, parts: &[&[u8]]) -> Key {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
    key.push(table as u8);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// Keys of all tables, in one place.
pub(crate) mod keys {
    use schemas::ids::hash128;

    use super::{
        ContactId, ConversationId, ExchangeKind, InboxKey, JournalId, Key, MessageId, Pos, Seq, SessionKey,
        Table, key,
    };

    /// Bytes of a topic or filter that stand in a key: far more than any in use has.
    const NAME_BYTES_MAX: usize = 1_024;

    pub(crate) fn meta(name: &str) -> Key {
        key(Table::Meta, &[name.as_bytes()])
    }
    fn message(table: Table, id: MessageId) -> Key {
        key(table, &[&id.conversation.0.to_be_bytes(), &id.pos.0.to_be_bytes()])
    }
    pub(crate) fn log(id: MessageId) -> Key {
        message(Table::Log, id)
    }
    pub(crate) fn log_of(id: ConversationId) -> Key {
        key(Table::Log, &[&id.0.to_be_bytes()])
    }
    pub(crate) fn state(id: MessageId) -> Key {
        message(Table::State, id)
    }
    pub(crate) fn open(id: MessageId) -> Key {
        message(Table::Open, id)
    }
    pub(crate) fn inbox(inbox: InboxKey, seq: Seq) -> Key {
        key(Table::Inbox, &[&inbox.0.to_be_bytes(), &seq.0.to_be_bytes()])
    }
    pub(crate) fn inbox_of(inbox: InboxKey) -> Key {
        key(Table::Inbox, &[&inbox.0.to_be_bytes()])
    }
    pub(crate) fn conversation(id: ConversationId) -> Key {
        key(Table::Conversation, &[&id.0.to_be_bytes()])
    }
    pub(crate) fn activity(list: u128, at: u64, id: ConversationId) -> Key {
        key(Table::Activity, &[&list.to_be_bytes(), &at.to_be_bytes(), &id.0.to_be_bytes()])
    }
    pub(crate) fn activity_of(list: u128) -> Key {
        key(Table::Activity, &[&list.to_be_bytes()])
    }
    pub(crate) fn member(inbox: InboxKey, id: ConversationId) -> Key {
        key(Table::Member, &[&inbox.0.to_be_bytes(), &id.0.to_be_bytes()])
    }
    pub(crate) fn contact(id: ContactId) -> Key {
        key(Table::Contact, &[&id.0.to_be_bytes()])
    }
    pub(crate) fn hashed(table: Table, hash: u128) -> Key {
        key(table, &[&hash.to_be_bytes()])
    }
    pub(crate) fn parked(hash: u128, rank: u8) -> Key {
        key(Table::Parked, &[&hash.to_be_bytes(), &[rank]])
    }
    pub(crate) fn journal(table: Table, id: JournalId) -> Key {
        key(table, &[&id.0.to_be_bytes()])
    }
    pub(crate) fn session(table: Table, session: SessionKey) -> Key {
        key(table, &[&session.0.to_be_bytes()])
    }
    pub(crate) fn subscription(session: SessionKey, filter: &str) -> Key {
        named(Table::Subscription, session.0, filter)
    }
    pub(crate) fn retained(account: u128, topic: &str) -> Key {
        named(Table::Retained, account, topic)
    }
    pub(crate) fn room(account: u128) -> Key {
        key(Table::Room, &[&account.to_be_bytes()])
    }
    pub(crate) fn replay(session: SessionKey, filter: &str) -> Key {
        named(Table::Replay, session.0, filter)
    }
    pub(crate) fn due(at: u64, session: SessionKey) -> Key {
        let place = u128::from(at) << 80 | session.0 >> 48;
        key(Table::Due, &[&place.to_be_bytes(), &session.0.to_be_bytes()])
    }
    pub(crate) fn leftover(session: SessionKey, first: u64) -> Key {
        key(Table::Leftover, &[&session.0.to_be_bytes(), &first.to_be_bytes()])
    }

    /// A row with a topic or filter in its key. Engines limit keys to 64 KiB, topics may be as long: of a long one the
    /// front stays, so that it is found by its first levels, and a hash makes it one of its kind. Its row has it whole.
    fn named(table: Table, owner: u128, name: &str) -> Key {
        let owner = owner.to_be_bytes();
        match name.as_bytes().split_at_checked(NAME_BYTES_MAX) {
            Some((front, rest)) if !rest.is_empty() => {
                let hash = hash128("name", &[name.as_bytes()]);
                // A byte that no text holds parts them.
                key(table, &[&owner, front, &[u8::MAX], &hash.to_be_bytes()])
            }
            _ => key(table, &[&owner, name.as_bytes()]),
        }
    }

    /// All keys of names that begin so; some others may be among them.
    pub(crate) fn names_of(table: Table, owner: u128, front: &str) -> Key {
        let front = &front.as_bytes()[..front.len().min(NAME_BYTES_MAX)];
        key(table, &[&owner.to_be_bytes(), front])
    }

    /// The name in a key; `None` where only its front is there.
    pub(crate) fn name_of(key: &[u8]) -> Option<&str> {
        std::str::from_utf8(key.get(17..)?).ok()
    }

    /// The session of a row of table `due`, and when it is due.
    pub(crate) fn due_of(key: &[u8]) -> Option<(u64, SessionKey)> {
        let at = (owner_of(key)? >> 80) as u64;
        Some((at, SessionKey(u128::from_be_bytes(key.get(17..33)?.try_into().ok()?))))
    }
    pub(crate) fn queue(session: SessionKey, n: u64) -> Key {
        key(Table::Queue, &[&session.0.to_be_bytes(), &n.to_be_bytes()])
    }
    pub(crate) fn exchange(session: SessionKey, kind: ExchangeKind, n: u64) -> Key {
        key(Table::Exchange, &[&session.0.to_be_bytes(), &[kind as u8], &n.to_be_bytes()])
    }
    pub(crate) fn user(inbox: InboxKey) -> Key {
        key(Table::User, &[&inbox.0.to_be_bytes()])
    }
    pub(crate) fn all(table: Table) -> Key {
        key(table, &[])
    }

    /// The message a key of `log`, `state` or `open` belongs to.
    pub(crate) fn message_of(key: &[u8]) -> Option<MessageId> {
        let conversation = u128::from_be_bytes(key.get(1..17)?.try_into().ok()?);
        let pos = u64::from_be_bytes(key.get(17..25)?.try_into().ok()?);
        Some(MessageId { conversation: ConversationId(conversation), pos: Pos(pos) })
    }

    /// The last eight bytes of a key as a number: `seq` of inbox keys, `n` of queue keys.
    pub(crate) fn number_of(key: &[u8]) -> Option<u64> {
        let tail = key.len().checked_sub(8)?;
        Some(u64::from_be_bytes(key.get(tail..)?.try_into().ok()?))
    }

    /// The byte between owner and number: the kind of an exchange.
    pub(crate) fn kind_of(key: &[u8]) -> Option<ExchangeKind> {
        ExchangeKind::of(*key.get(17)?)
    }

    /// The sixteen bytes after the table's byte.
    pub(crate) fn owner_of(key: &[u8]) -> Option<u128> {
        Some(u128::from_be_bytes(key.get(1..17)?.try_into().ok()?))
    }
}

/// Writes a row's value.
pub(crate) fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    let mut value = Vec::with_capacity(96);
    value.push(VALUE_VERSION);
    rmp_serde::encode::write(&mut value, row)
        .expect("rows hold no maps with odd keys, and memory is the sink");
    value
}

/// Reads a row's value.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, ReadError> {
    let corrupt =
        |why: String| ReadError::Corrupt { table: Table::name(key.first().copied().unwrap_or(0)), why };
    match value.split_first() {
        Some((&VALUE_VERSION, rest)) => rmp_serde::from_slice(rest).map_err(|e| corrupt(e.to_string())),
        Some((other, _)) => {
            Err(corrupt(format!("value version {other}, this program reads {VALUE_VERSION}")))
        }
        None => Err(corrupt("empty value".to_owned())),
    }
}

/// A 128-bit number as a value (identity → contact).
pub(crate) fn decode_u128(key: &[u8], value: &[u8]) -> Result<u128, ReadError> {
    value.try_into().map(u128::from_be_bytes).map_err(|_| ReadError::Corrupt {
        table: Table::name(key.first().copied().unwrap_or(0)),
        why: format!("{} bytes instead of 16", value.len()),
    })
}

/// A message's place as a value (wamid → message): the key of its log row without the table's byte.
pub(crate) fn encode_place(id: MessageId) -> Vec<u8> {
    keys::log(id).split_off(1)
}

/// Reads [`encode_place`] back.
pub(crate) fn decode_place(key: &[u8], value: &[u8]) -> Result<MessageId, ReadError> {
    let mut with_table = vec![Table::Log as u8];
    with_table.extend_from_slice(value);
    keys::message_of(&with_table).ok_or_else(|| ReadError::Corrupt {
        table: Table::name(key.first().copied().unwrap_or(0)),
        why: format!("{} bytes instead of 24", value.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_numbers_and_names_stay_in_step() {
        for (index, table) in Table::ALL.iter().enumerate() {
            assert_eq!(*table as usize, index + 1);
            assert!(format!("{table:?}").eq_ignore_ascii_case(Table::name(*table as u8)));
        }
    }

    #[test]
    fn the_longest_topic_has_a_key_of_its_own_that_its_front_finds() {
        let long = "é/x".repeat(16_383);
        let other = format!("{long}y");
        let key = keys::retained(7, &long);
        assert!(key.len() < 2_000 && key != keys::retained(7, &other));
        assert!(key.starts_with(&keys::names_of(Table::Retained, 7, "é/xé/x")));
        assert!(key.starts_with(&keys::names_of(Table::Retained, 7, &long)));
        assert_eq!((keys::name_of(&key), keys::name_of(&keys::retained(7, "a/b"))), (None, Some("a/b")));
    }

    /// Rows that were written before a field was added are read.
    #[test]
    fn fields_at_the_end_may_be_missing() {
        let row = session::SessionRow {
            account: schemas::AccountId::new("acme").unwrap(),
            user: schemas::UserId::new("alice").unwrap(),
            client: schemas::ClientId::new("phone").unwrap(),
            expiry_s: 7,
            connected: false,
            connection: 1,
            closed_at: 2,
            sent_inbox: 3,
            sent_queue: 4,
            inbox_qos: None,
            due: 5,
        };
        let mut value = encode(&row);
        // The array's length stands behind the version.
        value[1] -= 1;
        value.pop();
        let read: SessionRow = decode(&keys::session(Table::Session, SessionKey(1)), &value).unwrap();
        assert_eq!(read, SessionRow { due: 0, ..row });
    }

    #[test]
    fn keys_sort_as_they_are_read() {
        let conversation = ConversationId(9);
        let key_of = |pos| keys::log(MessageId { conversation, pos: Pos(pos) });
        assert!(key_of(255) < key_of(256));
        assert!(key_of(1).starts_with(&keys::log_of(conversation)));
        assert_eq!(keys::message_of(&key_of(7)), Some(MessageId { conversation, pos: Pos(7) }));
        assert_eq!(keys::number_of(&keys::inbox(InboxKey(1), Seq(42))), Some(42));
        assert_eq!(keys::due_of(&keys::due(77, SessionKey(5))), Some((77, SessionKey(5))));
        assert!(keys::due(255, SessionKey(u128::MAX)) < keys::due(256, SessionKey(0)));
        let place = MessageId { conversation, pos: Pos(3) };
        assert_eq!(decode_place(b"", &encode_place(place)), Ok(place));
    }
}
