//! P7. A token opens its own account's and user's topics and rows, and no others: by MQTT, HTTP, wildcards, shares.

use serde_json::json;
use tests::mqtt::{Client, Connect, Link, Properties};
use tests::token::Token;
use tests::webhooks;
use tests::world::{ACME, ANA, GLOBEX, World, send_command};

/// Grants all that an `acl` can.
fn wide(account: &str, user: &str) -> Token {
    Token::of(account, user).acl(&["#"], &["#"])
}

#[tokio::test]
async fn p7_no_acl_opens_a_reserved_topic_and_a_granted_hash_does_not_deliver_one() {
    let world = World::start().await;
    let token = wide(ACME, "bob").sign();
    let mut spy = Client::connect(world.at(), Link::Tcp, &Connect::v5("spy", &token)).await;
    for filter in ["user/alice/inbox", "user/+/inbox", "user/#", "user/alice/signals", "$SYS/#"] {
        let codes = spy.subscribe_with(&[(filter, 1)], &Properties::none()).await;
        assert_eq!(codes, [0x87], "{filter}");
    }
    for filter in ["$share/team/user/alice/inbox", "$share/team/user/+/inbox", "$share/team/user/bob/inbox"] {
        let codes = spy.subscribe_with(&[(filter, 1)], &Properties::none()).await;
        assert_eq!(codes, [0x9E], "{filter}");
    }
    for filter in ["#", "+/+/inbox", "+/alice/#"] {
        spy.subscribe(filter, 1).await;
    }
    for topic in
        ["user/alice/outbox", "user/alice/inbox", "user/alice/status", "user/alice/signals", "user/x/y"]
    {
        let ack = spy.publish(topic, send_command("x", ANA, "x").to_string()).await;
        assert_eq!(ack.code, 0x87, "{topic}");
    }
    let mut alice = world.plain_device("alice").await;
    world.deliver_text(ANA, "wamid.1", "for the agents").await;
    assert_eq!(alice.event().await.text("text"), "for the agents");
    // What comes to the spy next is what it may see: the events of inboxes are not on `#`.
    assert_eq!(spy.publish("news/today", "for everybody").await.code, 0);
    assert_eq!(spy.message().await.topic, "news/today");
    assert!(world.sim.posts().is_empty());
}

#[tokio::test]
async fn p7_accounts_do_not_see_each_others_topics() {
    let world = World::start().await;
    let (ours, theirs) = (wide(ACME, "alice").sign(), wide(GLOBEX, "gina").sign());
    let mut gina = Client::connect(world.at(), Link::Tcp, &Connect::v5("same", &theirs)).await;
    for filter in ["#", "news/#", "user/+/status"] {
        gina.subscribe(filter, 1).await;
    }
    gina.ping().await;
    let seen = gina.messages_so_far().await;
    assert!(seen.iter().all(|message| message.topic == "user/gina/status"), "{seen:?}");

    // The same client id in another account is another session.
    let mut alice = Client::connect(world.at(), Link::Tcp, &Connect::v5("same", &ours)).await;
    alice.subscribe("news/#", 1).await;
    assert_eq!(alice.publish("news/today", "ours").await.code, 0);
    assert_eq!(alice.message().await.payload, b"ours");
    assert_eq!(gina.publish("news/today", "theirs").await.code, 0);
    let got = gina.message().await;
    assert_eq!((got.payload.as_slice(), got.topic.as_str()), (&b"theirs"[..], "news/today"));
    alice.publish_qos0("news/today", "ours at QoS 0").await;
    assert_eq!(alice.message().await.payload, b"ours at QoS 0");
    let more = gina.messages_so_far().await;
    assert!(more.iter().all(|message| message.payload == b"theirs"), "{more:?}");
}

