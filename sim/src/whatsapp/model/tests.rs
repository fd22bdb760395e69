//! The model against Meta's rules (I1, O6, O8): acceptance, statuses, scripts one by one, faults one by one, replay.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::whatsapp::faults::{DeliveryStatus, MsRange, StatusPlan};
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
        BusinessNumber {
            phone_number_id: "100000000000002".to_owned(),
            ..BusinessNumber::example()
        },
    ];
    Model::new(ModelConfig {
        numbers,
        access_token: TOKEN.to_owned(),
        faults,
        seed,
    })
}

/// A send's body with our id in it.
fn text_to(to: &str, opaque: &str) -> Value {
    json!({ "messaging_product": "whatsapp", "to": to, "type": "text", "text": { "body": "hi" },
        "biz_opaque_callback_data": opaque })
}

fn post_raw(model: &mut Model, now_ms: u64, number: &str, token: &str, body: &[u8]) -> SendAnswer {
    let authorization = format!("Bearer {token}");
    let request = SendRequest {
        phone_number_id: number,
        authorization: Some(&authorization),
        body,
    };
    model.post_message(now_ms, request)
}

fn post(model: &mut Model, body: &Value) -> SendAnswer {
    post_raw(
        model,
        NOW_MS,
        "100000000000001",
        TOKEN,
        body.to_string().as_bytes(),
    )
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
    changes
        .iter()
        .filter_map(|change| change["value"][kind].as_array())
        .flatten()
        .cloned()
        .collect()
}

fn statuses(model: &mut Model) -> Vec<Value> {
    webhooks(model)
        .iter()
        .flat_map(|webhook| updates(webhook, "statuses"))
        .collect()
}

fn names(statuses: &[Value]) -> Vec<&str> {
    statuses
        .iter()
        .map(|status| status["status"].as_str().expect("status"))
        .collect()
}

#[test]
fn o6_an_accepted_send_is_answered_and_followed_by_three_statuses() {
    let mut model = model(Faults::default());
    let (status, body) = http(&post(&mut model, &text_to("+15550000002", "our-1")));
    assert_eq!(status, 200);
    assert_eq!(
        body["contacts"],
        json!([{ "input": "+15550000002", "wa_id": ANA }])
    );
    let wamid = body["messages"][0]["id"].clone();
    let statuses = statuses(&mut model);
    assert_eq!(names(&statuses), ["sent", "delivered", "read"]);
    for status in &statuses {
        assert_eq!(status["id"], wamid);
        assert_eq!(status["biz_opaque_callback_data"], "our-1");
        assert_eq!(status["recipient_id"], ANA);
        assert!(status["timestamp"].is_string());
    }
    assert_eq!(
        statuses
            .iter()
            .filter(|status| status.get("pricing").is_some())
            .count(),
        1
    );
}

#[test]
fn o6_the_same_post_twice_is_two_messages() {
    let mut model = model(Faults::default());
    let first = http(&post(&mut model, &text_to(ANA, "our-1"))).1["messages"][0]["id"].clone();
    let second = http(&post(&mut model, &text_to(ANA, "our-1"))).1["messages"][0]["id"].clone();
    assert_ne!(
        first, second,
        "Meta has no idempotency key, and neither may the model"
    );
    assert_eq!(
        model
            .posts()
            .filter(|post| post.biz_opaque.as_deref() == Some("our-1"))
            .count(),
        2
    );
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
        (
            with("messaging_product", json!("sms")),
            graph_error::INVALID_PARAMETER,
        ),
        (with("type", json!("telegram")), graph_error::INVALID_PARAMETER),
        (with("type", json!("image")), graph_error::MISSING_PARAMETER),
        (
            with("text", json!({ "body": "" })),
            graph_error::MISSING_PARAMETER,
        ),
        (
            with("text", json!({ "body": "é".repeat(4_097) })),
            graph_error::INVALID_PARAMETER,
        ),
        (
            with("biz_opaque_callback_data", json!("x".repeat(513))),
            graph_error::INVALID_PARAMETER,
        ),
        (with("context", json!({})), graph_error::MISSING_PARAMETER),
        (json!([]), graph_error::INVALID_PARAMETER),
    ];
    let mut model = model(Faults::default());
    for (body, code) in &cases {
        let (status, answer) = http(&post(&mut model, body));
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{body}");
    }
    assert_eq!(model.posts().len(), cases.len());
    assert!(
        model
            .posts()
            .all(|post| post.wamid.is_none() && post.http == Some(400))
    );
    assert!(model.is_idle(), "nothing refused has statuses");
    assert_eq!(
        http(&post(
            &mut model,
            &with("text", json!({ "body": "é".repeat(4_096) }))
        ))
        .0,
        200
    );
}

