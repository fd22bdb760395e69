//! O3: commands take effect once, or are refused.

use schemas::command::Target;
use schemas::{
    CommandBody, ContactId, ConversationId, ErrorCode, EventData, MessageId, NumberId, Pos, Status,
};

use super::{World, account_id, asker, inbound, text_message, to_ana, to_conversation, user_id};
use crate::{CommandOp, Number, Op, Outcome};

fn code(outcome: Outcome) -> ErrorCode {
    match outcome {
        Outcome::Refused(refusal) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

/// P4.
pub async fn the_same_command_twice_has_the_effect_of_once(world: &mut World) {
    let first = world.send("alice", "c1", to_ana(), "hello").await;
    assert_eq!(
        (first.status, first.command_id.as_ref().map(|id| id.as_str())),
        (Status::Sending, Some("c1"))
    );
    for _ in 0..2 {
        let Outcome::Command(done) = world.command("alice", "c1", text_message(to_ana(), "hello")).await
        else {
            panic!("refused")
        };
        assert!(done.repeated);
        assert_eq!(done.message, Some(first.clone()));
        world.reopen().await;
    }
    assert_eq!(world.events("acme", "bob").await.len(), 1);
    assert_eq!(world.store.open_sends(None, 10).await.expect("sends are read").len(), 1);
    // Ids are unique per user: bob's c1 is another command.
    world.send("bob", "c1", to_ana(), "hello").await;
    assert_eq!(world.events("acme", "bob").await.len(), 2);
}

/// P4, the other half.
pub async fn the_same_id_with_another_body_is_refused(world: &mut World) {
    world.send("alice", "c1", to_ana(), "hello").await;
    assert_eq!(code(world.command("alice", "c1", text_message(to_ana(), "bye")).await), ErrorCode::IdReused);
    assert_eq!(world.events("acme", "alice").await.len(), 1);
}

/// A refusal changes nothing, so the same command may succeed later.
pub async fn refusals_name_their_code_and_leave_no_trace(world: &mut World) {
    let nowhere = ConversationId(5);
    let refused = [
        (text_message(to_conversation(nowhere), "x"), ErrorCode::ConversationUnknown),
        (text_message(Target::User(user_id("nobody")), "x"), ErrorCode::UserUnknown),
        (
            text_message(Target::Contact { contact: ContactId(9), number: None }, "x"),
            ErrorCode::ContactUnknown,
        ),
        (
            CommandBody::MessageRead {
                conversation: nowhere,
                up_to: MessageId { conversation: nowhere, pos: Pos(1) },
            },
            ErrorCode::ConversationUnknown,
        ),
    ];
    for (body, expected) in refused {
        assert_eq!(code(world.command("alice", "again", body).await), expected);
    }
    assert!(world.events("acme", "alice").await.is_empty());
    let mut reply = text_message(to_ana(), "x");
    let gone = MessageId { conversation: nowhere, pos: Pos(1) };
    if let CommandBody::MessageSend(send) = &mut reply {
        send.reply_to = Some(gone);
    }
    assert_eq!(code(world.command("alice", "again", reply).await), ErrorCode::NotFound);
    assert!(world.events("acme", "alice").await.is_empty());
    world.send("alice", "again", to_ana(), "now it works").await;
}

/// P7 for commands.
pub async fn nobody_writes_into_another_accounts_conversation(world: &mut World) {
    let message = world.send("alice", "c1", to_ana(), "hello").await;
    for (to, expected) in [
        (to_conversation(message.conversation), ErrorCode::ConversationUnknown),
        (to_ana(), ErrorCode::NumberUnknown),
        (Target::User(user_id("alice")), ErrorCode::UserUnknown),
    ] {
        let op = CommandOp {
            account: account_id("umbrella"),
            user: user_id("carol"),
            command: schemas::Command { id: "c1".parse().expect("an id"), body: text_message(to, "x") },
            received_us: 1,
            report_refusal: false,
        };
        assert_eq!(code(world.commit(Op::Command(op)).await), expected);
    }
    assert_eq!(world.events("acme", "alice").await.len(), 1);
}

/// Unread = position − read position − own since; the same live, in lists, and after a reopen.
pub async fn unread_is_position_minus_read_minus_own(world: &mut World) {
    for n in 1..=3 {
        world.webhook(vec![inbound(&format!("wamid.{n}"), "hi", world.now())]).await;
    }
    let conversation = world.newest_message().await.conversation;
    let read =
        |pos| CommandBody::MessageRead { conversation, up_to: MessageId { conversation, pos: Pos(pos) } };
    world.command("alice", "r1", read(2)).await;
    world.send("alice", "s1", to_conversation(conversation), "answer").await;
    for (user, expected) in [("alice", 1), ("bob", 4)] {
        let last = world.events("acme", user).await.pop().expect("events");
        assert_eq!(last.unread, Some(expected), "{user}");
        world.reopen().await;
        let listed = world
            .store
            .conversation(asker("acme", user), conversation)
            .await
            .expect("read")
            .expect("visible");
        assert_eq!(listed.unread, expected, "{user}");
    }
    // Reading backwards moves nothing; reading to the end leaves nothing.
    world.command("alice", "r2", read(1)).await;
    world.command("alice", "r3", read(4)).await;
    let events = world.events("acme", "alice").await;
    let receipts: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::ReceiptRead { up_to, .. } => Some((up_to.pos.0, event.unread)),
            _ => None,
        })
        .collect();
    assert_eq!(receipts, [(2, Some(1)), (4, Some(0))]);
}

