//! I1–I8: a customer writes, and every device of every agent has it, once and in order.

use std::path::Path;

use serde_json::json;
use sim::whatsapp::envelope;
use sim::whatsapp::sign::Signature;
use tests::deadline::within;
use tests::event::assert_gapless;
use tests::http::send;
use tests::mqtt::{Connect, Link};
use tests::token::Token;
use tests::webhooks;
use tests::world::{ACME, ANA, BEN, VERIFY_TOKEN, World};

/// The most updates that Meta puts into one body.
const UPDATES: usize = 1_000;

#[tokio::test]
async fn i1_i8_a_signed_webhook_reaches_both_devices_with_the_same_number() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mut phone = world.device(Link::Tcp, &Connect::v311("phone", &token), "alice").await;
    let mut desk = world.device(Link::WebSocket, &Connect::v5("desk", &token), "alice").await;

    let wamid = world.sim.say(ANA, "Is my order on its way?").expect("Ana writes");

    let (on_phone, on_desk) = (phone.event().await, desk.event().await);
    assert_eq!(on_phone.whole, on_desk.whole, "both devices get the same event");
    assert_eq!(on_phone.kind, "message.created");
    assert_eq!(on_phone.number(), 1, "the first event of this inbox");
    assert_eq!(on_phone.whole["account"], ACME);
    assert_eq!(on_phone.whole["unread"], 1);
    let message = &on_phone.data;
    assert_eq!(message["text"], "Is my order on its way?");
    assert_eq!((&message["kind"], &message["direction"]), (&"text".into(), &"in".into()));
    assert_eq!((&message["wamid"], &message["status"]), (&wamid.into(), &"delivered".into()));
    assert_eq!(message["sender"]["kind"], "contact");
    assert_eq!(on_phone.whole["conversation"], message["conversation"]);

    // The other agent, who was not connected, has it too.
    let bobs = world.api("bob").events_after(0).await;
    assert_eq!(bobs.len(), 1);
    assert_eq!(bobs[0].data["id"], message["id"]);
    let path = format!("/v1/conversations/{}", on_phone.text("conversation"));
    let conversation = world.api("alice").get(&path).await.expect(200);
    assert_eq!(conversation["contact"]["phone"], format!("+{ANA}"));
    assert_eq!(conversation["number"], World::number().phone_number_id);
}

#[tokio::test]
async fn i1_a_wrong_or_missing_signature_is_refused_and_nothing_is_stored() {
    let world = World::start().await;
    let number = World::number();
    let api = world.api("alice");
    for sign in [Signature::Wrong, Signature::Missing] {
        let body = webhooks::text(&number, ANA, "wamid.forged", "Send me the money");
        let answer = webhooks::post(world.at().http, body, sign).await;
        answer.expect_problem(401, "signature_invalid");
    }
    // The signature is over these bytes and no others.
    let signed = webhooks::text(&number, ANA, "wamid.signed", "one");
    let signature = sim::whatsapp::sign::signature(webhooks::APP_SECRET.as_bytes(), &signed);
    let changed = String::from_utf8(signed).expect("JSON").replace("one", "two").into_bytes();
    let headers = [("content-type", "application/json"), ("x-hub-signature-256", signature.as_str())];
    let url = format!("http://{}/webhooks/whatsapp", world.at().http);
    send("POST", &url, &headers, changed).await.expect_problem(401, "signature_invalid");

    assert_eq!(api.head().await, 0, "nothing is in the inbox");
    world.deliver_text(ANA, "wamid.good", "It is me").await;
    let events = api.events_after(0).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((events[0].number(), &events[0].data["text"]), (1, &"It is me".into()));
    world.wait_for_metric("inboxd_webhooks_total", &["outcome=\"bad_signature\""], 3.0).await;
}

#[tokio::test]
async fn i1_signed_bodies_that_cannot_be_read_are_answered_200_counted_and_disturb_nothing() {
    let world = World::start().await;
    let api = world.api("alice");
    world.deliver_text(ANA, "wamid.before", "before").await;
    let bad: [&[u8]; 6] =
        [b"", b"{", b"[]", b"\xFF\xFE", b"{\"entry\":7}", b"{\"entry\":[{\"changes\":[{\"value\":{}}]}]}"];
    for body in bad {
        webhooks::deliver(world.at().http, body.to_vec()).await;
    }
    world.deliver_text(ANA, "wamid.after", "after").await;

    let events = api.events_after(0).await;
    let texts: Vec<_> = events.iter().map(|event| event.text("text")).collect();
    assert_eq!(texts, ["before", "after"]);
    assert_gapless(&events, 1);
    // The first four are no JSON object; in the other two there is nothing.
    world.wait_for_metric("inboxd_webhooks_total", &["outcome=\"unreadable\""], 4.0).await;
    let total = world.metrics().await.count("inboxd_webhooks_total", &[]);
    assert!((total - 8.0).abs() < 0.5, "{total} webhooks are counted, 8 came");
}