#[test]
fn o6_a_wrong_token_an_unknown_number_and_no_json_are_refused() {
    let mut model = model(Faults::default());
    let body = text_to(ANA, "x").to_string();
    let (status, answer) = http(&post_raw(
        &mut model,
        NOW_MS,
        "100000000000001",
        "other",
        body.as_bytes(),
    ));
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
    let action = CustomerAction {
        hide_phone: true,
        ..CustomerAction::text(ANA, "hi").named("Ana")
    };
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
fn script_http_500_although_accepted() {
    let mut model = model(Faults::default());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::http_500_but_accepted()));
    let (status, body) = http(&post(&mut model, &text_to(ANA, "our-1")));
    assert_eq!((status, &body["error"]["code"]), (500, &json!(131_000)));
    let recorded = model.posts().next().expect("a post").clone();
    assert_eq!(recorded.http, Some(500));
    let statuses = statuses(&mut model);
    assert_eq!(names(&statuses), ["sent", "delivered", "read"]);
    assert_eq!(statuses[0]["id"], json!(recorded.wamid.expect("accepted")));
    assert_eq!(
        http(&post(&mut model, &text_to(ANA, "our-2"))).0,
        200,
        "one send only"
    );
}

#[test]
fn script_http_500_not_accepted_and_error_400() {
    let mut model = model(Faults::default());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::http_500()));
    model.script(NOW_MS, Script::NextSend(ScriptedSend::error(400, 131_047)));
    assert_eq!(http(&post(&mut model, &text_to(ANA, "our-1"))).0, 500);
    let (status, body) = http(&post(&mut model, &text_to(ANA, "our-2")));
    assert_eq!((status, &body["error"]["code"]), (400, &json!(131_047)));
    assert!(model.is_idle() && model.posts().all(|post| post.wamid.is_none()));
}

#[test]
fn script_cut_with_and_without_acceptance() {
    let mut model = model(Faults::default());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::cut()));
    model.script(NOW_MS, Script::NextSend(ScriptedSend::cut_but_accepted()));
    assert_eq!(post(&mut model, &text_to(ANA, "our-1")).reply, Reply::Cut);
    assert!(model.is_idle());
    assert_eq!(post(&mut model, &text_to(ANA, "our-2")).reply, Reply::Cut);
    assert_eq!(statuses(&mut model).len(), 3);
    assert!(model.posts().all(|post| post.http.is_none()));
}

#[test]
fn script_times_and_recipient() {
    let mut model = model(Faults::default());
    let script = ScriptedSend::error(400, 131_026)
        .times(2)
        .only_to("+1555 000 0002");
    model.script(NOW_MS, Script::NextSend(script));
    let mut answers = |to| http(&post(&mut model, &text_to(to, "x"))).0;
    assert_eq!(
        [answers("19995550000"), answers(ANA), answers(ANA), answers(ANA)],
        [200, 400, 400, 200]
    );
}

#[test]
fn script_answer_after_a_time_does_not_hold_statuses_back() {
    let mut model = model(Faults::default());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::answered_after(9_000)));
    assert_eq!(post(&mut model, &text_to(ANA, "our-1")).after_ms, 9_000);
    assert!(model.next_due_ms().expect("sent") < NOW_MS + 9_000);
}

