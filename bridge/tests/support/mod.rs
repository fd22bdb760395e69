//! A store on disk, a simulated WhatsApp and a bridge between them, on loopback.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use bridge::{Bridge, BridgeConfig, Clock, Handle, NumberConfig, OnUnknown, Secret};
use schemas::{AccountId, Command, Epoch, Message, MessageId, Millis, NumberId, Status, UserId};
use serde_json::{Value, json};
use sim::whatsapp::{BusinessNumber, SimConfig, WhatsAppSim};
use store::engine::embedded;
use store::{
    Agents, Asker, CommandOp, CommitListener, MessageRange, Notices, Number, Op, Outcome, Settings, Store,
    UserSeen,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt as _;

pub(crate) const SECRET: &str = "app-secret";
/// Longest wait for anything; only a test that fails takes it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(since.as_micros()).unwrap()
    })
}

/// A store on disk, and the folder that holds it.
pub(crate) type OnDisk = (TempDir, Arc<dyn Store>);

/// Account acme with alice, and number 100000000000001.
pub(crate) async fn store() -> OnDisk {
    let mut settings = Settings::new(Epoch(1));
    settings.numbers.push(Number { id: number(), account: account(), agents: Agents::All, triage: vec![] });
    let clock = clock();
    let clock: store::Clock = Arc::new(move || Millis(clock() / 1000));
    let dir = tempfile::tempdir().unwrap();
    let store = embedded::open(dir.path(), embedded::Sizes::default(), settings, clock).unwrap();
    let alice = UserSeen { account: account(), user: alice().user, agent: true };
    store::commit(&*store, Op::UserSeen(alice)).await.unwrap();
    (dir, store)
}

pub(crate) fn number() -> NumberId {
    NumberId::new("100000000000001").unwrap()
}

pub(crate) fn account() -> AccountId {
    AccountId::new("acme").unwrap()
}

pub(crate) fn alice() -> Asker {
    Asker { account: account(), user: UserId::new("alice").unwrap() }
}

pub(crate) fn config(graph_url: &str, on_unknown: OnUnknown, unknown_after_ms: u64) -> BridgeConfig {
    BridgeConfig {
        graph_url: graph_url.to_owned(),
        verify_token: Secret::new("verify me"),
        app_secrets: vec![Secret::new(SECRET)],
        numbers: vec![NumberConfig {
            id: number(),
            access_token: Secret::new("graph-token"),
            app_secret: None,
            on_unknown,
            unknown_after_ms,
        }],
    }
}

/// Hears every commit, so that tests wait for events.
pub(crate) struct Commits(watch::Sender<u64>);

impl CommitListener for Commits {
    fn committed(&self, _notices: &Notices) {
        self.0.send_modify(|count| *count += 1);
    }
}

pub(crate) fn listen(store: &Arc<dyn Store>) -> watch::Receiver<u64> {
    let (sender, receiver) = watch::channel(0);
    store.listen(Arc::new(Commits(sender)));
    receiver
}

/// Messages of alice's newest conversation, oldest first.
pub(crate) async fn messages(store: &dyn Store) -> Vec<Message> {
    let page = store.conversations(alice(), None, 1).await.unwrap();
    let Some(conversation) = page.items.first() else { return Vec::new() };
    let mut all = Vec::new();
    let mut range = MessageRange::Newest;
    loop {
        let page = store.messages(alice(), conversation.id, range, 200).await.unwrap().unwrap();
        let Some(last) = page.items.last() else { break };
        range = MessageRange::Before(last.id);
        all.extend(page.items);
        if !page.more {
            break;
        }
    }
    all.reverse();
    all
}

pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.text.clone().unwrap_or_default()).collect()
}

