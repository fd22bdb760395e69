//! The plan against a small store of its own: orders, limits, and P6 whatever happens.

use proptest::prelude::*;
use schemas::{AccountId, ContactId, Wamid};

use super::*;
use crate::config::Secret;

const START: Millis = Millis(1_795_205_465_000);
const UNKNOWN_AFTER_MS: u64 = 120_000;

fn number(id: &str, on_unknown: OnUnknown) -> NumberConfig {
    NumberConfig {
        id: NumberId::new(id).unwrap(),
        access_token: Secret::new("t"),
        app_secret: None,
        on_unknown,
        unknown_after_ms: UNKNOWN_AFTER_MS,
    }
}

fn send(pair: u128, pos: u64) -> OpenSend {
    OpenSend {
        message: MessageId { conversation: ConversationId(pair), pos: Pos(pos) },
        account: AccountId::new("acme").unwrap(),
        number: NumberId::new("1").unwrap(),
        contact: ContactId(pair),
        phone: Some("+1".into()),
        user_id: None,
        text: "x".into(),
        reply_to: None,
        state: SendState::Queued { due: START },
        attempts: 0,
        created_at: START,
        received_us: START.0 * 1000,
    }
}

/// What the store would do, and what the loop would.
struct World {
    sends: BTreeMap<MessageId, OpenSend>,
    plan: Planner,
    now: Millis,
    /// Attempts under way.
    under_way: Vec<MessageId>,
    posted: Vec<MessageId>,
}

impl World {
    fn new(on_unknown: OnUnknown, sends: impl IntoIterator<Item = OpenSend>) -> Self {
        Self {
            sends: sends.into_iter().map(|send| (send.message, send)).collect(),
            plan: Planner::new(&[number("1", on_unknown)]),
            now: START,
            under_way: Vec::new(),
            posted: Vec::new(),
        }
    }

    fn read_all(&mut self) {
        while let Some(request) = self.plan.wants() {
            let after = |id: &MessageId| request.after.is_none_or(|after| *id > after);
            let page: Vec<_> = self
                .sends
                .values()
                .filter(|send| after(&send.message))
                .take(request.limit)
                .cloned()
                .collect();
            self.plan.page(request, &page, self.now);
        }
    }

    /// One turn of the loop: attempts begin, settlements are carried out.
    fn turn(&mut self) {
        self.read_all();
        for action in self.plan.poll(self.now) {
            match action {
                Action::Start(message) => {
                    let send = self.sends.get_mut(&message).expect("only open sends start");
                    assert!(
                        matches!(send.state, SendState::Queued { due } if due <= self.now),
                        "P6: {send:?}"
                    );
                    let open = |id: &MessageId| id.conversation == message.conversation;
                    assert!(!self.under_way.iter().any(open), "P6: a second attempt for the pair");
                    let earlier = self.sends.keys().find(|id| open(id));
                    assert_eq!(earlier, Some(&message), "an earlier one of the pair is still open");
                    let send = self.sends.get_mut(&message).expect("just seen");
                    send.state = SendState::Attempting { since: self.now };
                    self.under_way.push(message);
                    self.posted.push(message);
                }
                Action::Settle(message, result) => {
                    self.end(message, &result);
                    self.plan.done(message, false, NumberHint::None, self.now);
                    self.tell(message);
                }
            }
        }
    }

    fn end(&mut self, message: MessageId, result: &SendResult) {
        let Some(send) = self.sends.get_mut(&message) else { return };
        match result {
            SendResult::RetryAt(due) | SendResult::Resend(due) => {
                send.state = SendState::Queued { due: *due }
            }
            SendResult::Unknown => send.state = SendState::Unknown { since: self.now },
            SendResult::Accepted(_) | SendResult::Failed(_) | SendResult::Release => {
                self.sends.remove(&message);
            }
        }
    }

    fn tell(&mut self, message: MessageId) {
        let send = self.sends.get(&message).cloned();
        self.plan.learn(message, send.as_ref(), self.now);
    }

    fn answer(&mut self, message: MessageId, result: &SendResult, hint: NumberHint) {
        self.under_way.retain(|under_way| *under_way != message);
        self.end(message, result);
        self.plan.done(message, true, hint, self.now);
        self.tell(message);
    }

    fn accept_all(&mut self) {
        for message in self.under_way.clone() {
            self.answer(message, &accepted(), NumberHint::Healthy);
        }
    }

    /// Runs until nothing is open; true if that came to pass.
    fn finish(&mut self) -> bool {
        for _ in 0..1_000_000 {
            self.turn();
            if self.sends.is_empty() {
                return true;
            }
            if !self.under_way.is_empty() {
                self.accept_all();
            } else if let Some(at) = self.plan.next_poll() {
                self.now = self.now.max(at);
            } else if self.plan.wants().is_none() {
                return false;
            }
        }
        false
    }
}

fn accepted() -> SendResult {
    SendResult::Accepted(Wamid::new("wamid.X").unwrap())
}

