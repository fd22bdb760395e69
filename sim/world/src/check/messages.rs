//! P1, P4, P5, P6: what was acknowledged is there, each command and each update had its effect once, statuses moved
//! by the rule, nothing was posted twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::invariant::InvariantId;
use schemas::{Event, EventData, MessageId, Status, Wamid};
use store::{SendResult, StatusUpdate, Update};

use super::Findings;
use crate::history::{Answer, Call, Entry, Posted};

/// What is known of commands, updates and messages.
#[derive(Default)]
pub(super) struct Messages {
    calls: BTreeMap<u64, Call>,
    /// Commands ever given, with the message they were said to have made.
    commands: BTreeMap<String, Option<MessageId>>,
    /// Commands that were answered as carried out now.
    carried_out: BTreeSet<String>,
    /// Messages that somebody was told of, with the user whose inbox must have them.
    acknowledged: BTreeSet<(String, MessageId)>,
    /// Updates that WhatsApp was told to be safe; the journaled ones take effect later.
    safe: Vec<Update>,
    safe_later: Vec<Update>,
    told: BTreeSet<Wamid>,
    told_statuses: Vec<StatusUpdate>,
    /// wamids that the store was told for a message, and knows for certain.
    names: BTreeMap<Wamid, MessageId>,
    ends: BTreeSet<(MessageId, Status)>,
    posts: BTreeMap<MessageId, Vec<Posted>>,
    statuses: BTreeMap<MessageId, Status>,
}

/// The contract's table of statuses, written down once more: what may follow what.
fn may_follow(from: Status, to: Status) -> bool {
    use Status::{Delivered, Failed, Played, Read, Sending, Sent, Unknown};
    match from {
        Sending => to != Sending,
        Unknown => !matches!(to, Sending | Unknown),
        Sent => matches!(to, Failed | Delivered | Read | Played),
        Failed => matches!(to, Delivered | Read | Played),
        Delivered => matches!(to, Read | Played),
        Read => to == Played,
        Played => false,
    }
}

