//! I1, O6, O8 as effects: customers who write, a WhatsApp that tells everything in webhooks until it gets a 200, and
//! that takes, refuses or loses POSTs.
//!
//! Not here: Meta's JSON and signatures (`sim::whatsapp`), translation (`bridge`).

use std::collections::VecDeque;

use schemas::message::{Kind, MessageError};
use schemas::{MessageId, Millis, Status, Wamid};
use store::{Inbound, JournalOp, Op, OpenSend, Person, SendResult, StatusUpdate, Update, WebhookOp};

use crate::history::{Answer, Call, Entry, Posted};
use crate::node::Purpose;
use crate::world::{CUSTOMERS, Happening, World, number_id, phone_of};

/// Most updates WhatsApp puts into one webhook here.
const UPDATES_MAX: u64 = 8;
/// WhatsApp tells a webhook again after this long without a 200.
const TIMEOUT_MS: u64 = 200;
/// Between two webhooks.
const WEBHOOK_EVERY_MS: u64 = 40;
/// Longest pause of a customer between two messages.
const PAUSE_MS: u64 = 120;
/// A status comes up to this long after the message was taken: before or after the answer to the POST.
const STATUS_WITHIN_MS: u64 = 300;
/// After 429: not before.
const RETRY_AFTER_MS: u64 = 80;
/// The sender waits this long for an answer to its POST.
const POST_TIMEOUT_MS: u64 = 250;

/// What WhatsApp knows.
#[derive(Default)]
pub(crate) struct WhatsApp {
    /// All that ever happened; webhooks name updates by their place.
    pub(crate) updates: Vec<Update>,
    /// Not told yet.
    pub(crate) pending: VecDeque<usize>,
    pub(crate) webhooks: Vec<Webhook>,
    inbound: u64,
    taken: u64,
}

/// A webhook on its way.
pub(crate) struct Webhook {
    pub(crate) updates: Vec<usize>,
    journaled: bool,
    pub(crate) answered: bool,
    attempt: u32,
}

impl World {
    /// A customer writes, if there is something left to do in this run.
    pub(crate) fn customer_writes(&mut self, customer: u64) {
        if !self.take_action() {
            return;
        }
        let number = self.whatsapp.inbound;
        self.whatsapp.inbound += 1;
        // Known by phone, by WhatsApp's id, or by both; a name that changes now and then.
        let dice = self.rng.below(4);
        let name = format!(
            "Customer {customer}{}",
            ["", "", "", " B."][usize::try_from(self.rng.below(4)).unwrap_or(0)]
        );
        let person = Person {
            phone: (dice != 0).then(|| phone_of(customer)),
            user_id: (dice <= 1).then(|| format!("bsuid.{customer}")),
            name: Some(name),
            ..Person::default()
        };
        self.tell(Update::Message(Box::new(Inbound {
            number: number_id(),
            person,
            wamid: Wamid::new(&format!("in.{number}")).expect("short and printable"),
            at: Millis(self.now),
            kind: Kind::Text,
            text: Some(format!("question {number}")),
            media: None,
            payload: None,
            reply_to: None,
        })));
        let pause = self.rng.below(PAUSE_MS);
        self.after(pause, Happening::CustomerWrites(customer));
    }

    /// Something is to be told in a webhook.
    pub(crate) fn tell(&mut self, update: Update) {
        self.whatsapp.updates.push(update);
        self.whatsapp.pending.push_back(self.whatsapp.updates.len() - 1);
    }

    /// WhatsApp makes a webhook of what is pending.
    pub(crate) fn make_webhook(&mut self) {
        let pause = 1 + self.rng.below(WEBHOOK_EVERY_MS);
        self.after(pause, Happening::MakeWebhook);
        if self.whatsapp.pending.is_empty() {
            return;
        }
        let count = 1 + self.rng.below(UPDATES_MAX);
        let mut updates = Vec::new();
        for _ in 0..count.min(self.whatsapp.pending.len() as u64) {
            let shuffled = self.rng.chance(self.weather.shuffle);
            let any = self.rng.below(self.whatsapp.pending.len() as u64);
            let place = if shuffled { usize::try_from(any).unwrap_or(0) } else { 0 };
            updates.extend(self.whatsapp.pending.remove(place));
            if self.rng.chance(self.weather.duplicate) {
                let again = self.rng.below(self.whatsapp.updates.len() as u64);
                let again = usize::try_from(again).unwrap_or(0);
                // Only what was told before is told again; what is pending comes later anyway.
                if !self.whatsapp.pending.contains(&again) {
                    updates.push(again);
                }
            }
        }
        let journaled = self.rng.chance(self.weather.journal);
        self.whatsapp.webhooks.push(Webhook { updates, journaled, answered: false, attempt: 0 });
        self.send_webhook(self.whatsapp.webhooks.len() - 1);
    }