fn conversations(posted: &[MessageId]) -> Vec<u128> {
    posted.iter().map(|message| message.conversation.0).collect()
}

#[test]
fn o5_one_at_a_time_per_person_and_in_order() {
    let mut world = World::new(OnUnknown::Hold, [send(1, 1), send(1, 2), send(2, 1)]);
    world.turn();
    assert_eq!(conversations(&world.posted), [1, 2]);
    world.turn();
    assert_eq!(world.posted.len(), 2, "nothing more while both are under way");
    world.accept_all();
    world.turn();
    assert_eq!(world.posted.last().map(|message| message.pos), Some(Pos(2)));
    assert!(world.finish());
}

#[test]
fn o5_a_refusal_for_now_holds_back_its_pair_only() {
    let mut world = World::new(OnUnknown::Hold, [send(1, 1), send(1, 2), send(2, 1), send(2, 2)]);
    world.turn();
    let due = START.plus(5_000);
    world.answer(world.posted[0], &SendResult::RetryAt(due), NumberHint::None);
    world.answer(world.posted[1], &accepted(), NumberHint::None);
    world.turn();
    assert_eq!(conversations(&world.posted), [1, 2, 2]);
    assert_eq!(world.plan.next_poll(), Some(due));
    world.now = due;
    world.accept_all();
    world.turn();
    assert_eq!(world.posted[3], world.posted[0], "the same one again, not the next");
}

#[test]
fn p6_an_unknown_one_holds_back_its_pair_for_as_long_as_configured() {
    for (on_unknown, next) in [(OnUnknown::Hold, Pos(2)), (OnUnknown::Resend, Pos(1))] {
        let mut world = World::new(on_unknown, [send(1, 1), send(1, 2)]);
        world.turn();
        world.answer(world.posted[0], &SendResult::Unknown, NumberHint::None);
        world.now = START.plus(UNKNOWN_AFTER_MS - 1);
        world.turn();
        assert_eq!(world.posted.len(), 1);
        assert_eq!(world.plan.next_poll(), Some(START.plus(UNKNOWN_AFTER_MS)));
        world.now = START.plus(UNKNOWN_AFTER_MS);
        world.turn();
        world.turn();
        assert_eq!(world.posted.get(1).map(|message| message.pos), Some(next), "{on_unknown:?}");
    }
}

#[test]
fn p6_a_status_settles_an_unknown_one_at_once() {
    let mut world = World::new(OnUnknown::Hold, [send(1, 1), send(1, 2)]);
    world.turn();
    let first = world.posted[0];
    world.answer(first, &SendResult::Unknown, NumberHint::None);
    world.turn();
    world.sends.remove(&first);
    world.tell(first);
    world.turn();
    assert_eq!(world.posted.last().map(|message| message.pos), Some(Pos(2)));
}

#[test]
fn p6_an_attempt_that_a_crash_left_open_is_unknown_and_not_sent_again() {
    let mut left = send(1, 1);
    left.state = SendState::Attempting { since: Millis(START.0 - 1) };
    let id = left.message;
    let mut world = World::new(OnUnknown::Hold, [left, send(1, 2)]);
    world.turn();
    assert_eq!(world.posted, []);
    assert_eq!(world.sends[&id].state, SendState::Unknown { since: START });
    assert!(world.finish());
    assert_eq!(world.posted.iter().map(|message| message.pos).collect::<Vec<_>>(), [Pos(2)]);
}

#[test]
fn p6_a_status_during_an_attempt_does_not_let_the_next_one_overtake_its_answer() {
    let mut world = World::new(OnUnknown::Hold, [send(1, 1), send(1, 2)]);
    world.turn();
    let first = world.posted[0];
    world.sends.remove(&first);
    world.tell(first);
    world.turn();
    assert_eq!(world.posted.len(), 1, "the first is still under way");
    world.accept_all();
    world.turn();
    assert_eq!(world.posted.len(), 2);
}

#[test]
fn o5_limits_of_a_number() {
    let mut world = World::new(OnUnknown::Hold, (0..300).map(|pair| send(pair, 1)));
    world.turn();
    assert_eq!(world.posted.len(), NUMBER_CONCURRENCY);
    world.accept_all();
    world.turn();
    assert_eq!(world.posted.len(), 80, "a second's worth at once");
    world.accept_all();
    let start = world.now;
    assert!(world.finish());
    let took = world.now.since(start);
    assert!((2_700..2_800).contains(&took), "220 at 80 a second took {took} ms");
}

#[test]
fn o5_limits_of_a_pair() {
    let mut world = World::new(OnUnknown::Hold, (1..=50).map(|pos| send(1, pos)));
    assert!(world.finish());
    assert_eq!(world.now.since(START), 5 * 6_000, "45 at once and then one in 6 seconds");
}