#[tokio::test]
async fn i1_a_body_above_the_limit_is_refused_and_counted() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// The contract's 4 MiB, and one byte.
    const TOO_LARGE: usize = (4 << 20) + 1;
    let world = World::start().await;
    let mut stream = tokio::net::TcpStream::connect(world.at().http).await.expect("the server accepts");
    let head = format!(
        "POST /webhooks/whatsapp HTTP/1.1\r\nHost: inboxd\r\nContent-Type: application/json\r\n\
         X-Hub-Signature-256: sha256={}\r\nContent-Length: {TOO_LARGE}\r\n\r\n",
        "0".repeat(64)
    );
    stream.write_all(head.as_bytes()).await.expect("a few bytes are taken");
    // The server may answer and close before it has taken all of it.
    let _ = within("the body", stream.write_all(&vec![b'x'; TOO_LARGE])).await;
    let mut answer = vec![0; 12];
    within("the answer", stream.read_exact(&mut answer)).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
    world.wait_for_metric("inboxd_webhooks_total", &["outcome=\"too_large\""], 1.0).await;
}

#[tokio::test]
async fn i1_the_address_is_verified_by_metas_handshake() {
    let world = World::start().await;
    let ask = |token: &str| {
        let token = token.replace(' ', "%20");
        let query = format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444");
        let url = format!("http://{}/webhooks/whatsapp?{query}", world.at().http);
        async move { send("GET", &url, &[], Vec::new()).await }
    };
    let good = ask(VERIFY_TOKEN).await;
    assert_eq!((good.status, good.text().as_str()), (200, "1158201444"));
    ask("guessed").await.expect_problem(403, "verify_token_invalid");
}

#[tokio::test]
async fn i3_the_same_webhook_five_times_is_one_message() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    let body = webhooks::text(&World::number(), ANA, "wamid.again", "once");
    // Two by two at the same time, since Meta does not wait for itself either.
    for _ in 0..2 {
        let (one, other) = (body.clone(), body.clone());
        let at = world.at().http;
        tokio::join!(webhooks::deliver(at, one), webhooks::deliver(at, other));
    }
    webhooks::deliver(world.at().http, body).await;
    world.deliver_text(ANA, "wamid.next", "next").await;

    let events = device.events(2).await;
    assert_gapless(&events, 1);
    let texts: Vec<_> = events.iter().map(|event| event.text("text")).collect();
    assert_eq!(texts, ["once", "next"]);
    assert_eq!(events[1].whole["unread"], 2);
}

#[tokio::test]
async fn i2_a_thousand_updates_in_one_body_are_a_thousand_effects_in_their_order() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    let updates: Vec<_> = (0..UPDATES)
        .map(|n| {
            let phone = if n % 3 == 0 { ANA } else { BEN };
            webhooks::text_update(phone, &format!("wamid.many.{n}"), &format!("text {n}"))
        })
        .collect();
    let body = envelope::batch(&World::number(), &updates);
    webhooks::deliver(world.at().http, body.clone()).await;
    // Meta did not get our answer and sends it again.
    webhooks::deliver(world.at().http, body).await;

    let events = device.events(UPDATES).await;
    assert_gapless(&events, 1);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.text("text"), format!("text {n}"));
    }
    world.deliver_text(ANA, "wamid.last", "last").await;
    let last = device.event().await;
    assert_eq!((last.text("text"), last.number()), ("last", UPDATES as u64 + 1));
}

#[tokio::test]
async fn i2_every_captured_webhook_is_taken_and_a_text_after_them_arrives() {
    let world = World::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/whatsapp");
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("the fixtures are there") {
        let body = std::fs::read(file.expect("a file").path()).expect("it can be read");
        webhooks::deliver(world.at().http, body).await;
        count += 1;
    }
    assert!(count > 30, "{count} fixtures");
    world.deliver_text(ANA, "wamid.after.all", "after all of them").await;
    let api = world.api("alice");
    let events = api.events_after(0).await;
    assert_gapless(&events, 1);
    assert_eq!(events.last().expect("at least one").text("text"), "after all of them");
}

#[tokio::test]
async fn i3_a_message_to_a_number_that_nobody_has_is_taken_and_reaches_nobody() {
    let world = World::start().await;
    let mut unknown = World::number();
    unknown.phone_number_id = "999".to_owned();
    webhooks::deliver(world.at().http, webhooks::text(&unknown, ANA, "wamid.lost", "hello?")).await;
    assert_eq!(world.api("alice").head().await, 0);
    assert_eq!(world.api_with(&Token::of("globex", "gina")).head().await, 0);
}

#[tokio::test]
async fn i3_what_was_answered_is_there_after_a_kill_and_a_restart() {
    let mut world = World::start().await;
    for n in 0..20 {
        world.deliver_text(ANA, &format!("wamid.{n}"), &format!("text {n}")).await;
    }
    world.crash().await;
    let api = world.api("alice");
    let events = api.events_after(0).await;
    assert_eq!(assert_gapless(&events, 1), 21);
    // Numbers go on where they were, and what came before is known.
    world.deliver_text(ANA, "wamid.19", "text 19").await;
    world.deliver_text(ANA, "wamid.20", "text 20").await;
    let later = api.events_after(20).await;
    assert_eq!(later.len(), 1, "{later:?}");
    assert_eq!((later[0].number(), &later[0].data["text"]), (21, &json!("text 20")));
}
