//! The world: one virtual clock, one queue of things that will happen, one source of chance.
//!
//! No threads, no sleeping, no time but the queue's: what happens next is the earliest thing, and among things at the
//! same millisecond the one that was planned first. So a run is a function of its seed.
//! Not here: what each actor does (their files), what is right (`check`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::invariant::InvariantId;
use schemas::{AccountId, ClientId, Epoch, MessageId, Millis, NumberId, UserId};
use sim::whatsapp::rng::Rng;
use store::stepper::{Disk, Phase, Stepper};
use store::{
    Agents, Asker, CommitSink, InboxKey, Number, Op, SendResult, Settings, StoredEvent, Update, UserSeen,
};

use crate::agents::Agent;
use crate::devices::{Connect, Device};
use crate::history::{Answer, Entry, History};
use crate::node::{Node, Purpose, Told};
use crate::weather::Weather;
use crate::whatsapp::WhatsApp;
use crate::{Config, Marks};

/// The account all of it happens in.
pub(crate) const ACCOUNT: &str = "acme";
/// Its agents.
const USERS: [&str; 3] = ["alice", "bob", "carol"];
/// Customers who write.
pub(crate) const CUSTOMERS: u64 = 3;
/// Virtual time starts here (Unix milliseconds), so that times look like times.
const START_MS: u64 = 1_795_000_000_000;
/// What is under way when the last action was begun may still meet faults for this long.
const FAULTS_LAST_MS: u64 = 600;
/// In calm weather the world is asked this often whether it rests.
const REST_EVERY_MS: u64 = 100;
/// A run that has not come to rest after this many happenings never will.
const HAPPENINGS_MAX: u64 = 100_000;
/// A crashed machine is up again within this time.
const RESTART_MS: u64 = 100;
/// The old owner wakes up within this time after it was taken over.
const HELD_UP_MS: u64 = 200;
/// Events read at once for the checker.
const PAGE: usize = 1_000;

/// Something that will happen.
pub(crate) enum Happening {
    Turn(u64),
    Crash,
    Start,
    TakeOver,
    Disturb,
    AgentActs(usize),
    CommandArrives { agent: usize, number: usize },
    CommandTimeout { agent: usize, number: usize, attempt: u32 },
    CommandReply { agent: usize, number: usize, answer: Answer },
    CustomerWrites(u64),
    MakeWebhook,
    WebhookArrives(usize),
    WebhookTimeout { webhook: usize, attempt: u32 },
    WebhookReply { webhook: usize, answer: Answer },
    Told(Box<Update>),
    DeviceConnects { device: usize, unless_linked: bool },
    ConnectArrives(Connect),
    ConnectTimeout { device: usize, link: u64 },
    LinkOpened { device: usize, link: u64 },
    DeviceNoticesCut { device: usize, link: u64 },
    ServerNoticesCut(u64),
    Delivered { device: usize, link: u64, dup: bool, stored: Arc<StoredEvent> },
    DeviceAcks { device: usize, link: u64, seq: u64 },
    AckArrives { link: u64, seq: u64 },
    Wake(InboxKey),
    SenderLooks(u64),
    PostAnswered { life: u64, message: MessageId, result: SendResult },
    ReleaseSend { life: u64, message: MessageId },
    WorkerLooks(u64),
    CalmDown,
    AskForRest,
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    /// Milliseconds since the start.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    planned: u64,
    log: History,
    pub(crate) marks: Marks,
    disk: Disk,
    pub(crate) node: Option<Node>,
    pub(crate) zombies: Vec<Node>,
    lives: u64,
    pub(crate) calls: BTreeMap<u64, (u64, Purpose)>,
    pub(crate) next_call: u64,
    pub(crate) next_link: u64,
    pub(crate) cut_links: BTreeSet<u64>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) devices: Vec<Device>,
    pub(crate) whatsapp: WhatsApp,
    actions_left: u32,
    pub(crate) calm: bool,
    rests: bool,
}

