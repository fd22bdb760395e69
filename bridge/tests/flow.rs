//! I1–I3 and O5–O9 against the simulated WhatsApp: every way an attempt may end, and P6 in each.

#![allow(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod support;

use std::time::Duration;

use bridge::OnUnknown;
use schemas::{MessageId, Status};
use sim::whatsapp::ScriptedSend;
use store::{Op, SendState};
use support::{DEADLINE, World, messages, send, status, store, texts};

const ANA: &str = "+15550000002";
/// Long enough that nothing is settled by time while a test runs.
const NEVER_MS: u64 = 3_600_000;
/// Soon: for tests of what happens then.
const SOON_MS: u64 = 50;

/// Our ids of all POSTs so far, in order.
fn posted(world: &World) -> Vec<String> {
    world.sim.posts().into_iter().filter_map(|post| post.biz_opaque).collect()
}

async fn ended(world: &mut World, message: MessageId) {
    world
        .until("the end of a send", async |store| {
            store.open_send(message).await.unwrap().is_none().then_some(())
        })
        .await;
}

async fn unknown(world: &mut World, message: MessageId) {
    world.until_status(message, Status::Unknown).await;
}

#[tokio::test]
async fn i_from_a_customer_to_the_store() {
    let mut world = World::start(OnUnknown::Hold, NEVER_MS).await;
    world.sim.say("15550000002", "hello").unwrap();
    let all = world
        .until("a message", async |store| Some(messages(store).await).filter(|messages| !messages.is_empty()))
        .await;
    assert_eq!(texts(&all), ["hello"]);
}

#[tokio::test]
async fn o_from_a_command_to_read() {
    let mut world = World::start(OnUnknown::Hold, NEVER_MS).await;
    let message = send(&*world.store, "c1", ANA, "hi").await;
    world.until_status(message, Status::Read).await;
    let posts = world.sim.posts();
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].to.as_deref(), Some(ANA));
    assert_eq!(posts[0].biz_opaque, Some(message.to_string()));
    assert_eq!(posts[0].body["text"]["body"], "hi");
    let stored = world.store.message(support::alice(), message).await.unwrap().unwrap();
    assert_eq!(stored.wamid.map(|wamid| wamid.to_string()), posts[0].wamid);
    ended(&mut world, message).await;
}

#[tokio::test]
async fn o_many_to_one_person_arrive_in_order() {
    let mut world = World::start(OnUnknown::Hold, NEVER_MS).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(send(&*world.store, &format!("c{n}"), ANA, &n.to_string()).await);
    }
    ended(&mut world, ids[19]).await;
    assert_eq!(posted(&world), ids.iter().map(MessageId::to_string).collect::<Vec<_>>());
}

#[tokio::test]
async fn o7_a_refusal_for_now_is_tried_again_before_the_next_one() {
    let mut world = World::start(OnUnknown::Hold, NEVER_MS).await;
    world.sim.next_send(ScriptedSend::error(400, 131_056));
    let first = send(&*world.store, "c1", ANA, "1").await;
    let second = send(&*world.store, "c2", ANA, "2").await;
    ended(&mut world, second).await;
    let (first, second) = (first.to_string(), second.to_string());
    assert_eq!(posted(&world), [first.clone(), first, second]);
}

#[tokio::test]
async fn o7_a_refusal_for_good_fails_and_says_why() {
    let mut world = World::start(OnUnknown::Hold, NEVER_MS).await;
    world.sim.next_send(ScriptedSend::error(400, 131_047));
    let message = send(&*world.store, "c1", ANA, "1").await;
    world.until_status(message, Status::Failed).await;
    let error = world.store.message(support::alice(), message).await.unwrap().unwrap().error.unwrap();
    assert_eq!((&*error.code, error.meta_code), ("whatsapp_131047", Some(131_047)));
    assert_eq!(posted(&world).len(), 1);
}

#[tokio::test]
async fn p6_cut_off_or_500_although_accepted_is_settled_by_a_status_and_never_sent_again() {
    for script in [ScriptedSend::cut_but_accepted(), ScriptedSend::http_500_but_accepted()] {
        let mut world = World::start(OnUnknown::Resend, NEVER_MS).await;
        // Under resend a 5xx with a code is sorted like a 4xx, so only hold keeps both unknown.
        if script == ScriptedSend::http_500_but_accepted() {
            world = World::start(OnUnknown::Hold, NEVER_MS).await;
        }
        world.sim.withhold_statuses();
        world.sim.next_send(script);
        let first = send(&*world.store, "c1", ANA, "1").await;
        let second = send(&*world.store, "c2", ANA, "2").await;
        unknown(&mut world, first).await;
        let state = world.store.open_send(second).await.unwrap().unwrap().state;
        assert!(matches!(state, SendState::Queued { .. }), "held back: {state:?}");
        world.sim.release_statuses();
        world.until_status(first, Status::Read).await;
        ended(&mut world, second).await;
        assert_eq!(posted(&world), [first.to_string(), second.to_string()]);
    }
}

