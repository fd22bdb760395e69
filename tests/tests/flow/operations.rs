//! What an operator sees: health, metrics with real values, the other subcommands.

use serde_json::Value;
use tests::http::Api;
use tests::mqtt::{Client, Connect, Link};
use tests::token::Token;
use tests::world::{ACME, ANA, World, send_command};

#[tokio::test]
async fn health_is_open_and_good_and_the_page_is_there() {
    let world = World::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.admin(path).await.status, 200, "{path}");
    }
    let anybody = Api::new(world.at().http, None);
    let page = anybody.get("/").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let keys = anybody.get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(keys["keys"], serde_json::json!([]), "a shared secret has no public key");
}

#[tokio::test]
async fn metrics_have_real_values_after_a_message_went_each_way() {
    let world = World::start().await;
    let mut device = world.plain_device("alice").await;
    world.sim.say(ANA, "Hello").expect("Ana writes");
    device.event().await;
    assert_eq!(device.publish("user/alice/outbox", send_command("c1", ANA, "Hi").to_string()).await.code, 0);
    device.events_until(|event| event.is_status("read")).await;

    for (name, labels) in [
        ("inboxd_delivery_seconds_count", vec!["path=\"whatsapp_to_device\""]),
        ("inboxd_delivery_seconds_count", vec!["path=\"device_to_device\""]),
        ("inboxd_store_commit_seconds_count", vec![]),
        ("inboxd_store_commit_rows_count", vec![]),
        ("inboxd_webhook_to_durable_seconds_count", vec![]),
        ("inboxd_outbound_accept_seconds_count", vec![]),
        ("inboxd_outbound_delivered_seconds_count", vec![]),
        ("inboxd_bridge_sends_total", vec!["outcome="]),
        ("inboxd_webhooks_total", vec!["outcome=\"applied\""]),
        ("inboxd_broker_connections", vec!["transport=\"tcp\"", "version="]),
    ] {
        world.wait_for_metric(name, &labels, 1.0).await;
    }
    let metrics = world.metrics().await;
    for name in
        ["inboxd_broker_backlog_events", "inboxd_bridge_queue_depth", "inboxd_bridge_queue_oldest_seconds"]
    {
        assert!(metrics.sum(name, &[]).is_some(), "{name} is not there");
    }
    for (sum, most) in [("inboxd_delivery_seconds_sum", 60.0), ("inboxd_store_commit_seconds_sum", 60.0)] {
        let seconds = metrics.count(sum, &[]);
        assert!(seconds > 0.0 && seconds < most, "{sum} is {seconds}: not in seconds?");
    }
    let violations = metrics.count("inboxd_invariant_violations_total", &[]);
    assert!(violations < 0.5, "{violations} violations of invariants");
}

#[tokio::test]
async fn catching_up_is_measured() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let connect = Connect::v5("phone", &token).kept();
    world.device(Link::Tcp, &connect, "alice").await.disconnect().await;
    for n in 0..3 {
        world.deliver_text(ANA, &format!("wamid.{n}"), "missed").await;
    }
    let mut device = Client::connect(world.at(), Link::Tcp, &connect).await;
    device.events(3).await;
    world.wait_for_metric("inboxd_session_catchup_seconds_count", &[], 1.0).await;
}

#[tokio::test]
async fn inboxd_token_prints_a_token_that_opens_its_inbox() {
    let world = World::start().await;
    let words = ["token", "--account", ACME, "--user", "alice", "--device", "phone", "--ttl", "1h"];
    let (code, printed) = world.run(&words).await;
    assert_eq!((code, printed.lines().count()), (Some(0), 1), "{printed}");
    let device = world.device(Link::Tcp, &Connect::v5("phone", printed.trim()), "alice").await;
    device.disconnect().await;
    let (code, printed) = world.run(&["token", "--account", ACME]).await;
    assert_eq!((code, printed.as_str()), (Some(64), ""), "bad usage");
}

#[tokio::test]
async fn inboxd_send_waits_for_delivery_and_inboxd_tail_shows_every_event() {
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let mqtt = world.at().mqtt.to_string();
    let to = format!("+{ANA}@{}", World::number().phone_number_id);
    let client = ["--token", &token, "--mqtt", &mqtt];
    let send =
        [&["send"], &client[..], &["--to", &to, "--id", "cli", "--wait", "From the command line"]].concat();
    let (code, printed) = world.run(&send).await;
    assert_eq!(code, Some(0), "{printed}");
    let posts = world.posts(1).await;
    assert_eq!(posts[0].body["text"]["body"], "From the command line");

    world.sim.wait_until_idle(tests::deadline::DEADLINE).await.expect("all statuses are delivered");
    let events = world.api("alice").events_after(0).await;
    let count = events.len().to_string();
    let tail = [&["tail"], &client[..], &["--after", "0", "--count", &count]].concat();
    let (code, printed) = world.run(&tail).await;
    assert_eq!(code, Some(0), "{printed}");
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(lines, events.iter().map(|event| event.whole.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn inboxd_config_names_file_line_and_key_of_a_mistake() {
    let world = World::start().await;
    let good = world.server.folder().join("inboxd.toml");
    let (code, _) = world.run(&["config", "--check", &good.display().to_string()]).await;
    assert_eq!(code, Some(0));
    let bad = world.server.folder().join("bad.toml");
    std::fs::write(&bad, "data_dir = \"x\"\n[listen]\nmqttt = \"127.0.0.1:0\"\n").expect("a file");
    let (code, _) = world.run(&["config", "--check", &bad.display().to_string()]).await;
    assert_eq!(code, Some(64));
    let log = world.server.log();
    assert!(log.contains("bad.toml:3") && log.contains("listen.mqttt"), "{log}");
}

#[tokio::test]
async fn a_store_is_verified_and_backed_up_with_a_server_and_without() {
    let mut world = World::start().await;
    world.deliver_text(ANA, "wamid.1", "Hello").await;
    let admin = format!("http://{}", world.at().admin);
    let (code, printed) = world.run(&["verify", "--admin", &admin]).await;
    assert_eq!(code, Some(0), "{printed}");
    let folder = world.server.folder().join("backup");
    let folder = folder.to_str().expect("a path of the test");
    let (code, printed) = world.run(&["backup", folder, "--admin", &admin]).await;
    assert_eq!(code, Some(0), "{printed}");
    let (code, _) = world.run(&["verify"]).await;
    assert_eq!(code, Some(1), "a server has the store, and its admin port is not in the configuration");
    world.server.stop().await;
    let (code, printed) = world.run(&["verify"]).await;
    assert_eq!(code, Some(0), "{printed}");
    let (code, _) = world.run(&["restore", folder]).await;
    assert_eq!(code, Some(1), "a store is never overwritten");
    let second = format!("{folder}-2");
    let (code, printed) = world.run(&["backup", &second]).await;
    assert_eq!(code, Some(0), "{printed}");
}
