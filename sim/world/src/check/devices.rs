//! P3, at the devices: every number in order, none skipped, again only what is not known to be acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use schemas::invariant::InvariantId;

use super::Findings;
use crate::history::{Call, DeviceId, Entry};

/// What is known of each device.
#[derive(Default)]
pub(super) struct Devices {
    devices: BTreeMap<DeviceId, Device>,
    /// Connections: the next number each must bring.
    next: BTreeMap<u64, u64>,
}

#[derive(Default)]
struct Device {
    user: Option<String>,
    /// It acknowledged everything up to here.
    acked: u64,
    /// Acknowledged above that.
    early: BTreeSet<u64>,
    /// Received at all.
    received: BTreeSet<u64>,
    /// A subscription without a starting point may have been made, and nobody was told where it starts.
    fresh: bool,
    /// Cursors the server took: not yet in a group, in a planned one, in a written one, known to be synced.
    taken: u64,
    planned: u64,
    written: u64,
    floor: u64,
}

impl Device {
    fn start(&mut self, acked: u64) {
        *self = Self {
            user: self.user.take(),
            acked,
            floor: acked,
            received: std::mem::take(&mut self.received),
            ..Self::default()
        };
    }

    fn acknowledge(&mut self, seq: u64) {
        self.early.insert(seq);
        while self.early.remove(&(self.acked + 1)) {
            self.acked += 1;
        }
    }
}

impl Devices {
    pub(super) fn see(&mut self, line: usize, entry: &Entry, findings: &mut Findings) {
        match entry {
            Entry::Call(_, Call::Subscribe { device, after }) => {
                let device = self.devices.entry(*device).or_default();
                match after {
                    // What a client says it has counts as acknowledged; and it may ask for the rest again.
                    Some(after) => {
                        device.acked = device.acked.max(*after);
                        device.floor = device.floor.min(*after);
                    }
                    None => device.fresh = true,
                }
            }
            Entry::Opened { .. } => self.opened(line, entry, findings),
            Entry::Delivered { .. } => self.delivered(line, entry, findings),
            Entry::Acked(device, seq) => self.devices.entry(*device).or_default().acknowledge(*seq),
            Entry::Cursor(device, seq) => {
                let device = self.devices.entry(*device).or_default();
                device.taken = device.taken.max(*seq);
            }
            Entry::Planned(_) => self.each(|device| device.planned = device.taken),
            Entry::Written(synced) => self.each(|device| {
                device.written = device.planned;
                if *synced {
                    device.floor = device.floor.max(device.written);
                }
            }),
            // Whatever was not synced may be gone.
            Entry::WriteFailed | Entry::Crash { .. } | Entry::TakenOver => self.each(|device| {
                (device.taken, device.planned, device.written) = (0, 0, 0);
            }),
            _ => {}
        }
    }

    fn each(&mut self, change: impl Fn(&mut Device)) {
        for device in self.devices.values_mut() {
            change(device);
        }
    }

    fn opened(&mut self, line: usize, entry: &Entry, findings: &mut Findings) {
        let Entry::Opened { device: id, link, resumed, after, acked } = entry else { return };
        self.next.insert(*link, acked + 1);
        let device = self.devices.entry(*id).or_default();
        let mut broken = |what| findings.add(InvariantId::P3, line, format!("{id} {what}"));
        match (resumed, after) {
            (false, Some(after)) if after != acked => {
                broken(format!("asked to go on after {after} and goes on after {acked}"));
            }
            (true, _) if !device.fresh && *acked > device.acked => {
                broken(format!("goes on after {acked}, but acknowledged only up to {}", device.acked));
            }
            (true, _) if *acked < device.floor => {
                broken(format!("goes on after {acked}, but its cursor was on disk at {}", device.floor));
            }
            _ => {}
        }
        if !resumed || device.fresh {
            device.start(*acked);
        }
    }

    fn delivered(&mut self, line: usize, entry: &Entry, findings: &mut Findings) {
        let Entry::Delivered { device: id, user, link, dup, event } = entry else { return };
        let seq = event.seq.unwrap_or_default().0;
        let device = self.devices.entry(*id).or_default();
        device.user = Some(user.clone());
        let next = self.next.entry(*link).or_default();
        if seq != *next {
            let what = format!("{id} got {seq} where {next} should come");
            findings.add(InvariantId::P3, line, what);
        }
        *next = seq + 1;
        if !device.received.insert(seq) && !dup {
            findings.add(InvariantId::P3, line, format!("{id} got {seq} again without DUP"));
        }
    }

    /// At rest every device has acknowledged all of its inbox.
    pub(super) fn end(&self, line: usize, heads: &BTreeMap<String, u64>, findings: &mut Findings) {
        for (id, device) in &self.devices {
            let head = device.user.as_ref().and_then(|user| heads.get(user));
            if let Some(head) = head.filter(|head| **head > device.acked) {
                let what = format!("{id} rests at {} while its inbox ends at {head}", device.acked);
                findings.add(InvariantId::P3, line, what);
            }
        }
    }
}
