//! S1–S4: what MQTT pushes can be read over HTTP, from any point, by those it belongs to.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use tests::event::{Event, assert_gapless};
use tests::http::{Answer, Api};
use tests::token::Token;
use tests::world::{ACME, ANA, BEN, World, send_command};

#[tokio::test]
async fn s2_sync_gives_every_event_once_page_by_page_as_mqtt_does() {
    const TEXTS: u64 = 25;
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    for n in 1..=TEXTS {
        world.deliver_text(ANA, &format!("wamid.{n}"), &format!("text {n}")).await;
    }
    let api = world.api("alice");
    let mut read: Vec<Event> = Vec::new();
    loop {
        let after = read.len();
        let page = api.get(&format!("/v1/sync?after={after}&limit=10")).await.expect(200);
        let events = page["events"].as_array().expect("events");
        assert_eq!(page["head"], TEXTS);
        assert!(events.len() <= 10);
        read.extend(events.iter().cloned().map(Event::of));
        assert_eq!(page["more"], json!(read.len() < 25), "{page}");
        if page["more"] == false {
            break;
        }
    }
    assert_gapless(&read, 1);
    let pushed = device.events(25).await;
    for (pushed, read) in pushed.iter().zip(&read) {
        assert_eq!(pushed.whole, read.whole);
    }
    let nothing = api.get(&format!("/v1/sync?after={TEXTS}")).await.expect(200);
    assert_eq!((&nothing["events"], &nothing["more"]), (&json!([]), &json!(false)));
}

/// Lists order by milliseconds: what comes after this is newer than what came before.
fn next_millisecond() {
    let now = || UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let before = now();
    while now() <= before {
        std::hint::spin_loop();
    }
}