/// A direct conversation: both members, `sent` at commit, nothing on its way to WhatsApp.
pub async fn user_to_user_is_sent_at_commit(world: &mut World) {
    let message = world.send("alice", "c1", Target::User(user_id("bob")), "lunch?").await;
    let back = world.send("bob", "c1", Target::User(user_id("alice")), "yes").await;
    assert_eq!(message.status, Status::Sent);
    assert_eq!(back.conversation, message.conversation);
    assert_eq!(
        world.events("acme", "alice").await,
        world
            .events("acme", "bob")
            .await
            .into_iter()
            .zip(world.events("acme", "alice").await)
            .map(|(_, own)| own)
            .collect::<Vec<_>>()
    );
    assert_eq!(world.events("acme", "bob").await.len(), 2);
    assert!(world.store.open_sends(None, 10).await.expect("sends are read").is_empty());
    let seen = world
        .store
        .conversation(asker("acme", "bob"), message.conversation)
        .await
        .expect("read")
        .expect("visible");
    assert_eq!(seen.title, "alice");
}

/// A contact without a number: from the only one it has talked to; where that is not one, the field is named.
pub async fn a_contact_is_written_to_from_the_number_it_talked_to(world: &mut World) {
    let other = NumberId::new("200").expect("a number id");
    let number = Number { id: other.clone(), ..world.settings.numbers[0].clone() };
    world.settings.numbers.push(number);
    world.reopen().await;
    let first = world.send("alice", "c1", to_ana(), "hello").await;
    let listed = world.store.conversation(asker("acme", "alice"), first.conversation).await;
    let contact: ContactId = listed.expect("read").expect("visible").contact.expect("its contact").id;
    let to = |number| Target::Contact { contact, number };
    let again = world.send("alice", "c2", to(None), "still there?").await;
    assert_eq!(again.conversation, first.conversation);
    let elsewhere = world.send("alice", "c3", to(Some(other)), "from the other one").await;
    assert_ne!(elsewhere.conversation, first.conversation);
    match world.command("alice", "c4", text_message(to(None), "which?")).await {
        Outcome::Refused(refusal) => {
            assert_eq!(refusal.code, ErrorCode::CommandMalformed);
            assert!(refusal.detail.contains("`to.number`"), "{}", refusal.detail);
        }
        other => panic!("not refused: {other:?}"),
    }
}