#[tokio::test]
async fn p6_hold_keeps_it_unknown_and_lets_the_next_one_go() {
    let mut world = World::start(OnUnknown::Hold, SOON_MS).await;
    world.sim.next_send(ScriptedSend::cut());
    let first = send(&*world.store, "c1", ANA, "1").await;
    let second = send(&*world.store, "c2", ANA, "2").await;
    world.until_status(second, Status::Read).await;
    assert_eq!(status(&*world.store, first).await, Status::Unknown);
    assert_eq!(posted(&world), [first.to_string(), second.to_string()]);
}

#[tokio::test]
async fn p6_resend_sends_it_again_before_the_next_one() {
    let mut world = World::start(OnUnknown::Resend, SOON_MS).await;
    world.sim.next_send(ScriptedSend::cut());
    let first = send(&*world.store, "c1", ANA, "1").await;
    let second = send(&*world.store, "c2", ANA, "2").await;
    world.until_status(second, Status::Read).await;
    world.until_status(first, Status::Read).await;
    let (first, second) = (first.to_string(), second.to_string());
    assert_eq!(posted(&world), [first.clone(), first, second]);
}

#[tokio::test]
async fn p6_what_a_crash_left_open_is_unknown_at_the_next_start_and_not_posted() {
    let (dir, store) = store().await;
    let first = send(&*store, "c1", ANA, "1").await;
    store::commit(&*store, Op::SendStart(first)).await.unwrap();
    let second = send(&*store, "c2", ANA, "2").await;
    let mut world = World::start_over((dir, store), OnUnknown::Hold, SOON_MS).await;
    world.until_status(second, Status::Read).await;
    assert_eq!(status(&*world.store, first).await, Status::Unknown);
    assert_eq!(posted(&world), [second.to_string()]);
}

#[tokio::test]
async fn p6_nobody_there_means_nothing_sent_and_it_goes_out_when_there_is() {
    let (dir, store) = store().await;
    let mut commits = support::listen(&store);
    // A port that nobody listens on: bound once and let go.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = support::config(&format!("http://{free}"), OnUnknown::Hold, NEVER_MS);
    let bridge =
        bridge::Bridge::start(config, std::sync::Arc::clone(&store), support::clock()).await.unwrap();
    let message = send(&*store, "c1", ANA, "1").await;
    support::until(&store, &mut commits, "a second wait", async |store| {
        let send = store.open_send(message).await.unwrap().expect("it is open");
        (send.attempts == 1 && matches!(send.state, SendState::Queued { .. })).then_some(())
    })
    .await;
    assert_eq!(status(&*store, message).await, Status::Sending);
    assert!(bridge.shutdown(DEADLINE).await);
    let mut world = World::start_over((dir, store), OnUnknown::Hold, NEVER_MS).await;
    world.until_status(message, Status::Read).await;
    assert_eq!(posted(&world).len(), 1);
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_and_starts_nothing() {
    let world = World::start(OnUnknown::Hold, NEVER_MS).await;
    world.sim.next_send(ScriptedSend::answered_after(300));
    let first = send(&*world.store, "c1", ANA, "1").await;
    let second = send(&*world.store, "c2", ANA, "2").await;
    world.sim.wait_for_posts(1, DEADLINE).await.unwrap();
    assert!(world.bridge.shutdown(DEADLINE).await);
    assert_eq!(world.store.open_send(first).await.unwrap(), None, "its answer is on record");
    let waiting = world.store.open_send(second).await.unwrap().unwrap();
    assert_eq!((waiting.attempts, posted_by(&world.sim)), (0, 1));
}

fn posted_by(sim: &sim::whatsapp::Handle) -> usize {
    sim.posts().len()
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever_and_what_it_cut_is_unknown_later() {
    let world = World::start(OnUnknown::Hold, NEVER_MS).await;
    world.sim.next_send(ScriptedSend::answered_after(60_000));
    let message = send(&*world.store, "c1", ANA, "1").await;
    world.sim.wait_for_posts(1, DEADLINE).await.unwrap();
    assert!(!world.bridge.shutdown(Duration::from_millis(1)).await);
    let state = world.store.open_send(message).await.unwrap().unwrap().state;
    assert!(matches!(state, SendState::Attempting { .. }), "{state:?}");
    let mut next = World::start_over((world.dir, world.store), OnUnknown::Hold, NEVER_MS).await;
    next.until_status(message, Status::Unknown).await;
    assert!(posted(&next).is_empty());
}