impl World {
    pub(crate) fn new(seed: u64, config: Config, disk: Disk) -> Self {
        let mut rng = Rng::new(seed);
        let weather = Weather::of(&mut rng);
        let agents = USERS.iter().map(|user| Agent::new(user_id(user))).collect();
        let mut devices = Vec::new();
        for (agent, user) in USERS.iter().enumerate() {
            for number in 0..=rng.below(2) {
                devices.push(Device {
                    agent,
                    client: ClientId::new(&format!("{user}-{number}")).expect("short and printable"),
                    inbox: InboxKey::of(&account_id(ACCOUNT), &user_id(user)),
                    link: None,
                    online: false,
                    got: 0,
                });
            }
        }
        Self {
            config,
            rng,
            weather,
            now: 0,
            queue: BTreeMap::new(),
            planned: 0,
            log: History::default(),
            marks: Marks::default(),
            disk,
            node: None,
            zombies: Vec::new(),
            lives: 0,
            calls: BTreeMap::new(),
            next_call: 1,
            next_link: 1,
            cut_links: BTreeSet::new(),
            agents,
            devices,
            whatsapp: WhatsApp::default(),
            actions_left: config.actions,
            calm: false,
            rests: false,
        }
    }

    /// Runs to the end; what happened.
    pub(crate) fn run(mut self) -> (History, Marks) {
        self.found();
        self.start_whatsapp();
        for agent in 0..self.agents.len() {
            self.after(0, Happening::AgentActs(agent));
        }
        for device in 0..self.devices.len() {
            self.on_the_way(Happening::DeviceConnects { device, unless_linked: true });
        }
        self.next_fault(self.weather.crash_every, Happening::Crash);
        self.next_fault(self.weather.takeover_every, Happening::TakeOver);
        self.next_fault(self.weather.cut_every, Happening::Disturb);
        let mut happenings = 0;
        while !self.rests
            && let Some(((at, _), happening)) = self.queue.pop_first()
        {
            self.now = at;
            self.happens(happening);
            happenings += 1;
            if happenings > HAPPENINGS_MAX {
                let why = self.why_no_rest().unwrap_or_default();
                self.history(Entry::NoRest(why));
                break;
            }
        }
        self.end();
        (self.log, self.marks)
    }

    /// The first start: users are there before anything is said to them.
    fn found(&mut self) {
        self.start();
        let now = self.clock();
        if let Some(node) = &mut self.node {
            for user in USERS {
                let seen = UserSeen { account: account_id(ACCOUNT), user: user_id(user), agent: true };
                let nobody: Arc<dyn CommitSink> = Arc::new(Told::default());
                node.stepper.submit(Op::UserSeen(seen), 0, nobody);
            }
            node.stepper.plan(now, USERS.len());
            // The founding itself meets no faults, so it cannot fail.
            let _ = node.stepper.write(false);
            node.stepper.tell();
        }
    }