#[test]
fn script_status_before_answer_names_the_message_to_wait_for() {
    let mut model = model(Faults {
        delay_ms: MsRange::new(500, 500),
        ..Faults::default()
    });
    model.script(NOW_MS, Script::NextSend(ScriptedSend::status_first()));
    let answer = post(&mut model, &text_to(ANA, "our-1"));
    assert_eq!(
        answer.after_status_of,
        model.posts().next().expect("a post").wamid
    );
    assert_eq!(
        model.next_due_ms(),
        Some(NOW_MS),
        "the first status does not wait"
    );
}

#[test]
fn script_statuses_never_failed_or_exactly_these() {
    let mut model = model(Faults::default());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::no_statuses()));
    post(&mut model, &text_to(ANA, "our-1"));
    assert!(model.is_idle());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::failing_later(131_049)));
    post(&mut model, &text_to(ANA, "our-2"));
    let failed = statuses(&mut model);
    assert_eq!(
        (names(&failed), &failed[0]["errors"][0]["code"]),
        (vec!["failed"], &json!(131_049))
    );
    assert!(failed[0].get("recipient_user_id").is_none());
    let odd = StatusPlan::Exactly(vec![DeliveryStatus::Failed, DeliveryStatus::Delivered]);
    model.script(
        NOW_MS,
        Script::NextSend(ScriptedSend {
            statuses: odd,
            ..ScriptedSend::default()
        }),
    );
    post(&mut model, &text_to(ANA, "our-3"));
    assert_eq!(statuses(&mut model).len(), 2);
}

#[test]
fn script_withheld_statuses_come_in_order_when_released() {
    let mut model = model(Faults::default());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::withheld_statuses()));
    post(&mut model, &text_to(ANA, "our-1"));
    model.script(NOW_MS, Script::WithholdStatuses);
    post(&mut model, &text_to(ANA, "our-2"));
    assert!(model.is_idle());
    assert_eq!(model.pending(), 6);
    model.script(NOW_MS + 5, Script::ReleaseStatuses);
    let released = statuses(&mut model);
    assert_eq!(
        names(&released),
        ["sent", "delivered", "read", "sent", "delivered", "read"]
    );
    post(&mut model, &text_to(ANA, "our-3"));
    assert!(!model.is_idle(), "after the release all is as usual");
}

#[test]
fn script_clear_forgets_what_waits() {
    let mut model = model(Faults::default());
    model.script(NOW_MS, Script::NextSend(ScriptedSend::http_500().times(5)));
    model.script(NOW_MS, Script::Clear);
    assert_eq!(http(&post(&mut model, &text_to(ANA, "our-1"))).0, 200);
}

#[test]
fn fault_each_refusal_by_chance_has_its_answer_and_acceptance() {
    let sure = |faults| http(&post(&mut model(faults), &text_to(ANA, "x")));
    let (status, body) = sure(Faults {
        rate_limit_130429: 1.0,
        ..Faults::default()
    });
    assert_eq!((status, &body["error"]["code"]), (400, &json!(130_429)));
    let (status, body) = sure(Faults {
        fail_code: 1.0,
        fail_code_is: 131_056,
        ..Faults::default()
    });
    assert_eq!((status, &body["error"]["code"]), (400, &json!(131_056)));
    let cases = [
        (
            Faults {
                fail_5xx: 1.0,
                ..Faults::default()
            },
            Some(500),
            false,
        ),
        (
            Faults {
                fail_5xx_after_accept: 1.0,
                ..Faults::default()
            },
            Some(500),
            true,
        ),
        (
            Faults {
                drop_connection_before_accept: 1.0,
                ..Faults::default()
            },
            None,
            false,
        ),
        (
            Faults {
                drop_connection_after_accept: 1.0,
                ..Faults::default()
            },
            None,
            true,
        ),
    ];
    for (faults, status, accepted) in cases {
        let mut model = model(faults.clone());
        post(&mut model, &text_to(ANA, "x"));
        let recorded = model.posts().next().expect("a post").clone();
        assert_eq!(
            (recorded.http, recorded.wamid.is_some()),
            (status, accepted),
            "{faults:?}"
        );
        assert_eq!(model.is_idle(), !accepted);
    }
}

