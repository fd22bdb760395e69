//! What must be true after a kill: everything acknowledged is there, once and in order, for everybody it belongs to.

use std::collections::{BTreeMap, BTreeSet};

use tests::deadline::{DEADLINE, until_ok};
use tests::event::{Event, assert_gapless};
use tests::mqtt::{Client, Connect, Link};
use tests::token::Token;
use tests::world::{ACME, World};

use crate::load::{Outcomes, Record, Sent, send_again, writer};

/// Members of the number's conversations: both get every event.
const AGENTS: [&str; 2] = ["alice", "bob"];

/// All that was seen over all rounds.
pub(crate) struct Ledger {
    phone: Option<Client>,
    keeper: Option<Client>,
    /// Of the round that was killed last.
    record: Record,
    rounds: u64,
    webhooks: BTreeSet<String>,
    commands: BTreeSet<Sent>,
    /// Payloads that were acknowledged, in the order of sending.
    news: Vec<String>,
    /// Inboxes as they were read so far.
    inboxes: BTreeMap<&'static str, Vec<Event>>,
    /// The highest number that the phone got.
    phone_got: u64,
    /// How often the keeper got each payload without DUP, and whether with it.
    keeper_got: BTreeMap<String, (u32, bool)>,
    /// First receipts, in order.
    keeper_order: Vec<String>,
}

fn phone_connect() -> Connect {
    Connect::v5("phone", &Token::of(ACME, "alice").sign()).kept()
}

fn keeper_connect() -> Connect {
    Connect::v311("keeper", &Token::of(ACME, "keeper").acl(&[], &["news/#"]).sign()).kept()
}

impl Ledger {
    /// Makes the two sessions that outlive every kill.
    pub(crate) async fn new(world: &World) -> Self {
        let phone = world.device(Link::Tcp, &phone_connect(), "alice").await;
        let mut keeper = Client::connect(world.at(), Link::Tcp, &keeper_connect()).await;
        keeper.subscribe("news/#", 1).await;
        Self {
            phone: Some(phone),
            keeper: Some(keeper),
            record: Record::default(),
            rounds: 0,
            webhooks: BTreeSet::new(),
            commands: BTreeSet::new(),
            news: Vec::new(),
            inboxes: AGENTS.iter().map(|user| (*user, Vec::new())).collect(),
            phone_got: 0,
            keeper_got: BTreeMap::new(),
            keeper_order: Vec::new(),
        }
    }

    pub(crate) fn take_phone(&mut self) -> Client {
        self.phone.take().expect("the phone is connected between rounds")
    }

    pub(crate) fn take_keeper(&mut self) -> Client {
        self.keeper.take().expect("the keeper is connected between rounds")
    }

    /// Takes down what a round was told before it was killed.
    pub(crate) fn note(&mut self, record: Record) {
        self.rounds += 1;
        for (seq, dup) in &record.phone {
            self.phone_gets(*seq, *dup);
        }
        for (payload, dup) in &record.keeper {
            self.keeper_gets(payload, *dup);
        }
        let Outcomes { acknowledged, .. } = &record.news;
        self.news.extend(acknowledged.iter().cloned());
        self.record = record;
    }

    /// A webhook of nobody's load was answered 200.
    pub(crate) fn add_webhook(&mut self, wamid: String) {
        self.webhooks.insert(wamid);
    }

    /// P3: in order, nothing skipped; what comes again says so.
    fn phone_gets(&mut self, seq: u64, dup: bool) {
        assert!(seq <= self.phone_got + 1, "the phone had {} and then got {seq}", self.phone_got);
        assert!(
            dup || seq == self.phone_got + 1,
            "{seq} came again without DUP, the phone had {}",
            self.phone_got
        );
        self.phone_got = self.phone_got.max(seq);
    }

    fn keeper_gets(&mut self, payload: &str, dup: bool) {
        let got = self.keeper_got.entry(payload.to_owned()).or_default();
        if *got == (0, false) {
            self.keeper_order.push(payload.to_owned());
        }
        if dup {
            got.1 = true;
        } else {
            got.0 += 1;
            assert!(*got == (1, false), "{payload:?} came again without DUP");
        }
    }

    /// After a restart.
    pub(crate) async fn check(&mut self, world: &World) {
        self.check_without_repair(world).await;
        let mut record = std::mem::take(&mut self.record);
        send_again(world, &mut record).await;
        self.webhooks.extend(record.webhooks.acknowledged.into_iter().map(|(wamid, _)| wamid));
        self.commands.extend(record.commands.acknowledged);
        self.check_inboxes(world).await;
        self.check_phone(world).await;
        self.check_keeper(world).await;
        check_posts(world);
        let violations = world.metrics().await.count("inboxd_invariant_violations_total", &[]);
        assert!(violations < 0.5, "{violations} violations of invariants");
    }

    /// Before anybody has sent anything again: a repetition must not be what brings it back.
    async fn check_without_repair(&mut self, world: &World) {
        let known: BTreeSet<String> = self.created(world, "alice").await;
        for (wamid, _) in &self.record.webhooks.acknowledged {
            assert!(known.contains(wamid), "{wamid} was answered 200 and is gone");
        }
        for sent in &self.record.commands.acknowledged {
            assert!(known.contains(&sent.id), "{sent:?} was acknowledged and is gone");
        }
    }

