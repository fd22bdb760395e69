//! Wills, and ends of sessions that come by themselves.

use bytes::Bytes;
use schemas::{ClientId, EventData, Publication, QoS};

use super::session::{FOR_EVER, subscription};
use super::topics::{NOBODY, texts};
use super::{World, account_id, user_id};
use crate::{Op, Progress, SessionClose, SessionOpen, SessionState, Will};

/// Where a will does not ask to be retained.
const PLAIN: &str = "will/plain";

impl World {
    async fn connect_with_will(&self, clean: bool, expiry_s: u32, will: Option<(&str, u32)>) -> SessionState {
        let message = |topic: &str| Publication {
            topic: topic.into(),
            payload: Bytes::from_static(b"gone"),
            qos: QoS::AtLeastOnce,
            // All but one.
            retain: topic != PLAIN,
            properties: None,
        };
        let open = SessionOpen {
            account: account_id("acme"),
            user: user_id("bob"),
            client: ClientId::new("phone").expect("a client id"),
            agent: true,
            clean,
            expiry_s,
            will: will.map(|(topic, delay_s)| Box::new(Will { message: message(topic), delay_s })),
        };
        self.open_session(open).await
    }

    async fn close_with(&self, state: &SessionState, will: bool, expiry_s: Option<u32>) {
        let (session, connection) = (state.session, state.connection);
        let sent = Progress::default();
        self.commit(Op::SessionClose(SessionClose {
            session,
            connection,
            expiry_s,
            will,
            sent,
            acked_ahead: Vec::new(),
        }))
        .await;
    }

    /// Somebody who is told of wills.
    async fn watcher(&self) -> SessionState {
        let watcher = self.connect("alice", "watcher", false, FOR_EVER).await;
        self.subscribe_to(&watcher, vec![subscription("will/#")]).await;
        watcher
    }

    /// Any op makes a group, and a group begins with what is due.
    async fn wills(&self, watcher: &SessionState) -> usize {
        self.webhook(Vec::new()).await;
        texts(&self.queue(watcher, 0).await).len()
    }
}

/// `[v5:3.1.2-7] [v311:3.1.2-16] [v5:3.1.2-14] [v311:3.1.2-8] [v311:3.1.2-10] [v311:3.1.2-12] [v311:3.1.2-17] [v311:3.14.4-3] [v5:3.1.2-8] [v5:3.1.2-10] [v5:3.14.4-3]`
pub async fn a_will_comes_when_the_connection_breaks_and_not_otherwise(world: &mut World) {
    let watcher = world.watcher().await;
    let state = world.connect_with_will(false, FOR_EVER, Some(("will/b", 0))).await;
    world.close_with(&state, false, None).await;
    assert_eq!(world.wills(&watcher).await, 0, "after a DISCONNECT");
    let state = world.connect_with_will(false, FOR_EVER, Some(("will/b", 0))).await;
    world.close_with(&state, true, None).await;
    world.close_with(&state, true, None).await;
    assert_eq!(world.wills(&watcher).await, 1, "once");
    let state = world.connect_with_will(false, FOR_EVER, None).await;
    world.close_with(&state, true, None).await;
    assert_eq!(world.wills(&watcher).await, 1, "none of an earlier connection");
    // Retained, as it asked for.
    let late = world.connect("alice", "late", true, FOR_EVER).await;
    world.subscribe_to(&late, vec![subscription("will/b")]).await;
    assert_eq!(texts(&world.queue(&late, 0).await), ["gone"]);
    world.retain(PLAIN, "stays", None).await;
    let plain = world.connect_with_will(false, FOR_EVER, Some((PLAIN, 0))).await;
    world.close_with(&plain, true, None).await;
    assert_eq!(texts(&world.queue(&watcher, 0).await)[1..], ["stays", "gone"]);
    let later = world.connect("alice", "later", true, FOR_EVER).await;
    world.subscribe_to(&later, vec![subscription(PLAIN)]).await;
    assert_eq!(texts(&world.queue(&later, 0).await), ["stays"], "what was retained is");
    // Taken over: the old connection's will comes, its late end brings no other.
    let old = world.connect_with_will(false, FOR_EVER, Some(("will/old", 0))).await;
    let new = world.connect_with_will(false, FOR_EVER, Some(("will/new", 0))).await;
    world.close_with(&old, true, None).await;
    assert_eq!(world.wills(&watcher).await, 4);
    let queue = world.queue(&watcher, 0).await;
    assert_eq!(queue.last().map(|queued| queued.message.topic.to_string()).as_deref(), Some("will/old"));
    world.close_with(&new, false, None).await;
    assert_eq!(world.wills(&watcher).await, 4);
}

