//! O1–O10: an agent answers, by MQTT or HTTP; WhatsApp gets it once; every device sees what becomes of it.

use serde_json::{Value, json};
use sim::whatsapp::faults::{DeliveryStatus, StatusPlan};
use sim::whatsapp::{Faults, Post, ScriptedSend};
use tests::event::{Event, assert_gapless};
use tests::mqtt::{Client, Connect, Link, Publish};
use tests::token::Token;
use tests::webhooks;
use tests::world::{ACME, ANA, BEN, World, send_command};

const OUTBOX: &str = "user/alice/outbox";

/// The statuses that events tell of one message, in their order, each once.
fn statuses(events: &[Event], message: &str) -> Vec<String> {
    let of_message =
        events.iter().filter(|event| event.kind == "message.status" && event.data["message"] == message);
    let mut statuses: Vec<String> = of_message.map(|event| event.text("status").to_owned()).collect();
    // The wamid is announced with the status as it is.
    statuses.dedup();
    statuses
}

/// The message id that a POST carries.
fn message_of(post: &Post) -> String {
    post.biz_opaque.clone().expect("every send names its message")
}

async fn status_of(world: &World, message: &str) -> String {
    let message = world.api("alice").get(&format!("/v1/messages/{message}")).await.expect(200);
    message["status"].as_str().expect("a message has a status").to_owned()
}

#[tokio::test]
async fn o1_o10_a_command_over_mqtt_is_one_post_and_every_device_sees_it_sent_delivered_read() {
    let world = World::start().await;
    let (alice, bob) = (Token::of(ACME, "alice").sign(), Token::of(ACME, "bob").sign());
    let mut phone = world.device(Link::Tcp, &Connect::v311("phone", &alice), "alice").await;
    let mut desk = world.device(Link::WebSocket, &Connect::v5("desk", &alice), "alice").await;
    let mut bobs = world.device(Link::Tcp, &Connect::v5("bobs", &bob), "bob").await;

    let command = send_command("c1", ANA, "On its way");
    let ack = desk.publish(OUTBOX, command.to_string()).await;
    assert_eq!(ack.code, 0);

    let mut seen = Vec::new();
    for device in [&mut phone, &mut desk, &mut bobs] {
        let events = device.events_until(|event| event.is_status("read")).await;
        assert_gapless(&events, 1);
        let created = &events[0];
        assert_eq!(created.kind, "message.created");
        assert_eq!(
            (&created.data["command_id"], &created.data["text"]),
            (&json!("c1"), &json!("On its way"))
        );
        assert_eq!((&created.data["direction"], &created.data["status"]), (&json!("out"), &json!("sending")));
        assert_eq!(created.data["sender"], json!({"kind": "user", "id": "alice"}));
        let of_message = statuses(&events, created.text("id"));
        assert_eq!(of_message, ["sending", "sent", "delivered", "read"]);
        seen.push(events.iter().map(|event| event.whole.clone()).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1], "both devices of alice get the same");

    let posts = world.posts(1).await;
    let (post, created) = (&posts[0], &seen[0][0]["data"]);
    assert_eq!(message_of(post), created["id"]);
    assert_eq!(post.number, World::number().phone_number_id);
    assert_eq!(post.to.as_deref().map(|to| to.trim_start_matches('+')), Some(ANA));
    assert_eq!(post.body["text"]["body"], "On its way");
    let wamid = post.wamid.clone().expect("it was accepted");
    assert_eq!(seen[0].last().expect("read")["data"]["wamid"], wamid);
}

