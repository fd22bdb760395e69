//! The devices, what is under way between them and the server, and the chance that decides which step comes next.
//! O1, I7, I8 at the far end.
//!
//! Not here: the server's part (`server`), what is right (`check`).

use std::collections::BTreeMap;

use schemas::invariant::InvariantId;
use sim::mqtt::client::{Client, Got};
use sim::mqtt::read::Published;
use sim::mqtt::write::{Properties, Publish, Will};
use sim::mqtt::{V5, V311};
use sim::whatsapp::rng::Rng;
use store::OpenError;
use store::stepper::Disk;

use super::server::Server;
use super::{Bug, Entry, Marks, What};

/// User and name of each device.
const DEVICES: [(&str, &str); 3] = [("alice", "phone"), ("alice", "laptop"), ("bob", "phone")];
const TOPICS: [&str; 2] = ["t/a", "t/b"];
const WILLS: &str = "t/will";
/// Steps with faults.
const STEPS: u64 = 500;
/// Rounds in which everything must come to its end once faults are over.
const CALM_ROUNDS_MAX: usize = 600;
/// Milliseconds of such a round.
const CALM_ROUND_MS: u64 = 50;
/// Publishes of a run.
const PUBLISHES_MAX: u64 = 60;

/// A device's present connection.
#[derive(Default)]
struct Link {
    number: u64,
    /// Under way to the server and to the device.
    up: Vec<u8>,
    down: Vec<u8>,
    /// The server has closed: nothing more comes after `down`.
    closed: bool,
}

struct Device {
    client: Client,
    user: &'static str,
    link: Link,
    qos: u8,
    subscribed: bool,
    /// Publisher's numbers: client's number → its own.
    keys: BTreeMap<u64, (u64, u8)>,
    next_key: u64,
    /// Packet identifier → number of events.
    events: BTreeMap<u16, u64>,
}

/// See the module.
pub(super) struct World {
    rng: Rng,
    server: Server,
    devices: Vec<Device>,
    /// Connections that their devices have given up, with bytes that still arrive at the server.
    ghosts: BTreeMap<u64, Vec<u8>>,
    next_link: u64,
    publishes: u64,
    history: Vec<Entry>,
    marks: Marks,
}

fn place(rng: &mut Rng, length: usize) -> usize {
    usize::try_from(rng.below(length as u64)).unwrap_or(0)
}

impl World {
    pub(super) fn new(seed: u64, disk: Disk, bug: Option<Bug>) -> Result<Self, OpenError> {
        let mut rng = Rng::new(seed);
        let devices = DEVICES.iter().map(|(user, name)| {
            let level = if rng.chance(0.5) { V5 } else { V311 };
            let window = u16::try_from(2 + rng.below(6)).unwrap_or(2);
            Device {
                client: Client::new(level, &format!("{user}-{name}"), user.as_bytes(), window),
                user,
                link: Link::default(),
                qos: if rng.chance(0.6) { 2 } else { 1 },
                subscribed: false,
                keys: BTreeMap::new(),
                next_key: 1,
                events: BTreeMap::new(),
            }
        });
        let devices = devices.collect();
        let server = Server::new(disk, bug)?;
        Ok(Self {
            rng,
            server,
            devices,
            ghosts: BTreeMap::new(),
            next_link: 1,
            publishes: 0,
            history: Vec::new(),
            marks: Marks::default(),
        })
    }

    pub(super) fn run(mut self) -> (Vec<Entry>, Marks) {
        for device in 0..self.devices.len() {
            self.connect(device);
        }
        let subscribed = |world: &Self| world.devices.iter().all(|device| device.subscribed);
        if !self.calm(subscribed) {
            self.history.push(Entry::NoRest("not all are subscribed".to_owned()));
            return (self.history, self.marks);
        }
        self.history.push(Entry::Ready);
        let (crashes, cuts) = (self.rng.below(3), self.rng.below(3));
        for _ in 0..STEPS {
            self.step(crashes, cuts);
        }
        let end = if self.calm(Self::rests) {
            Entry::Rest
        } else {
            let unfinished: Vec<_> = self.devices.iter().map(|d| d.client.unfinished()).collect();
            let connected: Vec<_> = self.devices.iter().map(|d| d.client.is_connected()).collect();
            let under_way: Vec<_> = self
                .devices
                .iter()
                .map(|d| (d.link.up.len(), d.link.down.len(), d.client.due().len()))
                .collect();
            let idle = self.server.is_idle();
            Entry::NoRest(format!(
                "unfinished {unfinished:?}, connected {connected:?}, under way {under_way:?}, idle {idle}, {} ghosts",
                self.ghosts.len()
            ))
        };
        self.history.push(end);
        self.history.extend(self.server.verify());
        let (all, own) = (&mut self.server.marks, self.marks);
        all.add(&own);
        (self.history, *all)
    }

