//! The simulator over loopback (I1, O6, O8), against a small receiver that checks signatures as inboxd has to.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::whatsapp::customers::CustomersConfig;
use crate::whatsapp::envelope;
use crate::whatsapp::faults::{MsRange, ScriptedSend};
use crate::whatsapp::model::CustomerAction;
use crate::whatsapp::sign::{Signature, signature};

const SECRET: &str = "app-secret";
const TOKEN: &str = "token";
const ANA: &str = "15550000002";
/// Nothing here takes a tenth of it; it ends a test that hangs.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bodies the receiver keeps for its test.
const RECEIVED_MAX: usize = 1_000;

#[derive(Clone)]
struct Receiver {
    bodies: mpsc::Sender<Value>,
    /// How many deliveries it still answers with 500.
    refusals: Arc<Mutex<u32>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let got = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok());
    if got != Some(signature(SECRET.as_bytes(), &body).as_str()) {
        return StatusCode::UNAUTHORIZED;
    }
    {
        let mut refusals = receiver.refusals.lock().expect("not poisoned");
        if *refusals > 0 {
            *refusals -= 1;
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
    }
    let value = serde_json::from_slice(&body).expect("JSON");
    receiver.bodies.try_send(value).expect("room");
    StatusCode::OK
}

struct World {
    sim: Handle,
    bodies: mpsc::Receiver<Value>,
    client: reqwest::Client,
}

/// A simulator and a receiver that refuses the first `refusals` deliveries.
async fn world(faults: Faults, refusals: u32) -> World {
    let (sender, bodies) = mpsc::channel(RECEIVED_MAX);
    let receiver = Receiver { bodies: sender, refusals: Arc::new(Mutex::new(refusals)) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let app = Router::new().route("/hook", post(receive)).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = SimConfig { faults, ..SimConfig::new(BusinessNumber::example(), SECRET, TOKEN) };
    let sim = WhatsAppSim::start(config).await.expect("starts");
    sim.set_webhook_url(&url);
    World { sim, bodies, client: deliver::client().expect("client") }
}

impl World {
    async fn send(&self, opaque: &str) -> reqwest::Result<(u16, Value)> {
        let url = format!("{}/100000000000001/messages", self.sim.graph_url());
        let body = json!({ "messaging_product": "whatsapp", "to": "+15550000002", "type": "text",
            "text": { "body": "hi" }, "biz_opaque_callback_data": opaque });
        let response = self.client.post(url).bearer_auth(TOKEN).json(&body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    async fn control(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}/_sim/{path}", self.sim.addr());
        let response = self.client.post(url).json(body).send().await.expect("answered");
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.expect("body")).unwrap_or(Value::Null))
    }

    async fn look(&self, path: &str) -> Value {
        let url = format!("http://{}/_sim/{path}", self.sim.addr());
        self.client.get(url).send().await.expect("answered").json().await.expect("JSON")
    }

    /// The `messages` or `statuses` of the next webhook.
    async fn next(&mut self, kind: &str) -> Value {
        let body = tokio::time::timeout(DEADLINE, self.bodies.recv()).await.expect("in time").expect("open");
        body["entry"][0]["changes"][0]["value"][kind].clone()
    }
}

#[tokio::test]
async fn i1_a_customer_writes_and_the_receiver_verifies_the_signature() {
    let mut world = world(Faults::default(), 0).await;
    let wamid = world.sim.say(ANA, "is the café open? ☕").expect("room");
    let messages = world.next("messages").await;
    assert_eq!(messages[0]["id"], json!(wamid));
    assert_eq!(messages[0]["text"]["body"], "is the café open? ☕");
    world.sim.stop().await;
}

#[tokio::test]
async fn o6_o8_a_send_is_answered_and_its_statuses_come_in() {
    let mut world = world(Faults::default(), 0).await;
    let (status, answer) = world.send("our-1").await.expect("answered");
    assert_eq!(status, 200);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let statuses = world.next("statuses").await;
        assert_eq!(statuses[0]["id"], answer["messages"][0]["id"]);
        assert_eq!(statuses[0]["biz_opaque_callback_data"], "our-1");
        seen.push(statuses[0]["status"].as_str().expect("status").to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["delivered", "read", "sent"]);
    let posts = world.sim.wait_for_posts(1, DEADLINE).await.expect("one post");
    assert_eq!(posts.len(), 1);
    world.sim.wait_until_idle(DEADLINE).await.expect("nothing left");
    world.sim.stop().await;
}

