//! General messages in the queues of sessions.

use bytes::Bytes;
use schemas::{Publication, PublishProperties, QoS, Subscription};

use super::session::{FOR_EVER, subscription};
use super::{World, account_id};
use crate::{
    Op, Outcome, Progress, Publish, QueuedMessage, SessionKey, SessionState, Subscribe, Unsubscribe,
};

impl World {
    pub(super) async fn publish(
        &self,
        account: &str,
        publisher: SessionKey,
        topic: &str,
        payload: &str,
    ) -> usize {
        let properties = PublishProperties {
            user_properties: vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            ..PublishProperties::default()
        };
        let message = Publication {
            topic: topic.into(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Some(Box::new(properties)),
        };
        match self
            .commit(Op::Publish(Publish {
                account: account_id(account),
                publisher,
                message,
                report_refusal: None,
            }))
            .await
        {
            Outcome::Published { matched } => matched,
            other => panic!("not a publish's outcome: {other:?}"),
        }
    }

    pub(super) async fn queue(&self, state: &SessionState, after: u64) -> Vec<QueuedMessage> {
        let page = self.store.queue(state.session, after, 100).await.expect("the queue is read");
        if let Some(hot) = self.store.queue_hot(state.session, after, 100) {
            assert_eq!(hot.messages, page.messages, "memory is a copy of the disk");
        }
        page.messages.iter().map(|queued| QueuedMessage::clone(queued)).collect()
    }

    pub(super) async fn subscribe_to(&self, state: &SessionState, filters: Vec<Subscription>) {
        self.commit(Op::Subscribe(Subscribe { session: state.session, filters, inbox_after: None })).await;
    }
}

pub(super) fn texts(queue: &[QueuedMessage]) -> Vec<String> {
    queue.iter().map(|queued| String::from_utf8_lossy(&queued.message.payload).into_owned()).collect()
}

pub(super) const NOBODY: SessionKey = SessionKey(0);

/// Offline or not, over a reopen, once per session however many of its filters match, until acknowledged.
pub async fn a_general_message_waits_for_every_session_that_must_not_miss_it(world: &mut World) {
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    let with_id = |filter, qos, id| Subscription { qos, id: Some(id), ..subscription(filter) };
    let overlapping = vec![with_id("t/#", QoS::AtMostOnce, 1), with_id("t/+", QoS::AtLeastOnce, 2)];
    world.subscribe_to(&phone, overlapping).await;
    let laptop = world.connect("bob", "laptop", false, FOR_EVER).await;
    world.subscribe_to(&laptop, vec![Subscription { qos: QoS::AtMostOnce, ..subscription("t/x") }]).await;
    world.disconnect(&phone, Progress::default()).await;
    for n in 0..4 {
        assert_eq!(world.publish("acme", NOBODY, "t/x", &n.to_string()).await, 1, "QoS 0 is not stored");
    }
    world.reopen().await;
    let queue = world.queue(&phone, 0).await;
    assert_eq!(texts(&queue), ["0", "1", "2", "3"]);
    assert_eq!(queue.iter().map(|queued| queued.n).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let mut ids = queue[0].subscription_ids.clone();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert_eq!(queue[0].message.properties.as_ref().map(|p| p.user_properties.len()), Some(2));
}

/// Acknowledged ones are removed, and their numbers are not given again.
pub async fn acknowledged_messages_go_and_their_numbers_stay_used(world: &mut World) {
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    world.subscribe_to(&phone, vec![subscription("t/+")]).await;
    for n in 0..4 {
        world.publish("acme", NOBODY, "t/x", &n.to_string()).await;
    }
    world.store.advance(phone.session, Progress { queue: 4, ..Progress::default() });
    world.publish("acme", NOBODY, "t/y", "4").await;
    world.webhook(Vec::new()).await;
    assert_eq!(texts(&world.queue(&phone, 4).await), ["4"]);
    world.reopen().await;
    assert_eq!(texts(&world.queue(&phone, 0).await), ["4"], "what was acknowledged is gone");
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(phone.queue_acked, 4);
    world.publish("acme", NOBODY, "t/y", "5").await;
    assert_eq!(world.queue(&phone, 4).await.last().map(|q| q.n), Some(6));
    // Also where nothing is left that would tell the last number.
    world.store.advance(phone.session, Progress { queue: 6, ..Progress::default() });
    world.webhook(Vec::new()).await;
    world.reopen().await;
    assert!(world.queue(&phone, 0).await.is_empty());
    world.publish("acme", NOBODY, "t/y", "6").await;
    assert_eq!(world.queue(&phone, 6).await.last().map(|q| q.n), Some(7));
    // A cleaned session does not see the old queue.
    let phone = world.connect("alice", "phone", true, FOR_EVER).await;
    assert_eq!(phone.queue_acked, 7);
    assert!(world.queue(&phone, phone.queue_acked).await.is_empty());
}

/// P7 and No Local.
pub async fn queues_are_of_one_account_and_respect_no_local(world: &mut World) {
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    world.subscribe_to(&phone, vec![Subscription { no_local: true, ..subscription("#") }]).await;
    assert_eq!(world.publish("umbrella", NOBODY, "t", "theirs").await, 0);
    assert_eq!(world.publish("acme", phone.session, "t", "own").await, 0);
    assert_eq!(world.publish("acme", NOBODY, "t", "others").await, 1);
    assert_eq!(texts(&world.queue(&phone, 0).await), ["others"]);
}

/// Unsubscribed, replaced, ended.
pub async fn an_unsubscribed_session_gets_nothing_more(world: &mut World) {
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    world.subscribe_to(&phone, vec![subscription("t/+"), subscription("u")]).await;
    assert_eq!(world.publish("acme", NOBODY, "t/x", "1").await, 1);
    world.subscribe_to(&phone, vec![Subscription { qos: QoS::AtMostOnce, ..subscription("t/+") }]).await;
    assert_eq!(
        world.publish("acme", NOBODY, "t/x", "2").await,
        0,
        "the same filter again replaces the first"
    );
    world
        .commit(Op::Unsubscribe(Unsubscribe { session: phone.session, filters: vec!["u".to_owned()] }))
        .await;
    assert_eq!(world.publish("acme", NOBODY, "u", "3").await, 0);
    world.reopen().await;
    assert_eq!(world.publish("acme", NOBODY, "u", "4").await, 0);
    assert_eq!(texts(&world.queue(&phone, 0).await), ["1"]);
}
