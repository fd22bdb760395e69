//! The layer over a disk that forgets, and what a message costs the engine beneath.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::{Command, Epoch, Millis};

use super::*;
use crate::conformance::{account_id, inbound, number, text_message, to_ana, user_id};
use crate::engine::memory::Memory;
use crate::ops::{CommandOp, Op, UserSeen, WebhookOp};
use crate::settings::Settings;
use crate::stepper::disk::{Disk, Owner};
use crate::writer::Log;
use crate::{Agents, Number, Store, commit};

/// Small enough that a short history turns the layer over several times.
const LIMITS: Limits = Limits { rows: 5, records: 4, bytes: 200, step: 2 };

#[derive(Clone, Debug)]
enum Step {
    /// `moves`: the one place in a list moves to the next one, as a conversation's does.
    Commit {
        changes: Vec<(u8, u8, Option<u8>)>,
        moves: bool,
        sync: bool,
    },
    Settle,
    /// The machine stops; of what was not synced so many batches are on disk.
    Crash(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    // Two direct tables and two others.
    let table = prop::sample::select(vec![Table::Log, Table::Inbox, Table::Conversation, Table::Member]);
    let change = (table.prop_map(|table| table as u8), 0..12_u8, any::<Option<u8>>());
    let changes = prop::collection::vec(change, 1..5);
    prop_oneof![
        6 => (changes, any::<bool>(), any::<bool>())
            .prop_map(|(changes, moves, sync)| Step::Commit { changes, moves, sync }),
        4 => Just(Step::Settle),
        1 => (0..6_usize).prop_map(Step::Crash),
        1 => Just(Step::Close),
    ]
}

type State = BTreeMap<Key, Vec<u8>>;

fn seen(rows: &dyn Rows, order: Order) -> Vec<(Key, Vec<u8>)> {
    let mut found = Vec::new();
    for table in Table::ALL {
        let range = KeyRange::prefix(vec![table as u8]);
        let mut of_table = Vec::new();
        let each: &mut Each<'_> = &mut |key, value| {
            of_table.push((key.to_vec(), value.to_vec()));
            Ok(true)
        };
        rows.scan(&range, order, each).expect("memory is readable");
        if order == Order::Descending {
            of_table.reverse();
        }
        found.append(&mut of_table);
    }
    found
}

fn check(rows: &dyn Rows, state: &State) {
    let expected: Vec<_> = state.clone().into_iter().collect();
    assert_eq!(seen(rows, Order::Ascending), expected);
    assert_eq!(seen(rows, Order::Descending), expected);
    for table in [Table::Log, Table::Conversation] {
        for n in 0..12 {
            let key = vec![table as u8, n];
            assert_eq!(rows.get(&key).expect("memory is readable"), state.get(&key).cloned());
        }
    }
}

fn records_left(rows: &dyn Rows) -> usize {
    let mut count = 0;
    let each: &mut Each<'_> = &mut |_, _| {
        count += 1;
        Ok(true)
    };
    rows.scan(&KeyRange::prefix(vec![RECORD]), Order::Ascending, each).expect("readable");
    count
}