    /// The last crash, with everything unsynced lost, and a look at what is left.
    fn end(&mut self) {
        self.node = None;
        self.zombies.clear();
        let of = self.disk.unsynced();
        self.history(Entry::Crash { kept: 0, of });
        match self.disk.crash(0) {
            Ok(()) => self.start(),
            Err(error) => self.history(Entry::Verify(InvariantId::P1, error.to_string())),
        }
        self.node = None;
        match self.disk.verify() {
            Ok(report) => {
                for found in report.violations {
                    let what = format!("{} {}: {}", found.table, found.key, found.what);
                    self.history(Entry::Verify(found.invariant, what));
                }
            }
            Err(error) => self.history(Entry::Verify(InvariantId::P1, error.to_string())),
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Turn(life) => self.turn(life),
            Happening::Crash => {
                if !self.calm {
                    self.crash();
                }
                self.next_fault(self.weather.crash_every, Happening::Crash);
            }
            Happening::Start => self.start(),
            Happening::TakeOver => {
                self.take_over();
                self.next_fault(self.weather.takeover_every, Happening::TakeOver);
            }
            Happening::Disturb => {
                if !self.calm {
                    self.disturb_a_device();
                }
                self.next_fault(self.weather.cut_every, Happening::Disturb);
            }
            Happening::AgentActs(agent) => self.agent_acts(agent),
            Happening::CommandArrives { agent, number } => self.command_arrives(agent, number),
            Happening::CommandTimeout { agent, number, attempt } => {
                self.command_timeout(agent, number, attempt);
            }
            Happening::CommandReply { agent, number, answer } => self.command_reply(agent, number, &answer),
            Happening::CustomerWrites(customer) => self.customer_writes(customer),
            Happening::MakeWebhook => self.make_webhook(),
            Happening::WebhookArrives(webhook) => self.webhook_arrives(webhook),
            Happening::WebhookTimeout { webhook, attempt } => self.webhook_timeout(webhook, attempt),
            Happening::WebhookReply { webhook, answer } => self.webhook_reply(webhook, &answer),
            Happening::Told(update) => self.tell(*update),
            Happening::DeviceConnects { device, unless_linked } => {
                if !(unless_linked && self.devices[device].link.is_some()) {
                    self.device_connects(device);
                }
            }
            Happening::ConnectArrives(connect) => self.connect_arrives(connect),
            Happening::ConnectTimeout { device, link } => self.connect_timeout(device, link),
            Happening::LinkOpened { device, link } => self.link_opened(device, link),
            Happening::DeviceNoticesCut { device, link } => self.device_notices_cut(device, link),
            Happening::ServerNoticesCut(link) => self.server_notices_cut(link),
            Happening::Delivered { device, link, dup, stored } => self.delivered(device, link, dup, &stored),
            Happening::DeviceAcks { device, link, seq } => self.device_acks(device, link, seq),
            Happening::AckArrives { link, seq } => self.ack_arrives(link, seq),
            Happening::Wake(inbox) => self.wake(inbox),
            Happening::SenderLooks(life) => self.sender_looks(life),
            Happening::PostAnswered { life, message, result } => self.post_answered(life, message, result),
            Happening::ReleaseSend { life, message } => self.release_send(life, message),
            Happening::WorkerLooks(life) => self.worker_looks(life),
            Happening::CalmDown => self.calm_down(),
            Happening::AskForRest => self.ask_for_rest(),
        }
    }

    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.planned += 1;
        self.queue.insert((at, self.planned), happening);
    }

    pub(crate) fn after(&mut self, millis: u64, happening: Happening) {
        self.at(self.now + millis, happening);
    }

    /// A time on the way.
    pub(crate) fn delay(&mut self) -> u64 {
        self.rng.ms(self.weather.delay)
    }

    pub(crate) fn on_the_way(&mut self, happening: Happening) {
        let delay = self.delay();
        self.after(delay, happening);
    }

    /// Plans the next fault of a kind that comes every so many milliseconds on average.
    fn next_fault(&mut self, every: u64, fault: Happening) {
        if every > 0 && !self.calm {
            let pause = 1 + self.rng.below(2 * every);
            self.after(pause, fault);
        }
    }

    pub(crate) fn history(&mut self, entry: Entry) {
        self.log.lines.push((self.now, entry));
    }

    /// The store's clock.
    pub(crate) fn clock(&self) -> Millis {
        Millis(START_MS + self.now)
    }

    /// One of the run's actions; false when there are none left.
    pub(crate) fn take_action(&mut self) -> bool {
        if self.actions_left == 0 {
            return false;
        }
        self.actions_left -= 1;
        if self.actions_left == 0 {
            self.after(FAULTS_LAST_MS, Happening::CalmDown);
        }
        true
    }

    /// All processes and the machine go down; a prefix of what was not synced survives.
    pub(crate) fn crash(&mut self) {
        if self.node.take().is_none() || self.rests {
            return;
        }
        self.zombies.clear();
        self.cut_all();
        let of = self.disk.unsynced();
        let kept = usize::try_from(self.rng.below(of as u64 + 1)).unwrap_or(0);
        self.marks.crashes += 1;
        self.marks.lost_batches += (of - kept) as u64;
        self.history(Entry::Crash { kept, of });
        if let Err(error) = self.disk.crash(kept) {
            self.history(Entry::Verify(InvariantId::P1, error.to_string()));
        }
        let restart = self.rng.below(RESTART_MS);
        self.after(restart, Happening::Start);
    }

    fn cut_all(&mut self) {
        for link in 1..self.next_link {
            self.lose_link(link);
        }
    }

    /// Another process takes the store over. The old one's connections end with its lease; its writer, caught in any
    /// step, goes on until the fence stops it.
    fn take_over(&mut self) {
        if self.calm {
            return;
        }
        let Some(mut old) = self.node.take() else { return };
        old.held_up_until = self.now + self.rng.below(HELD_UP_MS);
        self.history(Entry::TakenOver);
        self.marks.takeovers += 1;
        self.cut_all();
        self.at(old.held_up_until, Happening::Turn(old.life));
        self.zombies.push(old);
        self.start();
    }

    fn start(&mut self) {
        if self.node.is_some() {
            return;
        }
        self.lives += 1;
        let life = self.lives;
        let planted = self.config.bug.and_then(crate::Bug::planted);
        match Stepper::start(&self.disk, &settings(), self.clock(), planted) {
            Ok(stepper) => {
                self.history(Entry::Started);
                self.node = Some(Node::new(life, stepper));
                self.dump();
                self.on_the_way(Happening::SenderLooks(life));
                self.on_the_way(Happening::WorkerLooks(life));
            }
            Err(error) => self.history(Entry::Verify(InvariantId::P1, error.to_string())),
        }
    }

    /// What a restart sees, for the checker.
    fn dump(&mut self) {
        let mut entries = Vec::new();
        let mut messages = BTreeSet::new();
        let Some(node) = &self.node else { return };
        let unreadable = |error: store::ReadError| Entry::Verify(InvariantId::P1, error.to_string());
        for user in USERS {
            let inbox = InboxKey::of(&account_id(ACCOUNT), &user_id(user));
            let mut events = Vec::new();
            let mut after = schemas::Seq(0);
            let head = loop {
                match node.stepper.inbox(inbox, after, PAGE) {
                    Ok(page) => {
                        let last = page.events.last().and_then(|stored| stored.event.seq);
                        events.extend(page.events.iter().map(|stored| Arc::new(stored.event.clone())));
                        match last {
                            Some(last) if last > after => after = last,
                            _ => break page.head.0,
                        }
                    }
                    Err(error) => {
                        entries.push(unreadable(error));
                        break 0;
                    }
                }
            };
            for event in &events {
                if let schemas::EventData::MessageCreated(message) = &event.data {
                    messages.insert((message.id, user));
                }
            }
            entries.push(Entry::Inbox { user: user.to_owned(), head, events });
        }
        let mut statuses = BTreeMap::new();
        for (message, user) in messages {
            let asker = Asker { account: account_id(ACCOUNT), user: user_id(user) };
            match node.stepper.message(&asker, message) {
                Ok(found) => statuses.extend(found.map(|found| (message, found.status))),
                Err(error) => entries.push(unreadable(error)),
            }
        }
        entries.push(Entry::Statuses(statuses.into_iter().collect()));
        for entry in entries {
            self.history(entry);
        }
    }

    fn calm_down(&mut self) {
        self.history(Entry::Calm);
        self.calm = true;
        self.weather = Weather::calm();
        self.after(REST_EVERY_MS, Happening::AskForRest);
    }

    fn ask_for_rest(&mut self) {
        if self.why_no_rest().is_none() {
            self.history(Entry::Rest);
            self.rests = true;
            return;
        }
        self.wake_all();
        self.after(REST_EVERY_MS, Happening::AskForRest);
    }

    /// What is still under way, if anything.
    fn why_no_rest(&self) -> Option<String> {
        let Some(node) = &self.node else { return Some("no owner".to_owned()) };
        if node.stepper.phase() != Phase::Idle || node.stepper.waiting() != (0, 0) || !self.zombies.is_empty()
        {
            return Some("the writer is at work".to_owned());
        }
        if self.agents.iter().flat_map(|agent| &agent.commands).any(|issued| !issued.answered) {
            return Some("a command is not answered".to_owned());
        }
        if !self.whatsapp.pending.is_empty() || self.whatsapp.webhooks.iter().any(|w| !w.answered) {
            return Some("a webhook is not answered".to_owned());
        }
        if self.queue.values().any(|happening| matches!(happening, Happening::Told(_))) {
            return Some("a status is to come".to_owned());
        }
        if !node.stepper.open_journal().is_ok_and(|open| open.is_empty()) {
            return Some("a journaled webhook is not worked off".to_owned());
        }
        if !node.stepper.open_sends(None, 1).is_ok_and(|open| open.is_empty()) {
            return Some("a send is open".to_owned());
        }
        for (index, device) in self.devices.iter().enumerate() {
            let head =
                node.stepper.inbox(device.inbox, schemas::Seq(u64::MAX - 1), 1).map_or(0, |page| page.head.0);
            let conn = device.link.and_then(|link| node.conns.get(&link));
            if conn.is_none_or(|conn| conn.acked < head) {
                return Some(format!("device{index} has not acknowledged all"));
            }
        }
        None
    }

    pub(crate) fn inbox_of(&self, device: usize) -> InboxKey {
        self.devices[device].inbox
    }
}

fn settings() -> Settings {
    let mut settings = Settings::new(Epoch(1));
    settings.numbers = vec![Number {
        id: number_id(),
        account: account_id(ACCOUNT),
        agents: Agents::All,
        triage: Vec::new(),
    }];
    // So small that reads fall out of memory often.
    settings.tail_max_events = 24;
    settings
}

pub(crate) fn account_id(text: &str) -> AccountId {
    AccountId::new(text).expect("an account id")
}

fn user_id(text: &str) -> UserId {
    UserId::new(text).expect("a user id")
}

pub(crate) fn number_id() -> NumberId {
    NumberId::new("100000000000001").expect("a number id")
}

pub(crate) fn phone_of(customer: u64) -> String {
    format!("+1555000000{customer}")
}
