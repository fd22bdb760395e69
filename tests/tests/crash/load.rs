//! What runs until the kill: customers, two agents, a writer of news, and two devices that receive. Each notes what was
//! acknowledged and what it does not know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::deadline::within;
use tests::http::{Api, try_send};
use tests::mqtt::{Client, Connect, Link, Packet, Publish};
use tests::token::Token;
use tests::webhooks;
use tests::world::{ACME, World, send_command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::ledger::Ledger;

/// Customers who write at the same time.
const CUSTOMERS: u64 = 4;
/// Commands over HTTP at the same time.
const POSTERS: u64 = 2;
/// Publishes of one device that wait for their PUBACK.
const WINDOW: usize = 8;
/// People who are written to; each has at most one attempt open. So many that nobody is written to more often than
/// WhatsApp's pair limit lets through at once (45, then one in 6 s), however fast the binary is.
const PEOPLE: u64 = 400;

/// wamid and body.
type Webhook = (String, Vec<u8>);

/// What became of a round.
#[derive(Default)]
pub(crate) struct Record {
    /// Those that were answered 200, and those that were not.
    pub(crate) webhooks: Outcomes<Webhook>,
    /// Ids of alice's and of bob's commands.
    pub(crate) commands: Outcomes<Sent>,
    /// Payloads on the general topic.
    pub(crate) news: Outcomes<String>,
    /// What the phone got: number and DUP, all of it acknowledged.
    pub(crate) phone: Vec<(u64, bool)>,
    /// What the keeper got: payload and DUP, all of it acknowledged.
    pub(crate) keeper: Vec<(String, bool)>,
}

/// A command that was sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    pub(crate) user: &'static str,
    pub(crate) id: String,
    pub(crate) phone: String,
}

impl Sent {
    fn new(user: &'static str, round: u64, who: &str, n: u64) -> Self {
        Self { user, id: format!("c.{round}.{who}.{n}"), phone: format!("1555001{:04}", n % PEOPLE) }
    }

    pub(crate) fn body(&self) -> serde_json::Value {
        send_command(&self.id, &self.phone, &format!("text of {}", self.id))
    }
}

/// What was acknowledged and what was not, in the order of sending.
pub(crate) struct Outcomes<T> {
    pub(crate) acknowledged: Vec<T>,
    pub(crate) open: Vec<T>,
}

impl<T> Default for Outcomes<T> {
    fn default() -> Self {
        Self { acknowledged: Vec::new(), open: Vec::new() }
    }
}

impl<T> Outcomes<T> {
    fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.open.extend(other.open);
    }
}

/// Counts acknowledgements of all kinds.
#[derive(Default)]
struct Counter {
    count: AtomicU64,
    moved: Notify,
}

