//! I3, O9: webhooks take effect once, whatever their order, number and age (P5).

use schemas::{EventData, Status, Wamid};

use super::{World, inbound, number, status, to_ana};
use crate::{
    Inbound, JournalApply, JournalOp, Op, Outcome, Person, SendEnd, SendResult, Update, WEBHOOK_EFFECTS_MAX,
    WebhookDone,
};

/// P5: delivered again and again.
pub async fn the_same_webhook_five_times_is_one_message(world: &mut World) {
    for round in 0..5 {
        let done = world.webhook(vec![inbound("wamid.A", "hi", world.now())]).await;
        assert_eq!((done.applied, done.repeated), (u32::from(round == 0), u32::from(round > 0)));
        world.reopen().await;
    }
    assert_eq!(world.events("acme", "alice").await.len(), 1);
}

/// One body, a thousand updates, in order.
pub async fn a_thousand_updates_are_a_thousand_effects(world: &mut World) {
    let updates: Vec<_> =
        (0..1000).map(|n| inbound(&format!("wamid.{n}"), &n.to_string(), world.now())).collect();
    assert_eq!(world.webhook(updates).await.applied, 1000);
    let texts: Vec<_> = world
        .events("acme", "alice")
        .await
        .iter()
        .map(|event| match &event.data {
            EventData::MessageCreated(message) => message.text.clone().unwrap_or_default(),
            other => panic!("not a message: {other:?}"),
        })
        .collect();
    assert_eq!(texts, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// All 24 orders of four statuses; each rise is announced once and nothing falls.
pub async fn statuses_in_any_order_end_at_the_highest(world: &mut World) {
    let ranks = [Status::Sent, Status::Delivered, Status::Read, Status::Failed];
    let mut orders = vec![];
    for a in 0..4 {
        for b in 0..4 {
            for c in 0..4 {
                let d = 6 - (a + b + c).min(6);
                let order = [a, b, c, d];
                if (0..4).all(|x| order.contains(&x)) {
                    orders.push(order);
                }
            }
        }
    }
    assert_eq!(orders.len(), 24);
    for (n, order) in orders.into_iter().enumerate() {
        let message = world.send("alice", &format!("c{n}"), to_ana(), "hi").await;
        let before = world.events("acme", "alice").await.len();
        let wamid = format!("wamid.S{n}");
        for rank in order {
            // Each comes twice.
            for _ in 0..2 {
                world.webhook(vec![status(&wamid, Some(message.id), ranks[rank], world.now())]).await;
            }
        }
        let stored = world
            .store
            .message(super::asker("acme", "alice"), message.id)
            .await
            .expect("read")
            .expect("visible");
        assert_eq!(stored.status, Status::Read, "{order:?}");
        assert_eq!(stored.wamid.as_ref().map(Wamid::as_str), Some(wamid.as_str()));
        let mut current = Status::Sending;
        for event in &world.events("acme", "alice").await[before..] {
            let EventData::MessageStatus { message: of, status, .. } = &event.data else {
                panic!("{event:?}")
            };
            assert_eq!(*of, message.id);
            assert!(current.may_become(*status), "{order:?}: {current:?} -> {status:?}");
            current = *status;
        }
        assert_eq!(current, Status::Read);
    }
}

/// A status may come before anybody knows whose it is.
pub async fn a_status_before_its_wamid_is_known_is_applied_later(world: &mut World) {
    let message = world.send("alice", "c1", to_ana(), "hi").await;
    world.commit(Op::SendStart(message.id)).await;
    let early = [
        status("wamid.E", None, Status::Delivered, world.now()),
        status("wamid.E", None, Status::Sent, world.now()),
    ];
    assert_eq!(world.webhook(early.to_vec()).await.parked, 2);
    assert_eq!(world.webhook(early.to_vec()).await, WebhookDone { repeated: 2, ..WebhookDone::default() });
    world.reopen().await;
    let wamid = Wamid::new("wamid.E").expect("a wamid");
    world.commit(Op::SendEnd(SendEnd { message: message.id, result: SendResult::Accepted(wamid) })).await;
    let stored =
        world.store.message(super::asker("acme", "bob"), message.id).await.expect("read").expect("visible");
    assert_eq!(stored.status, Status::Delivered);
    // What was parked is used up.
    assert_eq!(world.webhook(early.to_vec()).await, WebhookDone { repeated: 2, ..WebhookDone::default() });
}

/// `biz_opaque_callback_data` is what anybody wrote there.
pub async fn a_status_of_a_foreign_message_id_changes_nothing(world: &mut World) {
    world.webhook(vec![inbound("wamid.A", "hi", world.now())]).await;
    let theirs = world.newest_message().await;
    assert_eq!(theirs.status, Status::Delivered);
    let done = world.webhook(vec![status("wamid.X", Some(theirs.id), Status::Read, world.now())]).await;
    assert_eq!(done.parked, 1, "a message of the customer's is none of ours");
    let stored =
        world.store.message(super::asker("acme", "alice"), theirs.id).await.expect("read").expect("visible");
    assert_eq!((stored.status, stored.wamid), (theirs.status, theirs.wamid));
}

/// Somebody else's number in our webhook.
pub async fn an_unknown_number_is_counted_and_disturbs_nothing(world: &mut World) {
    let mut foreign = inbound("wamid.F", "hi", world.now());
    if let Update::Message(message) = &mut foreign {
        message.number = "555".parse().expect("a number id");
    }
    let done = world.webhook(vec![foreign, inbound("wamid.A", "hi", world.now())]).await;
    assert_eq!((done.applied, done.unknown_number), (1, 1));
    assert_eq!(world.events("acme", "alice").await.len(), 1);
}

/// A large webhook: its body first, its effects in parts; a part again has no effect.
pub async fn a_journaled_webhook_is_worked_off_once_also_over_a_reopen(world: &mut World) {
    let body: bytes::Bytes = b"the raw body".as_slice().into();
    let Outcome::Journaled(id) =
        world.commit(Op::Journal(JournalOp { body: body.clone(), received_us: 5 })).await
    else {
        panic!("not journaled")
    };
    let total = WEBHOOK_EFFECTS_MAX * 2 + 1;
    let updates: Vec<_> = (0..total).map(|n| inbound(&format!("wamid.{n}"), "x", world.now())).collect();
    for (part, chunk) in updates.chunks(WEBHOOK_EFFECTS_MAX).enumerate() {
        world.reopen().await;
        let open = world.store.open_journal().await.expect("the journal is read");
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].id, &open[0].body, open[0].received_us), (id, &body, 5));
        let from = part * WEBHOOK_EFFECTS_MAX;
        assert_eq!(open[0].done as usize, from);
        let apply = JournalApply {
            journal: id,
            from: from.try_into().expect("small"),
            updates: chunk.to_vec(),
            last: from + chunk.len() == total,
        };
        for _ in 0..2 {
            world.commit(Op::JournalApply(apply.clone())).await;
        }
    }
    assert!(world.store.open_journal().await.expect("the journal is read").is_empty());
    assert_eq!(world.events("acme", "alice").await.len(), total);
}

