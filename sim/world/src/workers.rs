//! O5–O7, I3. What works on its own at the server: the sender and the worker of journaled webhooks.
//!
//! The sender follows the contract with `on_unknown = "hold"`: an attempt is on disk before its POST, one that was
//! left open is unknown and never made again. Not here: the real ones (`bridge`), WhatsApp itself (`whatsapp`).

use std::collections::BTreeSet;

use schemas::MessageId;
use store::{CommitResult, JournalApply, Op, Outcome, SendEnd, SendResult, SendState, Update};

use crate::Bug;
use crate::history::Call;
use crate::node::{Purpose, Sending};
use crate::world::{Happening, World};

/// Sends looked at in one go.
const SENDS_PAGE: usize = 200;
/// An unknown attempt holds its person back for this long (the contract's 10 minutes, made short).
const UNKNOWN_AFTER_MS: u64 = 400;
/// Updates applied in one part of a journaled webhook: small, so that crashes fall between parts.
const PART: u64 = 3;

impl World {
    /// O5. The sender looks at what is open.
    pub(crate) fn sender_looks(&mut self, life: u64) {
        let now = self.clock();
        let Some(node) = self.node.as_mut().filter(|node| node.life == life) else { return };
        // An error of reading shows in the inboxes, too; the sender looks again later.
        let Ok(open) = node.stepper.open_sends(None, SENDS_PAGE) else { return };
        let busy = |send: &store::OpenSend| node.sends.contains_key(&send.message);
        let mut persons: BTreeSet<_> = open.iter().filter(|s| busy(s)).map(|s| s.contact).collect();
        let fresh: Vec<_> = open.iter().filter(|s| !busy(s)).cloned().collect();
        for send in fresh {
            match send.state {
                SendState::Queued { due } if due > now => {
                    self.after(due.0 - now.0, Happening::SenderLooks(life));
                    persons.insert(send.contact);
                }
                SendState::Queued { .. } => {
                    if !persons.insert(send.contact) {
                        continue;
                    }
                    self.start_send(send.message);
                    if self.config.bug == Some(Bug::PostBeforeStart) {
                        self.mark_send(send.message, Sending::Posting);
                        self.post(life, &send);
                    }
                }
                // Left open by an earlier life.
                SendState::Attempting { .. } => {
                    persons.insert(send.contact);
                    self.end_send(send.message, SendResult::Unknown);
                }
                SendState::Unknown { .. } => {
                    persons.insert(send.contact);
                    self.hold(life, send.message);
                }
            }
        }
    }

    fn start_send(&mut self, message: MessageId) {
        self.mark_send(message, Sending::Starting);
        // Somebody may ask twice; only one may be told to go on.
        let times = 1 + u64::from(self.rng.chance(self.weather.duplicate));
        for _ in 0..times {
            self.submit(Call::SendStart(message), Op::SendStart(message), Purpose::SendStart(message));
        }
    }

    fn mark_send(&mut self, message: MessageId, sending: Sending) {
        if let Some(node) = &mut self.node {
            node.sends.insert(message, sending);
        }
    }

    /// O6. The attempt is on disk: now the POST.
    pub(crate) fn send_started(&mut self, message: MessageId, result: CommitResult) {
        let Some(node) = &mut self.node else { return };
        let life = node.life;
        match result {
            Ok(Outcome::SendStarted(Some(_))) if self.config.bug == Some(Bug::PostBeforeStart) => {}
            Ok(Outcome::SendStarted(Some(send))) => {
                self.mark_send(message, Sending::Posting);
                self.post(life, &send);
            }
            _ if node.sends.get(&message) == Some(&Sending::Starting) => {
                node.sends.remove(&message);
            }
            _ => {}
        }
    }

    /// O7. WhatsApp answered, or did not in time.
    pub(crate) fn post_answered(&mut self, life: u64, message: MessageId, result: SendResult) {
        if self.node.as_ref().is_some_and(|node| node.life == life) {
            self.end_send(message, result);
        }
    }

    fn end_send(&mut self, message: MessageId, result: SendResult) {
        self.mark_send(message, Sending::Ending);
        self.marks.unknown_sends += u64::from(result == SendResult::Unknown);
        let end = SendEnd { message, result: result.clone() };
        self.submit(Call::SendEnd(message, result), Op::SendEnd(end), Purpose::SendEnd(message));
    }

    pub(crate) fn send_ended(&mut self, message: MessageId) {
        let Some(node) = &mut self.node else { return };
        node.sends.remove(&message);
        let life = node.life;
        self.sender_looks(life);
    }

    fn hold(&mut self, life: u64, message: MessageId) {
        self.mark_send(message, Sending::Held);
        self.after(UNKNOWN_AFTER_MS, Happening::ReleaseSend { life, message });
    }

    pub(crate) fn release_send(&mut self, life: u64, message: MessageId) {
        if self.node.as_ref().is_some_and(|node| node.life == life) {
            self.end_send(message, SendResult::Release);
        }
    }

    /// I3. The worker takes the oldest webhook that is not worked off.
    pub(crate) fn worker_looks(&mut self, life: u64) {
        let part = 1 + self.rng.below(PART);
        let Some(node) = self.node.as_mut().filter(|node| node.life == life && !node.applying) else {
            return;
        };
        let Ok(open) = node.stepper.open_journal() else { return };
        let Some(journal) = open.into_iter().next() else { return };
        node.applying = true;
        let webhook = std::str::from_utf8(&journal.body).ok().and_then(|text| text.parse::<usize>().ok());
        let places = webhook.map(|w| self.whatsapp.webhooks[w].updates.clone()).unwrap_or_default();
        let done = usize::try_from(journal.done).unwrap_or(usize::MAX).min(places.len());
        let end = (done + usize::try_from(part).unwrap_or(1)).min(places.len());
        let updates: Vec<Update> =
            places[done..end].iter().map(|place| self.whatsapp.updates[*place].clone()).collect();
        let apply =
            JournalApply { journal: journal.id, from: journal.done, updates, last: end == places.len() };
        self.submit(Call::Apply(journal.id), Op::JournalApply(apply), Purpose::Apply);
    }

    pub(crate) fn applied(&mut self) {
        let Some(node) = &mut self.node else { return };
        node.applying = false;
        let life = node.life;
        self.on_the_way(Happening::WorkerLooks(life));
    }
}
