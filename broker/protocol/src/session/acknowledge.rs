//! I8. What clients answer to deliveries: PUBACK; PUBREC and PUBCOMP, with PUBREL between them.
//!
//! ```text
//!  QoS 1   PUBLISH ─▶  PUBACK ◀─                                       over, the cursor may pass
//!  QoS 2   PUBLISH ─▶  PUBREC ◀─  stored  PUBREL ─▶  PUBCOMP ◀─        the cursor may pass once it is stored
//! ```
//! Acknowledgements come in any order. One for a packet identifier that stands for nothing is answered as the standard
//! says and is no error; one of the wrong kind ends no flow. Not here: what is sent (`deliver`).

use std::num::NonZeroU16;

use super::Online;
use super::pending::Waiting;
use super::window::{GAP_ID, INBOX_BASE, LOOSE_BASE, QUEUE_BASE, Stage, Window, id};
use crate::codec::Ack;
use crate::io::{Action, Delivered, Now, Opened, Output, Request, Source, Told};
use crate::reason::v5;

/// First reason code of a PUBREC that refuses. `[v5:4.3.3-4]`
const REFUSED: u8 = 0x80;

/// What a packet identifier of ours stands for.
enum Stands {
    /// A numbered delivery; the number's rest in its range.
    For(Source, u64),
    /// A gap.
    Gap,
    /// A status.
    Loose,
}

fn stands(id: NonZeroU16) -> Stands {
    let number = u64::from(id.get());
    match id.get() {
        0..INBOX_BASE => Stands::For(Source::Queue, number - u64::from(QUEUE_BASE)),
        INBOX_BASE..LOOSE_BASE => Stands::For(Source::Inbox, number - u64::from(INBOX_BASE)),
        LOOSE_BASE..u16::MAX => Stands::Loose,
        u16::MAX => Stands::Gap,
    }
}

const fn base_of(source: Source) -> u16 {
    match source {
        Source::Inbox => INBOX_BASE,
        Source::Queue => QUEUE_BASE,
    }
}

impl Online {
    pub(super) const fn window_mut(&mut self, source: Source) -> &mut Window {
        match source {
            Source::Inbox => &mut self.inbox.window,
            Source::Queue => &mut self.queue,
        }
    }

    /// PUBACK. One for something that is not in flight is ignored. `[v5:U39]`
    pub(super) fn acknowledge(&mut self, now: Now, id: NonZeroU16, out: &mut Output) {
        match stands(id) {
            Stands::For(source, n) => {
                if let Some(n) = self.window_mut(source).waiting(n, Stage::Ack).map(|flight| flight.n) {
                    self.land(now, Delivered { source, n }, out);
                }
            }
            Stands::Gap if id == GAP_ID => self.inbox.gap_in_flight = None,
            Stands::Gap | Stands::Loose => {
                if let Some(statuses) = &mut self.statuses {
                    statuses.loose.land(id);
                }
            }
        }
    }

    /// A delivery is the client's and over.
    fn land(&mut self, now: Now, delivered: Delivered, out: &mut Output) {
        let landed = self.window_mut(delivered.source).land(delivered.n);
        if let Some((origin, received_us)) = landed.and_then(|flight| flight.origin) {
            let took_us = now.wall_us.saturating_sub(received_us);
            Self::tell(out, Told::Delivered { origin, took_us });
        }
    }

    /// PUBREC: stored, then answered with PUBREL.
    pub(super) fn receive(&mut self, now: Now, id: NonZeroU16, reason: u8, out: &mut Output) {
        let Stands::For(source, n_of_id) = stands(id) else {
            return self.unknown_release(id, out);
        };
        let window = self.window_mut(source);
        if let Some(flight) = window.waiting(n_of_id, Stage::Rec) {
            let n = flight.n;
            // [v5:4.3.3-4] [v5:4.4.0-2]
            if reason >= REFUSED {
                return self.land(now, Delivered { source, n }, out);
            }
            flight.stage = Stage::Storing;
            let delivered = Delivered { source, n };
            // [v311:4.6.0-4] [v5:4.6.0-4] in the order of PUBRECs.
            let token = self.pending.push(now.mono_ms, Waiting::Receive { id, delivered });
            out.actions.push(Action::Submit { token, request: Box::new(Request::Received(delivered)) });
        } else if window.waiting(n_of_id, Stage::Comp).is_some() {
            self.encoder.acknowledge(&mut out.bytes, Ack::PubRel, id, v5::SUCCESS, None);
        } else if !window.has(n_of_id) {
            self.unknown_release(id, out);
        }
    }

    /// `[v5:U39] [v5:3.6.2-1]`
    fn unknown_release(&self, id: NonZeroU16, out: &mut Output) {
        self.encoder.acknowledge(&mut out.bytes, Ack::PubRel, id, v5::PACKET_ID_UNKNOWN, None);
    }

    /// PUBREC is on disk. `[v311:4.3.3-1] [v5:4.3.3-4]`
    pub(super) fn release(&mut self, now: Now, id: NonZeroU16, delivered: Delivered, out: &mut Output) {
        let window = self.window_mut(delivered.source);
        let flight = window.flight.iter_mut().find(|flight| flight.n == delivered.n);
        if let Some(flight) = flight.filter(|flight| flight.stage == Stage::Storing) {
            flight.stage = Stage::Comp;
            if let Some((origin, received_us)) = flight.origin.take() {
                let took_us = now.wall_us.saturating_sub(received_us);
                Self::tell(out, Told::Delivered { origin, took_us });
            }
        }
        self.encoder.acknowledge(&mut out.bytes, Ack::PubRel, id, v5::SUCCESS, None);
    }

    /// PUBCOMP. One for something that was not released is ignored.
    pub(super) fn complete(&mut self, id: NonZeroU16, out: &mut Output) {
        let Stands::For(source, n_of_id) = stands(id) else {
            return;
        };
        let window = self.window_mut(source);
        if let Some(n) = window.waiting(n_of_id, Stage::Comp).map(|flight| flight.n) {
            // [v5:4.9.0-2]: only now there is room for the next one.
            window.land(n);
            let request = Request::Complete(Delivered { source, n });
            out.actions.push(Action::Submit { token: u64::MAX, request: Box::new(request) });
        }
    }

    /// What an earlier connection had received is released again and never sent again.
    /// `[v311:4.4.0-1] [v5:4.4.0-1] [v5:4.3.3-5] [v5:4.3.3-6]`
    pub(super) fn restore(&mut self, opened: &Opened, out: &mut Output) {
        for (delivered, owed) in &opened.received {
            self.window_mut(delivered.source).restore(delivered.n, *owed);
            if *owed {
                let id = id(base_of(delivered.source), delivered.n);
                self.encoder.acknowledge(&mut out.bytes, Ack::PubRel, id, v5::SUCCESS, None);
            }
        }
    }

    /// What of the queue is acknowledged above the cursor: MQTT wants it not to come again. An inbox goes on from its
    /// cursor (contract, section 5), and its events have numbers to tell a repetition by.
    pub(super) fn acked_ahead(&self) -> Vec<Delivered> {
        self.queue.acked_ahead().map(|n| Delivered { source: Source::Queue, n }).collect()
    }
}
