//! Retained messages.

use bytes::Bytes;
use schemas::{ErrorCode, EventData, Publication, PublishProperties, QoS, Subscription};

use super::session::{FOR_EVER, subscription};
use super::topics::{NOBODY, texts};
use super::{World, account_id, user_id};
use crate::{
    Op, Outcome, Progress, Publish, QueuedMessage, Retained, SessionKey, SessionState, Subscribe, Unsubscribe,
};

impl World {
    pub(super) async fn retain(&self, topic: &str, payload: &str, expiry_s: Option<u32>) -> Outcome {
        self.retain_as(NOBODY, topic, payload, QoS::AtLeastOnce, expiry_s).await
    }

    async fn retain_as(
        &self,
        publisher: SessionKey,
        topic: &str,
        payload: &str,
        qos: QoS,
        expiry_s: Option<u32>,
    ) -> Outcome {
        let properties = PublishProperties {
            message_expiry_s: expiry_s,
            user_properties: vec![("a".to_owned(), "1".to_owned())],
            ..PublishProperties::default()
        };
        let message = Publication {
            topic: topic.into(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos,
            retain: true,
            properties: Some(Box::new(properties)),
        };
        let report_refusal = Some(user_id("alice"));
        let op = Publish { account: account_id("acme"), publisher, message, report_refusal };
        self.commit(Op::Publish(op)).await
    }

    /// Subscribes, and says what that brought.
    async fn brings(&self, state: &SessionState, wish: Subscription) -> (bool, Retained) {
        let op = Subscribe { session: state.session, filters: vec![wish], inbox_after: None };
        match self.commit(Op::Subscribe(op)).await {
            Outcome::Subscribed(results) => (results[0].existed, results[0].retained),
            other => panic!("not a subscription: {other:?}"),
        }
    }

    /// What a new session gets for a filter.
    async fn retained(&self, client: &str, filter: &str) -> Vec<QueuedMessage> {
        let state = self.connect("alice", client, true, FOR_EVER).await;
        self.brings(&state, subscription(filter)).await;
        self.queue(&state, state.queue_head).await
    }
}

/// `[v5:U32] [v311:3.3.1-5] [v311:3.3.1-6] [v311:3.3.1-8] [v311:3.3.1-10] [v311:3.3.1-11] [v5:3.3.1-5] [v5:3.3.1-6] [v5:3.3.1-7]`
pub async fn a_new_subscription_gets_the_last_message_of_each_topic(world: &mut World) {
    for (topic, payload) in
        [("a/x", "old"), ("a/x", "new"), ("a/y", "y"), ("a", "root"), ("b", "b"), ("aa", "aa")]
    {
        assert!(matches!(world.retain(topic, payload, None).await, Outcome::Published { matched: 0 }));
    }
    world.retain_as(NOBODY, "a/z", "at QoS 0", QoS::AtMostOnce, None).await;
    world.publish("acme", NOBODY, "a/x", "not retained").await;
    world.reopen().await;
    let got = world.retained("one", "a/#").await;
    assert_eq!(texts(&got), ["root", "new", "y", "at QoS 0"]);
    assert!(got.iter().all(|queued| queued.retain), "as retained");
    assert_eq!(got.iter().map(|queued| queued.message.qos as u8).collect::<Vec<_>>(), [1, 1, 1, 0]);
    assert_eq!(got[0].message.properties.as_ref().map(|p| p.user_properties.len()), Some(1));
    assert_eq!(texts(&world.retained("two", "+").await), ["root", "aa", "b"]);
    assert_eq!(texts(&world.retained("three", "a/x").await), ["new"]);
    assert_eq!(texts(&world.retained("four", "$share/g/a/x").await), [""; 0], "shared ones get none");
    // The empty one is delivered, and takes the other away.
    let state = world.connect("alice", "five", true, FOR_EVER).await;
    world.brings(&state, subscription("b")).await;
    assert!(matches!(world.retain("b", "", None).await, Outcome::Published { matched: 2 }));
    assert_eq!(texts(&world.queue(&state, state.queue_head).await), ["b", ""]);
    assert_eq!(texts(&world.retained("six", "b").await), [""; 0]);
    let carol = crate::SessionOpen {
        account: account_id("umbrella"),
        user: user_id("carol"),
        client: schemas::ClientId::new("phone").expect("a client id"),
        agent: true,
        clean: true,
        expiry_s: FOR_EVER,
        will: None,
    };
    let carol = world.open_session(carol).await;
    assert_eq!(world.brings(&carol, subscription("#")).await.1, Retained::None, "P7: another account's");
}

/// `[v5:U31] [v5:3.3.1-9] [v5:3.3.1-10] [v5:3.3.1-11] [v311:3.8.4-3] [v5:3.8.3-3] [v5:3.3.4-3] [v5:3.8.4-8]`
pub async fn retain_handling_says_who_gets_them_again(world: &mut World) {
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    world.retain_as(state.session, "t", "own", QoS::ExactlyOnce, None).await;
    let wish = |retain_handling, no_local| Subscription {
        retain_handling,
        no_local,
        id: Some(7),
        ..subscription("t")
    };
    for (handling, no_local, brought) in [
        (2, false, (false, Retained::None)),
        (1, false, (true, Retained::None)),
        (0, true, (true, Retained::None)),
        (0, false, (true, Retained::Queued)),
        (0, false, (true, Retained::Queued)),
    ] {
        assert_eq!(world.brings(&state, wish(handling, no_local)).await, brought, "{handling} {no_local}");
    }
    let unsubscribe = Unsubscribe { session: state.session, filters: vec!["t".to_owned()] };
    world.commit(Op::Unsubscribe(unsubscribe)).await;
    assert_eq!(world.brings(&state, wish(1, false)).await, (false, Retained::Queued));
    let got = world.queue(&state, 0).await;
    assert_eq!(texts(&got), ["own"; 3]);
    assert_eq!((got[0].message.qos, &got[0].subscription_ids[..]), (QoS::AtLeastOnce, &[7][..]));
}

/// A page at a time, into the queue, whatever happens between two pages.
pub async fn retained_messages_come_in_pages_over_a_reopen_and_none_twice(world: &mut World) {
    const TOPICS: usize = 300;
    for n in 0..TOPICS {
        world.retain(&format!("t/{n:03}"), &n.to_string(), None).await;
    }
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(world.brings(&state, subscription("#")).await.1, Retained::More);
    // Came after the subscription: published, and not once more as retained.
    world.retain("t/299", "newer", None).await;
    world.reopen().await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    let first = usize::try_from(state.queue_head).expect("a small number") - 1;
    assert!(state.replay && first > 0 && first < TOPICS, "{first}");
    let same_again = Subscription { retain_handling: 1, ..subscription("#") };
    assert_eq!(world.brings(&state, same_again).await, (true, Retained::More), "it goes on where it was");
    let mut pages = 0;
    while matches!(world.commit(Op::Replay(state.session)).await, Outcome::Replayed { more: true }) {
        pages += 1;
        assert!(pages < TOPICS, "it never ends");
    }
    let mut payloads = Vec::new();
    loop {
        let page = world.queue(&state, payloads.len() as u64).await;
        if page.is_empty() {
            break;
        }
        payloads.extend(texts(&page));
    }
    let mut expected: Vec<String> = (0..TOPICS - 1).map(|n| n.to_string()).collect();
    expected.insert(first, "newer".to_owned());
    assert_eq!(payloads, expected);
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert!(!state.replay);
    // What is left of one goes with its subscription.
    assert_eq!(world.brings(&state, subscription("#")).await.1, Retained::More);
    let filters = vec!["#".to_owned()];
    world.commit(Op::Unsubscribe(Unsubscribe { session: state.session, filters })).await;
    assert!(matches!(world.commit(Op::Replay(state.session)).await, Outcome::Replayed { more: false }));
    world.brings(&state, subscription("#")).await;
    world.connect("alice", "phone", true, FOR_EVER).await;
    assert_eq!(world.rows().await["replay"], 0);
}

/// `[v5:3.3.2-5] [v5:3.3.2-6] [v5:U30] [v5:U31]`
pub async fn a_retained_message_ages_and_goes(world: &mut World) {
    world.retain("kept", "1", None).await;
    world.retain("short", "2", Some(10)).await;
    world.retain("replaced by nothing", "3", None).await;
    world.retain("replaced by nothing", "4", Some(0)).await;
    world.pass(4_500);
    let got = world.retained("one", "#").await;
    assert_eq!(texts(&got), ["1", "2"]);
    let left = |queued: &QueuedMessage| queued.message.properties.as_ref().and_then(|p| p.message_expiry_s);
    assert_eq!((left(&got[0]), left(&got[1])), (None, Some(6)));
    world.pass(5_500);
    assert_eq!(texts(&world.retained("two", "#").await), ["1"]);
    world.pass(3_600_000);
    let started = std::time::Instant::now();
    while world.rows().await["retained"] > 1 {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "it is never removed");
        world.pass(3_600_000);
        // The writer turns to what is expired when it has nothing else to do.
        world.swept("a round", async |_| Some(())).await;
    }
}