fn run(steps: Vec<Step>) {
    let disk = Disk::model();
    let open = || Behind::open(Arc::new(Owner::new(&disk, None)), LIMITS, WriteSet::Three).expect("it opens");
    let mut rows = open();
    // The states since the last sync, the last of them the present one: a crash leaves one of them.
    let mut states = vec![State::new()];
    let mut place = 0;
    for step in steps {
        let present = states.last().expect("there is always one").clone();
        match step {
            Step::Commit { changes, moves, sync } => {
                let changes =
                    changes.into_iter().map(|(table, n, value)| (vec![table, n], value.map(|v| vec![v])));
                let mut batch: Batch = changes.collect();
                if moves {
                    let old = present.keys().filter(|key| key[0] == Table::Activity as u8);
                    batch.extend(old.map(|key| (key.clone(), None)));
                    batch.insert(vec![Table::Activity as u8, place], Some(vec![place]));
                    place += 1;
                }
                let mut state = present;
                for (key, value) in &batch {
                    match value {
                        Some(value) => state.insert(key.clone(), value.clone()),
                        None => state.remove(key),
                    };
                }
                rows.commit(batch, sync).expect("memory takes it");
                if sync {
                    states.clear();
                }
                states.push(state);
            }
            Step::Settle => rows.settle().expect("memory takes it"),
            Step::Crash(keep) => {
                disk.crash(keep).expect("memory opens");
                rows = open();
                let left: State = seen(&rows, Order::Ascending).into_iter().collect();
                let found = states.iter().position(|state| *state == left);
                let found = found.unwrap_or_else(|| panic!("{left:?} is none of {states:?}"));
                states = vec![states.swap_remove(found)];
                // What survived a crash is on disk.
            }
            Step::Close => {
                rows.close();
                assert_eq!(records_left(&*rows.rows), 0);
                rows = open();
                states = vec![present];
            }
        }
        check(&rows, states.last().expect("there is always one"));
    }
    let snapshot = rows.snapshot().expect("the model has snapshots");
    check(&*snapshot, states.last().expect("there is always one"));
}

proptest! {
    #[test]
    fn readers_see_the_newest_state_and_a_crash_leaves_one_that_was(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        run(steps);
    }
}

#[test]
fn records_stay_bounded_also_where_nobody_asks_for_a_sync() {
    let disk = Disk::model();
    let rows = Behind::open(Arc::new(Owner::new(&disk, None)), LIMITS, WriteSet::Three).expect("it opens");
    for n in 0..100 {
        rows.commit([(vec![Table::Cursor as u8, 1], Some(vec![n]))].into(), false).expect("memory takes it");
        rows.settle().expect("memory takes it");
        let left = records_left(&*rows.rows) as u64;
        assert!(left <= 3 * LIMITS.records, "{left} records");
    }
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let rows = Behind::open(Arc::new(Memory::default()), LIMITS, WriteSet::Three).expect("it opens");
    let put = |n: u8| rows.commit([(vec![Table::Member as u8, n], Some(vec![n]))].into(), true);
    (0..4).for_each(|n| put(n).expect("memory takes it"));
    let snapshot = rows.snapshot().expect("the model has snapshots");
    (4..9).for_each(|n| put(n).expect("memory takes it"));
    rows.close();
    let keys: Vec<u8> = seen(&*snapshot, Order::Ascending).iter().map(|(key, _)| key[1]).collect();
    assert_eq!(keys, [0, 1, 2, 3]);
}

#[test]
fn a_missing_record_is_damage() {
    let memory = Arc::new(Memory::default());
    let rows = Behind::open(memory.clone(), LIMITS, WriteSet::Three).expect("it opens");
    for n in 0..3 {
        rows.commit([(vec![Table::Member as u8, n], Some(vec![n]))].into(), true).expect("memory takes it");
    }
    memory.commit([(record_key(2), None)].into(), true).expect("memory takes it");
    let Err(ReadError::Corrupt { table: "record", why }) = Behind::open(memory, LIMITS, WriteSet::Three)
    else {
        panic!("it opened");
    };
    assert_eq!(why, "3 follows where 2 should");
}

#[test]
fn records_of_another_write_set_are_worked_off() {
    let memory = Arc::new(Memory::default());
    let old = Behind::open(memory.clone(), LIMITS, WriteSet::One).expect("it opens");
    let log = vec![Table::Log as u8, 1];
    old.commit([(log.clone(), Some(vec![1]))].into(), true).expect("memory takes it");
    let new = Behind::open(memory.clone(), LIMITS, WriteSet::Three).expect("it opens");
    assert_eq!(new.get(&log), Ok(Some(vec![1])));
    new.commit([(log.clone(), Some(vec![2]))].into(), true).expect("memory takes it");
    assert_eq!(new.get(&log), Ok(Some(vec![2])));
    assert_eq!(seen(&new, Order::Ascending), [(log.clone(), vec![2])]);
    new.close();
    assert_eq!(memory.get(&log), Ok(Some(vec![2])));
}