#[tokio::test]
async fn o1_a_command_over_http_is_answered_once_stored_and_repeated_with_the_same_body() {
    let world = World::start().await;
    let api = world.api("alice");
    let mut device = world.plain_device("alice").await;
    let mut command = send_command("c1", ANA, "Hello");
    let first = api.post("/v1/messages", &command).await.expect(201);
    let message = &first["message"];
    assert_eq!((&message["command_id"], &message["text"]), (&json!("c1"), &json!("Hello")));
    let again = api.post("/v1/messages", &command).await.expect(200);
    assert_eq!(first, again, "a repetition has the same body");

    let events = device.events_until(|event| event.is_status("read")).await;
    assert_eq!(
        statuses(&events, message["id"].as_str().expect("an id")),
        ["sending", "sent", "delivered", "read"]
    );
    // Later too, when the message has moved on.
    let later = api.post("/v1/messages", &command).await.expect(200);
    assert_eq!(first, later, "a repetition has the same body, whatever became of the message");

    command["text"] = "Something else".into();
    api.post("/v1/messages", &command).await.expect_problem(409, "id_reused");
    // With `Idempotency-Key` as the id.
    let mut plain = send_command("", ANA, "Third");
    plain.as_object_mut().expect("an object").remove("id");
    let headers = [("content-type", "application/json"), ("idempotency-key", "c2")];
    for status in [201, 200] {
        let answer = api.request("POST", "/v1/messages", &headers, plain.to_string().into()).await;
        assert_eq!(answer.expect(status)["message"]["command_id"], "c2");
    }
    let headers = [("content-type", "application/json"), ("idempotency-key", "c3")];
    let both = send_command("c4", ANA, "Which?").to_string();
    let answer = api.request("POST", "/v1/messages", &headers, both.into()).await;
    answer.expect_problem(400, "id_conflict");
    device.events_until(|event| event.is_status("read")).await;
    world.posts(2).await;
}

#[tokio::test]
async fn o3_the_same_command_over_mqtt_and_http_has_the_effect_of_once() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    let api = world.api("alice");
    let command = send_command("once", ANA, "Only once");
    for _ in 0..2 {
        assert_eq!(device.publish(OUTBOX, command.to_string()).await.code, 0);
        assert_eq!(api.post("/v1/messages", &command).await.status, 200);
    }
    // The same in MessagePack, and with its JSON spelled in another order.
    let packed = Publish {
        topic: OUTBOX.into(),
        payload: rmp_serde::to_vec_named(&command).expect("MessagePack"),
        ..Publish::default()
    };
    assert_eq!(device.publish_with(packed).await.code, 0);
    // The id is the user's own: bob's `once` is another one.
    assert_eq!(world.api("bob").post("/v1/messages", &command).await.status, 201);

    let mut reused = command;
    reused["text"] = "Another".into();
    let ack = device.publish(OUTBOX, reused.to_string()).await;
    assert_eq!(ack.code, 0x83);
    assert_eq!(ack.properties.text(tests::mqtt::id::REASON_STRING), Some("id_reused"));

    let posts = world.posts(2).await;
    let bodies: Vec<_> = posts.iter().map(|post| post.body["text"]["body"].clone()).collect();
    assert_eq!(bodies, ["Only once", "Only once"]);
    let created = world.api("alice").events_after(0).await;
    assert_eq!(created.iter().filter(|event| event.kind == "message.created").count(), 2);
}

/// A message to Ana whose statuses the test sends itself; gives message id and wamid.
async fn accepted(world: &World, device: &mut Client, id: &str, phone: &str) -> (String, String) {
    let before = world.sim.posts().len();
    let never = ScriptedSend { statuses: StatusPlan::Never, ..ScriptedSend::default() };
    world.sim.next_send(never);
    assert_eq!(device.publish(OUTBOX, send_command(id, phone, id).to_string()).await.code, 0);
    let posts = world.posts(before + 1).await;
    let post = posts.last().expect("at least one");
    let (message, wamid) = (message_of(post), post.wamid.clone().expect("it was accepted"));
    // The wamid is known here.
    device.events_until(|event| event.data["message"] == message && event.data["wamid"] == wamid).await;
    (message, wamid)
}

