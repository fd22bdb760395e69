//! What must be true of an image: it opens, whatever had been told before the cut is there, nothing is there by half,
//! numbers mean what they meant, and the store goes on.
//!
//! Not here: which images there are (`campaign`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemas::{Epoch, Event, EventData, Status};
use store::conformance::{World, asker, inbound};
use store::{Op, Outcome, SendState, WebhookDone, WebhookOp};

use crate::load::{self, AGENTS, Act, Embedded};

/// What the run had been told by a moment.
#[derive(Clone, Debug, Default)]
pub struct Told {
    opened: bool,
    keeper: bool,
    news: bool,
    acts: BTreeSet<usize>,
    /// Journaled webhooks whose effects were asked for, and those that were told.
    applying: BTreeSet<usize>,
    applied: BTreeSet<usize>,
    /// Messages of commands.
    messages: BTreeMap<usize, String>,
    starting: BTreeSet<usize>,
    started: BTreeSet<usize>,
    accepted: BTreeSet<usize>,
    delivered: BTreeSet<usize>,
    taken: BTreeSet<usize>,
    /// Events by inbox and number.
    seen: BTreeMap<(String, u64), String>,
}

impl Told {
    /// Takes lines of the side file in.
    ///
    /// # Errors
    /// A line that is not one of the load's.
    pub fn note(&mut self, lines: &str) -> Result<(), String> {
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |index: usize| -> Result<usize, String> {
                words.get(index).and_then(|word| word.parse().ok()).ok_or_else(|| format!("a mark: {line}"))
            };
            match words.as_slice() {
                ["opened"] => self.opened = true,
                ["keeper"] => self.keeper = true,
                ["news"] => self.news = true,
                ["ballast" | "ballasted", _] => {}
                ["ack", _] => drop(self.acts.insert(number(1)?)),
                ["applying", _] => drop(self.applying.insert(number(1)?)),
                ["applied", _] => drop(self.applied.insert(number(1)?)),
                ["message", _, id] => drop(self.messages.insert(number(1)?, (*id).to_owned())),
                ["starting", _] => drop(self.starting.insert(number(1)?)),
                ["started", _] => drop(self.started.insert(number(1)?)),
                ["accepted", _] => drop(self.accepted.insert(number(1)?)),
                ["delivered", _] => drop(self.delivered.insert(number(1)?)),
                ["took", _] => drop(self.taken.insert(number(1)?)),
                ["saw", agent, _, id] => {
                    self.seen.insert(((*agent).to_owned(), number(2)? as u64), (*id).to_owned());
                }
                _ => return Err(format!("a mark: {line}")),
            }
        }
        Ok(())
    }

    /// How many acts had been acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.acts.len()
    }
}

/// Of a store that is made anew: another than the recorded one's, so that a lost store shows.
const RECORDED_EPOCH: Epoch = Epoch(7);

/// Judges the store in a folder. It is changed by that.
///
/// # Panics
/// With what is not true.
pub async fn judge(folder: &Path, acts: &[Act], told: &Told) {
    let world = World::new(Embedded(folder.to_owned())).await;
    let mut inboxes = BTreeMap::new();
    for agent in AGENTS {
        inboxes.insert(agent, world.events("acme", agent).await);
    }
    check_events(&inboxes, told);
    check_texts(&inboxes["alice"], acts, told);
    check_sessions(&world, acts, told).await;
    check_journal(&world, &inboxes["alice"], acts, told).await;
    check_sends(&world, told).await;
    goes_on(&world, acts, told).await;
    world.finish().await;
}

fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id.to_string()).collect()
}

/// P2: what a client saw under a number stands there, and both members have the same events in the same order.
fn check_events(inboxes: &BTreeMap<&str, Vec<Event>>, told: &Told) {
    for events in inboxes.values() {
        assert!(events.iter().all(|event| event.epoch == RECORDED_EPOCH), "the epoch is the recorded one");
    }
    assert_eq!(ids(&inboxes["alice"]), ids(&inboxes["bob"]), "both members have the same events");
    for ((agent, seq), id) in &told.seen {
        let event = inboxes[agent.as_str()].get(*seq as usize - 1);
        let found = event.map(|event| event.id.to_string());
        assert_eq!(found.as_deref(), Some(id.as_str()), "{agent} saw {id} under {seq}");
    }
}

