//! The database beneath the store is killed, and the server as well: what was acknowledged is there, once and in order
//! (P1–P6). And while it is away: the server stays, says so, refuses, delivers from memory, and goes on by itself.
//!
//! Runs where there is a node to kill (`tests::cassandra`), else it is skipped.

use serde_json::json;
use sim::whatsapp::Faults;
use sim::whatsapp::sign::Signature;
use tests::cassandra::Node;
use tests::chance::Chance;
use tests::deadline::{until, within};
use tests::mqtt::{Client, Connect, Link, Publish};
use tests::token::Token;
use tests::webhooks;
use tests::world::{ACME, ANA, World, send_command};

use crate::ledger::Ledger;
use crate::load::Load;
use crate::{ACKNOWLEDGED, UNKNOWN_AFTER, rounds};

/// MQTT 5: server unavailable, of CONNACK and DISCONNECT.
const UNAVAILABLE: u8 = 0x88;
/// One round in so many is over before anybody is told that the store is away.
const SHORT: u64 = 2;

async fn ready(world: &World) -> bool {
    world.admin("/readyz").await.status == 200
}

async fn is_away(world: &World) {
    until("the server says that its store is away", || async { (!ready(world).await).then_some(()) }).await;
}

async fn is_back(world: &World) {
    until("the server goes on", || async { ready(world).await.then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_to_p6_hold_over_kills_of_the_database_and_of_the_server() {
    let Some(node) = Node::from_environment() else { return };
    let mut chance = Chance::from_environment();
    // Meta's patience is not what is tested: a status refused while the database starts comes again soon afterwards, and
    // not a minute later.
    let faults = Faults { retry_first_ms: 50, retry_longest_ms: 1_000, ..Faults::default() };
    let mut world = World::with(UNKNOWN_AFTER, "", faults).await;
    let mut ledger = Ledger::new(&world).await;
    let rounds = rounds();
    for round in 1..=rounds {
        let acknowledged = chance.among(ACKNOWLEDGED.0, ACKNOWLEDGED.1);
        let short = chance.among(1, SHORT) == 1;
        eprintln!("round {round} of {rounds}: database killed after {acknowledged} acknowledgements");
        let load = Load::start(&world, round, &mut ledger).await;
        load.acknowledged(acknowledged).await;
        node.kill().await;
        if !short {
            is_away(&world).await;
        }
        node.start().await;
        is_back(&world).await;
        // Those who were refused have stopped; the others go on, and something new is taken.
        world.deliver_text(ANA, &format!("wamid.back.{round}"), "are you back?").await;
        ledger.add_webhook(format!("wamid.back.{round}"));
        world.server.kill();
        ledger.note(load.ended().await);
        world.start_server().await;
        ledger.check(&world).await;
    }
    ledger.check_sends(&world).await;
    eprintln!("{}", ledger.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_nothing_is_taken_and_what_memory_holds_is_delivered() {
    let Some(node) = Node::from_environment() else { return };
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let one_at_a_time = Connect::v5("phone", &token).kept().receive_max(1);
    let mut phone = world.device(Link::Tcp, &one_at_a_time, "alice").await;
    let mut writer = world.plain_device("bob").await;
    for n in 0..3 {
        world.deliver_text(ANA, &format!("wamid.{n}"), &format!("text {n}")).await;
    }
    node.kill().await;
    is_away(&world).await;
    let why = world.admin("/readyz").await.text();
    assert!(why.contains("no sign of life reached the database"), "{why}");

    // Each acknowledgement lets the next event out, and no row can be read.
    let mut got = phone.events(3).await;
    let body = webhooks::text(&World::number(), ANA, "wamid.refused", "sent again by Meta");
    let answer = webhooks::post(world.at().http, body.clone(), Signature::Correct).await;
    answer.expect_problem(503, "store_unavailable");
    let command = send_command("c1", ANA, "not now");
    world.api("alice").post("/v1/messages", &command).await.expect_problem(503, "store_unavailable");
    world.api("alice").get("/v1/conversations").await.expect_problem(503, "store_unavailable");
    let refused = Client::try_connect(world.at(), Link::Tcp, &Connect::v5("another", &token)).await;
    assert_eq!(refused.err().map(|refused| refused.code), Some(UNAVAILABLE));
    let publish = Publish {
        topic: "user/bob/outbox".to_owned(),
        payload:
            json!({"type": "message.send", "id": "c2", "to": {"user": "alice"}, "kind": "text", "text": "hi"})
                .to_string()
                .into(),
        ..Publish::default()
    };
    writer.start_publish(publish).await;
    let ending = writer.ended().await;
    assert_eq!(ending.code(), Some(UNAVAILABLE), "no PUBACK, and the client sends again");

    let process = world.server.process();
    within("the database starts", node.start()).await;
    is_back(&world).await;
    assert_eq!(world.server.process(), process);
    webhooks::deliver(world.at().http, body).await;
    assert_eq!(world.api("alice").post("/v1/messages", &command).await.status, 201);
    got.extend(phone.events(3).await);
    let numbers: Vec<u64> = got.iter().map(|event| event.number()).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a + 1 == *b),
        "on the same connection, nothing left out: {numbers:?}"
    );
    assert!(got.iter().any(|event| event.data["text"] == "sent again by Meta"), "{got:?}");
}
