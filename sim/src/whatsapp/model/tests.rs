//! The model against Meta's rules (I1, O6, O8): what is accepted, refused, answered, told. Scripts, chances and replay
//! have files of their own; this one has what they share.

mod chances;
mod scripts;
mod storm;

use serde_json::{Value, json};

use super::*;
use crate::whatsapp::graph_error;

const NOW_MS: u64 = 1_763_668_000_000;
const TOKEN: &str = "token";
const ANA: &str = "15550000002";

fn model(faults: Faults) -> Model {
    seeded(faults, 1)
}

fn seeded(faults: Faults, seed: u64) -> Model {
    let numbers = vec![
        BusinessNumber::example(),
        BusinessNumber { phone_number_id: "100000000000002".to_owned(), ..BusinessNumber::example() },
    ];
    Model::new(ModelConfig { numbers, access_token: TOKEN.to_owned(), faults, seed })
}

/// A send's body with our id in it.
fn text_to(to: &str, opaque: &str) -> Value {
    json!({ "messaging_product": "whatsapp", "to": to, "type": "text", "text": { "body": "hi" },
        "biz_opaque_callback_data": opaque })
}

fn post_raw(model: &mut Model, now_ms: u64, number: &str, token: &str, body: &[u8]) -> SendAnswer {
    let authorization = format!("Bearer {token}");
    let request = SendRequest { phone_number_id: number, authorization: Some(&authorization), body };
    model.post_message(now_ms, request)
}

fn post(model: &mut Model, body: &Value) -> SendAnswer {
    post_raw(model, NOW_MS, "100000000000001", TOKEN, body.to_string().as_bytes())
}

/// Status and JSON of an answer; panics on a cut.
fn http(answer: &SendAnswer) -> (u16, Value) {
    match &answer.reply {
        Reply::Http { status, body } => (*status, serde_json::from_slice(body).expect("JSON")),
        Reply::Cut => panic!("cut"),
    }
}

/// Everything that will be delivered, in order.
fn webhooks(model: &mut Model) -> Vec<Webhook> {
    let mut all = Vec::new();
    while let Some(now_ms) = model.next_due_ms() {
        all.extend(model.due(now_ms, usize::MAX));
    }
    all
}

/// The updates of some kind in a webhook's body.
fn updates(webhook: &Webhook, kind: &str) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&webhook.body).expect("JSON");
    let changes = body["entry"][0]["changes"].as_array().expect("changes").clone();
    changes.iter().filter_map(|change| change["value"][kind].as_array()).flatten().cloned().collect()
}

fn statuses(model: &mut Model) -> Vec<Value> {
    webhooks(model).iter().flat_map(|webhook| updates(webhook, "statuses")).collect()
}

fn names(statuses: &[Value]) -> Vec<&str> {
    statuses.iter().map(|status| status["status"].as_str().expect("status")).collect()
}

#[test]
fn o6_an_accepted_send_is_answered_and_followed_by_three_statuses() {
    let mut model = model(Faults::default());
    let (status, body) = http(&post(&mut model, &text_to("+15550000002", "our-1")));
    assert_eq!(status, 200);
    assert_eq!(body["contacts"], json!([{ "input": "+15550000002", "wa_id": ANA }]));
    let wamid = body["messages"][0]["id"].clone();
    let statuses = statuses(&mut model);
    assert_eq!(names(&statuses), ["sent", "delivered", "read"]);
    for status in &statuses {
        assert_eq!(status["id"], wamid);
        assert_eq!(status["biz_opaque_callback_data"], "our-1");
        assert_eq!(status["recipient_id"], ANA);
        assert!(status["timestamp"].is_string());
    }
    assert_eq!(statuses.iter().filter(|status| status.get("pricing").is_some()).count(), 1);
}

#[test]
fn o6_the_same_post_twice_is_two_messages() {
    let mut model = model(Faults::default());
    let first = http(&post(&mut model, &text_to(ANA, "our-1"))).1["messages"][0]["id"].clone();
    let second = http(&post(&mut model, &text_to(ANA, "our-1"))).1["messages"][0]["id"].clone();
    assert_ne!(first, second, "Meta has no idempotency key, and neither may the model");
    assert_eq!(model.posts().filter(|post| post.biz_opaque.as_deref() == Some("our-1")).count(), 2);
}