    fn step(&mut self, crashes: u64, cuts: u64) {
        let device = place(&mut self.rng, self.devices.len());
        self.server.now_ms += self.rng.below(20);
        match self.rng.below(16) {
            0..=2 => self.turn(),
            3..=5 => self.up(device, false),
            6..=8 => self.down(device, false),
            9..=10 => self.acknowledge(device),
            11 | 12 => self.publish(device),
            13 if self.rng.chance(0.15 * cuts as f64) => self.cut(device),
            14 if self.rng.chance(0.05 * crashes as f64) => self.crash(),
            15 => self.behind(),
            _ => self.server.tick(),
        }
        if self.devices[device].link.closed && self.devices[device].link.down.is_empty() {
            self.connect(device);
        }
        self.collect();
    }

    /// What the server has done becomes visible.
    fn collect(&mut self) {
        for device in &mut self.devices {
            if let Some(bytes) = self.server.sent.get_mut(&device.link.number) {
                device.link.down.append(bytes);
            }
        }
        for link in std::mem::take(&mut self.server.closed) {
            self.ghosts.remove(&link);
            for device in &mut self.devices {
                if device.link.number == link {
                    device.link.closed = true;
                }
            }
        }
        for (device, seq) in std::mem::take(&mut self.server.cursors) {
            self.history.push(Entry::Cursor(device, seq));
        }
    }

    fn turn(&mut self) {
        let most = 1 + place(&mut self.rng, 8);
        self.server.turn(most);
    }

    /// Things that happen behind a device's back: bytes of a connection it has given up, or the end of one.
    fn behind(&mut self) {
        let some = place(&mut self.rng, self.ghosts.len().max(1));
        let Some((link, bytes)) = self.ghosts.iter_mut().nth(some) else { return };
        let link = *link;
        if bytes.is_empty() || self.rng.chance(0.2) {
            self.ghosts.remove(&link);
            return self.server.lost(link);
        }
        let count = 1 + place(&mut self.rng, bytes.len());
        let some: Vec<u8> = bytes.drain(..count.min(bytes.len())).collect();
        self.server.receive(link, &some);
    }

    /// A device's connection is cut, or given up; what it had sent may still arrive.
    fn cut(&mut self, device: usize) {
        self.marks.cuts += 1;
        let link = std::mem::take(&mut self.devices[device].link);
        if !link.closed {
            let arrives = place(&mut self.rng, link.up.len() + 1);
            let arrives = if self.rng.chance(0.5) { link.up.len() } else { arrives };
            self.ghosts.insert(link.number, link.up[..arrives].to_vec());
        }
        self.connect(device);
    }

    fn crash(&mut self) {
        let kept = place(&mut self.rng, self.server.unsynced() + 1);
        self.ghosts.clear();
        self.history.push(Entry::Crash);
        if let Err(error) = self.server.crash(kept) {
            self.history.push(Entry::Verify(InvariantId::P1, error.to_string()));
        }
        for device in &mut self.devices {
            device.link.closed = true;
            device.link.up.clear();
            // What was on its way to the device may arrive, or not.
            let arrives = place(&mut self.rng, device.link.down.len() + 1);
            device.link.down.truncate(arrives);
        }
    }

    fn connect(&mut self, device: usize) {
        let link = self.next_link;
        self.next_link += 1;
        let of = &mut self.devices[device];
        of.client.connect.will = Some(Will {
            topic: WILLS.to_owned(),
            payload: format!("will {link}").into_bytes(),
            qos: 2,
            ..Will::default()
        });
        let up = of.client.reconnect(false);
        of.link = Link { number: link, up, ..Link::default() };
        self.server.accept(link, device);
    }

    fn up(&mut self, device: usize, all: bool) {
        let link = &mut self.devices[device].link;
        let count = if all { link.up.len() } else { 1 + place(&mut self.rng, link.up.len()) };
        let bytes: Vec<u8> = link.up.drain(..count.min(link.up.len())).collect();
        let number = link.number;
        if !link.closed && !bytes.is_empty() {
            self.server.receive(number, &bytes);
        }
    }

    fn down(&mut self, device: usize, all: bool) {
        let of = &mut self.devices[device];
        let count = if all { of.link.down.len() } else { 1 + place(&mut self.rng, of.link.down.len()) };
        let bytes: Vec<u8> = of.link.down.drain(..count.min(of.link.down.len())).collect();
        match of.client.receive(&bytes) {
            Ok((got, answer)) => {
                of.link.up.extend(answer);
                for got in got {
                    self.got(device, got);
                }
            }
            Err(broken) => {
                self.history.push(Entry::Broken(device, broken.to_string()));
                self.cut(device);
            }
        }
    }