    /// wamids and command ids of all messages of an inbox, each of which is there once.
    async fn created(&mut self, world: &World, user: &'static str) -> BTreeSet<String> {
        let read = self.inboxes.get_mut(user).expect("an agent");
        let more = world.api(user).events_after(read.len() as u64).await;
        assert_gapless(&more, read.len() as u64 + 1);
        read.extend(more);
        let mut known = BTreeSet::new();
        for event in read.iter().filter(|event| event.kind == "message.created") {
            let outgoing = event.data["direction"] == "out";
            let key = event.text(if outgoing { "command_id" } else { "wamid" });
            assert!(known.insert(key.to_owned()), "{key} is there twice");
        }
        known
    }

    /// P1, P2, P4, P5.
    async fn check_inboxes(&mut self, world: &World) {
        let expected: BTreeSet<String> =
            self.webhooks.iter().cloned().chain(self.commands.iter().map(|sent| sent.id.clone())).collect();
        for user in AGENTS {
            let known = self.created(world, user).await;
            let missing: Vec<_> = expected.difference(&known).collect();
            let invented: Vec<_> = known.difference(&expected).collect();
            assert!(
                missing.is_empty() && invented.is_empty(),
                "{user}: missing {missing:?}, invented {invented:?}"
            );
        }
    }

    /// P3.
    async fn check_phone(&mut self, world: &World) {
        let mut phone = Client::connect(world.at(), Link::Tcp, &phone_connect()).await;
        assert!(phone.connack.present, "the phone's session is gone");
        let head = world.api("alice").head().await;
        while self.phone_got < head {
            let event = phone.event().await;
            self.phone_gets(event.number(), event.dup);
        }
        self.phone = Some(phone);
    }

    async fn check_keeper(&mut self, world: &World) {
        let mut keeper = Client::connect(world.at(), Link::Tcp, &keeper_connect()).await;
        assert!(keeper.connack.present, "the keeper's session is gone");
        let last = format!("the last news of round {}", self.rounds);
        assert_eq!(writer(world).await.publish("news/last", last.as_str()).await.code, 0);
        while !self.keeper_got.contains_key(&last) {
            let message = keeper.message().await;
            keeper.ack(message.id).await;
            self.keeper_gets(&String::from_utf8(message.payload).expect("news are text"), message.dup);
        }
        self.news.push(last);
        for payload in &self.news {
            assert!(self.keeper_got.contains_key(payload), "{payload:?} was acknowledged and never came");
        }
        let acknowledged: BTreeSet<_> = self.news.iter().collect();
        let order: Vec<_> =
            self.keeper_order.iter().filter(|payload| acknowledged.contains(payload)).collect();
        assert_eq!(order, self.news.iter().collect::<Vec<_>>(), "one publisher's messages keep their order");
        self.keeper = Some(keeper);
    }

    /// P6, when all is over: every message ends as WhatsApp has it, or as unknown where nobody can know.
    pub(crate) async fn check_sends(&mut self, world: &World) {
        let mut open = usize::MAX;
        // As long as it goes on, however slow store and machine are.
        let settled = loop {
            let (statuses, unsettled) = until_ok("sends go on being settled", || async {
                // Looked at anew each time: what waited behind an unknown send is posted late.
                let accepted: BTreeSet<_> = world
                    .sim
                    .posts()
                    .into_iter()
                    .filter_map(|post| post.wamid.and(post.biz_opaque))
                    .collect();
                let statuses = statuses(&world.api(AGENTS[0]).events_after(0).await);
                let expected = |message| if accepted.contains(message) { "read" } else { "unknown" };
                let unsettled = statuses.iter().filter(|(message, status)| *status != expected(*message));
                let unsettled: Vec<_> =
                    unsettled.map(|(message, status)| format!("{message} {status}")).collect();
                let some = || format!("{:?}", &unsettled[..unsettled.len().min(5)]);
                if unsettled.len() < open { Ok((statuses, unsettled.len())) } else { Err(some()) }
            })
            .await;
            if unsettled == 0 {
                break statuses;
            }
            open = unsettled;
        };
        world.sim.wait_until_idle(DEADLINE).await.expect("all statuses are delivered");
        assert_eq!(settled.len(), self.commands.len(), "one message a command");
        check_posts(world);
    }

    pub(crate) fn summary(&self) -> String {
        let again = self.keeper_got.values().filter(|(_, dup)| *dup).count();
        format!(
            "{} kills: {} webhooks, {} commands, {} general messages ({again} of them again with DUP), \
             {} events in an inbox; nothing lost, nothing doubled",
            self.rounds,
            self.webhooks.len(),
            self.commands.len(),
            self.news.len(),
            self.phone_got,
        )
    }
}

/// The last status of every message that went out.
fn statuses(events: &[Event]) -> BTreeMap<String, String> {
    let mut statuses = BTreeMap::new();
    for event in events {
        if event.kind == "message.created" && event.data["direction"] == "out" {
            statuses.insert(event.text("id").to_owned(), "sending".to_owned());
        } else if event.kind == "message.status" {
            statuses.insert(event.text("message").to_owned(), event.text("status").to_owned());
        }
    }
    statuses
}

/// P6: no message is posted twice.
fn check_posts(world: &World) {
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    for post in world.sim.posts() {
        let message = post.biz_opaque.expect("every send names its message");
        let posts = count.entry(message.clone()).or_default();
        *posts += 1;
        assert_eq!(*posts, 1, "{message} was posted twice");
    }
}
