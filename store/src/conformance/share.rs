//! Shared subscriptions.

use bytes::Bytes;
use schemas::{Publication, QoS, Subscription};

use super::session::{FOR_EVER, subscription};
use super::topics::{NOBODY, texts};
use super::{World, account_id};
use crate::{Op, Outcome, Progress, Publish, SessionState, Unsubscribe};

const FILTER: &str = "$share/g/t/+";

impl World {
    async fn member(&self, user: &str, client: &str, expiry_s: u32) -> SessionState {
        let state = self.connect(user, client, true, expiry_s).await;
        self.subscribe_to(&state, vec![subscription(FILTER)]).await;
        state
    }

    async fn deal(&self, count: u32) {
        for n in 0..count {
            self.publish("acme", NOBODY, "t/x", &n.to_string()).await;
        }
    }

    async fn dealt(&self, members: &[&SessionState]) -> Vec<usize> {
        let mut counts = Vec::new();
        for member in members {
            counts.push(self.queue(member, member.queue_head).await.len());
        }
        counts
    }
}

/// To each once in turn; who has acknowledged gets more; who is away gets none while another is there.
/// `[v5:4.8.2-3] [v5:U33] [v5:U35] [v5:U37]`
pub async fn a_shared_message_goes_to_one_member_those_online_first(world: &mut World) {
    let a = world.member("alice", "a", FOR_EVER).await;
    let b = world.member("bob", "b", FOR_EVER).await;
    let other = world.connect("alice", "other", true, FOR_EVER).await;
    let wishes = vec![
        Subscription { qos: QoS::AtMostOnce, id: Some(9), ..subscription("$share/h/t/#") },
        subscription("t/x"),
    ];
    world.subscribe_to(&other, wishes).await;
    assert_eq!(world.publish("acme", NOBODY, "t/x", "0").await, 3, "a copy for each group, and one beside");
    let own = world.queue(&other, 0).await;
    let mut got: Vec<_> = own.iter().map(|q| (q.message.qos as u8, q.subscription_ids.clone())).collect();
    got.sort();
    assert_eq!(got, [(0, vec![9]), (1, vec![])]);
    // Who subscribes again has no second turn.
    world.subscribe_to(&a, vec![subscription(FILTER)]).await;
    world.deal(9).await;
    assert_eq!(world.dealt(&[&a, &b]).await, [5, 5]);
    world.store.advance(a.session, Progress { queue: 5, ..Progress::default() });
    world.webhook(Vec::new()).await;
    world.deal(5).await;
    assert_eq!(texts(&world.queue(&a, 5).await).len(), 5, "b has five to acknowledge, a had none");
    world.disconnect(&a, Progress::default()).await;
    world.deal(4).await;
    assert_eq!(world.queue(&b, 0).await.len(), 9);
    world.disconnect(&b, Progress::default()).await;
    world.deal(2).await;
    let waiting = world.queue(&a, 5).await.len() + world.queue(&b, 0).await.len();
    assert_eq!(waiting, 16, "where nobody is online it waits for one of them");
    let b = world.connect("bob", "b", false, FOR_EVER).await;
    let before = world.queue(&b, 0).await.len();
    world.deal(3).await;
    assert_eq!(world.queue(&b, 0).await.len(), before + 3);
    let filters = vec![FILTER.to_owned()];
    let outcome = world.commit(Op::Unsubscribe(Unsubscribe { session: b.session, filters })).await;
    assert!(matches!(outcome, Outcome::Unsubscribed(existed) if existed == [true]));
    world.deal(3).await;
    assert_eq!(world.queue(&b, 0).await.len(), before + 3);
}