#[test]
fn o5_a_number_out_of_order_is_tried_with_one_message_at_a_time() {
    let mut world = World::new(OnUnknown::Hold, (0..10).map(|pair| send(pair, 1)));
    world.turn();
    for message in world.under_way.clone() {
        world.answer(message, &SendResult::RetryAt(world.now), NumberHint::OutOfOrder);
    }
    world.turn();
    assert_eq!(world.under_way, [], "paused");
    world.now = world.plan.next_poll().expect("a pause ends");
    world.turn();
    assert_eq!(world.under_way.len(), 1);
    assert_eq!(world.plan.depth(world.now).2, 1);
    world.accept_all();
    world.turn();
    assert_eq!(world.under_way.len(), 9, "it works again");
}

#[test]
fn o5_a_foreign_number_is_left_alone() {
    let mut foreign = send(1, 1);
    foreign.number = NumberId::new("2").unwrap();
    let mut world = World::new(OnUnknown::Hold, [foreign, send(2, 1)]);
    world.turn();
    assert_eq!(conversations(&world.posted), [2]);
}

#[test]
fn p8_a_long_backlog_of_one_pair_is_kept_in_the_store_and_goes_out_in_order() {
    let count = 5 * PAIR_WINDOW as u64;
    let mut world = World::new(OnUnknown::Hold, (1..=count).map(|pos| send(1, pos)).chain([send(2, 1)]));
    world.read_all();
    assert_eq!(world.plan.depth(START).0, PAIR_WINDOW + 1);
    // One that comes now must not overtake those that did not fit.
    world.sends.insert(send(1, count + 1).message, send(1, count + 1));
    world.tell(send(1, count + 1).message);
    assert_eq!(world.plan.depth(START).0, PAIR_WINDOW + 1);
    assert!(world.finish());
    let positions: Vec<_> = world
        .posted
        .iter()
        .filter(|message| message.conversation.0 == 1)
        .map(|message| message.pos.0)
        .collect();
    assert_eq!(positions, (1..=count + 1).collect::<Vec<_>>());
}

#[test]
fn p8_more_pairs_than_fit_are_all_served() {
    let count = SENDS_PER_NUMBER_MAX as u128 + 1_000;
    let mut world = World::new(OnUnknown::Hold, (0..count).map(|pair| send(pair, 1)));
    world.read_all();
    assert_eq!(world.plan.depth(START).0, SENDS_PER_NUMBER_MAX);
    assert!(world.finish());
    assert_eq!(world.posted.len(), SENDS_PER_NUMBER_MAX + 1_000);
}

#[test]
fn p8_pairs_are_forgotten_when_their_buckets_are_full() {
    let mut world = World::new(OnUnknown::Hold, (0..20).map(|pair| send(pair, 1)));
    assert!(world.finish());
    world.now = world.now.plus(PAIR_RATE.interval_us / 1000);
    world.turn();
    assert!(world.plan.pairs.is_empty() && world.plan.timers.is_empty() && world.plan.ages.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    New(u8),
    Answer(u8, u8),
    Status(u8),
    Wait(u32),
    LoseNotices,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..6).prop_map(Step::New),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Step::Answer(which, how)),
        1 => any::<u8>().prop_map(Step::Status),
        2 => (0_u32..200_000).prop_map(Step::Wait),
        1 => Just(Step::LoseNotices),
    ]
}

proptest! {
    // `World::turn` checks P6 and the order at every attempt.
    #[test]
    fn p6_whatever_happens_one_open_attempt_per_pair_in_order_and_all_end(
        steps in prop::collection::vec(step(), 1..120), resend in any::<bool>(),
    ) {
        let on_unknown = if resend { OnUnknown::Resend } else { OnUnknown::Hold };
        let mut world = World::new(on_unknown, []);
        let mut next = 0;
        for step in steps {
            match step {
                Step::New(pair) => {
                    next += 1;
                    let new = send(u128::from(pair), next);
                    world.sends.insert(new.message, new.clone());
                    world.tell(new.message);
                }
                Step::Answer(which, how) => {
                    let Some(message) = world.under_way.get(usize::from(which) % world.under_way.len().max(1)).copied() else { continue };
                    let (result, hint) = match how % 5 {
                        0 => (SendResult::RetryAt(world.now.plus(u64::from(how) * 100)), NumberHint::None),
                        1 => (SendResult::Unknown, NumberHint::None),
                        2 => (SendResult::RetryAt(world.now.plus(1_000)), NumberHint::SlowDown),
                        _ => (accepted(), NumberHint::Healthy),
                    };
                    world.answer(message, &result, hint);
                }
                Step::Status(which) => {
                    let open: Vec<_> = world.sends.values().filter(|s| !matches!(s.state, SendState::Queued { .. })).map(|s| s.message).collect();
                    if let Some(message) = open.get(usize::from(which) % open.len().max(1)).copied() {
                        world.sends.remove(&message);
                        world.tell(message);
                    }
                }
                Step::Wait(ms) => world.now = world.now.plus(ms.into()),
                Step::LoseNotices => world.plan.lost_track(),
            }
            world.turn();
        }
        prop_assert!(world.finish(), "something never ends: {:?}", world.sends);
    }
}