/// Counts what comes down.
#[derive(Default)]
struct Counted {
    memory: Memory,
    synced: Mutex<Vec<usize>>,
}

impl Rows for Counted {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.memory.get(key)
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.memory.scan(range, order, each)
    }

    fn commit(&self, batch: Batch, sync: bool) -> Result<(), CommitError> {
        if sync {
            self.synced.lock().unwrap_or_else(PoisonError::into_inner).push(batch.len());
        }
        self.memory.commit(batch, sync)
    }

    fn sync(&self) -> Result<(), CommitError> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn Rows>, ReadError> {
        self.memory.snapshot()
    }
}

/// Operations in the synced batches of so many messages, and the number of these batches.
async fn operations(messages: usize, message: impl Fn(usize) -> Op) -> (usize, usize) {
    let counted = Arc::new(Counted::default());
    let rows = Arc::new(Behind::open(counted.clone(), Limits::default(), WriteSet::Three).expect("it opens"));
    let mut settings = Settings::new(Epoch(7));
    let agents = Agents::Named(vec![user_id("alice")]);
    settings.numbers = vec![Number { id: number(), account: account_id("acme"), agents, triage: Vec::new() }];
    let clock: crate::Clock = Arc::new(|| Millis(1_795_000_000_000));
    let store: Arc<dyn Store> = Log::start(rows, settings, clock, "counted").expect("it opens");
    let seen = UserSeen { account: account_id("acme"), user: user_id("alice"), agent: true };
    commit(&*store, Op::UserSeen(seen)).await.expect("committed");
    let before = counted.synced.lock().expect("unharmed").len();
    for n in 0..messages {
        commit(&*store, message(n)).await.expect("committed");
    }
    let synced = counted.synced.lock().expect("unharmed").split_off(before);
    store.close().await;
    (synced.iter().sum(), synced.len())
}

/// A record and the removal of an older one, of a group and not of a message: here every message is a group.
const PER_GROUP: usize = 2;

#[tokio::test]
async fn a_message_takes_at_most_three_operations_of_its_own_in_the_synced_batch() {
    const MESSAGES: usize = 3_000;
    let webhook = |n: usize| {
        let updates = vec![inbound(&format!("wamid.{n}"), "hello", Millis(n as u64))];
        Op::Webhook(WebhookOp { body: bytes::Bytes::from_static(b"{}"), updates, received_us: 1 })
    };
    let (operations_in, groups) = operations(MESSAGES, webhook).await;
    assert!(groups >= MESSAGES, "every message asked for a sync");
    assert!(operations_in <= 3 * MESSAGES + PER_GROUP * groups, "journal, message, inbox: {operations_in}");
    assert!(operations_in >= 3 * MESSAGES, "nothing of these may be put off: {operations_in}");

    let send = |n: usize| {
        let id = format!("c{n}").parse().expect("a command id");
        let command = Command { id, body: text_message(to_ana(), "hello") };
        let (account, user) = (account_id("acme"), user_id("alice"));
        Op::Command(CommandOp { account, user, command, received_us: 1, report_refusal: false })
    };
    let (operations_out, groups) = operations(MESSAGES, send).await;
    assert!(operations_out <= 2 * MESSAGES + PER_GROUP * groups, "message, inbox: {operations_out}");
}

#[test]
fn the_epoch_is_read_before_any_record() {
    // `check_format` reads `meta` rows of engines that were not opened by this program.
    assert!(Table::is_direct(Table::Meta as u8));
    assert!(!Table::is_direct(RECORD), "a record is nobody's row");
}
