//! Target `sessions`: sequences of packets and events against the session machine, judged by a model. O1, O4, I7, I8.
//!
//! ```text
//!  client by the standard ⇄ chunks, cuts ⇄ session machine ⇄ store that answers late, refuses, loses what it has not
//!       └────────── judge: what was acknowledged, delivered, how often, in which order ──────────┘
//! ```
//! Half of the cases are honest to the end: then everything must be as promised, and all of it done once it is calm. The
//! others turn hostile at some point: mutated packets come; then only that holds what holds for anybody (well-formed
//! output, cursors that never move back, silence after the end). Not here: the real store and its crashes (`sim/world`).

mod judge;
mod shop;

use broker_protocol::{Limits, Version};
use sim::mqtt::client::Client;
use sim::mqtt::read;
use sim::mqtt::write::{self, Properties, Publish};
use sim::mqtt::{V5, V311};
use sim::whatsapp::rng::Rng;

use crate::corpus::Seed;
use crate::{Finding, mutate, seed_of};
use judge::Judge;
use shop::Shop;

/// Number of this target in seeds.
pub const TARGET: u64 = 2;
/// Most steps of a case.
const STEPS_MAX: u64 = 60;
/// Rounds in which everything that is under way must have ended once it is calm.
const CALM_ROUNDS_MAX: usize = 400;
/// Time of such a round: what waits for a deadline of the machine (10 s) comes to its end as well.
const CALM_PASS_MS: u64 = 100;
/// The inbox, and a filter that covers what the client publishes for itself.
const FILTERS: [&str; 2] = ["user/alice/inbox", "own/#"];
const TOPICS: [&str; 4] = ["own/a", "own/b", "other", "denied/x"];

/// How often what happened, over cases: a target that never gets there proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Messages delivered.
    pub delivered: u64,
    /// Deliveries that came again.
    pub again: u64,
    /// Publishes that came to their end.
    pub published: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Mutated packets.
    pub hostile: u64,
    /// Connections that the machine ended.
    pub ended: u64,
}

struct Case {
    rng: Rng,
    shop: Shop,
    client: Client,
    judge: Judge,
    /// Bytes on the way to the server.
    up: Vec<u8>,
    /// And to the client.
    down: Vec<u8>,
    level: u8,
    qos: u8,
    hostile: bool,
    marks: Marks,
}

/// Runs a case.
///
/// # Errors
/// [`Finding`].
pub fn run(corpus: &[Seed], case: u64, marks: &mut Marks) -> Result<(), Finding> {
    let mut rng = Rng::new(seed_of(TARGET, case));
    let level = if rng.chance(0.5) { V5 } else { V311 };
    let small = |rng: &mut Rng| u16::try_from(1 + rng.below(8)).unwrap_or(1);
    let limits = Limits {
        packet_bytes_max: 4 << 10,
        connect_bytes_max: 1 << 10,
        receive_max: small(&mut rng),
        window_max: small(&mut rng),
        topic_alias_max: 2,
        subscriptions_max: 4,
        ..Limits::default()
    };
    let client = Client::new(level, "c", b"token", small(&mut rng));
    let qos = if rng.chance(0.5) { 2 } else { 1 };
    let hostile = rng.chance(0.5);
    let steps = 1 + rng.below(STEPS_MAX);
    let mut case = Case {
        shop: Shop::new(limits),
        client,
        judge: Judge::new(level, qos),
        rng,
        up: Vec::new(),
        down: Vec::new(),
        level,
        qos,
        hostile: false,
        marks: Marks::default(),
    };
    case.connect(true);
    let turns_at = if hostile { case.rng.below(steps) } else { u64::MAX };
    for step in 0..steps {
        case.hostile |= step >= turns_at;
        case.step(corpus)?;
        case.look()?;
    }
    if !case.hostile {
        case.calm()?;
    }
    for (sum, one) in [
        (&mut marks.delivered, case.judge.delivered),
        (&mut marks.again, case.judge.again),
        (&mut marks.published, case.judge.finished),
        (&mut marks.reconnects, case.marks.reconnects),
        (&mut marks.hostile, case.marks.hostile),
        (&mut marks.ended, case.marks.ended),
    ] {
        *sum += one;
    }
    Ok(())
}

impl Case {
    fn connect(&mut self, clean: bool) {
        let hello = self.client.reconnect(clean);
        if clean {
            self.judge.start_anew();
        }
        self.up = hello;
        self.down.clear();
    }

    fn reconnect(&mut self, clean: bool) {
        self.marks.reconnects += 1;
        self.marks.ended += u64::from(self.shop.closed);
        let arrives = mutate::place(&mut self.rng, self.up.len() + 1);
        if !self.shop.closed {
            let first: Vec<u8> = self.up.drain(..arrives).collect();
            self.shop.receive(&first);
        }
        let stored = mutate::place(&mut self.rng, self.shop.waiting() + 1);
        self.shop.reconnect(stored);
        self.connect(clean);
    }

    fn step(&mut self, corpus: &[Seed]) -> Result<(), Finding> {
        match self.rng.below(20) {
            0..=3 => self.carry_up(),
            4..=6 => self.carry_down()?,
            7..=9 => self.shop.store_one(),
            10..=11 => self.acknowledge(),
            12..=13 => self.publish(),
            14 => {
                let count = 1 + self.rng.below(5);
                self.shop.commit(count);
            }
            15 => {
                let millis = if self.rng.chance(0.1) { 20_000 } else { self.rng.below(500) };
                self.shop.pass(millis);
            }
            16 if self.rng.chance(0.3) => self.shop.refuse(),
            16 => self.shop.read_failed(),
            17 if self.rng.chance(0.4) => {
                let clean = self.rng.chance(0.1);
                self.reconnect(clean);
            }
            18 if self.hostile => self.mutated(corpus),
            19 if self.hostile => self.mutated(corpus),
            _ => {
                self.carry_up();
                self.shop.store_one();
                self.carry_down()?;
            }
        }
        if self.shop.closed && self.up.is_empty() && self.rng.chance(0.3) {
            self.reconnect(false);
        }
        Ok(())
    }