#[tokio::test]
async fn p7_rows_of_another_account_are_not_there() {
    let world = World::start().await;
    world.deliver_text(ANA, "wamid.1", "a secret of acme").await;
    let ours = world.api("alice");
    let event = ours.events_after(0).await.pop().expect("one event");
    let (conversation, message) = (event.text("conversation").to_owned(), event.text("id").to_owned());
    let contact = event.data["sender"]["id"].as_str().expect("a contact").to_owned();

    let theirs = world.api_with(&wide(GLOBEX, "gina"));
    let same_name = world.api_with(&wide(GLOBEX, "alice").with("role", "admin"));
    for api in [&theirs, &same_name] {
        for path in [
            format!("/v1/conversations/{conversation}"),
            format!("/v1/conversations/{conversation}/messages"),
            format!("/v1/messages/{message}"),
        ] {
            assert_eq!(api.get(&path).await.status, 404, "{path}");
        }
        let list = api.get("/v1/conversations").await.expect(200);
        assert_eq!(list["items"], json!([]));
        assert_eq!(api.head().await, 0);
        let read =
            api.post(&format!("/v1/conversations/{conversation}/read"), &json!({"up_to": message})).await;
        assert_eq!(read.status, 404, "{}", read.text());
        let commands = [
            json!({"type": "message.send", "id": "i1", "conversation": conversation, "kind": "text", "text": "x"}),
            json!({"type": "message.send", "id": "i2", "to": {"contact": contact}, "kind": "text", "text": "x"}),
            json!({"type": "message.send", "id": "i3", "to": {"user": "bob"}, "kind": "text", "text": "x"}),
            send_command("i4", ANA, "x"),
        ];
        for command in commands {
            let answer = api.post("/v1/messages", &command).await;
            assert_eq!(answer.status, 404, "{command}: {}", answer.text());
        }
    }
    let mut gina =
        Client::connect(world.at(), Link::Tcp, &Connect::v5("g", &wide(GLOBEX, "gina").sign())).await;
    let command = json!({"type": "message.send", "id": "i5", "conversation": conversation, "kind": "text", "text": "x"});
    let ack = gina.publish("user/gina/outbox", command.to_string()).await;
    assert_eq!(ack.properties.text(tests::mqtt::id::REASON_STRING), Some("conversation_unknown"));
    assert!(world.sim.posts().is_empty());
    assert_eq!(ours.head().await, 1, "nothing of this came to acme");
}

#[tokio::test]
async fn p7_what_belongs_to_others_of_the_same_account_is_not_there_either() {
    let world = World::start().await;
    // A direct conversation of alice and bob, and a user who is no agent of the number.
    let lunch =
        json!({"type": "message.send", "id": "c1", "to": {"user": "bob"}, "kind": "text", "text": "Lunch?"});
    let direct = world.api("alice").post("/v1/messages", &lunch).await.expect(201)["message"].clone();
    world.deliver_text(ANA, "wamid.1", "for agents").await;
    let carol = world.api("carol");
    let conversation = direct["conversation"].as_str().expect("an id");
    let of_number = world.api("alice").events_after(1).await[0].text("conversation").to_owned();
    for id in [conversation, &of_number] {
        assert_eq!(carol.get(&format!("/v1/conversations/{id}")).await.status, 404);
        assert_eq!(carol.get(&format!("/v1/conversations/{id}/messages")).await.status, 404);
        let command = json!({"type": "message.send", "id": format!("c-{id}"), "conversation": id, "kind": "text", "text": "x"});
        carol.post("/v1/messages", &command).await.expect_problem(404, "conversation_unknown");
    }
    let message = direct["id"].as_str().expect("an id");
    assert_eq!(carol.get(&format!("/v1/messages/{message}")).await.status, 404);
    assert_eq!(carol.head().await, 0);
    assert_eq!(carol.get("/v1/conversations").await.expect(200)["items"], json!([]));
    carol.post("/v1/messages", &send_command("c9", ANA, "x")).await.expect_problem(404, "number_unknown");
}

#[tokio::test]
async fn p7_a_webhook_reaches_the_account_of_its_number_only() {
    let world = World::start().await;
    let gina = world.api_with(&Token::of(GLOBEX, "gina"));
    let theirs = webhooks::text(&World::other_number(), ANA, "wamid.same", "to globex");
    let ours = webhooks::text(&World::number(), ANA, "wamid.same", "to acme");
    webhooks::deliver(world.at().http, theirs).await;
    webhooks::deliver(world.at().http, ours).await;
    // The same person and the same wamid, at two numbers: two messages.
    for (api, text, account) in [(gina, "to globex", GLOBEX), (world.api("alice"), "to acme", ACME)] {
        let events = api.events_after(0).await;
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].text("text"), &events[0].whole["account"]), (text, &json!(account)));
    }
}
