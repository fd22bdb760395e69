//! Judges a history of sessions by what inboxd promises and by nothing else. It knows no store, no machine.
//!
//! P1: acknowledged is stored, so it arrives. P2, P3: events in order without a gap, again only with DUP, cursors by
//! acknowledgement. P4: a command, a publish at QoS 2 and a will take effect once. Not here: what rows alone can break
//! (`store::verify`, whose findings stand in the history).

use std::collections::{BTreeMap, BTreeSet};

use schemas::invariant::InvariantId;

use super::{Entry, What};
use crate::Violation;

/// A publish.
struct Sent {
    topic: String,
    qos: u8,
    expires: bool,
    stored: bool,
}

#[derive(Default)]
struct Device {
    /// Newest event it got, all before included.
    newest: u64,
    acked: BTreeSet<u64>,
    /// Everything that it got at least once.
    got: BTreeSet<(usize, u64)>,
    wills: BTreeSet<u64>,
    /// Topic, publisher and QoS of the publish → newest key. `[v5:4.6.0-6]`: the order is that of each QoS.
    order: BTreeMap<(String, usize, u8), u64>,
    /// Commands it heard of → the event.
    commands: BTreeMap<String, u64>,
    /// Connections it saw open.
    links: Vec<u64>,
    qos: u8,
}

#[derive(Default)]
struct Judge {
    sent: BTreeMap<(usize, u64), Sent>,
    devices: BTreeMap<usize, Device>,
    ready: bool,
    found: Vec<Violation>,
}

/// Everything in a history that breaks a promise.
#[must_use]
pub fn check(history: &[Entry]) -> Vec<Violation> {
    let mut judge = Judge::default();
    for (index, entry) in history.iter().enumerate() {
        judge.see(index + 1, entry);
    }
    if history.contains(&Entry::Rest) {
        judge.rest(history.len());
    }
    judge.found
}

impl Judge {
    fn add(&mut self, promise: InvariantId, line: usize, what: String) {
        self.found.push(Violation { promise: Some(promise), line, what });
    }

    fn see(&mut self, line: usize, entry: &Entry) {
        match entry {
            Entry::Ready => self.ready = true,
            Entry::Connected(device, link) => self.devices.entry(*device).or_default().links.push(*link),
            Entry::Publish(by, key, topic, qos, expires) => {
                let sent = Sent { topic: topic.clone(), qos: *qos, expires: *expires, stored: false };
                self.sent.insert((*by, *key), sent);
            }
            Entry::Stored(by, key) => {
                if let Some(sent) = self.sent.get_mut(&(*by, *key)) {
                    sent.stored = true;
                }
            }
            Entry::Delivered(device, what, qos, dup) => {
                self.devices.entry(*device).or_default().qos = *qos;
                match what {
                    What::Event(seq, command) => {
                        self.event(line, *device, (*seq, command.as_deref()), *qos, *dup);
                    }
                    What::Message { topic, by, key } => {
                        self.message(line, *device, (topic, *by, *key), *qos, *dup);
                    }
                    What::Will(link) => {
                        let first = self.devices.entry(*device).or_default().wills.insert(*link);
                        if !first && !*dup {
                            let what = format!("device {device} got the will of {link} twice");
                            self.add(InvariantId::P4, line, what);
                        }
                    }
                }
            }
            Entry::Acked(device, seq) => {
                self.devices.entry(*device).or_default().acked.insert(*seq);
            }
            Entry::Cursor(device, seq) => {
                let of = self.devices.entry(*device).or_default();
                let acked = (1..).take_while(|n| of.acked.contains(n)).count() as u64;
                if *seq > acked {
                    let what = format!("the cursor of device {device} at {seq}, acknowledged is {acked}");
                    self.add(InvariantId::P3, line, what);
                }
            }
            Entry::Broken(device, what) => {
                self.add(InvariantId::P3, line, format!("device {device}: {what}"));
            }
            Entry::NoRest(why) => self.found.push(Violation { promise: None, line, what: why.clone() }),
            Entry::Verify(promise, what) => self.add(*promise, line, what.clone()),
            Entry::Crash | Entry::Rest => {}
        }
    }

