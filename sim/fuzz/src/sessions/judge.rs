//! What an honest client may expect: P1 (acknowledged = stored), P2 and P3 (every number, in order, cursors by
//! acknowledgement), QoS 2 exactly once both ways, order per topic. I7, I8, O1, O4.
//!
//! Not here: how the machine does it.

use std::collections::{BTreeMap, BTreeSet};

use sim::mqtt::client::{Due, Got};
use sim::mqtt::read::Published;
use sim::mqtt::{V5, V311};

use super::shop::Disk;
use crate::Finding;

/// A publish of the client.
#[derive(Clone, Debug)]
struct Sent {
    key: u64,
    topic: &'static str,
    qos: u8,
    /// The client has thrown its session away since.
    forgotten: bool,
}

/// See the module.
pub(super) struct Judge {
    level: u8,
    qos: u8,
    next_key: u64,
    sent: BTreeMap<u64, Sent>,
    /// The inbox subscription is there, as far as the client knows.
    subscribed: bool,
    /// Numbers that the client got, of the present session.
    got: BTreeSet<u64>,
    /// Where its subscription started.
    base: Option<u64>,
    /// Newest number of the inbox that it got.
    newest: u64,
    /// Packet identifier → number of inbox deliveries.
    ids: BTreeMap<u16, u64>,
    acked: BTreeSet<u64>,
    /// Keys that came through the queue, of the present session.
    own: BTreeSet<u64>,
    newest_own: BTreeMap<(String, bool), u64>,
    effects_seen: usize,
    effects: BTreeMap<u64, u64>,
    newest_effect: BTreeMap<(String, u8), u64>,
    pub(super) delivered: u64,
    pub(super) again: u64,
    pub(super) finished: u64,
}

fn finding(what: String) -> Result<(), Finding> {
    Err(Finding(what))
}

/// The number of an event in its JSON.
fn seq_of(payload: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    value.get("seq")?.as_u64()
}

impl Judge {
    pub(super) fn new(level: u8, qos: u8) -> Self {
        debug_assert!(level == V5 || level == V311);
        Self {
            level,
            qos,
            next_key: 1,
            sent: BTreeMap::new(),
            subscribed: false,
            got: BTreeSet::new(),
            base: None,
            newest: 0,
            ids: BTreeMap::new(),
            acked: BTreeSet::new(),
            own: BTreeSet::new(),
            newest_own: BTreeMap::new(),
            effects_seen: 0,
            effects: BTreeMap::new(),
            newest_effect: BTreeMap::new(),
            delivered: 0,
            again: 0,
            finished: 0,
        }
    }

    /// A CONNECT that throws the session away is on its way.
    pub(super) fn start_anew(&mut self) {
        self.subscribed = false;
        self.got.clear();
        self.base = None;
        self.newest = 0;
        self.ids.clear();
        self.acked.clear();
        self.own.clear();
        self.newest_own.clear();
        for sent in self.sent.values_mut() {
            sent.forgotten = true;
        }
    }

    pub(super) fn next_payload(&self) -> Vec<u8> {
        self.next_key.to_string().into_bytes()
    }

    pub(super) fn published(&mut self, number: u64, topic: &'static str, qos: u8) {
        let key = self.next_key;
        self.next_key += 1;
        self.sent.insert(number, Sent { key, topic, qos, forgotten: false });
    }

    pub(super) fn acknowledges(&mut self, due: Due) {
        if matches!(due.first, 0x40 | 0x50)
            && let Some(n) = self.ids.get(&due.id)
        {
            self.acked.insert(*n);
        }
    }

    /// Something came; `Some(true)`: the client has to subscribe.
    pub(super) fn got(&mut self, got: &Got, disk: &Disk) -> Result<Option<bool>, Finding> {
        match got {
            Got::Connected { code: 0, present } => {
                if !present {
                    self.subscribed = false;
                }
                return Ok((!self.subscribed).then_some(true));
            }
            Got::Subscribed(codes) => {
                if codes.iter().any(|code| *code != self.qos) {
                    finding(format!("filters granted as {codes:?}"))?;
                }
                self.subscribed = true;
                self.base.get_or_insert(disk.acked.inbox);
            }
            Got::Message(message) if message.topic == super::FILTERS[0] => self.event(message, disk)?,
            Got::Message(message) => self.own(message)?,
            Got::Repeated(message) if !message.dup => {
                finding(format!("{} again without DUP", message.id))?;
            }
            Got::Repeated(_) => self.again += 1,
            Got::Received(number) => self.stored(*number, 0, disk)?,
            Got::Published(number, reason) => {
                self.finished += 1;
                // PUBCOMP of what was released before: the effect was looked for at PUBREC.
                let reason = if *reason == 0x92 { 0 } else { *reason };
                self.stored(*number, reason, disk)?;
            }
            Got::Connected { .. } | Got::Disconnected(_) | Got::Other => {}
        }
        Ok(None)
    }

