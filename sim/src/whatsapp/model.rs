//! The model of WhatsApp: one value that holds all there is, and methods that say what Meta would do next.
//! Sends come in ([`Model::post_message`], O6), customers write ([`Model::customer_writes`]), time passes
//! ([`Model::due`]), and webhooks go out (I1, O8).
//!
//! Pure: no I/O, no clock, no randomness of its own. `now_ms` is Unix milliseconds and must not go backwards by more
//! than the caller can live with; the same seed and the same calls give the same bytes.
//!
//! How a caller drives it: after any call ask [`Model::next_due_ms`], at that time take [`Model::due`], deliver each
//! [`Webhook`], and hand back what was not answered 200 with [`Model::not_delivered`].
//!
//! Not in here: sockets, signatures, waiting (`http`), what customers say (`customers`).

mod people;
mod posts;
mod schedule;
mod send;
mod wamid;

use std::collections::VecDeque;

pub use people::user_id_of;
pub use posts::Post;
pub use schedule::{Carried, Retry, Webhook};
pub use send::{Reply, SendAnswer, SendRequest};

use super::envelope::{BusinessNumber, Content, InboundMessage, Update};
use super::faults::{Faults, Script, ScriptedSend};
use super::rng::Rng;
use people::People;
use posts::Posts;
use schedule::Schedule;
use wamid::WamidMaker;

/// Messages that reached customers and that nobody has taken yet; beyond this the oldest is forgotten. A run without
/// simulated customers never takes any.
const RECEIVED_MAX: usize = 10_000;
/// Scripted sends waiting; a test that piles up more has lost count.
const SCRIPTS_MAX: usize = 10_000;

/// What the model is made from.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The business' numbers; the first is where customers write unless they name another.
    pub numbers: Vec<BusinessNumber>,
    /// The bearer token every Graph call must carry.
    pub access_token: String,
    /// What goes wrong by chance.
    pub faults: Faults,
    /// Decides all chances.
    pub seed: u64,
}

/// Something a customer does.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomerAction {
    /// Who: phone number, with or without `+`.
    pub phone: String,
    /// Profile name; if absent, the one given before.
    pub name: Option<String>,
    /// To which of the business' numbers (`phone_number_id`); if absent, the first.
    pub number: Option<String>,
    /// Hide the phone number, as people with a user name can: webhooks carry the business-scoped user id only.
    pub hide_phone: bool,
    /// What they send.
    pub content: Content,
}

impl CustomerAction {
    /// A message from `phone` to the first number.
    pub fn new(phone: &str, content: Content) -> Self {
        Self { phone: phone.to_owned(), name: None, number: None, hide_phone: false, content }
    }

    /// A text from `phone` to the first number.
    pub fn text(phone: &str, text: &str) -> Self {
        Self::new(phone, Content::text(text))
    }

    /// With this profile name.
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// To this number (`phone_number_id`).
    pub fn to_number(self, phone_number_id: &str) -> Self {
        Self { number: Some(phone_number_id.to_owned()), ..self }
    }
}

/// A customer could not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustomerError {
    /// There is no such business number.
    #[error("no business number with phone_number_id {phone_number_id}")]
    UnknownNumber {
        /// What was asked for; empty if the model has no number at all.
        phone_number_id: String,
    },
    /// The phone number is not one: digits with at most one leading `+`, at most 15 of them.
    #[error("not a phone number")]
    BadPhone,
    /// A limit of the model: people known, or updates waiting for delivery.
    #[error("the model is full: {what}")]
    Full {
        /// Of what.
        what: &'static str,
    },
}

/// A message of the business that reached a customer's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Whose device: digits.
    pub phone: String,
    /// From which number (`phone_number_id`).
    pub number: String,
    /// Names the message, for reactions and quotes.
    pub wamid: String,
    /// The message's `type`.
    pub kind: String,
    /// The words of a text.
    pub text: Option<String>,
    /// When, in Unix milliseconds; may be in the future.
    pub at_ms: u64,
}

/// All of WhatsApp, as far as one business sees it.
#[derive(Clone, Debug)]
pub struct Model {
    numbers: Vec<BusinessNumber>,
    access_token: String,
    faults: Faults,
    rng: Rng,
    wamids: WamidMaker,
    people: People,
    schedule: Schedule,
    scripts: VecDeque<ScriptedSend>,
    withhold_statuses: bool,
    posts: Posts,
    received: VecDeque<Received>,
}

impl Model {
    /// A world in which nothing has happened yet.
    pub fn new(config: ModelConfig) -> Self {
        Self {
            numbers: config.numbers,
            access_token: config.access_token,
            faults: config.faults,
            rng: Rng::new(config.seed),
            wamids: WamidMaker::default(),
            people: People::default(),
            schedule: Schedule::default(),
            scripts: VecDeque::new(),
            withhold_statuses: false,
            posts: Posts::default(),
            received: VecDeque::new(),
        }
    }

    /// The business' numbers.
    pub fn numbers(&self) -> &[BusinessNumber] {
        &self.numbers
    }