#[tokio::test]
async fn o9_statuses_rise_only_in_whatever_order_they_come() {
    use DeliveryStatus::{Delivered, Failed, Read, Sent};
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    let number = World::number();
    let cases: [(&[DeliveryStatus], &[&str]); 9] = [
        (&[Sent, Delivered, Read], &["sent", "delivered", "read"]),
        (&[Sent, Read, Delivered], &["sent", "read"]),
        (&[Delivered, Sent, Read], &["delivered", "read"]),
        (&[Delivered, Read, Sent], &["delivered", "read"]),
        (&[Read, Sent, Delivered], &["read"]),
        (&[Read, Delivered, Sent], &["read"]),
        (&[Sent, Sent, Delivered, Delivered, Read, Read], &["sent", "delivered", "read"]),
        (&[Sent, Failed, Sent, Delivered], &["sent", "failed", "delivered"]),
        (&[Delivered, Failed, Read], &["delivered", "read"]),
    ];
    let mut moved = Vec::new();
    for (n, (order, expected)) in cases.into_iter().enumerate() {
        // Another person each time: a send that is settled frees its pair, but that is another test.
        let phone = format!("1555000{:04}", 100 + n);
        let (message, wamid) = accepted(&world, &mut device, &format!("c{n}"), &phone).await;
        for status in order {
            webhooks::deliver(world.at().http, webhooks::status(&number, &phone, &wamid, *status)).await;
        }
        let last = *expected.last().expect("at least one");
        assert_eq!(status_of(&world, &message).await, last, "{order:?}");
        let events = device.events_until(|event| event.is_status(last)).await;
        assert_eq!(statuses(&events, &message), expected, "{order:?}");
        moved.push((message, expected, order));
    }
    // Nothing is announced later, or twice.
    let events = world.api("alice").events_after(0).await;
    for (message, expected, order) in moved {
        let all: Vec<_> = events.iter().filter(|event| event.data["message"] == message).collect();
        // Beside the statuses, the wamid is announced.
        assert_eq!(all.len(), expected.len() + 1, "{order:?}: {all:?}");
    }
}

#[tokio::test]
async fn o8_a_status_that_comes_before_the_answer_of_the_send_counts() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    world.sim.next_send(ScriptedSend::status_first());
    assert_eq!(device.publish(OUTBOX, send_command("c1", ANA, "Quick").to_string()).await.code, 0);
    let events = device.events_until(|event| event.is_status("read")).await;
    let message = events[0].text("id").to_owned();
    let seen = statuses(&events, &message);
    assert_eq!(seen.last().map(String::as_str), Some("read"));
    assert!(!seen.contains(&"unknown".to_owned()), "{seen:?}");
    assert_eq!(status_of(&world, &message).await, "read");
    world.posts(1).await;
}

#[tokio::test]
async fn o9_a_status_of_a_wamid_that_is_not_known_yet_is_kept() {
    let faults = Faults { answer_ms: sim::whatsapp::MsRange::new(0, 0), ..Faults::default() };
    let world = World::with("", "", faults).await;
    let mut device = world.plain_device("alice").await;
    // A foreign status without our callback data, for the wamid that the next send will get, cannot be had before the
    // send; so it comes while the answer is held back.
    world.sim.next_send(ScriptedSend { statuses: StatusPlan::Never, ..ScriptedSend::answered_after(500) });
    assert_eq!(device.publish(OUTBOX, send_command("c1", ANA, "Slow answer").to_string()).await.code, 0);
    let posts = world.posts(1).await;
    let wamid = posts[0].wamid.clone().expect("it was accepted");
    let delivered = webhooks::status(&World::number(), ANA, &wamid, DeliveryStatus::Delivered);
    webhooks::deliver(world.at().http, delivered).await;
    let events = device.events_until(|event| event.is_status("delivered")).await;
    assert_eq!(events[0].data["id"], message_of(&posts[0]));
    assert_eq!(events.last().expect("one").data["wamid"], wamid);
}

