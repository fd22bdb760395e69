//! I3, I6: numbers, pages, and what only the inbox can tell.

use schemas::{ErrorCode, EventData, Seq};

use super::{World, account_id, inbound, text_message, to_ana, user_id};
use crate::{CommandOp, InboxKey, Op, Outcome};

/// P2: 1, 2, 3 …, the same event under its own number in each member's inbox.
pub async fn events_are_numbered_without_a_gap_and_alike_for_all_members(world: &mut World) {
    for n in 0..20 {
        world.webhook(vec![inbound(&format!("wamid.{n}"), &format!("text {n}"), world.now())]).await;
    }
    let (alice, bob) = (world.events("acme", "alice").await, world.events("acme", "bob").await);
    assert_eq!(alice.len(), 20);
    assert_eq!(alice, bob);
    for (n, event) in alice.iter().enumerate() {
        let EventData::MessageCreated(message) = &event.data else { panic!("not a message: {event:?}") };
        assert_eq!(message.text.as_deref(), Some(format!("text {n}").as_str()));
        assert_eq!(event.unread, Some(n as u64 + 1));
    }
    assert!(world.events("umbrella", "carol").await.is_empty());
}

/// P2 over a restart.
pub async fn numbers_go_on_after_a_reopen(world: &mut World) {
    for n in 0..5 {
        world.webhook(vec![inbound(&format!("wamid.{n}"), "before", world.now())]).await;
        world.reopen().await;
    }
    let events = world.events("acme", "alice").await;
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event.epoch == events[0].epoch));
}

/// The hot tail is a copy of what is on disk, or absent; never something else.
pub async fn memory_and_disk_give_the_same_page(world: &mut World) {
    for n in 0..10 {
        world.webhook(vec![inbound(&format!("wamid.{n}"), "text", world.now())]).await;
    }
    let inbox = InboxKey::of(&account_id("acme"), &user_id("alice"));
    for after in 0..=10 {
        let disk = world.store.inbox(inbox, Seq(after), 4).await.expect("the inbox is read");
        let hot = world.store.inbox_hot(inbox, Seq(after), 4).expect("ten events are hot");
        assert_eq!(hot.events, disk.events, "after {after}");
        assert_eq!((hot.head, hot.epoch), (disk.head, disk.epoch));
    }
    let stranger = InboxKey::of(&account_id("umbrella"), &user_id("carol"));
    assert!(world.store.inbox_hot(stranger, Seq(0), 4).is_none());
}

/// 3.1.1 has no reason codes: the refusal is an event, committed before the acknowledgement.
pub async fn a_refused_command_of_a_311_client_stands_in_the_inbox(world: &mut World) {
    let mut to = to_ana();
    if let schemas::command::Target::WhatsApp { number, .. } = &mut to {
        *number = "999".parse().expect("a number id");
    }
    let op = CommandOp {
        account: account_id("acme"),
        user: user_id("alice"),
        command: schemas::Command { id: "c1".parse().expect("an id"), body: text_message(to, "hi") },
        received_us: 1,
        report_refusal: true,
    };
    let Outcome::Refused(refusal) = world.commit(Op::Command(op)).await else { panic!("not refused") };
    assert_eq!(refusal.code, ErrorCode::NumberUnknown);
    let events = world.events("acme", "alice").await;
    assert!(matches!(&events[..], [event] if matches!(&event.data,
        EventData::CommandFailed { id: Some(id), code: ErrorCode::NumberUnknown, .. } if id.as_str() == "c1")));
    assert!(world.events("acme", "bob").await.is_empty(), "it concerns its author only");
}