/// A message of alice to a phone number.
pub(crate) async fn send(store: &dyn Store, id: &str, phone: &str, text: &str) -> MessageId {
    let body = json!({"id":id,"to":{"whatsapp":phone,"number":number()},"text":text});
    let command = Command::from_value(&body, Some("message.send")).unwrap();
    let asker = alice();
    let op = CommandOp {
        account: asker.account,
        user: asker.user,
        command,
        received_us: clock()(),
        report_refusal: false,
    };
    match store::commit(store, Op::Command(op)).await.unwrap() {
        Outcome::Command(done) => done.message.unwrap().id,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn status(store: &dyn Store, message: MessageId) -> Status {
    store.message(alice(), message).await.unwrap().unwrap().status
}

/// A body with these messages of one person.
pub(crate) fn inbound(ids: impl IntoIterator<Item = u32>) -> String {
    let message = |n: u32| json!({"from":"15550000002","id":format!("wamid.{n}="),"timestamp":"1795205465","type":"text","text":{"body":n.to_string()}});
    let messages: Vec<Value> = ids.into_iter().map(message).collect();
    let value = json!({"metadata":{"phone_number_id":number()},"contacts":[{"wa_id":"15550000002","profile":{"name":"Ana"}}],"messages":messages});
    json!({"object":"whatsapp_business_account","entry":[{"id":"2","changes":[{"field":"messages","value":value}]}]})
        .to_string()
}

pub(crate) async fn post(router: &Router, body: impl Into<Vec<u8>>, secret: &str) -> Response {
    let body = body.into();
    let signature = sim::whatsapp::sign::signature(secret.as_bytes(), &body);
    post_signed(router, body, Some(&signature)).await
}

pub(crate) async fn post_signed(router: &Router, body: Vec<u8>, signature: Option<&str>) -> Response {
    let mut request = Request::post("/webhooks/whatsapp");
    if let Some(signature) = signature {
        request = request.header("X-Hub-Signature-256", signature);
    }
    router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

/// All three, running.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sim: sim::whatsapp::Handle,
    pub(crate) bridge: Handle,
    pub(crate) router: Router,
    pub(crate) dir: TempDir,
    commits: watch::Receiver<u64>,
}

impl World {
    pub(crate) async fn start(on_unknown: OnUnknown, unknown_after_ms: u64) -> Self {
        Self::start_over(store().await, on_unknown, unknown_after_ms).await
    }

    pub(crate) async fn start_over(
        (dir, store): OnDisk,
        on_unknown: OnUnknown,
        unknown_after_ms: u64,
    ) -> Self {
        let commits = listen(&store);
        let sim = WhatsAppSim::start(SimConfig::new(BusinessNumber::example(), SECRET, "graph-token"))
            .await
            .unwrap();
        let config = config(&sim.graph_url(), on_unknown, unknown_after_ms);
        let bridge = Bridge::start(config, Arc::clone(&store), clock()).await.unwrap();
        let router = bridge.router();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        sim.set_webhook_url(&format!("http://{}/webhooks/whatsapp", listener.local_addr().unwrap()));
        let serve = router.clone();
        tokio::spawn(async move { axum::serve(listener, serve).await });
        Self { store, sim, bridge, router, dir, commits }
    }

    /// Looks again after every commit until `seen` gives something.
    pub(crate) async fn until<T>(&mut self, what: &str, seen: impl AsyncFn(&dyn Store) -> Option<T>) -> T {
        until(&self.store, &mut self.commits, what, seen).await
    }

    pub(crate) async fn until_status(&mut self, message: MessageId, wanted: Status) {
        self.until(wanted.as_str(), async |store| (status(store, message).await == wanted).then_some(()))
            .await;
    }
}

pub(crate) async fn until<T>(
    store: &Arc<dyn Store>,
    commits: &mut watch::Receiver<u64>,
    what: &str,
    seen: impl AsyncFn(&dyn Store) -> Option<T>,
) -> T {
    let waiting = async {
        loop {
            commits.borrow_and_update();
            if let Some(found) = seen(&**store).await {
                return found;
            }
            commits.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}
