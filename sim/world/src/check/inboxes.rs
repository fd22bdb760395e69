//! P2: each inbox is one sequence, the same whoever reads it and whenever; what was once there stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::invariant::InvariantId;
use schemas::{ConversationId, Event};

use super::Findings;
use crate::history::{Entry, essence};

/// What was ever seen of each inbox.
#[derive(Default)]
pub(super) struct Inboxes {
    seen: BTreeMap<(String, u64), Arc<Event>>,
    /// The newest number ever seen.
    heads: BTreeMap<String, u64>,
    /// The dump that is being read: what each user has of each conversation.
    conversations: BTreeMap<ConversationId, BTreeMap<String, Vec<String>>>,
}

impl Inboxes {
    pub(super) fn heads(&self) -> &BTreeMap<String, u64> {
        &self.heads
    }

    pub(super) fn see(&mut self, line: usize, entry: &Entry, findings: &mut Findings) {
        match entry {
            Entry::Delivered { user, event, .. } => self.event(line, user, event, findings),
            Entry::Started => self.conversations.clear(),
            Entry::Inbox { user, head, events } => self.inbox(line, user, *head, events, findings),
            Entry::Statuses(_) => self.compare(line, findings),
            _ => {}
        }
    }

    fn event(&mut self, line: usize, user: &str, event: &Arc<Event>, findings: &mut Findings) {
        let seq = event.seq.unwrap_or_default().0;
        let head = self.heads.entry(user.to_owned()).or_default();
        *head = (*head).max(seq);
        let before = self.seen.entry((user.to_owned(), seq)).or_insert_with(|| event.clone());
        if before != event {
            let what = format!("{user}'s {seq} was `{}` and is `{}`", essence(before), essence(event));
            findings.add(InvariantId::P2, line, what);
        }
    }

    fn inbox(&mut self, line: usize, user: &str, head: u64, events: &[Arc<Event>], findings: &mut Findings) {
        for (index, event) in events.iter().enumerate() {
            let seq = event.seq.unwrap_or_default().0;
            if seq != index as u64 + 1 {
                let what = format!("{user}'s inbox has {seq} where {} should stand", index + 1);
                findings.add(InvariantId::P2, line, what);
                return;
            }
            self.event(line, user, event, findings);
            if let Some(conversation) = event.conversation {
                let of_users = self.conversations.entry(conversation).or_default();
                let what = format!("{} {:?}", event.id, event.data);
                of_users.entry(user.to_owned()).or_default().push(what);
            }
        }
        let last = events.len() as u64;
        if head != last {
            findings.add(InvariantId::P2, line, format!("{user}'s head is {head}, the last event is {last}"));
        }
        let known = self.heads.get(user).copied().unwrap_or_default();
        if last < known {
            let what = format!("{user}'s inbox ends at {last}, {known} had been seen");
            findings.add(InvariantId::P1, line, what);
        }
    }

    /// All members of a conversation have the same of it, in the same order.
    fn compare(&self, line: usize, findings: &mut Findings) {
        for (conversation, of_users) in &self.conversations {
            let mut lists = of_users.iter();
            let Some((one, events)) = lists.next() else { continue };
            for (other, others) in lists.filter(|(_, others)| *others != events) {
                let what = format!(
                    "{one} and {other} differ in {conversation}: {} and {} events",
                    events.len(),
                    others.len()
                );
                findings.add(InvariantId::P2, line, what);
            }
        }
    }
}
