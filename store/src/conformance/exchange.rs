//! QoS 2: what is half-way is carried out once, over reconnects and reopens.

use bytes::Bytes;
use schemas::{Publication, QoS, Seq, Subscription};

use super::session::{FOR_EVER, subscription};
use super::{World, account_id, text_message, to_ana, to_conversation, user_id};
use crate::{
    CommandOp, Delivered, Delivery, Op, Outcome, Progress, Publish, PublishOnce, PublishReleased,
    SessionClose, SessionState, Source, Subscribe,
};

impl World {
    async fn once(&self, state: &SessionState, packet: u16, op: Op) -> Outcome {
        let (session, connection) = (state.session, state.connection);
        self.commit(Op::PublishOnce(PublishOnce { session, connection, packet, op: Box::new(op) })).await
    }

    async fn release(&self, state: &SessionState, packet: u16) -> Outcome {
        let (session, connection) = (state.session, state.connection);
        self.commit(Op::PublishReleased(PublishReleased { session, connection, packet })).await
    }

    async fn delivery(&self, state: &SessionState, op: fn(Delivery) -> Op, source: Source, n: u64) {
        let delivered = Delivered { source, n };
        let (session, connection) = (state.session, state.connection);
        self.commit(op(Delivery { session, connection, delivered })).await;
    }

    async fn waiting(&self, state: &SessionState) -> usize {
        self.store.queue(state.session, 0, 100).await.expect("the queue is read").messages.len()
    }
}

fn message(publisher: &SessionState) -> Op {
    let message = Publication {
        topic: "t".into(),
        payload: Bytes::from_static(b"x"),
        qos: QoS::ExactlyOnce,
        retain: false,
        properties: None,
    };
    Op::Publish(Publish {
        account: account_id("acme"),
        publisher: publisher.session,
        message,
        report_refusal: None,
    })
}

/// `[v311:4.3.3-2] [v5:4.3.3-8] [v5:4.3.3-10] [v5:4.3.3-12]`: until PUBREL, on any connection and over a restart.
pub async fn a_publish_is_carried_out_once_for_its_packet_identifier(world: &mut World) {
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    let filter = Subscription { qos: QoS::ExactlyOnce, ..subscription("t") };
    let subscribe = Subscribe { session: phone.session, filters: vec![filter], inbox_after: None };
    world.commit(Op::Subscribe(subscribe)).await;
    let first = world.connect("bob", "laptop", false, FOR_EVER).await;
    assert!(matches!(world.once(&first, 7, message(&first)).await, Outcome::Published { matched: 1 }));
    assert!(matches!(world.once(&first, 7, message(&first)).await, Outcome::Repeated));
    let second = world.connect("bob", "laptop", false, FOR_EVER).await;
    assert!(matches!(world.once(&second, 7, message(&second)).await, Outcome::Repeated));
    world.reopen().await;
    let third = world.connect("bob", "laptop", false, FOR_EVER).await;
    assert!(matches!(world.once(&third, 7, message(&third)).await, Outcome::Repeated));
    assert_eq!(world.waiting(&phone).await, 1);
    // An older connection neither publishes nor frees: its client has to send again, and then it counts.
    assert!(matches!(world.once(&first, 8, message(&first)).await, Outcome::Superseded));
    assert!(matches!(world.release(&first, 7).await, Outcome::Superseded));
    assert!(matches!(world.release(&third, 7).await, Outcome::Released(true)));
    world.reopen().await;
    let fourth = world.connect("bob", "laptop", false, FOR_EVER).await;
    assert!(matches!(world.release(&fourth, 7).await, Outcome::Released(false)), "also after a restart");
    assert!(matches!(world.once(&fourth, 7, message(&fourth)).await, Outcome::Published { .. }));
    assert_eq!(world.waiting(&phone).await, 2);
    // A session that starts anew has no identifiers in use.
    let clean = world.connect("bob", "laptop", true, FOR_EVER).await;
    assert!(matches!(world.once(&clean, 7, message(&clean)).await, Outcome::Published { .. }));
}