/// A refusal says what to do; replacing and removing go on.
pub async fn an_account_has_room_for_so_many_retained_messages(world: &mut World) {
    world.settings.retention.retained_max_messages = 2;
    world.settings.retention.retained_max_bytes = 400;
    world.reopen().await;
    let refused =
        |outcome: Outcome| matches!(outcome, Outcome::Refused(r) if r.code == ErrorCode::QuotaExceeded);
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    world.brings(&phone, subscription("#")).await;
    assert!(!refused(world.retain("a", "1", None).await));
    assert!(!refused(world.retain("b", "2", None).await));
    assert!(refused(world.retain("c", "3", None).await), "too many");
    assert!(!refused(world.retain("b", "22", None).await), "in the place of another");
    assert!(refused(world.retain("b", &"2".repeat(400), None).await), "too large");
    assert_eq!(texts(&world.queue(&phone, 0).await), ["1", "2", "22"], "what is refused goes to nobody");
    let events = world.events("acme", "alice").await;
    let told = |data: &EventData| matches!(data, EventData::CommandFailed { topic: Some(topic), .. } if topic == "c");
    assert!(events.iter().any(|event| told(&event.data)), "{events:?}");
    world.retain("a", "", None).await;
    world.reopen().await;
    assert!(!refused(world.retain("c", "3", None).await), "there is room again");
    assert_eq!(texts(&world.retained("one", "#").await), ["22", "3"]);
    world.store.advance(phone.session, Progress { queue: 3, ..Progress::default() });
}

/// Topics and filters of 65,535 bytes that differ in their last one.
pub async fn the_longest_topics_are_retained_and_subscribed(world: &mut World) {
    let long = |end: char| format!("é/{}{end}", "x".repeat(65_531));
    world.retain(&long('1'), "1", None).await;
    world.retain(&long('2'), "2", None).await;
    assert_eq!(texts(&world.retained("one", &long('2')).await), ["2"]);
    assert_eq!(world.retained("two", "é/+").await.len(), 2);
    let state = world.connect("alice", "three", false, FOR_EVER).await;
    for end in ['1', '2'] {
        world.brings(&state, Subscription { retain_handling: 2, ..subscription(&long(end)) }).await;
    }
    world.reopen().await;
    assert_eq!(world.publish("acme", NOBODY, &long('1'), "3").await, 2);
    let filters = vec![long('1')];
    world.commit(Op::Unsubscribe(Unsubscribe { session: state.session, filters })).await;
    assert_eq!(world.connect("alice", "three", false, FOR_EVER).await.subscriptions.len(), 1);
    assert_eq!(texts(&world.queue(&state, 0).await), ["3"]);
}