/// By a clean start, by expiry, by the end of a connection without a session; not what QoS 2 may have delivered.
/// `[v5:U36]`
pub async fn what_an_ended_member_had_goes_to_the_others(world: &mut World) {
    for how in ["clean start", "expiry", "connection", "crash"] {
        let expiry_s = if matches!(how, "connection" | "crash") { 0 } else { 60 };
        let leaver = world.member("alice", "leaver", expiry_s).await;
        world.subscribe_to(&leaver, vec![subscription("u")]).await;
        world.deal(6).await;
        world.publish("acme", NOBODY, "u", "its own").await;
        world.store.advance(leaver.session, Progress { queue: leaver.queue_head + 2, ..Progress::default() });
        let heir = world.member("bob", "heir", FOR_EVER).await;
        match how {
            "clean start" => drop(world.connect("alice", "leaver", true, 0).await),
            "crash" => world.reopen().await,
            _ => {
                let sent = Progress { queue: leaver.queue_head + 7, ..Progress::default() };
                world.disconnect(&leaver, sent).await;
                world.pass(60_000);
            }
        }
        world.webhook(Vec::new()).await;
        world.webhook(Vec::new()).await;
        let got = texts(&world.queue(&heir, heir.queue_head).await);
        assert_eq!(got, ["2", "3", "4", "5"], "{how}");
        assert_eq!(world.rows().await["leftover"], 0, "{how}");
        world.connect("bob", "heir", true, 0).await;
        world.connect("alice", "leaver", true, 0).await;
        world.reopen().await;
        world.webhook(Vec::new()).await;
    }
}

/// Members, and what waits for them.
pub async fn a_shared_subscription_outlives_a_reopen(world: &mut World) {
    let a = world.member("alice", "a", FOR_EVER).await;
    let b = world.member("bob", "b", FOR_EVER).await;
    world.reopen().await;
    world.deal(4).await;
    assert_eq!(world.dealt(&[&a, &b]).await, [2, 2]);
    let b = world.connect("bob", "b", false, FOR_EVER).await;
    world.deal(4).await;
    assert_eq!(world.dealt(&[&a]).await, [2], "who is online was read back from the session");
    assert_eq!(world.queue(&b, 0).await.len(), 6);
}

/// What was begun with a member waits for it, and is nobody else's when its session ends; what was not begun is.
/// `[v5:4.8.2-4] [v5:4.8.2-5]`
pub async fn an_exactly_once_delivery_stays_with_its_member(world: &mut World) {
    let at_qos_2 = || Subscription { qos: QoS::ExactlyOnce, ..subscription(FILTER) };
    let a = world.connect("alice", "a", true, 60).await;
    world.subscribe_to(&a, vec![at_qos_2()]).await;
    for payload in ["begun", "not begun"] {
        let message = Publication {
            topic: "t/x".into(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: QoS::ExactlyOnce,
            retain: false,
            properties: None,
        };
        let (account, publisher) = (account_id("acme"), NOBODY);
        world.commit(Op::Publish(Publish { account, publisher, message, report_refusal: None })).await;
    }
    world.disconnect(&a, Progress { queue: 1, ..Progress::default() }).await;
    let b = world.connect("bob", "b", true, FOR_EVER).await;
    world.subscribe_to(&b, vec![at_qos_2()]).await;
    world.webhook(Vec::new()).await;
    assert_eq!(world.dealt(&[&b]).await, [0]);
    let back = world.connect("alice", "a", false, 60).await;
    assert_eq!(texts(&world.queue(&back, 0).await), ["begun", "not begun"]);
    world.disconnect(&back, Progress { queue: 1, ..Progress::default() }).await;
    world.pass(60_000);
    world.webhook(Vec::new()).await;
    world.webhook(Vec::new()).await;
    let got = world.queue(&b, 0).await;
    assert_eq!(texts(&got), ["not begun"]);
    assert_eq!(got[0].message.qos, QoS::ExactlyOnce);
}

/// With its last member a shared subscription ends, and what waited for it. `[v5:U34]`
pub async fn a_shared_subscription_ends_with_its_last_member(world: &mut World) {
    for user in ["alice", "bob"] {
        let member = world.member(user, "m", FOR_EVER).await;
        world.disconnect(&member, Progress::default()).await;
    }
    world.deal(4).await;
    world.connect("alice", "m", true, 0).await;
    world.connect("bob", "m", true, 0).await;
    world.webhook(Vec::new()).await;
    world.deal(1).await;
    let late = world.member("alice", "late", FOR_EVER).await;
    world.webhook(Vec::new()).await;
    assert_eq!(world.dealt(&[&late]).await, [0]);
    let rows = world.rows().await;
    assert_eq!((rows["queue"], rows["leftover"]), (0, 0));
}
