//! The run that is recorded: a seeded load on the embedded store, and a line in the side file for everything that was
//! told to somebody, written the moment it was told.
//!
//! [`acts`] is pure, so that the judge knows what was asked for. Not here: strace (`record`), what must be true (`judge`).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use schemas::{ClientId, Command, CommandId, MessageId, Publication, QoS, Seq, Status, Subscription, Wamid};
use sim::whatsapp::rng::Rng;
use store::conformance::{Engine, World, account_id, inbound, status, text_message, to_ana, user_id};
use store::engine::embedded::{self, Sizes};
use store::verify::Report;
use store::{
    Clock, CommandOp, CommitResult, CommitSink, InboxKey, JournalApply, JournalOp, Op, Outcome, Progress,
    Publish, SendEnd, SendResult, SessionKey, SessionOpen, Settings, Store, Subscribe, Update, WebhookOp,
};
use tokio::sync::oneshot;

/// Small, so that a run of seconds flushes, compacts and removes files.
const MEMTABLE_BYTES: u64 = 16 << 10;
/// Few, so that rows go to their tables all the time.
const BEHIND_ROWS: usize = 64;
/// Members of every conversation.
pub const AGENTS: [&str; 2] = ["alice", "bob"];
/// Events read and messages taken at a time.
const PAGE: usize = 200;
/// Most acts submitted at a time: groups of one and groups of many.
const WIDTH_MAX: u64 = 8;
/// One write of so many is larger than a buffer of the engine.
const LARGE_EVERY: u64 = 9;
/// Bytes of a large one: several pages.
const LARGE_BYTES: usize = 20_000;
/// Bytes of the raw body of any other webhook.
const BODY_BYTES: usize = 700;

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of chance.
    pub seed: u64,
    /// Acts.
    pub acts: usize,
    /// Bytes of raw webhooks, in bodies as large as WhatsApp's largest, before the acts: the engine begins a new
    /// journal after 64 MB.
    pub ballast_bytes: usize,
}

/// One thing asked of the store. Its number is part of every text and id in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A webhook.
    Webhook {
        /// Messages in it.
        messages: u64,
        /// With a raw body of several pages.
        large: bool,
    },
    /// A webhook's body alone.
    Journal,
    /// A command.
    Command {
        /// Which of [`AGENTS`] gives it.
        agent: usize,
    },
    /// A message on a general topic.
    Publish {
        /// With a payload of several pages.
        large: bool,
    },
    /// One more filter of the kept session.
    Subscribe,
}

/// What a run asks for, in order.
#[must_use]
pub fn acts(size: Size) -> Vec<Act> {
    let mut chance = Rng::new(size.seed);
    let one = |_| {
        let large = chance.below(LARGE_EVERY) == 0;
        match chance.below(10) {
            0..4 => Act::Webhook { messages: 1 + chance.below(3), large },
            4 => Act::Journal,
            5..7 => Act::Command { agent: chance.below(AGENTS.len() as u64) as usize },
            7..9 => Act::Publish { large },
            _ => Act::Subscribe,
        }
    };
    (0..size.acts).map(one).collect()
}

/// The embedded store in a folder.
pub struct Embedded(pub PathBuf);

impl Embedded {
    /// Sizes of every store of this crate.
    #[must_use]
    pub fn sizes() -> Sizes {
        Sizes { memtable_max_bytes: MEMTABLE_BYTES, behind_max_rows: BEHIND_ROWS, ..Sizes::default() }
    }
}

impl Engine for Embedded {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        embedded::open(&self.0, Self::sizes(), settings, clock)
            .unwrap_or_else(|e| panic!("it does not open: {e}"))
    }

    fn verify(&self) -> Report {
        embedded::verify(&self.0, Self::sizes(), &mut |_, _, _| {}).unwrap_or_else(|e| panic!("verify: {e}"))
    }
}

/// The side file.
pub struct Marks(Mutex<File>);

impl Marks {
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self(Mutex::new(File::create(path)?)))
    }

    /// A line, in one call.
    fn note(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).expect("the side file is written");
    }
}

/// Notes that an op is on disk, on the writer's thread, as an acknowledgement would leave.
struct Noting {
    marks: Arc<Marks>,
    line: String,
    answer: Mutex<Option<oneshot::Sender<CommitResult>>>,
}

impl CommitSink for Noting {
    fn done(&self, _token: u64, result: CommitResult) {
        if result.is_ok() {
            self.marks.note(&self.line);
        }
        if let Some(answer) = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = answer.send(result);
        }
    }
}