#[tokio::test]
async fn o7_a_send_without_a_certain_answer_is_unknown_and_is_never_posted_again_under_hold() {
    let world = World::with("unknown_after_s = 1", "", Faults::default()).await;
    let mut device = world.plain_device("alice").await;
    let unknown = [
        ScriptedSend::http_500(),
        ScriptedSend::cut(),
        ScriptedSend { statuses: StatusPlan::Withheld, ..ScriptedSend::http_500_but_accepted() },
        ScriptedSend { statuses: StatusPlan::Withheld, ..ScriptedSend::cut_but_accepted() },
    ];
    let mut messages = Vec::new();
    for (n, send) in unknown.into_iter().enumerate() {
        world.sim.next_send(send);
        let phone = format!("1555000020{n}");
        let command = send_command(&format!("c{n}"), &phone, "Perhaps").to_string();
        assert_eq!(device.publish(OUTBOX, command).await.code, 0);
        let events = device.events_until(|event| event.is_status("unknown")).await;
        let message = events.last().expect("one").text("message").to_owned();
        assert_eq!(statuses(&events, &message), ["unknown"]);
        messages.push((message, phone));
    }
    // After `unknown_after_s` an unknown send holds back nothing any more, and stays what it is.
    let (held, phone) = &messages[0];
    assert_eq!(device.publish(OUTBOX, send_command("next", phone, "Next").to_string()).await.code, 0);
    let events = device.events_until(|event| event.is_status("read")).await;
    assert_ne!(events.last().expect("one").data["message"], **held);
    assert_eq!(status_of(&world, held).await, "unknown");

    world.sim.release_statuses();
    for (message, _) in &messages[2..] {
        tests::deadline::until("a late status settles it", || async {
            (status_of(&world, message).await == "read").then_some(())
        })
        .await;
    }
    let posts = world.posts(5).await;
    for (message, _) in &messages {
        assert_eq!(posts.iter().filter(|post| message_of(post) == *message).count(), 1, "{posts:#?}");
    }
}

#[tokio::test]
async fn o7_a_refusal_of_whatsapp_is_a_failed_message_with_its_reason() {
    /// Not on WhatsApp, or cannot be reached.
    const UNDELIVERABLE: u32 = 131_026;
    /// More than 24 hours since the customer wrote.
    const WINDOW_CLOSED: u32 = 131_047;
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    let sends = [
        (ScriptedSend::error(400, UNDELIVERABLE), UNDELIVERABLE),
        (ScriptedSend::failing_later(WINDOW_CLOSED), WINDOW_CLOSED),
    ];
    for (n, (send, code)) in sends.into_iter().enumerate() {
        world.sim.next_send(send);
        let command = send_command(&format!("c{n}"), &format!("1555000030{n}"), "No").to_string();
        assert_eq!(device.publish(OUTBOX, command).await.code, 0);
        let events = device.events_until(|event| event.is_status("failed")).await;
        let failed = events.last().expect("one");
        assert_eq!(failed.data["error"]["meta_code"], code, "{}", failed.whole);
        assert!(failed.data["error"]["title"].as_str().is_some_and(|title| !title.is_empty()));
    }
    world.posts(2).await;
}

