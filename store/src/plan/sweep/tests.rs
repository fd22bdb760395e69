//! Retention on the model: every step alone, with a check of all promises after each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use schemas::{Epoch, Millis, Pos, Seq};

use super::*;
use crate::conformance::{account_id, inbound, number, text_message, to_ana, user_id};
use crate::engine::memory::Memory;
use crate::engine::{Batch, Each, Order, Rows};
use crate::error::CommitError;
use crate::rows::{CursorRow, encode};
use crate::turn::{Group, Pending, Turn};
use crate::{Agents, CommandOp, CommitResult, CommitSink, Number, Op, Settings, UserSeen, WebhookOp};

const DAY: u64 = DAY_MS;
/// Steps of a round here; a round that needs more does not end.
const STEPS_MAX: usize = 100;

struct Ignore;

impl CommitSink for Ignore {
    fn done(&self, _token: u64, result: CommitResult) {
        result.expect("the op is planned");
    }
}

/// A model that counts the rows it was asked for.
#[derive(Default)]
struct Counting {
    memory: Memory,
    read: AtomicUsize,
}

impl Rows for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        self.memory.get(key)
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.memory.scan(range, order, &mut |key, value| {
            self.read.fetch_add(1, Ordering::SeqCst);
            each(key, value)
        })
    }

    fn commit(&self, batch: Batch, sync: bool) -> Result<(), CommitError> {
        self.memory.commit(batch, sync)
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

struct World {
    rows: Arc<Counting>,
    turn: Turn,
    now: Millis,
}

impl World {
    fn new(retention: Retention) -> Self {
        let rows = Arc::new(Counting::default());
        let now = Millis(1_000 * DAY);
        let mut settings = Settings { retention, ..Settings::new(Epoch(7)) };
        settings.numbers = vec![Number {
            id: number(),
            account: account_id("acme"),
            agents: Agents::All,
            triage: Vec::new(),
        }];
        let (turn, _) = Turn::open(rows.clone(), &settings, now, "memory").expect("memory opens");
        let mut world = Self { rows, turn, now };
        for user in ["alice", "bob"] {
            let seen = UserSeen { account: account_id("acme"), user: user_id(user), agent: true };
            world.commit(Op::UserSeen(seen));
        }
        world
    }

    fn commit(&mut self, op: Op) {
        let ops = vec![Pending { op, token: 0, sink: Arc::new(Ignore), _permit: None }];
        let mut planned = self.turn.plan(self.now, Group { ops, cursors: std::collections::BTreeMap::new() });
        self.turn.write(&mut planned).expect("memory takes everything");
    }

    fn webhook(&mut self, n: u64) {
        let updates = vec![inbound(&format!("wamid.{n}"), "hi", self.now)];
        self.commit(Op::Webhook(WebhookOp {
            body: Vec::new().into(),
            updates,
            received_us: self.now.0 * 1000,
        }));
    }

    fn send(&mut self, id: &str) {
        let body = text_message(to_ana(), "hi");
        self.commit(Op::Command(CommandOp {
            account: account_id("acme"),
            user: user_id("alice"),
            command: schemas::Command { id: id.parse().expect("an id"), body },
            received_us: 1,
            report_refusal: false,
        }));
    }

    fn put(&self, rows: impl IntoIterator<Item = (Key, Vec<u8>)>) {
        let batch = rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
        self.rows.commit(batch, true).expect("memory takes everything");
    }

    fn count(&self, table: Table) -> usize {
        let mut count = 0;
        let range = KeyRange::prefix(keys::all(table));
        let counted = self.rows.memory.scan(&range, Order::Ascending, &mut |_, _| {
            count += 1;
            Ok(true)
        });
        counted.expect("memory is readable");
        count
    }

    /// A whole round; rows left after each of its steps. No step may leave a broken promise behind.
    fn round(&mut self, table: Table, verified: bool) -> Vec<usize> {
        self.now = self.now.plus(REST_MS);
        let mut left = vec![self.count(table)];
        while self.turn.sweep_is_due(self.now) {
            assert!(left.len() < STEPS_MAX, "the round does not end");
            self.turn.sweep(self.now).expect("memory takes everything");
            left.push(self.count(table));
            if verified {
                let report = crate::verify::verify(&self.rows.memory, &mut |_, _, _| {});
                assert_eq!(report.expect("memory is readable").violations, []);
            }
        }
        left
    }
}

fn failed_event(at: u64) -> Vec<u8> {
    let body = InboxBody::Failed {
        id: None,
        code: schemas::ErrorCode::Internal,
        detail: String::new(),
        topic: None,
    };
    encode(&InboxRow { id: 1, at, conversation: None, unread: None, body })
}

/// The inbox of a user, full of such events.
fn inbox(inbox: InboxKey, events: u64, at: u64) -> impl Iterator<Item = (Key, Vec<u8>)> {
    let user = UserRow { account: account_id("acme"), user: user_id("old"), agent: false, oldest: Seq(0) };
    let events = (1..=events).map(move |seq| (keys::inbox(inbox, Seq(seq)), failed_event(at)));
    events.chain([(keys::user(inbox), encode(&user))])
}

fn only_inbox(days: u32, events: u64) -> Retention {
    Retention { inbox_days: days, inbox_max_events: events, ..Retention::default() }
}

#[test]
fn a_step_removes_no_more_than_its_limit_and_the_last_row_keeps_the_number() {
    let mut world = World::new(only_inbox(30, 0));
    let old = world.now.0 - 40 * DAY;
    world.put(inbox(InboxKey(5), 5_000, old));
    let left = world.round(Table::Inbox, false);
    assert_eq!(left, [5_000, 3_000, 1_000, 1], "{STEP_REMOVALS_MAX} a step");
    let last = world.rows.get(&keys::inbox(InboxKey(5), Seq(5_000))).expect("readable").expect("it is there");
    assert_eq!(decode::<InboxRow>(b"", &last).expect("a row").body, InboxBody::Gone);
    assert_eq!(world.round(Table::Inbox, false).last(), Some(&1), "it stays");
}

#[test]
fn the_newest_stay_by_number_however_young() {
    let mut world = World::new(only_inbox(30, 100));
    let now = world.now.0;
    world.put(inbox(InboxKey(5), 250, now));
    world.put(inbox(InboxKey(6), 100, now));
    assert_eq!(world.round(Table::Inbox, false).last(), Some(&200));
    // Nobody has to walk over what is gone to find them.
    for (inbox, oldest) in [(InboxKey(5), 151), (InboxKey(6), 0)] {
        let user = world.rows.get(&keys::user(inbox)).expect("readable").expect("it is there");
        assert_eq!(decode::<UserRow>(b"", &user).expect("a row").oldest, Seq(oldest));
    }
}

#[test]
fn young_inboxes_cost_a_look_each_and_not_a_look_per_event() {
    let mut world = World::new(only_inbox(30, 1_000));
    let now = world.now.0;
    let inboxes = 50;
    for n in 0..inboxes {
        world.put(inbox(InboxKey(n), 200, now));
    }
    world.rows.read.store(0, Ordering::SeqCst);
    world.round(Table::Inbox, false);
    let per_inbox = world.rows.read.load(Ordering::SeqCst) / usize::try_from(inboxes).expect("small");
    assert!(per_inbox <= 4, "{per_inbox} rows read for each of {inboxes} inboxes of 200 events");
}

#[test]
fn a_step_without_removals_ends_too() {
    let mut world = World::new(Retention::default());
    let row = DedupeRow { fingerprint: [0; 8], message: None, at: world.now.0 };
    let rows = 2 * STEP_LOOKS_MAX as u128;
    world.put((0..rows).map(|hash| (keys::hashed(Table::Dedupe, hash), encode(&row))));
    let steps = world.round(Table::Dedupe, false).len() - 1;
    assert!(steps > 2, "{rows} looks were made in {steps} steps");
}

#[test]
fn ids_and_webhooks_go_on_their_day_and_not_a_millisecond_earlier() {
    for (age, dedupe, journal) in [(3 * DAY - 1, 1, 2), (3 * DAY, 1, 1), (7 * DAY - 1, 1, 1), (7 * DAY, 0, 1)]
    {
        let mut world = World::new(Retention { dedupe_days: 7, journal_days: 3, ..Retention::default() });
        let born = world.now;
        world.send("c1");
        world.webhook(1);
        world.commit(Op::Journal(crate::JournalOp { body: Vec::new().into(), received_us: 1 }));
        world.now = Millis(born.plus(age).0 - REST_MS);
        world.round(Table::Inbox, true);
        assert_eq!(
            (world.count(Table::Dedupe), world.count(Table::Journal)),
            (dedupe, journal),
            "after {age} ms; what is not worked off stays"
        );
    }
}

#[test]
fn messages_go_after_all_that_speaks_of_them_and_none_is_left_half() {
    let days = 30;
    let mut world = World::new(Retention { inbox_days: days, messages_days: days, ..Retention::default() });
    // Enough for several steps, spread over days; late webhooks carry an older time of WhatsApp's.
    for n in 0..3_000 {
        world.webhook(n);
        world.now = world.now.plus(30_000);
    }
    world.now = world.now.plus(u64::from(days) * DAY - DAY / 2);
    let left = world.round(Table::Log, true);
    let kept = *left.last().expect("a step");
    assert!((1..3_000).contains(&kept), "{left:?}");
    assert_eq!(world.count(Table::Wamid), kept, "a wamid is unique as long as its message is kept");
    assert_eq!(world.count(Table::Inbox) / 2, kept - MESSAGES_LAG_MS as usize / 30_000, "alice's and bob's");

    world.now = world.now.plus(100 * DAY);
    world.round(Table::Log, true);
    assert_eq!(world.count(Table::Log), 1, "the newest keeps its position");
    world.webhook(3_000);
    let report = crate::verify::verify(&world.rows.memory, &mut |_, _, _| {}).expect("memory is readable");
    assert_eq!(report.violations, []);
    let conversation = world.newest().conversation;
    assert_eq!(world.newest(), MessageId { conversation, pos: Pos(3_001) }, "numbers go on");
}

#[test]
fn a_message_on_its_way_stays_and_with_it_what_follows() {
    let mut world = World::new(Retention { messages_days: 30, ..Retention::default() });
    world.webhook(1);
    world.send("c1");
    world.webhook(2);
    world.webhook(3);
    world.now = world.now.plus(100 * DAY);
    world.round(Table::Log, true);
    assert_eq!((world.count(Table::Log), world.count(Table::Open)), (3, 1));
}

impl World {
    fn newest(&self) -> MessageId {
        let mut newest = None;
        let range = KeyRange::prefix(keys::all(Table::Log));
        let found = self.rows.memory.scan(&range, Order::Descending, &mut |key, _| {
            newest = keys::message_of(key);
            Ok(false)
        });
        found.expect("memory is readable");
        newest.expect("there is a message")
    }
}

#[test]
fn queued_messages_that_a_crash_brought_back_are_removed_again() {
    let mut world = World::new(Retention::default());
    // A session that ended leaves its cursor, so that its numbers are not given again, and no other row.
    let ended = SessionKey(5);
    world.put((1..=7).map(|n| (keys::queue(ended, n), vec![1])));
    world.put([(keys::session(Table::Cursor, ended), encode(&CursorRow { inbox: 0, queue: 7 }))]);
    assert_eq!(world.round(Table::Queue, false).last(), Some(&0));
    assert_eq!(world.count(Table::Cursor), 1);
}