/// `[v5:4.3.3-9]`: a publish that PUBREC refuses leaves its identifier free; one whose refusal 3.1.1 cannot say does not.
pub async fn a_refused_publish_holds_its_identifier_only_where_nobody_is_told(world: &mut World) {
    let state = world.connect("bob", "laptop", false, FOR_EVER).await;
    let nowhere = to_conversation(schemas::ConversationId(1));
    let command = |id: &str, report_refusal| {
        let body = text_message(nowhere.clone(), "hi");
        let command = schemas::Command { id: id.parse().expect("a command id"), body };
        let (account, user) = (account_id("acme"), user_id("bob"));
        Op::Command(CommandOp { account, user, command, received_us: 1, report_refusal })
    };
    for _ in 0..2 {
        let outcome = world.once(&state, 1, command("c1", false)).await;
        assert!(matches!(outcome, Outcome::Refused(_)));
    }
    assert!(matches!(world.release(&state, 1).await, Outcome::Released(false)));
    assert!(matches!(world.once(&state, 1, command("c1", true)).await, Outcome::Refused(_)));
    assert!(matches!(world.once(&state, 1, command("c1", true)).await, Outcome::Repeated));
    assert_eq!(world.events("acme", "bob").await.len(), 1, "command.failed once");
    // A command that is carried out counts once as well.
    let good = schemas::Command { id: "c2".parse().expect("an id"), body: text_message(to_ana(), "hi") };
    let (account, user) = (account_id("acme"), user_id("bob"));
    let good = CommandOp { account, user, command: good, received_us: 1, report_refusal: false };
    assert!(matches!(world.once(&state, 2, Op::Command(good.clone())).await, Outcome::Command(_)));
    assert!(matches!(world.once(&state, 2, Op::Command(good)).await, Outcome::Repeated));
}

/// `[v5:4.3.3-5] [v5:4.3.3-6]`: PUBREL is owed until PUBCOMP, and what is over does not come again, wherever the cursor is.
pub async fn a_delivery_that_was_received_is_owed_a_release(world: &mut World) {
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    let (inbox, queue) = (Source::Inbox, Source::Queue);
    world.delivery(&state, Op::DeliveryReceived, queue, 2).await;
    world.delivery(&state, Op::DeliveryReceived, queue, 3).await;
    world.delivery(&state, Op::DeliveryReceived, inbox, 9).await;
    world.delivery(&state, Op::DeliveryComplete, queue, 3).await;
    world.reopen().await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    let of = |source, n, owed| (Delivered { source, n }, owed);
    assert_eq!(state.received, [of(inbox, 9, true), of(queue, 2, true), of(queue, 3, false)]);
    // The cursor passes both: what is over needs no row any more, what is owed does.
    world.store.advance(state.session, Progress { inbox: Seq(0), queue: 3 });
    world.webhook(Vec::new()).await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(state.received, [of(inbox, 9, true), of(queue, 2, true)]);
    world.delivery(&state, Op::DeliveryComplete, queue, 2).await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(state.received, [of(inbox, 9, true)]);
    let state = world.connect("alice", "phone", true, FOR_EVER).await;
    assert_eq!(state.received, [], "a session that starts anew owes nothing");
    assert_eq!(world.rows().await["exchange"], 0);
}

/// `[v5:4.4.0-2]`: acknowledged out of order, above the cursor, at the end of a connection.
pub async fn what_was_acknowledged_ahead_does_not_come_again(world: &mut World) {
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    let delivered = |n| Delivered { source: Source::Queue, n };
    let close = SessionClose {
        session: state.session,
        connection: state.connection,
        will: false,
        expiry_s: None,
        sent: Progress { inbox: Seq(0), queue: 3 },
        acked_ahead: vec![delivered(2)],
    };
    world.commit(Op::SessionClose(close)).await;
    world.reopen().await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(state.received, [(delivered(2), false)]);
    world.store.advance(state.session, Progress { inbox: Seq(0), queue: 3 });
    world.webhook(Vec::new()).await;
    assert_eq!(world.rows().await["exchange"], 0);
}

/// A key of the engine has no room for the longest filter there is.
pub async fn the_longest_filter_is_subscribed_like_any_other(world: &mut World) {
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    let long = |end: &str| format!("{}{end}", "x".repeat(schemas::topic::TOPIC_BYTES_MAX - end.len()));
    for filter in [long("a"), long("b"), "x".repeat(1_024), "x".repeat(1_025)] {
        assert!(!world.subscribe(&state, &filter, None).await.existed);
        assert!(world.subscribe(&state, &filter, None).await.existed);
    }
    world.reopen().await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(state.subscriptions.len(), 4);
    let filters = state.subscriptions.iter().map(|s| s.filter.to_string()).collect();
    let unsubscribe = crate::Unsubscribe { session: state.session, filters };
    let outcome = world.commit(Op::Unsubscribe(unsubscribe)).await;
    assert!(matches!(outcome, Outcome::Unsubscribed(existed) if existed == [true; 4]));
    assert_eq!(world.rows().await["subscription"], 0);
}
