//! I7, I8 at the far end: devices that connect, subscribe, receive, acknowledge in any order, vanish, come back, or
//! take their own session over while the old connection still stands.
//!
//! Not here: the server's side of a connection (`node`), what a device must see (`check`).

use std::sync::Arc;

use schemas::{ClientId, EventData};
use store::{InboxKey, StoredEvent};

use crate::history::{DeviceId, Entry};
use crate::world::{Happening, World};

/// A device gives up a connection that is not open after this long.
const CONNECT_TIMEOUT_MS: u64 = 200;
/// Longest pause before a device connects again.
const RECONNECT_MS: u64 = 150;
/// Longest time a device takes to acknowledge; longer than the way of the next event, so that the order is any.
const ACK_WITHIN_MS: u64 = 60;
/// A device notices a cut within this time.
const NOTICE_CUT_MS: u64 = 100;

/// A device: what it remembers over all of its connections.
pub(crate) struct Device {
    pub(crate) agent: usize,
    pub(crate) client: ClientId,
    /// Its user's.
    pub(crate) inbox: InboxKey,
    /// Its present connection.
    pub(crate) link: Option<u64>,
    /// May events come over it?
    pub(crate) online: bool,
    /// The newest number it has, all before included.
    pub(crate) got: u64,
}

/// What a CONNECT asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect {
    pub(crate) device: usize,
    pub(crate) link: u64,
    /// Throw the session away.
    pub(crate) clean: bool,
    /// Say where to go on instead of leaving it to the session.
    pub(crate) after: Option<u64>,
}

impl World {
    /// A device connects, whatever became of the connection it had.
    pub(crate) fn device_connects(&mut self, device: usize) {
        let link = self.next_link;
        self.next_link += 1;
        if self.devices[device].link.is_some() {
            self.marks.taken_over += 1;
        }
        let clean = !self.calm && self.rng.chance(0.05);
        // Where a session is thrown away, the client says where it was, as after a sync over HTTP.
        let says = self.rng.chance(0.1);
        let got = self.devices[device].got;
        let after = ((clean || says) && got > 0).then_some(got);
        self.devices[device].link = Some(link);
        self.devices[device].online = false;
        self.on_the_way(Happening::ConnectArrives(Connect { device, link, clean, after }));
        self.after(CONNECT_TIMEOUT_MS, Happening::ConnectTimeout { device, link });
    }

    pub(crate) fn connect_timeout(&mut self, device: usize, link: u64) {
        if self.devices[device].link == Some(link) && !self.devices[device].online {
            self.lose_link(link);
            self.devices[device].link = None;
            self.device_connects(device);
        }
    }

    pub(crate) fn link_opened(&mut self, device: usize, link: u64) {
        if self.devices[device].link == Some(link) {
            self.devices[device].online = true;
        }
    }

    /// A connection is cut; both ends will notice in their own time.
    pub(crate) fn lose_link(&mut self, link: u64) {
        if !self.cut_links.insert(link) {
            return;
        }
        for device in 0..self.devices.len() {
            if self.devices[device].link == Some(link) {
                let notice = self.rng.below(NOTICE_CUT_MS);
                self.after(notice, Happening::DeviceNoticesCut { device, link });
            }
        }
        let notice = self.rng.below(NOTICE_CUT_MS);
        self.after(notice, Happening::ServerNoticesCut(link));
    }

    pub(crate) fn device_notices_cut(&mut self, device: usize, link: u64) {
        if self.devices[device].link == Some(link) {
            self.devices[device].link = None;
            self.devices[device].online = false;
            let pause = self.rng.below(RECONNECT_MS);
            self.after(pause, Happening::DeviceConnects { device, unless_linked: true });
        }
    }

    /// I7. An event reaches a device.
    pub(crate) fn delivered(&mut self, device: usize, link: u64, dup: bool, stored: &Arc<StoredEvent>) {
        if self.devices[device].link != Some(link) || self.cut_links.contains(&link) {
            return;
        }
        self.devices[device].online = true;
        let event = Arc::new(stored.event.clone());
        let seq = event.seq.unwrap_or_default().0;
        let device_id = DeviceId(device);
        if let EventData::MessageCreated(message) = &event.data {
            let agent = self.devices[device].agent;
            self.agents[agent].known.push(message.id);
        }
        let again = seq <= self.devices[device].got;
        self.marks.again += u64::from(again);
        let user = self.agents[self.devices[device].agent].user.to_string();
        self.history(Entry::Delivered { device: device_id, user, link, dup, event });
        // A gap is for the checker to find; the device goes on from what it got.
        self.devices[device].got = self.devices[device].got.max(seq);
        let slow = self.rng.chance(0.05);
        let within = if slow { 10 * ACK_WITHIN_MS } else { ACK_WITHIN_MS };
        let pause = self.rng.below(within);
        self.after(pause, Happening::DeviceAcks { device, link, seq });
    }

    pub(crate) fn device_acks(&mut self, device: usize, link: u64, seq: u64) {
        if self.devices[device].link != Some(link) || self.cut_links.contains(&link) {
            return;
        }
        self.history(Entry::Acked(DeviceId(device), seq));
        self.on_the_way(Happening::AckArrives { link, seq });
    }

    /// Something happens to some device: its connection is cut, or it connects anew beside the one it has.
    pub(crate) fn disturb_a_device(&mut self) {
        let device = usize::try_from(self.rng.below(self.devices.len() as u64)).unwrap_or(0);
        if self.rng.chance(0.3) {
            self.device_connects(device);
        } else if let Some(link) = self.devices[device].link {
            self.lose_link(link);
        }
    }
}