    /// What goes wrong by chance at the moment.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Changes what goes wrong by chance, from the next event on; what is scheduled stays so.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Takes an exact order. Of `NextSend`s more than the limit (10,000) the newest are dropped.
    pub fn script(&mut self, now_ms: u64, script: Script) {
        match script {
            Script::NextSend(send) if self.scripts.len() < SCRIPTS_MAX => self.scripts.push_back(send),
            Script::NextSend(_) => {}
            Script::WithholdStatuses => self.withhold_statuses = true,
            Script::ReleaseStatuses => {
                self.withhold_statuses = false;
                self.schedule.release(now_ms);
            }
            Script::Clear => self.scripts.clear(),
        }
    }

    /// A customer writes (or reacts, or anything else with a `type`). Gives the message's wamid; its webhook becomes
    /// due within `Faults::delay_ms`.
    ///
    /// # Errors
    /// See [`CustomerError`]; nothing happened then.
    pub fn customer_writes(&mut self, now_ms: u64, action: CustomerAction) -> Result<String, CustomerError> {
        let number = self.number_index(action.number.as_deref())?;
        let phone = people::digits(&action.phone).ok_or(CustomerError::BadPhone)?;
        if !self.schedule.has_room() {
            return Err(CustomerError::Full { what: "updates waiting for delivery" });
        }
        let mut from = self.people.wrote(&phone, action.name, number, now_ms)?;
        let wamid = self.wamids.inbound(&mut self.rng, now_ms, &phone);
        if self.rng.chance(self.faults.bsuid_only) || action.hide_phone {
            from.phone = None;
        }
        let message = InboundMessage {
            from,
            wamid: wamid.clone(),
            timestamp_s: now_ms / 1_000,
            content: action.content,
        };
        self.push(now_ms, number, Update::Message(message));
        Ok(wamid)
    }

    /// When the next webhook is due, in Unix milliseconds; `None` while nothing waits.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.schedule.next_due_ms()
    }

    /// Takes the webhooks that are due, at most `limit`, in the order they became due.
    pub fn due(&mut self, now_ms: u64, limit: usize) -> Vec<Webhook> {
        let batch = self.faults.batch;
        self.schedule.take_due(now_ms, limit, &self.numbers, &mut self.rng, batch)
    }

    /// A webhook was not answered with 200: it comes again, ever more seldom, for seven days.
    pub fn not_delivered(&mut self, now_ms: u64, webhook: Webhook) -> Retry {
        let pauses_ms = (self.faults.retry_first_ms, self.faults.retry_longest_ms);
        self.schedule.again(now_ms, webhook, pauses_ms)
    }

    /// Updates not yet handed out, withheld ones included.
    pub fn pending(&self) -> usize {
        self.schedule.pending()
    }

    /// Whether nothing will become due by itself: no webhook waits or will be tried again. Withheld statuses do not
    /// count.
    pub fn is_idle(&self) -> bool {
        self.schedule.is_idle()
    }

    /// Whether `authorization` is the bearer token every Graph call must carry.
    pub fn authorizes(&self, authorization: Option<&str>) -> bool {
        authorization.and_then(|header| header.strip_prefix("Bearer ")) == Some(self.access_token.as_str())
    }

    /// Takes the messages that reached customers since the last call.
    pub fn take_received(&mut self) -> Vec<Received> {
        self.received.drain(..).collect()
    }

    /// The last 100,000 POSTs to a `messages` path, oldest first, whatever became of them.
    pub fn posts(&self) -> impl ExactSizeIterator<Item = &Post> {
        self.posts.iter()
    }

    /// How many POSTs there were in all.
    pub fn posts_total(&self) -> u64 {
        self.posts.total()
    }

    fn number_index(&self, phone_number_id: Option<&str>) -> Result<usize, CustomerError> {
        let found = match phone_number_id {
            Some(id) => self.numbers.iter().position(|number| number.phone_number_id == id),
            None => (!self.numbers.is_empty()).then_some(0),
        };
        let unknown = || CustomerError::UnknownNumber {
            phone_number_id: phone_number_id.unwrap_or_default().to_owned(),
        };
        found.ok_or_else(unknown)
    }

    /// Schedules an update that happens at `at_ms`, with this moment's delays, overtaking and repeats.
    fn push(&mut self, at_ms: u64, number: usize, update: Update) {
        /// Repeats of one update; the chance of one more is the same each time, so there must be an end.
        const REPEATS_MAX: usize = 3;
        let mut due_ms = at_ms + self.rng.ms(self.faults.delay_ms);
        if self.rng.chance(self.faults.shuffle) {
            due_ms += self.rng.ms(self.faults.shuffle_ms);
        }
        let mut again_ms = due_ms;
        for _ in 0..REPEATS_MAX {
            if !self.rng.chance(self.faults.repeat) {
                break;
            }
            again_ms += self.rng.ms(self.faults.repeat_after_ms);
            self.schedule.push(again_ms, number, update.clone());
        }
        self.schedule.push(due_ms, number, update);
    }

    fn note_received(&mut self, received: Received) {
        if self.received.len() == RECEIVED_MAX {
            self.received.pop_front();
        }
        self.received.push_back(received);
    }
}

#[cfg(test)]
mod tests;