    fn got(&mut self, device: usize, got: Got) {
        let of = &mut self.devices[device];
        match got {
            Got::Connected { code: 0, present } => {
                let link = of.link.number;
                self.history.push(Entry::Connected(device, link));
                if !of.subscribed {
                    let inbox = format!("user/{}/inbox", of.user);
                    let filters = [(inbox, of.qos), ("t/#".to_owned(), of.qos)];
                    let bytes = of.client.subscribe(&filters, &Properties::default());
                    of.link.up.extend(bytes);
                } else if !present {
                    self.history.push(Entry::Broken(device, "its session is gone".to_owned()));
                }
            }
            Got::Subscribed(_) => of.subscribed = true,
            Got::Message(message) => self.delivered(device, &message),
            Got::Repeated(message) => {
                self.marks.again += 1;
                if !message.dup {
                    let what = format!("{} came again without DUP", message.id);
                    self.history.push(Entry::Broken(device, what));
                }
            }
            Got::Received(number) | Got::Published(number, _) => {
                let over = matches!(got, Got::Published(..));
                if let Some((key, qos)) = of.keys.get(&number) {
                    self.marks.exactly_once += u64::from(*qos == 2 && over);
                    self.history.push(Entry::Stored(device, *key));
                }
            }
            Got::Connected { .. } | Got::Disconnected(_) | Got::Other => {}
        }
    }

    fn delivered(&mut self, device: usize, message: &Published) {
        let Some(what) = what_of(message) else { return };
        let count = match &what {
            What::Event(..) => &mut self.marks.events,
            What::Message { .. } => &mut self.marks.messages,
            What::Will(_) => &mut self.marks.wills,
        };
        *count += 1;
        self.marks.again += u64::from(message.dup);
        if let What::Event(seq, _) = what {
            self.devices[device].events.insert(message.id, seq);
        }
        self.history.push(Entry::Delivered(device, what, message.qos, message.dup));
    }

    fn acknowledge(&mut self, device: usize) {
        let of = &mut self.devices[device];
        let due = of.client.due();
        if due.is_empty() || !of.client.is_connected() {
            return;
        }
        let index = place(&mut self.rng, due.len());
        let due = due[index];
        if matches!(due.first, 0x40 | 0x50)
            && let Some(seq) = of.events.get(&due.id)
        {
            self.history.push(Entry::Acked(device, *seq));
        }
        let bytes = of.client.acknowledge(index);
        of.link.up.extend(bytes);
    }

    fn publish(&mut self, device: usize) {
        if self.publishes >= PUBLISHES_MAX {
            return;
        }
        let other = DEVICES[place(&mut self.rng, DEVICES.len())].0;
        let of = &mut self.devices[device];
        let key = of.next_key;
        let command = self.rng.chance(0.4);
        let topic = TOPICS[place(&mut self.rng, TOPICS.len())];
        let qos = u8::try_from(1 + self.rng.below(2)).unwrap_or(1);
        let expires = self.rng.chance(0.2) && of.client.connect.level == V5 && !command;
        let (topic, payload) = if command {
            let command = serde_json::json!({"type": "message.send", "id": format!("c{device}-{key}"),
                "to": {"user": other}, "kind": "text", "text": "hello"});
            (format!("user/{}/outbox", of.user), command.to_string())
        } else {
            (topic.to_owned(), format!("m {device} {key}"))
        };
        let properties = if expires { Properties::default().long(0x02, 1) } else { Properties::default() };
        let payload = payload.into_bytes();
        let publish = Publish { topic: topic.clone(), payload, qos, properties, ..Publish::default() };
        if let Some((number, bytes)) = of.client.publish(publish) {
            self.publishes += 1;
            of.next_key += 1;
            of.keys.insert(number, (key, qos));
            of.link.up.extend(bytes);
            self.history.push(Entry::Publish(device, key, topic, qos, expires));
        }
    }

    /// Faults are over: true once `done` says so.
    fn calm(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..CALM_ROUNDS_MAX {
            self.server.now_ms += CALM_ROUND_MS;
            while !self.ghosts.is_empty() {
                self.behind();
            }
            self.collect();
            for device in 0..self.devices.len() {
                self.up(device, true);
                self.collect();
                self.down(device, true);
                while !self.devices[device].client.due().is_empty()
                    && self.devices[device].client.is_connected()
                {
                    self.acknowledge(device);
                }
                if self.devices[device].link.closed && self.devices[device].link.down.is_empty() {
                    self.connect(device);
                }
            }
            self.server.tick();
            for _ in 0..3 {
                self.turn();
            }
            self.collect();
            if done(self) {
                return true;
            }
        }
        false
    }

    fn rests(&self) -> bool {
        let quiet = |device: &Device| {
            device.client.is_connected()
                && device.client.unfinished() == 0
                && device.client.due().is_empty()
                && device.link.up.is_empty()
                && device.link.down.is_empty()
        };
        self.server.is_idle() && self.ghosts.is_empty() && self.devices.iter().all(quiet)
    }
}

fn what_of(message: &Published) -> Option<What> {
    let text = std::str::from_utf8(&message.payload).ok()?;
    if message.topic.starts_with("user/") {
        let event: serde_json::Value = serde_json::from_str(text).ok()?;
        let command = event.pointer("/data/command_id").and_then(serde_json::Value::as_str);
        return Some(What::Event(event.get("seq")?.as_u64()?, command.map(str::to_owned)));
    }
    let mut words = text.split(' ');
    match words.next()? {
        "will" => Some(What::Will(words.next()?.parse().ok()?)),
        "m" => Some(What::Message {
            topic: message.topic.clone(),
            by: words.next()?.parse().ok()?,
            key: words.next()?.parse().ok()?,
        }),
        _ => None,
    }
}