impl Messages {
    pub(super) fn see(&mut self, line: usize, entry: &Entry, findings: &mut Findings) {
        match entry {
            Entry::Call(call, what) => self.call(*call, what),
            Entry::Answer(call, answer) => self.answer(line, *call, answer, findings),
            Entry::Post(message, posted) => {
                let before = self.posts.entry(*message).or_default();
                // Refused for now is the only answer after which another attempt is allowed.
                if before.iter().any(|posted| *posted != Posted::TooFast) {
                    findings.add(
                        InvariantId::P6,
                        line,
                        format!("{message} is posted again after {before:?}"),
                    );
                }
                before.push(*posted);
            }
            Entry::Inbox { user, events, .. } => self.inbox(line, user, events, findings),
            Entry::Statuses(statuses) => {
                for (message, status) in statuses {
                    let before = self.statuses.insert(*message, *status).unwrap_or(*status);
                    if before != *status && !may_follow(before, *status) {
                        let what = format!("{message} was {before:?} and is {status:?}");
                        findings.add(InvariantId::P5, line, what);
                    }
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, call: u64, what: &Call) {
        match what {
            Call::Command { id, .. } => {
                self.commands.entry(id.clone()).or_default();
            }
            Call::Webhook { updates, .. } => {
                for update in updates {
                    match update {
                        Update::Message(inbound) => {
                            self.told.insert(inbound.wamid.clone());
                        }
                        Update::Status(status) => self.told_statuses.push(StatusUpdate::clone(status)),
                    }
                }
            }
            Call::SendEnd(message, SendResult::Unknown) => {
                self.ends.insert((*message, Status::Unknown));
            }
            Call::SendEnd(message, SendResult::Failed(_)) => {
                self.ends.insert((*message, Status::Failed));
            }
            _ => {}
        }
        self.calls.insert(call, what.clone());
    }

    fn answer(&mut self, line: usize, call: u64, answer: &Answer, findings: &mut Findings) {
        match (self.calls.get(&call), answer) {
            (Some(Call::Command { user, id, .. }), Answer::Command { message, repeated }) => {
                let before = self.commands.entry(id.clone()).or_default();
                if before.is_some() && before != message {
                    let what = format!("{id} made {before:?}, and again {message:?}");
                    findings.add(InvariantId::P4, line, what);
                }
                *before = *message;
                if !repeated && !self.carried_out.insert(id.clone()) {
                    findings.add(InvariantId::P4, line, format!("{id} was carried out twice"));
                }
                self.acknowledged.extend(message.map(|message| (user.clone(), message)));
            }
            (Some(Call::Webhook { updates, journaled }), Answer::Done) => {
                let safe = if *journaled { &mut self.safe_later } else { &mut self.safe };
                safe.extend(updates.iter().cloned());
            }
            (Some(Call::SendEnd(message, SendResult::Accepted(wamid))), Answer::Done) => {
                self.names.insert(wamid.clone(), *message);
            }
            _ => {}
        }
    }

    fn inbox(&mut self, line: usize, user: &str, events: &[Arc<Event>], findings: &mut Findings) {
        let mut messages = BTreeSet::new();
        let mut commands = BTreeSet::new();
        let mut wamids = BTreeSet::new();
        // Of each message: its status and whether it has its wamid.
        let mut states: BTreeMap<MessageId, (Status, bool)> = BTreeMap::new();
        let mut broken = |promise, what| findings.add(promise, line, format!("{user}'s inbox: {what}"));
        for event in events {
            match &event.data {
                EventData::MessageCreated(message) => {
                    messages.insert(message.id);
                    states.insert(message.id, (message.status, message.wamid.is_some()));
                    if let Some(id) = &message.command_id {
                        if !commands.insert(id.clone()) {
                            broken(InvariantId::P4, format!("two messages of command {id}"));
                        }
                        if !self.commands.contains_key(id.as_str()) {
                            broken(InvariantId::P4, format!("nobody gave command {id}"));
                        }
                    }
                    if let Some(wamid) = &message.wamid {
                        if !wamids.insert(wamid.clone()) {
                            broken(InvariantId::P5, format!("{wamid} is there twice"));
                        }
                        if !self.told.contains(wamid) {
                            broken(InvariantId::P5, format!("nobody told of {wamid}"));
                        }
                    }
                }
                EventData::MessageStatus { message, status, wamid, .. } => {
                    let Some((before, named)) = states.insert(*message, (*status, wamid.is_some())) else {
                        broken(InvariantId::P5, format!("a status of {message} before the message"));
                        continue;
                    };
                    // An event may tell the wamid alone.
                    let names = before == *status && !named && wamid.is_some();
                    if !names && !may_follow(before, *status) {
                        broken(InvariantId::P5, format!("{message} goes from {before:?} to {status:?}"));
                    }
                    if before != *status && !self.was_told(*message, wamid.as_ref(), *status) {
                        broken(InvariantId::P5, format!("nobody told that {message} is {status:?}"));
                    }
                }
                _ => {}
            }
        }
        for (_, message) in self.acknowledged.iter().filter(|(owner, _)| owner == user) {
            if !messages.contains(message) {
                broken(InvariantId::P1, format!("{message} was acknowledged and is not there"));
            }
        }
        for wamid in self.safe.iter().filter_map(wamid_of_message) {
            if !wamids.contains(wamid) {
                broken(InvariantId::P1, format!("{wamid} was acknowledged and is not there"));
            }
        }
    }

    fn was_told(&self, message: MessageId, wamid: Option<&Wamid>, status: Status) -> bool {
        let by_whatsapp = self.told_statuses.iter().any(|told| {
            told.status == status && (told.message == Some(message) || Some(&told.wamid) == wamid)
        });
        by_whatsapp || self.ends.contains(&(message, status))
    }

    /// At rest also what was to be worked off later has its effect.
    pub(super) fn end(&self, line: usize, findings: &mut Findings) {
        let safe: Vec<&Update> = self.safe.iter().chain(&self.safe_later).collect();
        let statuses: Vec<&StatusUpdate> = safe
            .iter()
            .filter_map(|update| match update {
                Update::Status(status) => Some(&**status),
                Update::Message(_) => None,
            })
            .collect();
        let mut names = self.names.clone();
        names.extend(statuses.iter().filter_map(|s| Some((s.wamid.clone(), s.message?))));
        for status in statuses {
            let Some(message) = status.message.or_else(|| names.get(&status.wamid).copied()) else {
                continue;
            };
            let Some(last) = self.statuses.get(&message) else { continue };
            if may_follow(*last, status.status) {
                let what = format!("{message} rests at {last:?}, {:?} was acknowledged", status.status);
                findings.add(InvariantId::P5, line, what);
            }
        }
    }
}

fn wamid_of_message(update: &Update) -> Option<&Wamid> {
    match update {
        Update::Message(inbound) => Some(&inbound.wamid),
        Update::Status(_) => None,
    }
}