#[test]
fn o6_bad_requests_are_refused_with_metas_codes_and_recorded() {
    let good = text_to(ANA, "x");
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    let nobody = json!({ "messaging_product": "whatsapp", "type": "text", "text": { "body": "x" } });
    let cases = [
        (nobody, graph_error::MISSING_PARAMETER),
        (with("to", json!("Ana")), graph_error::PARAMETER_VALUE),
        (with("messaging_product", json!("sms")), graph_error::INVALID_PARAMETER),
        (with("type", json!("telegram")), graph_error::INVALID_PARAMETER),
        (with("type", json!("image")), graph_error::MISSING_PARAMETER),
        (with("text", json!({ "body": "" })), graph_error::MISSING_PARAMETER),
        (with("text", json!({ "body": "é".repeat(4_097) })), graph_error::INVALID_PARAMETER),
        (with("biz_opaque_callback_data", json!("x".repeat(513))), graph_error::INVALID_PARAMETER),
        (with("context", json!({})), graph_error::MISSING_PARAMETER),
        (json!([]), graph_error::INVALID_PARAMETER),
    ];
    let mut model = model(Faults::default());
    for (body, code) in &cases {
        let (status, answer) = http(&post(&mut model, body));
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{body}");
    }
    assert_eq!(model.posts().len(), cases.len());
    assert!(model.posts().all(|post| post.wamid.is_none() && post.http == Some(400)));
    assert!(model.is_idle(), "nothing refused has statuses");
    assert_eq!(http(&post(&mut model, &with("text", json!({ "body": "é".repeat(4_096) })))).0, 200);
}

#[test]
fn o6_a_wrong_token_an_unknown_number_and_no_json_are_refused() {
    let mut model = model(Faults::default());
    let body = text_to(ANA, "x").to_string();
    let (status, answer) = http(&post_raw(&mut model, NOW_MS, "100000000000001", "other", body.as_bytes()));
    assert_eq!((status, &answer["error"]["code"]), (401, &json!(190)));
    let (status, answer) = http(&post_raw(&mut model, NOW_MS, "999", TOKEN, body.as_bytes()));
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(100)));
    let (status, _) = http(&post_raw(&mut model, NOW_MS, "100000000000001", TOKEN, b"{\xff"));
    assert_eq!(status, 400);
    assert_eq!(model.posts().last().expect("a post").body, json!("{\u{fffd}"));
}

#[test]
fn o6_a_user_id_reaches_the_person_and_statuses_hide_the_phone() {
    let mut model = model(Faults::default());
    let action = CustomerAction { hide_phone: true, ..CustomerAction::text(ANA, "hi").named("Ana") };
    model.customer_writes(NOW_MS, action).expect("known number");
    let inbound = updates(&webhooks(&mut model)[0], "messages")[0].clone();
    assert!(inbound.get("from").is_none());
    let user_id = inbound["from_user_id"].clone();
    let mut body = text_to(ANA, "our-1");
    body.as_object_mut().expect("object").remove("to");
    body["recipient"] = user_id.clone();
    let (status, answer) = http(&post(&mut model, &body));
    assert_eq!((status, &answer["contacts"][0]["user_id"]), (200, &user_id));
    assert_eq!(model.take_received()[0].phone, ANA);
    for status in statuses(&mut model) {
        assert_eq!(status["recipient_user_id"], user_id);
        assert!(status.get("recipient_id").is_none());
    }
}

#[test]
fn o6_a_read_mark_succeeds_and_a_reaction_gets_sent_only() {
    let mut model = model(Faults::default());
    let mark = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": "wamid.A" });
    assert_eq!(http(&post(&mut model, &mark)), (200, json!({ "success": true })));
    let reaction = json!({ "messaging_product": "whatsapp", "to": ANA, "type": "reaction",
        "reaction": { "message_id": "wamid.A", "emoji": "👍" } });
    assert_eq!(http(&post(&mut model, &reaction)).0, 200);
    assert_eq!(names(&statuses(&mut model)), ["sent"]);
}

#[test]
fn i1_a_webhook_that_failed_comes_again_with_the_same_bytes() {
    let mut model = model(Faults::default());
    model.customer_writes(NOW_MS, CustomerAction::text(ANA, "hi")).expect("room");
    let first = webhooks(&mut model).remove(0);
    let Retry::At(again_ms) = model.not_delivered(NOW_MS, first.clone()) else { panic!("gave up") };
    assert_eq!(model.pending(), 1);
    assert!(model.due(again_ms - 1, usize::MAX).is_empty());
    let second = model.due(again_ms, usize::MAX).remove(0);
    assert_eq!((second.id, &second.body, second.attempt), (first.id, &first.body, 1));
    assert!(model.is_idle());
}

#[test]
fn i1_customers_need_a_phone_and_a_number_that_exists() {
    let mut model = model(Faults::default());
    let unknown = CustomerAction::text(ANA, "hi").to_number("999");
    let error = model.customer_writes(NOW_MS, unknown).expect_err("no such number");
    assert_eq!(error, CustomerError::UnknownNumber { phone_number_id: "999".to_owned() });
    let error = model.customer_writes(NOW_MS, CustomerAction::text("Ana", "hi")).expect_err("no phone");
    assert_eq!(error, CustomerError::BadPhone);
    assert!(model.is_idle());
}

#[test]
fn i1_a_name_given_once_is_kept() {
    let mut model = model(Faults::default());
    model.customer_writes(NOW_MS, CustomerAction::text(ANA, "1").named("Ana")).expect("room");
    model.customer_writes(NOW_MS + 1, CustomerAction::text(ANA, "2")).expect("room");
    for webhook in webhooks(&mut model) {
        assert_eq!(updates(&webhook, "contacts")[0]["profile"]["name"], "Ana");
    }
}