    fn mutated(&mut self, corpus: &[Seed]) {
        self.marks.hostile += 1;
        let seed = &corpus[mutate::place(&mut self.rng, corpus.len())];
        let other = &corpus[mutate::place(&mut self.rng, corpus.len())];
        let mut bytes = seed.bytes.clone();
        if self.rng.chance(0.8) {
            mutate::mutate(&mut self.rng, &mut bytes, &other.bytes);
            mutate::repair_length(&mut bytes);
        }
        self.up.extend(bytes);
    }

    /// Some of what is on the way arrives at the server.
    fn carry_up(&mut self) {
        let count = 1 + mutate::place(&mut self.rng, self.up.len());
        let count = if self.rng.chance(0.5) { self.up.len() } else { count.min(self.up.len()) };
        let bytes: Vec<u8> = self.up.drain(..count).collect();
        if self.shop.closed {
            return;
        }
        self.shop.receive(&bytes);
        if let Some(version) = self.shop.session.version() {
            self.level = if version == Version::V5 { V5 } else { V311 };
        }
    }

    /// Some of what is on the way arrives at the client.
    fn carry_down(&mut self) -> Result<(), Finding> {
        self.down.append(&mut self.shop.sent);
        let count = 1 + mutate::place(&mut self.rng, self.down.len());
        let count = if self.rng.chance(0.7) { self.down.len() } else { count.min(self.down.len()) };
        if self.hostile {
            let cut = self.client.take_cut();
            self.down.splice(..0, cut);
            return self.read_anything();
        }
        let bytes: Vec<u8> = self.down.drain(..count).collect();
        let (got, answer) = self.client.receive(&bytes).map_err(|e| Finding::new(e.to_string()))?;
        self.up.extend(answer);
        for got in got {
            if let Some(filters) = self.judge.got(&got, &self.shop.disk)? {
                debug_assert!(filters);
                self.subscribe();
            }
        }
        Ok(())
    }

    /// What a hostile client gets is well-formed all the same.
    fn read_anything(&mut self) -> Result<(), Finding> {
        loop {
            let packet = read::packet(self.level, &self.down);
            let packet = match packet {
                // A CONNECT that was refused: its version is not known any more.
                Err(_) if self.down.starts_with(&[0x20]) => read::packet(V5 + V311 - self.level, &self.down),
                packet => packet,
            };
            match packet.map_err(|e| Finding::new(format!("{e}: {:02x?}", self.down)))? {
                Some((_, length)) => drop(self.down.drain(..length)),
                None => return Ok(()),
            }
        }
    }

    fn subscribe(&mut self) {
        let filters = FILTERS.map(|filter| (filter.to_owned(), self.qos));
        let bytes = self.client.subscribe(&filters, &Properties::default());
        self.up.extend(bytes);
    }

    fn acknowledge(&mut self) {
        let due = self.client.due().len();
        if due > 0 && self.client.is_connected() {
            let index = mutate::place(&mut self.rng, due);
            self.judge.acknowledges(self.client.due()[index]);
            let bytes = self.client.acknowledge(index);
            self.up.extend(bytes);
        }
    }

    fn publish(&mut self) {
        let topic = TOPICS[mutate::place(&mut self.rng, TOPICS.len())];
        let qos = u8::try_from(self.rng.below(3)).unwrap_or(0);
        let payload = self.judge.next_payload();
        let retain = self.rng.chance(0.1);
        let publish = Publish { topic: topic.to_owned(), payload, qos, retain, ..Publish::default() };
        if let Some((number, bytes)) = self.client.publish(publish) {
            self.judge.published(number, topic, qos);
            self.up.extend(bytes);
        }
    }

    /// What must hold at any moment.
    fn look(&mut self) -> Result<(), Finding> {
        if let Some(finding) = self.shop.broken.take() {
            return Err(finding);
        }
        if self.shop.session.has_ended() && !self.shop.closed {
            return Err(Finding::new("it ended without closing"));
        }
        if self.hostile { Ok(()) } else { self.judge.look(&self.shop.disk) }
    }

    /// No more faults: what is under way comes to its end.
    fn calm(&mut self) -> Result<(), Finding> {
        for _ in 0..CALM_ROUNDS_MAX {
            if self.shop.closed {
                self.shop.reconnect(usize::MAX);
                self.connect(false);
            }
            let bytes = std::mem::take(&mut self.up);
            self.shop.receive(&bytes);
            while self.shop.waiting() > 0 {
                self.shop.store_one();
            }
            self.shop.pass(CALM_PASS_MS);
            self.shop.ring();
            self.carry_down()?;
            while !self.client.due().is_empty() && self.client.is_connected() {
                self.acknowledge();
            }
            self.look()?;
            if self.client.unfinished() == 0
                && self.up.is_empty()
                && self.down.is_empty()
                && self.client.is_connected()
                && self.judge.rests(&self.shop.disk)
            {
                return self.judge.end(&self.shop.disk);
            }
        }
        let state = self.judge.state(&self.shop.disk);
        Err(Finding::new(format!("no rest: {state}, {:?}", self.client)))
    }
}

/// PINGREQ, for those who drive a live server.
#[must_use]
pub const fn ping() -> [u8; 2] {
    write::PINGREQ
}