#[test]
fn fault_each_kind_of_status_trouble() {
    let sure = |faults| {
        let mut model = model(faults);
        post(&mut model, &text_to(ANA, "x"));
        statuses(&mut model)
    };
    assert!(
        sure(Faults {
            no_statuses: 1.0,
            ..Faults::default()
        })
        .is_empty()
    );
    assert_eq!(
        names(&sure(Faults {
            fail_later: 1.0,
            ..Faults::default()
        })),
        ["failed"]
    );
    assert_eq!(
        names(&sure(Faults {
            skip_delivered: 1.0,
            ..Faults::default()
        })),
        ["sent", "read"]
    );
    assert_eq!(
        names(&sure(Faults {
            unread: 1.0,
            ..Faults::default()
        })),
        ["sent", "delivered"]
    );
    assert_eq!(
        sure(Faults {
            repeat: 1.0,
            ..Faults::default()
        })
        .len(),
        12,
        "three statuses, four times each"
    );
}

#[test]
fn fault_shuffle_lets_later_updates_overtake() {
    let mut model = model(Faults {
        shuffle: 0.5,
        shuffle_ms: MsRange::new(1_000, 2_000),
        ..Faults::default()
    });
    let written: Vec<String> = (0..50)
        .map(|nth| {
            let action = CustomerAction::text(ANA, &nth.to_string());
            model.customer_writes(NOW_MS + nth, action).expect("room")
        })
        .collect();
    let mut told: Vec<Value> = webhooks(&mut model)
        .iter()
        .flat_map(|hook| updates(hook, "messages"))
        .collect();
    let in_order = |told: &[Value]| told.iter().map(|m| &m["id"]).eq(written.iter());
    assert!(!in_order(&told));
    told.sort_by_key(|message| {
        message["text"]["body"]
            .as_str()
            .and_then(|body| body.parse::<u64>().ok())
    });
    assert!(in_order(&told), "all there, once each");
}

#[test]
fn fault_batch_joins_what_is_due_together_up_to_1000_of_one_number() {
    let mut model = model(Faults {
        batch: 1.0,
        delay_ms: MsRange::default(),
        ..Faults::default()
    });
    for nth in 0..1_500 {
        model
            .customer_writes(NOW_MS, CustomerAction::text(ANA, &nth.to_string()))
            .expect("room");
    }
    let action = CustomerAction::text(ANA, "elsewhere").to_number("100000000000002");
    model.customer_writes(NOW_MS, action).expect("room");
    let sizes: Vec<usize> = webhooks(&mut model)
        .iter()
        .map(|webhook| webhook.carries.len())
        .collect();
    assert_eq!(sizes, [1_000, 500, 1]);
}

#[test]
fn fault_window_fails_free_messages_to_whoever_has_not_written() {
    let mut model = model(Faults {
        enforce_window: true,
        ..Faults::default()
    });
    post(&mut model, &text_to(ANA, "our-1"));
    let told = statuses(&mut model);
    assert_eq!(told[0]["errors"][0]["code"], 131_047);
    model
        .customer_writes(NOW_MS, CustomerAction::text(ANA, "hi"))
        .expect("room");
    post(&mut model, &text_to(ANA, "our-2"));
    assert_eq!(names(&statuses(&mut model)), ["sent", "delivered", "read"]);
}

#[test]
fn i1_a_webhook_that_failed_comes_again_with_the_same_bytes() {
    let mut model = model(Faults::default());
    model
        .customer_writes(NOW_MS, CustomerAction::text(ANA, "hi"))
        .expect("room");
    let first = webhooks(&mut model).remove(0);
    let Retry::At(again_ms) = model.not_delivered(NOW_MS, first.clone()) else {
        panic!("gave up")
    };
    assert_eq!(model.pending(), 1);
    assert!(model.due(again_ms - 1, usize::MAX).is_empty());
    let second = model.due(again_ms, usize::MAX).remove(0);
    assert_eq!(
        (second.id, &second.body, second.attempt),
        (first.id, &first.body, 1)
    );
    assert!(model.is_idle());
}