/// Texts of all messages, each with how often it was created.
fn texts(events: &[Event]) -> BTreeMap<String, usize> {
    let mut texts = BTreeMap::new();
    for event in events {
        if let EventData::MessageCreated(message) = &event.data {
            *texts.entry(message.text.clone().unwrap_or_default()).or_default() += 1;
        }
    }
    texts
}

/// P1, P4, P5: what was told is there once; what was not is there as a whole or not at all.
fn check_texts(events: &[Event], acts: &[Act], told: &Told) {
    let texts = texts(events);
    assert!(texts.values().all(|count| *count == 1), "a message was made twice: {texts:?}");
    for (n, act) in acts.iter().enumerate() {
        let expected: Vec<String> = match act {
            Act::Webhook { messages, .. } => (0..*messages).map(|k| format!("text {n}.{k}")).collect(),
            Act::Command { .. } => vec![format!("answer {n}")],
            Act::Journal | Act::Publish { .. } | Act::Subscribe => continue,
        };
        let found = expected.iter().filter(|text| texts.contains_key(*text)).count();
        let whole = found == expected.len();
        assert!(whole || !told.acts.contains(&n), "act {n} was told: {found} of {} messages", expected.len());
        assert!(whole || found == 0, "act {n} is there by half: {found} of {} messages", expected.len());
    }
}

/// P1, P3: the kept session, its subscriptions, and of its queue all that it did not acknowledge.
async fn check_sessions(world: &World, acts: &[Act], told: &Told) {
    let Outcome::Session(state) = world.commit(Op::SessionOpen(load::keeper())).await else {
        panic!("not a session")
    };
    assert!(state.present || !told.keeper, "the session was told");
    let filters: BTreeSet<&str> = state.subscriptions.iter().map(|s| &*s.filter).collect();
    assert!(filters.contains("news/#") || !told.news, "its first subscription was told");
    let mut queued: BTreeMap<usize, usize> = BTreeMap::new();
    let mut after = state.queue_acked;
    loop {
        let page = world.store.queue(load::keeper_key(), after, 100).await.expect("the queue is read");
        let Some(last) = page.messages.last() else { break };
        assert!(last.n > after, "numbers rise");
        after = last.n;
        for message in &page.messages {
            let payload = String::from_utf8_lossy(&message.message.payload).into_owned();
            let n = payload.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number in the payload");
            let Some(Act::Publish { large }) = acts.get(n) else { panic!("nobody published {n}") };
            let Op::Publish(publish) = load::op(world, n, Act::Publish { large: *large }) else {
                unreachable!()
            };
            assert!(message.message.payload == publish.message.payload, "payload {n} is whole");
            *queued.entry(n).or_default() += 1;
        }
    }
    assert!(queued.values().all(|count| *count == 1), "queued twice: {queued:?}");
    for n in &told.acts {
        match acts[*n] {
            Act::Subscribe => {
                assert!(filters.contains(format!("more/{n}").as_str()), "subscription {n} was told")
            }
            Act::Publish { .. } => {
                assert!(
                    queued.contains_key(n) || told.taken.contains(n),
                    "message {n} was told and not taken"
                );
            }
            _ => {}
        }
    }
}

/// P5: a journaled webhook is open or applied, never both and never neither.
async fn check_journal(world: &World, events: &[Event], acts: &[Act], told: &Told) {
    let open = world.store.open_journal().await.expect("the journal is read");
    let open: BTreeSet<String> =
        open.iter().map(|open| String::from_utf8_lossy(&open.body).into_owned()).collect();
    let texts = texts(events);
    for n in acts.iter().enumerate().filter(|(_, act)| **act == Act::Journal).map(|(n, _)| n) {
        let is_open = open.contains(&format!("journal {n}"));
        let applied = texts.contains_key(&format!("journaled {n}"));
        assert!(!(is_open && applied), "webhook {n} is applied and open");
        assert!(is_open || applied || !told.acts.contains(&n), "webhook {n} was told");
        assert!(applied || !told.applied.contains(&n), "webhook {n} was told to be applied");
        assert!(!applied || told.applying.contains(&n), "nobody applied webhook {n}");
    }
}