/// Updates of the webhook that is act `n`.
#[must_use]
pub fn updates(world: &World, n: usize, messages: u64) -> Vec<Update> {
    (0..messages).map(|k| inbound(&format!("wamid.{n}.{k}"), &format!("text {n}.{k}"), world.now())).collect()
}

/// The only update of the journaled webhook that is act `n`.
#[must_use]
pub fn journaled(world: &World, n: usize) -> Vec<Update> {
    vec![inbound(&format!("wamid.j{n}"), &format!("journaled {n}"), world.now())]
}

/// The kept session.
#[must_use]
pub fn keeper() -> SessionOpen {
    SessionOpen {
        account: account_id("acme"),
        user: user_id("alice"),
        client: ClientId::new("keeper").expect("a client id"),
        agent: true,
        clean: false,
        expiry_s: u32::MAX,
        will: None,
    }
}

/// A filter of it.
#[must_use]
pub fn subscription(filter: &str) -> Subscription {
    Subscription {
        filter: filter.into(),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        id: None,
    }
}

/// The op of an act.
#[must_use]
pub fn op(world: &World, n: usize, act: Act) -> Op {
    let large = |text: String, large| if large { text + &"x".repeat(LARGE_BYTES) } else { text };
    match act {
        Act::Webhook { messages, large: is_large } => Op::Webhook(WebhookOp {
            body: large("b".repeat(BODY_BYTES), is_large).into(),
            updates: updates(world, n, messages),
            received_us: 1,
        }),
        Act::Journal => Op::Journal(JournalOp { body: format!("journal {n}").into(), received_us: 1 }),
        Act::Command { agent } => Op::Command(CommandOp {
            account: account_id("acme"),
            user: user_id(AGENTS[agent]),
            command: Command {
                id: format!("command-{n}").parse::<CommandId>().expect("a command id"),
                body: text_message(to_ana(), &format!("answer {n}")),
            },
            received_us: 1,
            report_refusal: false,
        }),
        Act::Publish { large: is_large } => Op::Publish(Publish {
            account: account_id("acme"),
            publisher: SessionKey(0),
            report_refusal: None,
            message: Publication {
                topic: "news/today".into(),
                payload: large(format!("news {n} "), is_large).into(),
                qos: QoS::AtLeastOnce,
                retain: false,
                properties: None,
            },
        }),
        Act::Subscribe => Op::Subscribe(Subscribe {
            session: keeper_key(),
            filters: vec![subscription(&format!("more/{n}"))],
            inbox_after: None,
        }),
    }
}

/// The key of the kept session.
#[must_use]
pub fn keeper_key() -> SessionKey {
    let SessionOpen { account, user, client, .. } = keeper();
    SessionKey::of(&account, &user, &client)
}

struct Run {
    world: World,
    marks: Arc<Marks>,
    chance: Rng,
    /// Last event of each agent that was noted.
    seen: [u64; AGENTS.len()],
    /// Last message of the kept session's queue that was noted.
    queued: u64,
}

/// Runs the load in `folder`.
///
/// # Panics
/// Where the store does not do what it is asked: then there is nothing to record.
pub async fn run(folder: &Path, size: Size) {
    let marks = Arc::new(Marks::create(&folder.join(crate::MARKS)).expect("the side file is made"));
    let world = World::new(Embedded(folder.join(crate::STORE))).await;
    let chance = Rng::new(size.seed ^ 1);
    let mut run = Run { world, marks, chance, seen: [0; AGENTS.len()], queued: 0 };
    run.marks.note("opened");
    run.told("keeper".to_owned(), Op::SessionOpen(keeper())).await;
    let filters = vec![subscription("news/#")];
    run.told(
        "news".to_owned(),
        Op::Subscribe(Subscribe { session: keeper_key(), filters, inbox_after: None }),
    )
    .await;
    run.ballast(size.ballast_bytes).await;
    let acts = acts(size);
    let half = acts.len() / 2;
    let mut next = 0;
    while next < acts.len() {
        let width = 1 + run.chance.below(WIDTH_MAX) as usize;
        let end = (next + width).min(acts.len());
        run.round(&acts, next..end).await;
        if next < half && half <= end {
            // Raw webhooks are over then: the writer removes them, without a sync.
            run.world.settings.retention.journal_days = 1;
            run.world.reopen().await;
            run.world.pass(2 * 86_400_000);
        }
        next = end;
    }
    run.world.finish().await;
}

