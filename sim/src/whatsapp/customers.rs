//! The simulated customers of `inboxd demo`: a few people with a small shop's everyday concerns. Some write first,
//! all answer a few seconds after they were written to, for as long as anybody writes to them.
//!
//! Pure, as the model is: the shell hands over what reached them ([`Customers::received`]) and asks at
//! [`Customers::next_due_ms`] what they do ([`Customers::due`]). Same seed and same calls, same words at the same time.
//!
//! Rate-bounded: a customer has at most one answer in mind, however much arrives meanwhile, and leaves
//! [`PAUSE_MIN_MS`] between two messages. Two machines that answer each other therefore never flood anything.
//!
//! Not in here: the words (`small_talk`), delivery.

mod small_talk;

use std::collections::BTreeMap;

use super::envelope::Content;
use super::faults::MsRange;
use super::model::{CustomerAction, Received};
use super::rng::Rng;
use small_talk::{CAST, Character};

/// The least time between two messages of one customer.
pub const PAUSE_MIN_MS: u64 = 2_000;
/// How often a customer likes a message before answering it.
const REACTION_CHANCE: f64 = 0.15;

/// Who takes part, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomersConfig {
    /// How many customers there are; at most [`Customers::CAST_SIZE`].
    pub people: usize,
    /// How many of them write first.
    pub openers: usize,
    /// Time until the first one writes, and from each opening to the next.
    pub opening_after_ms: MsRange,
    /// Time from a message that reached them to their answer.
    pub answer_after_ms: MsRange,
    /// The number they write to (`phone_number_id`); the first, if absent.
    pub number: Option<String>,
    /// Decides words and times.
    pub seed: u64,
}

impl Default for CustomersConfig {
    fn default() -> Self {
        Self {
            people: Customers::CAST_SIZE,
            openers: 4,
            opening_after_ms: MsRange::new(1_500, 5_000),
            answer_after_ms: MsRange::new(2_500, 7_000),
            number: None,
            seed: 1,
        }
    }
}

/// All customers and what they are about to do.
#[derive(Clone, Debug)]
pub struct Customers {
    config: CustomersConfig,
    rng: Rng,
    people: Vec<Customer>,
    /// (due, index of the customer) → what they do then.
    agenda: BTreeMap<(u64, usize), Intent>,
}

#[derive(Clone, Debug)]
struct Customer {
    character: &'static Character,
    /// Answers given so far; moves the talk on.
    turn: usize,
    /// When they last wrote.
    wrote_ms: Option<u64>,
    /// The agenda's key of the answer in mind.
    answer_due_ms: Option<u64>,
}

#[derive(Clone, Debug)]
enum Intent {
    Open,
    Answer(Received),
}

impl Customers {
    /// How many different customers there are.
    pub const CAST_SIZE: usize = CAST.len();

    /// The customers, with their openings planned from `now_ms` on.
    pub fn new(now_ms: u64, config: CustomersConfig) -> Self {
        let mut rng = Rng::new(config.seed);
        let people: Vec<Customer> = CAST
            .iter()
            .take(config.people)
            .map(|character| Customer { character, turn: 0, wrote_ms: None, answer_due_ms: None })
            .collect();
        let mut agenda = BTreeMap::new();
        let mut at_ms = now_ms;
        for index in 0..people.len().min(config.openers) {
            at_ms += rng.ms(config.opening_after_ms);
            agenda.insert((at_ms, index), Intent::Open);
        }
        Self { config, rng, people, agenda }
    }

    /// Phone number (digits) and name of everybody who takes part.
    pub fn people(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.people.iter().map(|customer| (customer.character.phone, customer.character.name))
    }

    /// A message of the business reached somebody; other people's, and reactions, are not answered.
    pub fn received(&mut self, message: Received) {
        let Some(index) = self.people.iter().position(|c| c.character.phone == message.phone) else {
            return;
        };
        if message.kind == "reaction" {
            return;
        }
        let think_ms = self.rng.ms(self.config.answer_after_ms);
        let customer = &mut self.people[index];
        if let Some(due_ms) = customer.answer_due_ms {
            // Already about to answer: answers what came last.
            self.agenda.insert((due_ms, index), Intent::Answer(message));
            return;
        }
        let rested_ms = customer.wrote_ms.map_or(0, |wrote_ms| wrote_ms + PAUSE_MIN_MS);
        let mut due_ms = (message.at_ms + think_ms).max(rested_ms);
        if self.agenda.contains_key(&(due_ms, index)) {
            due_ms += 1; // their opening has this very millisecond
        }
        customer.answer_due_ms = Some(due_ms);
        self.agenda.insert((due_ms, index), Intent::Answer(message));
    }

    /// When somebody does something next, in Unix milliseconds.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.agenda.first_key_value().map(|(key, _)| key.0)
    }

    /// What the customers do by `now_ms`, in order.
    pub fn due(&mut self, now_ms: u64) -> Vec<CustomerAction> {
        let mut actions = Vec::new();
        while let Some(first) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let ((_, index), intent) = first.remove_entry();
            match intent {
                Intent::Open => self.open(now_ms, index, &mut actions),
                Intent::Answer(message) => self.answer(now_ms, index, &message, &mut actions),
            }
        }
        actions
    }

    fn open(&mut self, now_ms: u64, index: usize, actions: &mut Vec<CustomerAction>) {
        let number = self.config.number.clone();
        let customer = &mut self.people[index];
        if customer.wrote_ms.is_some() {
            return; // an agent was faster, and they are talking already
        }
        customer.wrote_ms = Some(now_ms);
        let opening = small_talk::opening(customer.character, &mut self.rng);
        actions.push(customer.does(Content::text(&opening), number));
    }

    fn answer(&mut self, now_ms: u64, index: usize, message: &Received, actions: &mut Vec<CustomerAction>) {
        let customer = &mut self.people[index];
        customer.answer_due_ms = None;
        let first = customer.wrote_ms.replace(now_ms).is_none();
        let heard = message.text.as_deref().unwrap_or_default();
        let words = small_talk::answer(customer.character, customer.turn, first, heard);
        customer.turn += 1;
        // Answers go where the message came from.
        let number = Some(message.number.clone());
        if self.rng.chance(REACTION_CHANCE) {
            actions.push(customer.does(Content::reaction(&message.wamid, Some("👍")), number.clone()));
        }
        actions.push(customer.does(Content::text(&words), number));
    }
}

impl Customer {
    fn does(&self, content: Content, number: Option<String>) -> CustomerAction {
        let action = CustomerAction::new(self.character.phone, content).named(self.character.name);
        CustomerAction { number, ..action }
    }
}

#[cfg(test)]
mod tests;