#[tokio::test]
async fn o6_a_cut_connection_gives_no_answer_although_accepted() {
    let mut world = world(Faults::default(), 0).await;
    world.sim.next_send(ScriptedSend::cut_but_accepted());
    let error = world.send("our-1").await.expect_err("no answer");
    assert!(error.is_request(), "{error:?}");
    let statuses = world.next("statuses").await;
    assert_eq!(statuses[0]["biz_opaque_callback_data"], "our-1");
    assert_eq!(world.sim.posts().len(), 1, "the client may not have sent it again by itself");
    assert_eq!(world.send("our-2").await.expect("answered").0, 200, "only that connection ended");
    world.sim.stop().await;
}

#[tokio::test]
async fn o8_a_status_can_arrive_before_the_answer_to_its_send() {
    // The receiver refuses at first, so the answer has something to wait for.
    let mut world = world(Faults { retry_first_ms: 20, ..Faults::default() }, 3).await;
    world.sim.next_send(ScriptedSend::status_first());
    let (status, answer) = world.send("our-1").await.expect("answered");
    assert_eq!(status, 200);
    // No waiting: by the time of the answer it is there.
    let body = world.bodies.try_recv().expect("a status came first");
    assert_eq!(body["entry"][0]["changes"][0]["value"]["statuses"][0]["id"], answer["messages"][0]["id"]);
    world.sim.stop().await;
}

#[tokio::test]
async fn i1_a_refused_webhook_comes_again_until_it_is_taken() {
    let mut world = world(Faults { retry_first_ms: 5, ..Faults::default() }, 3).await;
    let wamid = world.sim.say(ANA, "hi").expect("room");
    assert_eq!(world.next("messages").await[0]["id"], json!(wamid));
    let taken = world.sim.wait_for_delivery(DEADLINE, |delivery| delivery.status == Some(200)).await;
    assert_eq!(taken.expect("taken").attempt, 3);
    let statuses: Vec<_> = world.sim.deliveries().iter().map(|delivery| delivery.status).collect();
    assert_eq!(statuses, [Some(500), Some(500), Some(500), Some(200)]);
    world.sim.stop().await;
}

#[tokio::test]
async fn i1_raw_bodies_go_out_as_they_are_signed_as_said() {
    let mut world = world(Faults::default(), 0).await;
    let body = envelope::fixtures::full_batch(&BusinessNumber::example(), &envelope::Person::phone(ANA), "A");
    let answers = [(Signature::Correct, 200), (Signature::Wrong, 401), (Signature::Missing, 401)];
    for (sign, status) in answers {
        let answer = world.sim.deliver_raw(body.clone(), sign).await.expect("answered");
        assert_eq!(answer.status, status, "{sign:?}");
    }
    assert_eq!(world.next("messages").await[0]["id"], "wamid.A0");
    world.sim.stop().await;
}

#[tokio::test]
async fn i1_webhooks_wait_for_an_url() {
    let config = SimConfig::new(BusinessNumber::example(), SECRET, TOKEN);
    let sim = WhatsAppSim::start(config).await.expect("starts");
    sim.say(ANA, "early").expect("room");
    assert!(matches!(
        sim.deliver_raw(Bytes::new(), Signature::Correct).await,
        Err(DeliverRawError::NoWebhookUrl)
    ));
    let mut world = world(Faults::default(), 0).await;
    let url = world.sim.webhook_url().expect("set");
    sim.set_webhook_url(&url);
    assert_eq!(world.next("messages").await[0]["text"]["body"], "early");
    sim.stop().await;
    world.sim.stop().await;
}