impl Run {
    /// Large raw bodies, submitted together.
    async fn ballast(&self, bytes: usize) {
        let body = "b".repeat(store_body_max());
        for n in 0..bytes / body.len() {
            let op = Op::Journal(JournalOp { body: body.clone().into(), received_us: 1 });
            let Outcome::Journaled(journal) = self.told(format!("ballast {n}"), op).await else {
                panic!("not journaled")
            };
            let op = Op::JournalApply(JournalApply { journal, from: 0, updates: vec![], last: true });
            self.told(format!("ballasted {n}"), op).await;
        }
    }

    /// Submits an op; its success is noted as it is told.
    async fn submit(&self, line: String, op: Op) -> oneshot::Receiver<CommitResult> {
        let (answer, wait) = oneshot::channel();
        let permit = self.world.store.permit(op.cost()).await;
        let sink = Noting { marks: self.marks.clone(), line, answer: Mutex::new(Some(answer)) };
        self.world.store.submit(op, permit, 0, Arc::new(sink));
        wait
    }

    async fn told(&self, line: String, op: Op) -> Outcome {
        let answer = self.submit(line, op).await;
        answer.await.expect("an answer").expect("it is committed")
    }

    /// Some acts at once, then what follows from them.
    async fn round(&mut self, acts: &[Act], range: std::ops::Range<usize>) {
        let mut waiting = Vec::new();
        for n in range {
            waiting.push((n, self.submit(format!("ack {n}"), op(&self.world, n, acts[n])).await));
        }
        let mut followed = Vec::new();
        for (n, wait) in waiting {
            match wait.await.expect("an answer").expect("it is committed") {
                Outcome::Journaled(journal) if self.chance.chance(0.5) => {
                    self.marks.note(&format!("applying {n}"));
                    let updates = journaled(&self.world, n);
                    let op = Op::JournalApply(JournalApply { journal, from: 0, updates, last: true });
                    followed.push(self.submit(format!("applied {n}"), op).await);
                }
                Outcome::Command(done) => {
                    let message = done.message.expect("a send makes a message").id;
                    self.marks.note(&format!("message {n} {message}"));
                    followed.extend(self.attempt(n, message).await);
                }
                _ => {}
            }
        }
        for wait in followed {
            wait.await.expect("an answer").expect("it is committed");
        }
        self.read_on().await;
        if self.chance.chance(0.3) {
            self.take_some().await;
        }
    }

    /// An attempt to send: none, one that is left open, one that is accepted, one that is delivered already.
    async fn attempt(&mut self, n: usize, message: MessageId) -> Option<oneshot::Receiver<CommitResult>> {
        let how = self.chance.below(4);
        if how == 0 {
            return None;
        }
        self.marks.note(&format!("starting {n}"));
        self.told(format!("started {n}"), Op::SendStart(message)).await;
        let wamid = format!("wamid.out{n}");
        match how {
            1 => None,
            2 => {
                let result = SendResult::Accepted(Wamid::new(&wamid).expect("a wamid"));
                Some(self.submit(format!("accepted {n}"), Op::SendEnd(SendEnd { message, result })).await)
            }
            _ => {
                let updates = vec![status(&wamid, Some(message), Status::Delivered, self.world.now())];
                let op = WebhookOp { body: "{}".into(), updates, received_us: 1 };
                Some(self.submit(format!("delivered {n}"), Op::Webhook(op)).await)
            }
        }
    }

    /// What clients see of the inboxes: a number seen must mean the same event for ever.
    async fn read_on(&mut self) {
        for (index, agent) in AGENTS.iter().enumerate() {
            let inbox = InboxKey::of(&account_id("acme"), &user_id(agent));
            let page =
                self.world.store.inbox(inbox, Seq(self.seen[index]), PAGE).await.expect("the inbox is read");
            for stored in &page.events {
                let seq = stored.event.seq.expect("events of an inbox have numbers");
                self.marks.note(&format!("saw {agent} {} {}", seq.0, stored.event.id));
                self.seen[index] = seq.0;
            }
        }
    }

    /// The kept session acknowledges some of its queue. This asks for no sync of its own.
    async fn take_some(&mut self) {
        let page = self.world.store.queue(keeper_key(), self.queued, PAGE).await.expect("the queue is read");
        let count = self.chance.below(page.messages.len() as u64 + 1) as usize;
        for queued in &page.messages[..count] {
            let text = String::from_utf8_lossy(&queued.message.payload);
            let n = text.split(' ').nth(1).unwrap_or_default().to_owned();
            self.marks.note(&format!("took {n}"));
            self.queued = queued.n;
        }
        self.world.store.advance(keeper_key(), Progress { queue: self.queued, ..Progress::default() });
    }
}

/// WhatsApp's largest webhook.
const fn store_body_max() -> usize {
    3 << 20
}