    /// P1: what is acknowledged is on disk, or was refused.
    fn stored(&mut self, number: u64, reason: u8, disk: &Disk) -> Result<(), Finding> {
        self.take_effects(disk)?;
        let Some(sent) = self.sent.get(&number) else {
            return finding(format!("the end of publish {number}, which there is not"));
        };
        let denied = sent.topic.starts_with("denied");
        let times = self.effects.get(&sent.key).copied().unwrap_or(0);
        let right = if denied {
            times == 0 && (reason == 0x87 || self.level == V311 || sent.qos == 2 && reason == 0)
        } else {
            times >= 1 && reason < 0x80
        };
        if right {
            Ok(())
        } else {
            finding(format!("{sent:?} acknowledged with {reason:#x}, stored {times} times"))
        }
    }

    /// What was stored since the last look: QoS 2 once; each topic in the order of sending.
    fn take_effects(&mut self, disk: &Disk) -> Result<(), Finding> {
        for message in &disk.effects[self.effects_seen..] {
            let key = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
            let Some(key) = key else { return finding("stored what nobody sent".to_owned()) };
            let times = self.effects.entry(key).or_default();
            *times += 1;
            if *times == 1 && message.qos as u8 > 0 {
                let newest =
                    self.newest_effect.entry((message.topic.to_string(), message.qos as u8)).or_default();
                if key < *newest {
                    return finding(format!("{key} stored after {newest} on {}", message.topic));
                }
                *newest = key;
            }
            let again = *times;
            if message.qos as u8 == 2 && again > 1 {
                return finding(format!("{key} stored {again} times at QoS 2"));
            }
        }
        self.effects_seen = disk.effects.len();
        Ok(())
    }

    fn event(&mut self, message: &Published, disk: &Disk) -> Result<(), Finding> {
        let Some(n) = seq_of(&message.payload) else {
            return finding("an event without a number".to_owned());
        };
        self.delivered += 1;
        let base = *self.base.get_or_insert(disk.acked.inbox);
        self.ids.insert(message.id, n);
        if message.qos != self.qos {
            return finding(format!("event {n} at QoS {}", message.qos));
        }
        if !self.got.insert(n) {
            self.again += 1;
            return match (self.qos, message.dup) {
                (2, _) => finding(format!("event {n} a second time at QoS 2")),
                (_, false) => finding(format!("event {n} again without DUP")),
                _ => Ok(()),
            };
        }
        let next = self.newest.max(base) + 1;
        if n != next {
            return finding(format!("event {n} where {next} should come"));
        }
        self.newest = n;
        Ok(())
    }

    fn own(&mut self, message: &Published) -> Result<(), Finding> {
        let key: Option<u64> = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
        let Some(key) = key.filter(|_| message.qos > 0) else { return Ok(()) };
        self.delivered += 1;
        // The store keeps messages of QoS 1 as often as they came.
        let at_qos_1 = self.sent.values().any(|sent| sent.key == key && sent.qos == 1);
        if !self.own.insert(key) {
            self.again += 1;
            return match (message.qos, at_qos_1) {
                (2, false) => finding(format!("message {key} a second time at QoS 2")),
                _ => Ok(()),
            };
        }
        let newest = self.newest_own.entry((message.topic.clone(), at_qos_1)).or_default();
        if key < *newest {
            return finding(format!("message {key} after {newest} on {}", message.topic));
        }
        *newest = key;
        Ok(())
    }

    /// P3: no cursor beyond what the client acknowledged.
    pub(super) fn look(&mut self, disk: &Disk) -> Result<(), Finding> {
        self.take_effects(disk)?;
        if let Some(base) = self.base {
            let acked = (base + 1..).take_while(|n| self.acked.contains(n)).count() as u64;
            if disk.acked.inbox > base + acked {
                let (at, to) = (disk.acked.inbox, base + acked);
                return finding(format!("P3: the cursor is at {at}, acknowledged is {to}"));
            }
        }
        Ok(())
    }

    pub(super) fn rests(&self, disk: &Disk) -> bool {
        self.subscribed
            && self.newest.max(self.base.unwrap_or(0)) == disk.head
            && disk.acked.inbox == disk.head
    }

    pub(super) fn state(&self, disk: &Disk) -> String {
        let (newest, acked, head) = (self.newest, disk.acked.inbox, disk.head);
        format!("subscribed {}, got {newest}, cursor {acked}, head {head}", self.subscribed)
    }

    /// Everything that was not thrown away took effect, and no identifier is left over.
    pub(super) fn end(&self, disk: &Disk) -> Result<(), Finding> {
        for sent in self.sent.values().filter(|s| s.qos > 0 && !s.forgotten && !s.topic.starts_with("denied"))
        {
            let times = self.effects.get(&sent.key).copied().unwrap_or(0);
            if times == 0 || (sent.qos == 2 && times != 1) {
                return finding(format!("{sent:?} stored {times} times"));
            }
        }
        match disk.packets.first() {
            Some(left) => finding(format!("packet identifier {left} is still taken")),
            None => Ok(()),
        }
    }
}