#[tokio::test]
async fn control_routes_do_what_the_handle_does() {
    let mut world = world(Faults::default(), 0).await;
    let (status, said) =
        world.control("customers/+15550000002/say", &json!({ "text": "hi", "name": "Ana" })).await;
    assert_eq!(status, 200);
    assert_eq!(world.next("messages").await[0]["id"], said["wamid"]);
    let image = json!({ "message": { "type": "image", "image": { "id": "M1" } } });
    assert_eq!(world.control("customers/15550000002/send", &image).await.0, 200);
    assert_eq!(world.next("messages").await[0]["image"]["id"], "M1");
    let reaction = json!({ "message_id": "wamid.X", "emoji": "👍" });
    assert_eq!(world.control("customers/15550000002/react", &reaction).await.0, 200);
    assert_eq!(world.next("messages").await[0]["reaction"]["emoji"], "👍");
    let script = json!({ "next_send": { "answer": { "error": { "http": 400, "code": 131047 } } } });
    assert_eq!(world.control("scripted", &script).await.0, 204);
    assert_eq!(world.send("our-1").await.expect("answered").0, 400);
    assert_eq!(world.control("faults", &json!({ "fail_5xx": 1.0 })).await.0, 200);
    assert_eq!(world.look("faults").await["fail_5xx"], 1.0);
    assert_eq!(world.send("our-2").await.expect("answered").0, 500);
    let posts = world.look("posts").await;
    assert_eq!(posts["total"], 2);
    assert_eq!(posts["items"][1]["biz_opaque"], "our-2");
    let raw = json!({ "body": "{}", "signature": "wrong" });
    assert_eq!(world.control("deliver-raw", &raw).await, (200, json!({ "status": 401, "body": "" })));
    let refused = [
        ("customers/Ana/say", json!({ "text": "hi" }), 400),
        ("customers/15550000002/send", json!({ "message": {} }), 400),
        ("deliver-raw", json!({}), 400),
        ("faults", json!({ "fail_6xx": 1.0 }), 422),
    ];
    for (path, body, status) in refused {
        assert_eq!(world.control(path, &body).await.0, status, "{path}");
    }
    world.sim.wait_until_idle(DEADLINE).await.expect("idle");
    assert_eq!(world.look("state").await, json!({ "pending": 0, "in_flight": 0, "idle": true }));
    assert_eq!(world.look("deliveries").await["items"].as_array().map(Vec::len), Some(3));
    world.sim.stop().await;
}

#[tokio::test]
async fn graph_tells_about_a_number_and_refuses_unknown_paths() {
    let world = world(Faults::default(), 0).await;
    let get = async |path: &str, token: &str| {
        let url = format!("http://{}/{path}", world.sim.addr());
        let response = world.client.get(url).bearer_auth(token).send().await.expect("answered");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (status, info) = get("v25.0/100000000000001?fields=display_phone_number", TOKEN).await;
    assert_eq!((status, &info["display_phone_number"]), (200, &json!("15550000001")));
    assert_eq!(get("100000000000001", "other").await.0, 401);
    assert_eq!(get("v25.0/999", TOKEN).await.0, 400);
    let (status, body) = get("v25.0/1/2/3", TOKEN).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(100)));
    world.sim.stop().await;
}

#[tokio::test]
async fn customers_write_first_and_answer_what_is_sent_to_them() {
    let mut world = world(Faults::default(), 0).await;
    let quick = CustomersConfig {
        people: 2,
        openers: 1,
        opening_after_ms: MsRange::new(1, 1),
        answer_after_ms: MsRange::new(1, 1),
        ..CustomersConfig::default()
    };
    let people = world.sim.run_customers(quick.clone()).expect("the first time");
    assert_eq!(world.sim.run_customers(quick), Err(CustomersRunning));
    let opening = world.next("messages").await;
    assert_eq!(opening[0]["from"], json!(people[0].0));
    // To the other one: who has just written rests for two seconds first.
    let url = format!("{}/100000000000001/messages", world.sim.graph_url());
    let body = json!({ "messaging_product": "whatsapp", "to": people[1].0, "type": "text",
        "text": { "body": "Could you give me the order number?" } });
    world.client.post(url).bearer_auth(TOKEN).json(&body).send().await.expect("answered");
    loop {
        let messages = world.next("messages").await;
        if messages[0]["type"] == "text" {
            assert_eq!(messages[0]["text"]["body"], "It's 47990.");
            break;
        }
    }
    world.sim.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_slow_answers_and_frees_the_port() {
    let world = world(Faults::default(), 0).await;
    world.sim.next_send(ScriptedSend::answered_after(3_600_000));
    let (sim, addr) = (world.sim.clone(), world.sim.addr());
    let sending = tokio::spawn(async move { world.send("our-1").await.map(|(status, _)| status) });
    sim.wait_for_posts(1, DEADLINE).await.expect("sent");
    tokio::time::timeout(DEADLINE, sim.stop()).await.expect("stops");
    assert_eq!(sending.await.expect("no panic").expect("answered"), 200);
    TcpListener::bind(addr).await.expect("the port is free");
    let for_long = sim.wait_for_posts(2, DEADLINE * 100);
    let error =
        tokio::time::timeout(DEADLINE, for_long).await.expect("ends with the stop").expect_err("stopped");
    assert_eq!(error.what, "2 posts, there are 1");
    let action = CustomerAction::text(ANA, "into the void");
    sim.customer_writes(action).expect("the model itself lives on");
}