/// Whichever is first; the end of the session also where DISCONNECT sets it. `[v5:3.1.2-8] [v5:4.1.0-2]`
pub async fn a_will_waits_for_its_delay_or_the_end_of_the_session(world: &mut World) {
    let watcher = world.watcher().await;
    for (expiry_s, delay_s, changed, due_ms) in [
        (60, 10, None, 10_000),
        (10, 60, None, 10_000),
        (60, 50, Some(5), 5_000),
        (60, 50, Some(0), 0),
        (0, 9, None, 0),
    ] {
        let before = world.wills(&watcher).await;
        let state = world.connect_with_will(true, expiry_s, Some(("will/b", delay_s))).await;
        world.close_with(&state, true, changed).await;
        if due_ms > 0 {
            world.pass(due_ms - 1);
            assert_eq!(world.wills(&watcher).await, before, "too early: {expiry_s} {delay_s}");
            world.pass(1);
        }
        assert_eq!(world.wills(&watcher).await, before + 1, "{expiry_s} {delay_s}");
        world.pass(100_000);
        assert_eq!(world.wills(&watcher).await, before + 1, "once");
        let rows = world.rows().await;
        assert_eq!((rows["session"], rows["due"], rows["will"]), (1, 0, 0), "{expiry_s} {delay_s}");
    }
    // Nothing but the clock moves: nobody commits anything.
    let before = world.wills(&watcher).await;
    let state = world.connect_with_will(true, FOR_EVER, Some(("will/b", 1))).await;
    world.close_with(&state, true, None).await;
    world.pass(1_000);
    let started = std::time::Instant::now();
    while world.queue(&watcher, 0).await.len() == before {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "the will does not come");
        tokio::task::yield_now().await;
    }
}

/// `[v5:3.1.3-9]`, and a clean start does not.
pub async fn a_session_that_goes_on_cancels_its_will(world: &mut World) {
    let watcher = world.watcher().await;
    let will = Some(("will/b", 10));
    let state = world.connect_with_will(false, 60, will).await;
    world.close_with(&state, true, None).await;
    world.pass(9_999);
    let state = world.connect_with_will(false, 60, None).await;
    assert!(state.present);
    world.pass(60_000);
    assert_eq!(world.wills(&watcher).await, 0);
    // Taken over before the delay: it goes on without a break.
    let first = world.connect_with_will(false, 60, will).await;
    let second = world.connect_with_will(false, 60, will).await;
    world.close_with(&first, true, None).await;
    world.pass(60_000);
    assert_eq!(world.wills(&watcher).await, 0);
    world.close_with(&second, true, None).await;
    let third = world.connect_with_will(true, 60, None).await;
    assert!(!third.present);
    assert_eq!(world.wills(&watcher).await, 1, "a clean start ends the session, so its will comes");
    world.connect_with_will(false, 60, will).await;
    world.connect_with_will(true, 60, None).await;
    assert_eq!(world.wills(&watcher).await, 2, "the same where it is taken over");
    world.pass(600_000);
    assert_eq!(world.wills(&watcher).await, 2);
}

/// `[v5:U40]`: a crash is the loss of all connections; what was due meanwhile comes then.
pub async fn wills_and_ends_of_sessions_come_also_after_a_crash(world: &mut World) {
    let watcher = world.watcher().await;
    for (expiry_s, delay_s, due_ms) in [(0, 0, 0), (0, 99, 0), (FOR_EVER, 0, 0), (60, 10, 10_000)] {
        let before = world.wills(&watcher).await;
        world.connect_with_will(true, expiry_s, Some(("will/b", delay_s))).await;
        world.reopen().await;
        if due_ms > 0 {
            assert_eq!(world.wills(&watcher).await, before);
            world.pass(due_ms);
        }
        assert_eq!(world.wills(&watcher).await, before + 1, "{expiry_s} {delay_s}");
        world.reopen().await;
        assert_eq!(world.wills(&watcher).await, before + 1, "once");
    }
    let before = world.wills(&watcher).await;
    let state = world.connect_with_will(true, 60, Some(("will/b", 10))).await;
    world.close_with(&state, true, None).await;
    world.reopen().await;
    world.pass(10_000);
    assert_eq!(world.wills(&watcher).await, before + 1, "its time came after the start");
    world.reopen().await;
    world.pass(50_000);
    world.wills(&watcher).await;
    assert!(!world.connect_with_will(false, 0, None).await.present);
    let state = world.connect_with_will(true, 60, None).await;
    world.close_with(&state, false, None).await;
    world.pass(60_000);
    world.reopen().await;
    world.wills(&watcher).await;
    let rows = world.rows().await;
    assert_eq!((rows["session"], rows["due"]), (1, 0), "what expired is gone, without a round of retention");
    assert_eq!(world.publish("acme", NOBODY, "will/x", "1").await, 1);
}

/// What it would have been from the device itself.
pub async fn a_will_to_the_outbox_is_a_command(world: &mut World) {
    let state = world.connect_with_will(true, 0, Some(("user/bob/outbox", 0))).await;
    world.close_with(&state, true, None).await;
    let events = world.events("acme", "bob").await;
    assert!(
        matches!(events.last().map(|event| &event.data), Some(EventData::CommandFailed { .. })),
        "its payload is no command: {events:?}"
    );
}