#[tokio::test]
async fn s2_a_number_that_means_nothing_gets_a_snapshot() {
    let world = World::start().await;
    world.deliver_text(ANA, "wamid.1", "from Ana").await;
    next_millisecond();
    world.deliver_text(BEN, "wamid.2", "from Ben").await;
    let api = world.api("alice");
    let epoch = api.get("/v1/sync").await.expect(200)["epoch"].as_str().expect("an epoch").to_owned();
    for query in ["after=1&epoch=01JD0000000000000000000000".to_owned(), format!("after=999&epoch={epoch}")] {
        let answer = api.get(&format!("/v1/sync?{query}")).await.expect(200);
        assert_eq!((&answer["reset"], &answer["epoch"]), (&json!(true), &json!(epoch)), "{query}");
        assert_eq!(answer["head"], 2);
        let conversations = answer["snapshot"]["conversations"].as_array().expect("conversations");
        let last: Vec<_> = conversations.iter().map(|c| c["last_message"]["text"].clone()).collect();
        assert_eq!(last, ["from Ben", "from Ana"], "newest activity first");
        assert_eq!(answer["snapshot"]["next"], Value::Null);
    }
    let plain = api.get(&format!("/v1/sync?after=1&epoch={epoch}")).await.expect(200);
    assert_eq!(plain["events"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn s3_subscribe_then_snapshot_then_drop_what_is_in_it_already() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    world.deliver_text(ANA, "wamid.1", "before the snapshot").await;
    let snapshot = world.api("alice").get("/v1/conversations").await.expect(200);
    world.deliver_text(ANA, "wamid.2", "after the snapshot").await;
    let head = snapshot["head"].as_u64().expect("head");
    let events = device.events(2).await;
    assert!(events.iter().all(|event| snapshot["epoch"] == *event.epoch));
    let mut texts: Vec<_> = snapshot["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|c| c["last_message"]["text"].clone())
        .collect();
    texts.extend(events.iter().filter(|event| event.number() > head).map(|event| event.data["text"].clone()));
    assert_eq!(texts, ["before the snapshot", "after the snapshot"]);
}

/// Follows `next` from page to page.
async fn pages(api: &Api, path: &str, limit: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Answer = api.get(&format!("{path}?limit={limit}{cursor}")).await;
        let link = page.header("link").map(str::to_owned);
        let page = page.expect(200);
        let found = page["items"].as_array().expect("items");
        assert!(found.len() <= limit);
        items.extend(found.iter().cloned());
        match page["next"].as_str() {
            Some(next) => {
                let link = link.expect("a page with a next one has a link to it");
                assert!(link.contains(next) && link.contains("rel=\"next\""), "{link}");
                cursor = format!("&cursor={next}");
            }
            None => return items,
        }
    }
}

#[tokio::test]
async fn s3_lists_give_every_item_once_whatever_the_page() {
    let world = World::start().await;
    let api = world.api("alice");
    for n in 0..7 {
        world.deliver_text(&format!("1555000050{n}"), &format!("wamid.{n}"), &format!("text {n}")).await;
    }
    for n in 7..12 {
        world.deliver_text("15550000506", &format!("wamid.{n}"), &format!("text {n}")).await;
    }
    let whole = pages(&api, "/v1/conversations", 50).await;
    // Newest activity first; two that fell into one millisecond may stand either way, but always the same way.
    let at: Vec<_> = whole.iter().map(|c| c["updated_at"].as_str().expect("a time")).collect();
    assert!(at.windows(2).all(|pair| pair[0] >= pair[1]), "{at:?}");
    let mut last: Vec<_> =
        whole.iter().map(|c| c["last_message"]["text"].as_str().expect("a text")).collect();
    assert_eq!(last[0], "text 11");
    last.sort_unstable();
    assert_eq!(last, ["text 0", "text 1", "text 11", "text 2", "text 3", "text 4", "text 5"]);
    for limit in [1, 2, 3, 7] {
        assert_eq!(pages(&api, "/v1/conversations", limit).await, whole, "limit {limit}");
    }
    let busy = whole[0]["id"].as_str().expect("an id");
    let path = format!("/v1/conversations/{busy}/messages");
    let messages = pages(&api, &path, 50).await;
    let texts: Vec<_> = messages.iter().map(|m| m["text"].as_str().expect("a text")).collect();
    assert_eq!(texts, ["text 11", "text 10", "text 9", "text 8", "text 7", "text 6"], "newest first");
    for limit in [1, 2, 4] {
        assert_eq!(pages(&api, &path, limit).await, messages, "limit {limit}");
    }
    let id = |n: usize| messages[n]["id"].as_str().expect("an id");
    let before = api.get(&format!("{path}?before={}&limit=2", id(1))).await.expect(200);
    assert_eq!(before["items"], json!([messages[2], messages[3]]), "before is exclusive");
    let after = api.get(&format!("{path}?after={}", id(2))).await.expect(200);
    assert_eq!(after["items"], json!([messages[0], messages[1]]), "after is exclusive, newest first");
    assert_eq!(api.get(&format!("/v1/messages/{}", id(3))).await.expect(200), messages[3]);
    assert_eq!(api.get(&format!("/v1/conversations/{busy}")).await.expect(200), whole[0]);
}

/// Largest body of a command.
const COMMAND_BYTES_MAX: usize = 256 << 10;

#[tokio::test]
async fn s1_errors_are_problems_with_a_stable_code() {
    let world = World::start().await;
    let api = world.api("alice");
    let at = world.at().http;
    Api::new(at, None).get("/v1/sync").await.expect_problem(401, "token_missing");
    let bad = [
        (Token::of(ACME, "alice").forged(), "token_invalid"),
        (Token::of(ACME, "alice").ttl(0), "token_expired"),
        (Token::of(ACME, "a/b"), "token_invalid"),
        (Token::of("nobody", "alice"), "account_unknown"),
    ];
    for (token, code) in bad {
        world.api_with(&token).get("/v1/conversations").await.expect_problem(401, code);
    }
    api.get("/v1/conversations/nonsense").await.expect_problem(404, "conversation_unknown");
    api.get("/v1/messages/nonsense").await.expect_problem(404, "not_found");
    api.get("/v1/nonsense").await.expect_problem(404, "not_found");
    api.get("/v1/sync?after=x").await.expect_problem(400, "parameter_invalid");
    api.get("/v1/conversations?limit=0").await.expect_problem(400, "parameter_invalid");
    api.get("/v1/conversations?cursor=x").await.expect_problem(400, "cursor_invalid");
    let json = [("content-type", "application/json")];
    let post = |body: &str| {
        let body = body.to_owned().into_bytes();
        let api = api.clone();
        async move { api.request("POST", "/v1/messages", &json, body).await }
    };
    post("{").await.expect_problem(400, "json_malformed");
    post("[]").await.expect_problem(400, "command_malformed");
    let command = |with: Value| {
        let mut command = send_command("e1", ANA, "x");
        command.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
        command.to_string()
    };
    post(&command(json!({"text": "x".repeat(4097)}))).await.expect_problem(400, "text_too_long");
    post(&command(json!({"type": "message.sing"}))).await.expect_problem(400, "command_unknown");
    post(&command(json!({"to": {"whatsapp": "+1555", "number": "1"}})))
        .await
        .expect_problem(404, "number_unknown");
    post(&command(json!({"to": {"user": "nobody-here"}}))).await.expect_problem(404, "user_unknown");
    post(&command(json!({"text": "x".repeat(COMMAND_BYTES_MAX)})))
        .await
        .expect_problem(413, "body_too_large");
    assert_eq!(api.head().await, 0, "a refusal leaves nothing behind");
}
