//! Sessions and cursors (P3).

use std::sync::Arc;

use schemas::{ClientId, Epoch, QoS, Seq, Subscription};

use super::{World, account_id, inbound, user_id};
use crate::{
    InboxStart, Op, Outcome, Progress, SessionClose, SessionOpen, SessionState, Subscribe, Subscribed,
    Unsubscribe,
};

pub(super) const FOR_EVER: u32 = u32::MAX;

impl World {
    pub(super) async fn connect(&self, user: &str, client: &str, clean: bool, expiry_s: u32) -> SessionState {
        let open = SessionOpen {
            account: account_id("acme"),
            user: user_id(user),
            client: ClientId::new(client).expect("a client id"),
            agent: true,
            clean,
            expiry_s,
            will: None,
        };
        self.open_session(open).await
    }

    pub(super) async fn open_session(&self, open: SessionOpen) -> SessionState {
        match self.commit(Op::SessionOpen(open)).await {
            Outcome::Session(state) => *state,
            other => panic!("not a session: {other:?}"),
        }
    }

    pub(super) async fn disconnect(&self, state: &SessionState, sent: Progress) {
        let close = SessionClose {
            session: state.session,
            connection: state.connection,
            expiry_s: None,
            will: false,
            sent,
            acked_ahead: Vec::new(),
        };
        self.commit(Op::SessionClose(close)).await;
    }

    pub(super) async fn subscribe(
        &self,
        state: &SessionState,
        filter: &str,
        after: Option<InboxStart>,
    ) -> Subscribed {
        let filters = vec![subscription(filter)];
        let op = Subscribe { session: state.session, filters, inbox_after: after };
        match self.commit(Op::Subscribe(op)).await {
            Outcome::Subscribed(results) => results[0],
            other => panic!("not a subscription: {other:?}"),
        }
    }

    async fn messages(&self, first: u32, count: u32) {
        for n in first..first + count {
            self.webhook(vec![inbound(&format!("wamid.{n}"), "hi", self.now())]).await;
        }
    }

    /// Cursors ride on the next commit: this makes one.
    async fn flush(&self) {
        self.webhook(Vec::new()).await;
    }
}

pub(super) fn subscription(filter: &str) -> Subscription {
    Subscription {
        filter: Arc::from(filter),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        id: None,
    }
}

const INBOX: &str = "user/alice/inbox";

/// A new subscription starts at the head; what is acknowledged stays so, and nothing else.
pub async fn a_session_goes_on_where_it_was_acknowledged(world: &mut World) {
    world.messages(0, 3).await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert!(!state.present && state.inbox.is_none() && state.subscriptions.is_empty());
    let first = world.subscribe(&state, INBOX, None).await;
    assert_eq!(first.inbox.map(|c| (c.acked, c.gap)), Some((Seq(3), None)));
    world.messages(3, 4).await;
    world.store.advance(state.session, Progress { inbox: Seq(5), queue: 0 });
    world.flush().await;
    world.store.advance(state.session, Progress { inbox: Seq(4), queue: 0 });
    world.flush().await;
    let again = world.subscribe(&state, INBOX, None).await;
    assert!(again.existed);
    assert_eq!(again.inbox.map(|c| c.acked), Some(Seq(5)), "subscribing again keeps the cursor");
    world.disconnect(&state, Progress { inbox: Seq(6), queue: 0 }).await;
    world.reopen().await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert!(state.present);
    assert_eq!(state.inbox.map(|c| (c.acked, c.qos)), Some((Seq(5), QoS::AtLeastOnce)));
    assert_eq!(state.sent.inbox, Seq(6), "6 comes again with DUP, 7 does not");
    let unsubscribe = Unsubscribe { session: state.session, filters: vec![INBOX.to_owned(), "x".to_owned()] };
    let outcome = world.commit(Op::Unsubscribe(unsubscribe)).await;
    assert!(matches!(outcome, Outcome::Unsubscribed(results) if results == [true, false]));
    let anew = world.subscribe(&state, INBOX, None).await;
    assert_eq!(anew.inbox.map(|c| c.acked), Some(Seq(7)), "a new subscription starts at the head");
}