#[tokio::test]
async fn o6_messages_to_one_person_are_posted_one_after_the_other_in_their_order() {
    const MESSAGES: usize = 20;
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    for n in 0..MESSAGES {
        let publish = Publish {
            topic: OUTBOX.into(),
            payload: send_command(&format!("c{n}"), ANA, &format!("text {n}")).to_string().into(),
            ..Publish::default()
        };
        device.start_publish(publish).await;
    }
    let posts = world.posts(MESSAGES).await;
    let texts: Vec<_> = posts.iter().map(|post| post.body["text"]["body"].clone()).collect();
    let expected: Vec<Value> = (0..MESSAGES).map(|n| format!("text {n}").into()).collect();
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn o6_a_repeated_and_shuffled_flow_of_statuses_ends_where_it_should() {
    const MESSAGES: usize = 30;
    let faults = Faults { repeat: 0.5, shuffle: 0.5, batch: 0.3, skip_delivered: 0.2, ..Faults::default() };
    let world = World::with("", "", faults).await;
    let api = world.api("alice");
    for n in 0..MESSAGES {
        let phone = format!("155500004{n:02}");
        let command = send_command(&format!("c{n}"), &phone, "Shuffled");
        assert_eq!(api.post("/v1/messages", &command).await.status, 201);
    }
    let posts = world.posts(MESSAGES).await;
    world.sim.wait_until_idle(tests::deadline::DEADLINE).await.expect("all statuses are delivered");
    let events = api.events_after(0).await;
    assert_gapless(&events, 1);
    for post in &posts {
        let message = message_of(post);
        assert_eq!(status_of(&world, &message).await, "read");
        let order = ["sending", "sent", "delivered", "read"];
        let ranks: Vec<_> = statuses(&events, &message)
            .iter()
            .map(|status| order.iter().position(|known| known == status).expect("a known status"))
            .collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{message}: {ranks:?}");
    }
}

#[tokio::test]
async fn o3_user_to_user_both_have_it_and_reading_is_told() {
    let world = World::start().await;
    let mut alice = world.plain_device("alice").await;
    let mut bob = world.plain_device("bob").await;
    let command = json!({"type": "message.send", "id": "lunch", "to": {"user": "bob"}, "kind": "text", "text": "Lunch?"});
    assert_eq!(alice.publish(OUTBOX, command.to_string()).await.code, 0);
    let (at_bob, at_alice) = (bob.event().await, alice.event().await);
    assert_eq!((&at_bob.data, at_bob.kind.as_str()), (&at_alice.data, "message.created"));
    assert_eq!(at_bob.data["status"], "sent", "nothing beyond the commit is waited for");
    assert_eq!((&at_bob.whole["unread"], &at_alice.whole["unread"]), (&json!(1), &json!(0)));

    let (conversation, message) = (at_bob.text("conversation"), at_bob.text("id"));
    let read = json!({"type": "message.read", "id": "r1", "conversation": conversation, "up_to": message});
    assert_eq!(bob.publish("user/bob/outbox", read.to_string()).await.code, 0);
    let receipt = |event: &Event| event.kind == "receipt.read";
    for (device, unread) in [(&mut alice, None), (&mut bob, Some(0))] {
        let events = device.events_until(receipt).await;
        let told = events.last().expect("one");
        assert_eq!(told.data, json!({"by": "bob", "up_to": message}));
        assert!(unread.is_none_or(|unread| told.whole["unread"] == unread), "{}", told.whole);
    }
    assert!(world.sim.posts().is_empty(), "nothing of this is WhatsApp's");
}

#[tokio::test]
async fn o3_an_answer_in_a_conversation_quotes_what_it_answers_and_reading_counts_down() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    let asked = world.sim.say(ANA, "Do you have it in blue?").expect("Ana asks");
    world.sim.say(BEN, "Me too").expect("Ben asks");
    let asks = |event: &Event| event.data["wamid"] == asked;
    let question = device.events_until(asks).await.pop().expect("one");
    let (conversation, message) = (question.text("conversation"), question.text("id"));
    let command = json!({"type": "message.send", "id": "c1", "conversation": conversation, "kind": "text",
        "text": "Yes", "reply_to": message});
    assert_eq!(device.publish(OUTBOX, command.to_string()).await.code, 0);
    let posts = world.posts(1).await;
    assert_eq!(posts[0].body["context"]["message_id"], asked);
    assert_eq!(posts[0].to.as_deref().map(|to| to.trim_start_matches('+')), Some(ANA));

    let api = world.api("alice");
    let read = json!({"up_to": message});
    let answer = api.post(&format!("/v1/conversations/{conversation}/read"), &read).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let one = api.get(&format!("/v1/conversations/{conversation}")).await.expect(200);
    assert_eq!(one["unread"], 0);
    device.events_until(|event| event.kind == "receipt.read").await;
}
