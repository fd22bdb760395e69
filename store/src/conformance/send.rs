//! O5–O7: sends, and what is left open (P6).

use schemas::message::MessageError;
use schemas::{MessageId, Millis, Status, Wamid};

use super::{World, asker, status, to_ana};
use crate::{Op, OpenSend, Outcome, SendEnd, SendResult, SendState};

impl World {
    async fn start(&self, message: MessageId) -> Option<OpenSend> {
        match self.commit(Op::SendStart(message)).await {
            Outcome::SendStarted(send) => send.map(|send| *send),
            other => panic!("not a start's outcome: {other:?}"),
        }
    }

    async fn end(&self, message: MessageId, result: SendResult) {
        self.commit(Op::SendEnd(SendEnd { message, result })).await;
    }

    async fn status_of(&self, message: MessageId) -> Status {
        self.store.message(asker("acme", "alice"), message).await.expect("read").expect("visible").status
    }

    async fn open(&self, message: MessageId) -> Option<OpenSend> {
        self.store.open_send(message).await.expect("sends are read")
    }
}

fn wamid(text: &str) -> Wamid {
    Wamid::new(text).expect("a wamid")
}

/// Started once, ended once; the wamid is announced, the status waits for WhatsApp.
pub async fn a_send_is_attempted_once(world: &mut World) {
    let message = world.send("alice", "c1", to_ana(), "hi").await;
    let send = world.start(message.id).await.expect("queued");
    assert_eq!((send.text.as_str(), send.phone.as_deref(), send.attempts), ("hi", Some(super::ANA), 1));
    assert!(world.start(message.id).await.is_none(), "an open attempt is not started again");
    world.reopen().await;
    assert!(world.start(message.id).await.is_none(), "nor after a restart");
    assert!(matches!(world.open(message.id).await.map(|s| s.state), Some(SendState::Attempting { .. })));
    world.end(message.id, SendResult::Accepted(wamid("wamid.1"))).await;
    assert!(world.open(message.id).await.is_none());
    assert!(world.start(message.id).await.is_none());
    assert_eq!(world.status_of(message.id).await, Status::Sending);
    let last = world.events("acme", "alice").await.pop().expect("events");
    assert_eq!(last.data.type_name(), "message.status");
    // The same answer again, as after a lost reply of the store: nothing new.
    let before = world.events("acme", "alice").await.len();
    world.end(message.id, SendResult::Accepted(wamid("wamid.1"))).await;
    assert_eq!(world.events("acme", "alice").await.len(), before);
}

/// P6: unknown until WhatsApp says something.
pub async fn an_attempt_left_open_is_unknown_and_a_status_settles_it(world: &mut World) {
    let message = world.send("alice", "c1", to_ana(), "hi").await;
    world.start(message.id).await.expect("queued");
    world.reopen().await;
    world.end(message.id, SendResult::Unknown).await;
    assert_eq!(world.status_of(message.id).await, Status::Unknown);
    assert!(matches!(world.open(message.id).await.map(|s| s.state), Some(SendState::Unknown { .. })));
    assert!(world.start(message.id).await.is_none(), "never again by itself");
    world.webhook(vec![status("wamid.1", Some(message.id), Status::Sent, world.now())]).await;
    assert_eq!(world.status_of(message.id).await, Status::Sent);
    assert!(world.open(message.id).await.is_none(), "settled");
    // Released instead: visible as unknown, and a late status still settles it.
    let held = world.send("alice", "c2", to_ana(), "hi").await;
    world.start(held.id).await.expect("queued");
    world.end(held.id, SendResult::Unknown).await;
    world.end(held.id, SendResult::Release).await;
    assert!(world.open(held.id).await.is_none());
    assert_eq!(world.status_of(held.id).await, Status::Unknown);
    world.webhook(vec![status("wamid.2", Some(held.id), Status::Read, world.now())]).await;
    assert_eq!(world.status_of(held.id).await, Status::Read);
}

/// A status may be here before the answer to the POST.
pub async fn a_status_that_overtakes_the_answer_settles_nothing_twice(world: &mut World) {
    let message = world.send("alice", "c1", to_ana(), "hi").await;
    world.start(message.id).await.expect("queued");
    world.webhook(vec![status("wamid.1", Some(message.id), Status::Delivered, world.now())]).await;
    assert!(world.open(message.id).await.is_some(), "the attempt is still under way");
    world.end(message.id, SendResult::Accepted(wamid("wamid.1"))).await;
    assert!(world.open(message.id).await.is_none());
    assert_eq!(world.status_of(message.id).await, Status::Delivered);
    assert_eq!(world.events("acme", "alice").await.len(), 2, "created, delivered");
    // The same, but the answer was lost: the status has told.
    let lost = world.send("alice", "c2", to_ana(), "hi").await;
    world.start(lost.id).await.expect("queued");
    world.webhook(vec![status("wamid.2", Some(lost.id), Status::Sent, world.now())]).await;
    world.end(lost.id, SendResult::Unknown).await;
    assert!(world.open(lost.id).await.is_none());
    assert_eq!(world.status_of(lost.id).await, Status::Sent);
}

/// Refused for now, refused for good, sent again.
pub async fn a_send_that_failed_or_waits_is_where_it_should_be(world: &mut World) {
    let message = world.send("alice", "c1", to_ana(), "hi").await;
    world.start(message.id).await.expect("queued");
    let due = Millis(world.now().0 + 4000);
    world.end(message.id, SendResult::RetryAt(due)).await;
    world.reopen().await;
    assert_eq!(
        world.open(message.id).await.map(|s| (s.state, s.attempts)),
        Some((SendState::Queued { due }, 1))
    );
    assert_eq!(world.start(message.id).await.map(|s| s.attempts), Some(2));
    world.end(message.id, SendResult::Unknown).await;
    world.end(message.id, SendResult::Resend(due)).await;
    assert_eq!(world.status_of(message.id).await, Status::Unknown, "until WhatsApp says more");
    world.start(message.id).await.expect("queued again");
    let error = MessageError {
        code: "whatsapp_131047".to_owned(),
        title: "Re-engagement message".to_owned(),
        detail: None,
        meta_code: Some(131_047),
    };
    world.end(message.id, SendResult::Failed(error.clone())).await;
    assert!(world.open(message.id).await.is_none());
    let stored = world.store.message(asker("acme", "bob"), message.id).await.expect("read").expect("visible");
    assert_eq!((stored.status, stored.error), (Status::Failed, Some(error)));
    let sends = world.store.open_sends(None, 10).await.expect("sends are read");
    assert!(sends.is_empty());
}