/// An acknowledgement and the reconnect after it may be in one commit group, in this order.
pub async fn an_acknowledgement_before_a_reconnect_counts(world: &mut World) {
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    world.subscribe(&state, INBOX, None).await;
    world.messages(0, 3).await;
    world.store.advance(state.session, Progress { inbox: Seq(2), queue: 0 });
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(state.inbox.map(|c| c.acked), Some(Seq(2)));
    // The same with a client that says where to go on: what an older connection acknowledged moves nothing then.
    world.store.advance(state.session, Progress { inbox: Seq(3), queue: 0 });
    let start = InboxStart { after: Seq(1), epoch: None };
    world.subscribe(&state, INBOX, Some(start)).await;
    world.flush().await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(state.inbox.map(|c| c.acked), Some(Seq(1)));
}

/// Clean start, expiry, expiry 0. `[v311:4.1.0-2] [v5:4.1.0-2] [v311:3.1.2-6] [v5:3.1.2-4] [v5:3.1.2-23]`
pub async fn a_session_that_expired_or_is_cleaned_starts_anew(world: &mut World) {
    let expiry = 60;
    let state = world.connect("alice", "phone", false, expiry).await;
    world.subscribe(&state, INBOX, None).await;
    world.subscribe(&state, "t/#", None).await;
    world.disconnect(&state, Progress::default()).await;
    world.pass(u64::from(expiry) * 1000 - 1);
    let state = world.connect("alice", "phone", false, expiry).await;
    assert!(state.present && state.subscriptions.len() == 2, "a millisecond before it expires");
    world.disconnect(&state, Progress::default()).await;
    world.pass(u64::from(expiry) * 1000);
    let state = world.connect("alice", "phone", false, expiry).await;
    assert!(!state.present && state.subscriptions.is_empty() && state.inbox.is_none());
    world.subscribe(&state, INBOX, None).await;
    world.disconnect(&state, Progress::default()).await;
    let lasting = world.connect("alice", "tablet", false, FOR_EVER).await;
    world.disconnect(&lasting, Progress::default()).await;
    world.pass(100 * 365 * 86_400_000);
    assert!(world.connect("alice", "tablet", false, FOR_EVER).await.present, "a hundred years later");
    let state = world.connect("alice", "phone", true, 0).await;
    assert!(!state.present && state.subscriptions.is_empty());
    world.subscribe(&state, INBOX, None).await;
    world.disconnect(&state, Progress::default()).await;
    let state = world.connect("alice", "phone", false, 0).await;
    assert!(!state.present, "expiry 0 ends with the connection");
    world.subscribe(&state, "t/x", None).await;
    world.reopen().await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert!(!state.present, "also when the connection ended by a crash");
}

/// The late end of an older connection must not end the session of the newer one.
pub async fn a_taken_over_connection_cannot_close_its_successor(world: &mut World) {
    let old = world.connect("alice", "phone", false, FOR_EVER).await;
    let new = world.connect("alice", "phone", false, 60).await;
    assert!(new.connection > old.connection && new.present);
    world.disconnect(&old, Progress::default()).await;
    let third = world.connect("alice", "phone", false, 0).await;
    assert!(third.present, "the session was not ended by its first connection");
    let fourth = world.connect("alice", "phone", false, FOR_EVER).await;
    assert!(!fourth.present, "one that ends with its connection ends when it is taken over");
    // Another user's client of the same name is another session.
    assert!(!world.connect("bob", "phone", false, FOR_EVER).await.present);
}

/// `after` and `epoch`.
pub async fn a_subscription_starts_where_the_client_says(world: &mut World) {
    world.messages(0, 5).await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    let epoch = world.events("acme", "alice").await[0].epoch;
    let start = |after, epoch| Some(InboxStart { after: Seq(after), epoch });
    for (start, acked, gap) in [
        (start(2, Some(epoch)), 2, None),
        (start(0, None), 0, None),
        (start(99, None), 5, None),
        (start(4, Some(Epoch(1))), 0, Some((Seq(0), Seq(0)))),
    ] {
        let cursor = world.subscribe(&state, INBOX, start).await.inbox.expect("an inbox");
        assert_eq!((cursor.acked, cursor.gap), (Seq(acked), gap), "{start:?}");
    }
}

/// After a crash nobody knows what was sent: all of it may come again, with DUP.
pub async fn sessions_outlive_a_reopen_with_everything_counted_as_sent(world: &mut World) {
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    world.subscribe(&state, INBOX, None).await;
    world.messages(0, 3).await;
    world.reopen().await;
    world.messages(3, 2).await;
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(state.inbox.map(|c| c.acked), Some(Seq(0)));
    assert_eq!(state.sent.inbox, Seq(3), "4 and 5 came after the crash and were never sent");
}