impl Counter {
    fn one(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

/// A running load.
pub(crate) struct Load {
    counter: Arc<Counter>,
    customers: Vec<JoinHandle<Outcomes<Webhook>>>,
    commands: Vec<JoinHandle<Outcomes<Sent>>>,
    news: JoinHandle<Outcomes<String>>,
    phone: JoinHandle<Vec<(u64, bool)>>,
    keeper: JoinHandle<Vec<(String, bool)>>,
}

pub(crate) async fn sender(world: &World) -> Client {
    let token = Token::of(ACME, "alice").sign();
    Client::connect(world.at(), Link::WebSocket, &Connect::v5("sender", &token)).await
}

pub(crate) async fn writer(world: &World) -> Client {
    let token = Token::of(ACME, "writer").acl(&["news/#"], &[]).sign();
    Client::connect(world.at(), Link::Tcp, &Connect::v5("writer", &token)).await
}

impl Load {
    /// Connects everybody, then lets them go. The receiving devices are the ledger's: they were there before.
    pub(crate) async fn start(world: &World, round: u64, ledger: &mut Ledger) -> Self {
        let counter = Arc::new(Counter::default());
        let http = world.at().http;
        let (sender, writer) = (sender(world).await, writer(world).await);
        let customers =
            (0..CUSTOMERS).map(|who| tokio::spawn(customer(http, round, who, Arc::clone(&counter))));
        let customers = customers.collect();
        let bob = Token::of(ACME, "bob").sign();
        let mut commands: Vec<_> = (0..POSTERS)
            .map(|who| tokio::spawn(poster(http, bob.clone(), round, who, Arc::clone(&counter))))
            .collect();
        commands.push(tokio::spawn(publish_commands(sender, round, Arc::clone(&counter))));
        Self {
            customers,
            commands,
            news: tokio::spawn(publish_news(writer, round, Arc::clone(&counter))),
            phone: tokio::spawn(receive_events(ledger.take_phone())),
            keeper: tokio::spawn(receive_news(ledger.take_keeper())),
            counter,
        }
    }

    /// Waits until so many acknowledgements of all kinds have come.
    pub(crate) async fn acknowledged(&self, count: u64) {
        within("acknowledgements under load", async {
            loop {
                let moved = self.counter.moved.notified();
                if self.counter.count.load(Ordering::SeqCst) >= count {
                    return;
                }
                moved.await;
            }
        })
        .await;
    }

    /// What became of it, once all have seen that the server is gone.
    pub(crate) async fn ended(self) -> Record {
        let mut record = Record::default();
        for customer in self.customers {
            record.webhooks.add(customer.await.expect("a customer does not panic"));
        }
        for command in self.commands {
            record.commands.add(command.await.expect("an agent does not panic"));
        }
        record.news = self.news.await.expect("the writer does not panic");
        record.phone = self.phone.await.expect("the phone does not panic");
        record.keeper = self.keeper.await.expect("the keeper does not panic");
        record
    }
}

/// Writes one webhook after the other until one is not answered 200.
async fn customer(
    http: std::net::SocketAddr,
    round: u64,
    who: u64,
    counter: Arc<Counter>,
) -> Outcomes<Webhook> {
    let mut outcomes = Outcomes::default();
    for n in 0.. {
        let wamid = format!("wamid.{round}.{who}.{n}");
        let phone = format!("1555002{who:04}");
        let body = webhooks::text(&World::number(), &phone, &wamid, &format!("text of {wamid}"));
        if !webhooks::is_taken(http, body.clone()).await {
            outcomes.open.push((wamid, body));
            break;
        }
        outcomes.acknowledged.push((wamid, body));
        counter.one();
    }
    outcomes
}

/// Sends one command after the other over HTTP until one is not answered.
async fn poster(
    http: std::net::SocketAddr,
    token: String,
    round: u64,
    who: u64,
    counter: Arc<Counter>,
) -> Outcomes<Sent> {
    let url = format!("http://{http}/v1/messages");
    let authorization = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    let mut outcomes = Outcomes::default();
    for n in 0.. {
        let sent = Sent::new("bob", round, &format!("http{who}"), n);
        match try_send("POST", &url, &headers, sent.body().to_string().into()).await {
            Ok(answer) if answer.status != 503 => {
                assert_eq!(answer.status, 201, "{}", answer.text());
                outcomes.acknowledged.push(sent);
                counter.one();
            }
            // It cannot store it now, or is gone.
            _ => {
                outcomes.open.push(sent);
                break;
            }
        }
    }
    outcomes
}

/// Publishes, a window at a time, until the connection ends.
async fn publish_all<T>(
    mut client: Client,
    topic: &str,
    mut next: impl FnMut(u64) -> (T, Vec<u8>),
    counter: &Counter,
) -> Outcomes<T> {
    let mut outcomes = Outcomes::default();
    let mut in_flight = BTreeMap::new();
    let mut n = 0;
    loop {
        while in_flight.len() < WINDOW {
            let (what, payload) = next(n);
            let publish = Publish { topic: topic.to_owned(), payload, ..Publish::default() };
            let id = client.start_publish(publish).await;
            in_flight.insert(id, (n, what));
            n += 1;
        }
        match client.next().await {
            Ok(Packet::PubAck(ack)) => {
                assert_eq!(ack.code, 0, "{ack:?}");
                let (_, what) = in_flight.remove(&ack.id).expect("it was in flight");
                outcomes.acknowledged.push(what);
                counter.one();
            }
            Ok(other) => panic!("{other:?} for a client that only publishes"),
            Err(_) => break,
        }
    }
    let mut open: Vec<_> = in_flight.into_values().collect();
    open.sort_by_key(|(n, _)| *n);
    outcomes.open = open.into_iter().map(|(_, what)| what).collect();
    outcomes
}

async fn publish_commands(client: Client, round: u64, counter: Arc<Counter>) -> Outcomes<Sent> {
    let next = |n| {
        let sent = Sent::new("alice", round, "mqtt", n);
        let payload = sent.body().to_string().into_bytes();
        (sent, payload)
    };
    publish_all(client, "user/alice/outbox", next, &counter).await
}

async fn publish_news(client: Client, round: u64, counter: Arc<Counter>) -> Outcomes<String> {
    let next = |n| {
        let text = format!("news {round}.{n}");
        let payload = text.clone().into_bytes();
        (text, payload)
    };
    publish_all(client, "news/today", next, &counter).await
}

async fn receive_events(mut phone: Client) -> Vec<(u64, bool)> {
    let mut seen = Vec::new();
    while let Ok(packet) = phone.next_however_late().await {
        if let Packet::Publish(publish) = packet {
            let event = tests::event::Event::read(&publish);
            seen.push((event.number(), event.dup));
            phone.ack(event.packet_id).await;
        }
    }
    seen
}

async fn receive_news(mut keeper: Client) -> Vec<(String, bool)> {
    let mut seen = Vec::new();
    while let Ok(packet) = keeper.next_however_late().await {
        if let Packet::Publish(publish) = packet {
            seen.push((String::from_utf8(publish.payload).expect("news are text"), publish.dup));
            keeper.ack(publish.id).await;
        }
    }
    seen
}

/// Sends again what was not acknowledged, as its sender would: Meta a webhook, a client a command.
pub(crate) async fn send_again(world: &World, record: &mut Record) {
    for (wamid, body) in record.webhooks.open.drain(..) {
        webhooks::deliver(world.at().http, body.clone()).await;
        record.webhooks.acknowledged.push((wamid, body));
    }
    for sent in record.commands.open.drain(..) {
        let api: Api = world.api(sent.user);
        let answer = api.post("/v1/messages", &sent.body()).await;
        assert!([200, 201].contains(&answer.status), "{sent:?}: {}", answer.text());
        record.commands.acknowledged.push(sent);
    }
}