/// BSUID, parent BSUID, phone: any may be missing, all lead to the same person.
pub async fn persons_are_found_by_any_of_their_ids(world: &mut World) {
    let person = |phone: Option<&str>, user: Option<&str>, parent: Option<&str>| Person {
        phone: phone.map(str::to_owned),
        user_id: user.map(str::to_owned),
        parent_user_id: parent.map(str::to_owned),
        name: Some("Ana".to_owned()),
        username: None,
    };
    let people = [
        person(Some("+15550000002"), None, None),
        person(Some("+15550000002"), Some("US.1"), None),
        person(None, Some("US.1"), Some("US.ENT.1")),
        person(None, None, Some("US.ENT.1")),
        person(Some("+15550000003"), None, None),
    ];
    let mut conversations = Vec::new();
    for (n, person) in people.into_iter().enumerate() {
        let wamid = Wamid::new(&format!("wamid.{n}")).expect("a wamid");
        let message = Inbound {
            number: number(),
            person,
            wamid,
            at: world.now(),
            kind: schemas::message::Kind::Text,
            text: Some("hi".to_owned()),
            media: None,
            payload: None,
            reply_to: None,
        };
        world.webhook(vec![Update::Message(Box::new(message))]).await;
        conversations.push(world.newest_message().await.conversation);
    }
    assert!(conversations[..4].iter().all(|id| *id == conversations[0]), "one person: {conversations:?}");
    assert_ne!(conversations[4], conversations[0], "another person");
}