    fn send_webhook(&mut self, webhook: usize) {
        let on_its_way = &mut self.whatsapp.webhooks[webhook];
        on_its_way.attempt += 1;
        let attempt = on_its_way.attempt;
        if !self.rng.chance(self.weather.loss) {
            self.on_the_way(Happening::WebhookArrives(webhook));
        }
        self.after(TIMEOUT_MS, Happening::WebhookTimeout { webhook, attempt });
    }

    pub(crate) fn webhook_timeout(&mut self, webhook: usize, attempt: u32) {
        let on_its_way = &self.whatsapp.webhooks[webhook];
        if !on_its_way.answered && on_its_way.attempt == attempt {
            self.send_webhook(webhook);
        }
    }

    /// I3.
    pub(crate) fn webhook_arrives(&mut self, webhook: usize) {
        let on_its_way = &self.whatsapp.webhooks[webhook];
        let updates: Vec<Update> =
            on_its_way.updates.iter().map(|place| self.whatsapp.updates[*place].clone()).collect();
        let journaled = on_its_way.journaled;
        // The body is the webhook's number: what the worker finds its updates by.
        let body = webhook.to_string().into_bytes().into();
        let received_us = self.now * 1000;
        let call = Call::Webhook { updates: updates.clone(), journaled };
        let op = if journaled {
            Op::Journal(JournalOp { body, received_us })
        } else {
            Op::Webhook(WebhookOp { body, updates, received_us })
        };
        self.submit(call, op, Purpose::Webhook { webhook });
    }

    /// I4. WhatsApp got an answer.
    pub(crate) fn webhook_reply(&mut self, webhook: usize, answer: &Answer) {
        if *answer != Answer::Done {
            return;
        }
        let first = !std::mem::replace(&mut self.whatsapp.webhooks[webhook].answered, true);
        if first && self.rng.chance(self.weather.duplicate) {
            self.on_the_way(Happening::WebhookArrives(webhook));
        }
    }

    /// O6. A POST is made; what becomes of it comes back to the sender of that life, or never.
    pub(crate) fn post(&mut self, life: u64, send: &OpenSend) {
        let message = send.message;
        let lost = self.rng.chance(self.weather.post_loss);
        let answer_lost = self.rng.chance(self.weather.post_loss);
        let refused = self.rng.chance(self.weather.post_refusal);
        let for_good = self.rng.chance(0.5);
        let (posted, result) = match (lost, refused, for_good) {
            (true, ..) => (Posted::LostOnTheWay, SendResult::Unknown),
            (_, true, false) => (Posted::TooFast, SendResult::RetryAt(Millis(self.now + RETRY_AFTER_MS))),
            (_, true, true) => (Posted::Refused, SendResult::Failed(refusal())),
            _ => {
                let wamid = Wamid::new(&format!("out.{}", self.whatsapp.taken)).expect("short and printable");
                self.whatsapp.taken += 1;
                self.schedule_statuses(message, &wamid);
                (Posted::Taken, SendResult::Accepted(wamid))
            }
        };
        self.history(Entry::Post(message, posted));
        let (delay, result) =
            if lost || answer_lost { (POST_TIMEOUT_MS, SendResult::Unknown) } else { (self.delay(), result) };
        self.after(delay, Happening::PostAnswered { life, message, result });
    }

    fn schedule_statuses(&mut self, message: MessageId, wamid: &Wamid) {
        let last = self.rng.below(4);
        let fails = self.rng.chance(self.weather.post_refusal);
        let mut all =
            [Status::Sent, Status::Delivered, Status::Read][..usize::try_from(last).unwrap_or(0)].to_vec();
        if fails {
            all.push(Status::Failed);
        }
        for status in all {
            let named = self.rng.chance(0.5);
            let update = StatusUpdate {
                number: number_id(),
                wamid: wamid.clone(),
                message: named.then_some(message),
                status,
                at: Millis(self.now),
                error: (status == Status::Failed).then(refusal),
            };
            let within = self.rng.below(STATUS_WITHIN_MS);
            self.after(within, Happening::Told(Box::new(Update::Status(Box::new(update)))));
        }
    }

    /// Customers start writing and WhatsApp starts telling.
    pub(crate) fn start_whatsapp(&mut self) {
        for customer in 0..CUSTOMERS {
            let pause = self.rng.below(PAUSE_MS);
            self.after(pause, Happening::CustomerWrites(customer));
        }
        self.after(0, Happening::MakeWebhook);
    }
}

fn refusal() -> MessageError {
    MessageError {
        code: "whatsapp_131026".to_owned(),
        title: "undeliverable".to_owned(),
        detail: None,
        meta_code: None,
    }
}