    fn event(&mut self, line: usize, device: usize, event: (u64, Option<&str>), qos: u8, dup: bool) {
        let (seq, command) = event;
        let of = self.devices.entry(device).or_default();
        if seq > of.newest + 1 {
            let what = format!("device {device} got event {seq} after {}", of.newest);
            of.newest = seq;
            return self.add(InvariantId::P3, line, what);
        }
        let again = seq <= of.newest;
        of.newest = of.newest.max(seq);
        let earlier = command.and_then(|command| of.commands.insert(command.to_owned(), seq));
        if let Some(earlier) = earlier.filter(|earlier| *earlier != seq) {
            let what = format!("device {device}: {command:?} is event {earlier} and event {seq}");
            self.add(InvariantId::P4, line, what);
        }
        if again && qos == 2 {
            self.add(InvariantId::P3, line, format!("device {device} got event {seq} twice at QoS 2"));
        } else if again && !dup {
            self.add(InvariantId::P3, line, format!("device {device} got event {seq} again without DUP"));
        }
    }

    fn message(&mut self, line: usize, device: usize, message: (&str, usize, u64), qos: u8, dup: bool) {
        let (topic, by, key) = message;
        let Some(sent) = self.sent.get(&(by, key)).filter(|sent| sent.topic == topic) else {
            return self.add(
                InvariantId::P1,
                line,
                format!("device {device} got what nobody sent: {by} {key}"),
            );
        };
        let once = sent.qos == 2 && qos == 2;
        // A publish at QoS 1 may come as often as its publisher sent it, each time as a message of its own.
        let quiet = sent.qos == 1 || dup;
        // One that has expired is passed over, unless it may have been sent before: then it comes late.
        let (expires, published) = (sent.expires, sent.qos);
        let of = self.devices.entry(device).or_default();
        if !of.got.insert((by, key)) {
            let promise = if sent.qos == 2 && !dup { InvariantId::P4 } else { InvariantId::P3 };
            if once {
                let what = format!("device {device} got {key} of {by} twice at QoS 2");
                self.add(promise, line, what);
            } else if !quiet {
                let what = format!("device {device} got {key} of {by} again without DUP");
                self.add(promise, line, what);
            }
            return;
        }
        if expires {
            return;
        }
        let newest = of.order.entry((topic.to_owned(), by, published)).or_default();
        if key < *newest {
            let what = format!("device {device} got {key} of {by} after {newest} on {topic}");
            return self.add(InvariantId::P2, line, what);
        }
        *newest = key;
    }

    /// Everything that was acknowledged has arrived everywhere; all devices of a user have the same inbox; each
    /// connection that is over had its will.
    fn rest(&mut self, line: usize) {
        let mut missing = Vec::new();
        let users: [&[usize]; 2] = [&[0, 1], &[2]];
        for user in users {
            let newest = user.iter().filter_map(|d| self.devices.get(d)).map(|d| d.newest).max().unwrap_or(0);
            for device in user {
                let has = self.devices.get(device).map_or(0, |device| device.newest);
                if has != newest {
                    missing.push((InvariantId::P3, format!("device {device} rests at {has} of {newest}")));
                }
            }
        }
        let over: Vec<u64> = self.devices.values().flat_map(|of| of.links.split_last()).fold(
            Vec::new(),
            |mut all, (_, earlier)| {
                all.extend(earlier);
                all
            },
        );
        for (device, of) in &self.devices {
            for ((by, key), sent) in &self.sent {
                let due = sent.stored && !sent.expires && sent.topic.starts_with("t/");
                if due && !of.got.contains(&(*by, *key)) {
                    missing.push((InvariantId::P1, format!("device {device} never got {key} of {by}")));
                }
            }
            for link in &over {
                if self.ready && !of.wills.contains(link) {
                    missing.push((InvariantId::P1, format!("device {device} never got the will of {link}")));
                }
            }
        }
        for (promise, what) in missing {
            self.add(promise, line, what);
        }
    }
}