#[test]
fn i1_customers_need_a_phone_and_a_number_that_exists() {
    let mut model = model(Faults::default());
    let unknown = CustomerAction::text(ANA, "hi").to_number("999");
    let error = model
        .customer_writes(NOW_MS, unknown)
        .expect_err("no such number");
    assert_eq!(
        error,
        CustomerError::UnknownNumber {
            phone_number_id: "999".to_owned()
        }
    );
    let error = model
        .customer_writes(NOW_MS, CustomerAction::text("Ana", "hi"))
        .expect_err("no phone");
    assert_eq!(error, CustomerError::BadPhone);
    assert!(model.is_idle());
}

#[test]
fn i1_a_name_given_once_is_kept() {
    let mut model = model(Faults::default());
    model
        .customer_writes(NOW_MS, CustomerAction::text(ANA, "1").named("Ana"))
        .expect("room");
    model
        .customer_writes(NOW_MS + 1, CustomerAction::text(ANA, "2"))
        .expect("room");
    for webhook in webhooks(&mut model) {
        assert_eq!(updates(&webhook, "contacts")[0]["profile"]["name"], "Ana");
    }
}

/// A day's work under faults: every answer and every webhook, as bytes.
fn storm(seed: u64) -> (Model, Vec<Vec<u8>>) {
    const PEOPLE: u64 = 4;
    let mut model = seeded(Faults::storm(), seed);
    let mut seen = Vec::new();
    for nth in 0..120 {
        let now_ms = NOW_MS + nth * 40;
        let phone = format!("1555000000{}", nth % PEOPLE);
        let wamid = model
            .customer_writes(now_ms, CustomerAction::text(&phone, "hi ☕"))
            .expect("room");
        seen.push(wamid.into_bytes());
        let body = text_to(&phone, &format!("our-{nth}")).to_string();
        let answer = post_raw(&mut model, now_ms, "100000000000001", TOKEN, body.as_bytes());
        seen.push(format!("{answer:?}").into_bytes());
        for webhook in model.due(now_ms, usize::MAX) {
            seen.push(webhook.body.to_vec());
            if webhook.id % 7 == 0 && webhook.attempt == 0 {
                model.not_delivered(now_ms, webhook);
            }
        }
    }
    seen.extend(webhooks(&mut model).iter().map(|webhook| webhook.body.to_vec()));
    (model, seen)
}

#[test]
fn another_seed_is_another_day() {
    assert_ne!(storm(1).1, storm(2).1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_seed_gives_the_same_bytes(seed: u64) {
        prop_assert_eq!(storm(seed).1, storm(seed).1);
    }

    /// Whatever goes wrong: statuses belong to accepted sends and carry their opaque data, and no inbound is lost.
    #[test]
    fn a_storm_invents_nothing_and_loses_no_message(seed: u64) {
        let (model, seen) = storm(seed);
        let bodies: Vec<Value> =
            seen.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        let values = || bodies.iter().filter_map(|body| body["entry"][0]["changes"].as_array()).flatten();
        for change in values() {
            for status in change["value"]["statuses"].as_array().into_iter().flatten() {
                let accepted = model.posts().find(|post| post.wamid.as_deref() == status["id"].as_str());
                let accepted = accepted.expect("a status of a message nobody accepted");
                prop_assert_eq!(accepted.biz_opaque.as_deref(), status["biz_opaque_callback_data"].as_str());
            }
        }
        let mut inbound: Vec<&str> = values()
            .filter_map(|change| change["value"]["messages"].as_array())
            .flatten()
            .filter_map(|message| message["id"].as_str())
            .collect();
        inbound.sort_unstable();
        inbound.dedup();
        prop_assert_eq!(inbound.len(), 120);
    }
}
