//! S3: pages of conversations and messages.

use schemas::{Message, MessageId, Pos};

use super::{World, asker, inbound, number};
use crate::{Inbound, MessageRange, Person, Update};

impl World {
    async fn customer_writes(&self, customer: usize, wamid: &str) {
        let Update::Message(message) = inbound(wamid, wamid, self.now()) else {
            unreachable!("it is a message")
        };
        let person = Person { phone: Some(format!("+1555{customer:07}")), ..Person::default() };
        let message = Inbound { person, number: number(), ..*message };
        self.webhook(vec![Update::Message(Box::new(message))]).await;
    }
}

/// Newest activity first; pages join without a gap or a repeat; a conversation is listed once.
pub async fn lists_show_the_newest_first_and_page_without_a_gap(world: &mut World) {
    for customer in 0..25 {
        world.customer_writes(customer, &format!("wamid.{customer}")).await;
        // Some share a millisecond.
        world.pass(u64::from(customer % 3 == 0));
    }
    world.pass(1);
    world.customer_writes(3, "wamid.again").await;
    world.reopen().await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = world.store.conversations(asker("acme", "bob"), after, 4).await.expect("the list is read");
        assert_eq!(page.head.0, 26);
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 25);
    // Of those that share a millisecond the ids decide: the same list for everybody, and a place for every cursor.
    let place = |at: usize| (seen[at].updated_at, seen[at].id);
    assert!((1..seen.len()).all(|at| place(at - 1) > place(at)));
    assert!((1..seen.len()).any(|at| seen[at - 1].updated_at == seen[at].updated_at));
    assert_eq!(seen[0].contact.as_ref().and_then(|c| c.phone.as_deref()), Some("+15550000003"));
    assert_eq!(seen[0].unread, 2);
    assert_eq!(seen[0].last_message.as_ref().and_then(|m| m.text.as_deref()), Some("wamid.again"));
    let mut ids: Vec<_> = seen.iter().map(|conversation| conversation.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 25);
}

/// Newest first, before and after exclusive, `more` exact.
pub async fn messages_page_both_ways(world: &mut World) {
    for n in 1..=9 {
        world.customer_writes(1, &format!("wamid.{n}")).await;
    }
    let id = world.newest_message().await.conversation;
    let at = |pos| MessageId { conversation: id, pos: Pos(pos) };
    for (range, expected, more) in [
        (MessageRange::Newest, vec![9, 8, 7, 6], true),
        (MessageRange::Before(at(5)), vec![4, 3, 2, 1], false),
        (MessageRange::Before(at(3)), vec![2, 1], false),
        (MessageRange::After(at(2)), vec![6, 5, 4, 3], true),
        (MessageRange::After(at(9)), vec![], false),
    ] {
        let page =
            world.store.messages(asker("acme", "alice"), id, range, 4).await.expect("read").expect("visible");
        let positions: Vec<_> = page.items.iter().map(|m: &Message| m.id.pos.0).collect();
        assert_eq!((positions, page.more), (expected, more), "{range:?}");
    }
}

/// P7 for reading: unknown and foreign look alike.
pub async fn strangers_see_nothing(world: &mut World) {
    world.customer_writes(1, "wamid.1").await;
    let message = world.newest_message().await;
    let store = &world.store;
    // Another account's user; and one who has the name of an agent here.
    for user in ["carol", "alice"] {
        let stranger = || asker("umbrella", user);
        assert!(store.conversation(stranger(), message.conversation).await.expect("read").is_none());
        assert!(
            store
                .messages(stranger(), message.conversation, MessageRange::Newest, 9)
                .await
                .expect("read")
                .is_none()
        );
        assert!(store.message(stranger(), message.id).await.expect("read").is_none());
        assert!(store.conversations(stranger(), None, 9).await.expect("read").items.is_empty());
    }
    // A user of the account who never connected as an agent is none.
    let visitor = asker("acme", "visitor");
    assert!(store.message(visitor.clone(), message.id).await.expect("read").is_none());
    assert!(store.conversations(visitor, None, 9).await.expect("read").items.is_empty());
}