/// P5, P6: a send that was begun is never one to be begun; what WhatsApp said of it is known.
async fn check_sends(world: &World, told: &Told) {
    let mut open = BTreeMap::new();
    let mut after = None;
    loop {
        let page = world.store.open_sends(after, 100).await.expect("sends are read");
        let Some(last) = page.last() else { break };
        after = Some(last.message);
        open.extend(page.into_iter().map(|send| (send.message.to_string(), send)));
    }
    for (n, message) in &told.messages {
        let send = open.get(message);
        let queued = send.is_some_and(|send| matches!(send.state, SendState::Queued { .. }));
        assert!(!(queued && told.started.contains(n)), "send {n} was begun");
        assert!(send.is_none() || !told.accepted.contains(n), "send {n} had ended: {send:?}");
        assert!(send.is_some() || told.starting.contains(n), "send {n} was not begun, and is gone");
        let id = message.parse().expect("a message id");
        let found = world.store.message(asker("acme", "alice"), id).await.expect("messages are read");
        let found = found.expect("the message was told");
        let wamid = told.accepted.contains(n) || told.delivered.contains(n);
        assert!(!wamid || found.wamid.is_some_and(|w| w.as_str() == format!("wamid.out{n}")), "wamid of {n}");
        assert!(!told.delivered.contains(n) || found.status == Status::Delivered, "status of {n}");
    }
}

/// Everything again, as its senders would: the effect is there once. And something new.
async fn goes_on(world: &World, acts: &[Act], told: &Told) {
    for (n, act) in acts.iter().enumerate() {
        if !matches!(act, Act::Webhook { .. } | Act::Command { .. }) {
            continue;
        }
        match world.commit(load::op(world, n, *act)).await {
            Outcome::Webhook(done) => {
                let Act::Webhook { messages, .. } = act else { unreachable!() };
                let messages = *messages as u32;
                let all = WebhookDone { repeated: messages, ..WebhookDone::default() };
                let none = WebhookDone { applied: messages, ..WebhookDone::default() };
                assert!(
                    done == all || (done == none && !told.acts.contains(&n)),
                    "webhook {n} again: {done:?}"
                );
            }
            Outcome::Command(done) => {
                assert!(done.repeated || !told.acts.contains(&n), "command {n} was carried out again");
                let id = done.message.map(|message| message.id.to_string());
                let expected = told.messages.get(&n);
                assert!(expected.is_none() || expected == id.as_ref(), "command {n}: {expected:?}, {id:?}");
            }
            other => panic!("act {n} again: {other:?}"),
        }
    }
    let before = world.events("acme", "bob").await.len();
    let updates = vec![inbound("wamid.after", "after the cut", world.now())];
    let op = WebhookOp { body: "{}".into(), updates, received_us: 1 };
    assert!(matches!(world.commit(Op::Webhook(op)).await, Outcome::Webhook(done) if done.applied == 1));
    let events = world.events("acme", "bob").await;
    assert_eq!((events.len(), texts(&events)["after the cut"]), (before + 1, 1), "numbers go on");
    let expected: usize = acts
        .iter()
        .map(|act| match act {
            Act::Webhook { messages, .. } => *messages as usize,
            Act::Command { .. } => 1,
            _ => 0,
        })
        .sum();
    let texts = texts(&events);
    let made = texts.keys().filter(|text| text.starts_with("text ") || text.starts_with("answer ")).count();
    assert_eq!(made, expected, "each effect once");
    assert!(texts.values().all(|count| *count == 1), "{texts:?}");
}
