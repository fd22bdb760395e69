//! Faults one by one, with certainty or nearly so (I1, O6, O8).

use serde_json::{Value, json};

use super::*;
use crate::whatsapp::faults::MsRange;

#[test]
fn fault_each_refusal_by_chance_has_its_answer_and_acceptance() {
    let sure = |faults| http(&post(&mut model(faults), &text_to(ANA, "x")));
    let (status, body) = sure(Faults { rate_limit_130429: 1.0, ..Faults::default() });
    assert_eq!((status, &body["error"]["code"]), (400, &json!(130_429)));
    let (status, body) = sure(Faults { fail_code: 1.0, fail_code_is: 131_056, ..Faults::default() });
    assert_eq!((status, &body["error"]["code"]), (400, &json!(131_056)));
    let cases = [
        (Faults { fail_5xx: 1.0, ..Faults::default() }, Some(500), false),
        (Faults { fail_5xx_after_accept: 1.0, ..Faults::default() }, Some(500), true),
        (Faults { drop_connection_before_accept: 1.0, ..Faults::default() }, None, false),
        (Faults { drop_connection_after_accept: 1.0, ..Faults::default() }, None, true),
    ];
    for (faults, status, accepted) in cases {
        let mut model = model(faults.clone());
        post(&mut model, &text_to(ANA, "x"));
        let recorded = model.posts().next().expect("a post").clone();
        assert_eq!((recorded.http, recorded.wamid.is_some()), (status, accepted), "{faults:?}");
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
    assert!(sure(Faults { no_statuses: 1.0, ..Faults::default() }).is_empty());
    assert_eq!(names(&sure(Faults { fail_later: 1.0, ..Faults::default() })), ["failed"]);
    assert_eq!(names(&sure(Faults { skip_delivered: 1.0, ..Faults::default() })), ["sent", "read"]);
    assert_eq!(names(&sure(Faults { unread: 1.0, ..Faults::default() })), ["sent", "delivered"]);
    assert_eq!(
        sure(Faults { repeat: 1.0, ..Faults::default() }).len(),
        12,
        "three statuses, four times each"
    );
}

#[test]
fn fault_shuffle_lets_later_updates_overtake() {
    let mut model = model(Faults {
        delay_ms: MsRange::default(),
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
    let mut told: Vec<Value> =
        webhooks(&mut model).iter().flat_map(|hook| updates(hook, "messages")).collect();
    let in_order = |told: &[Value]| told.iter().map(|m| &m["id"]).eq(written.iter());
    assert!(!in_order(&told));
    told.sort_by_key(|message| message["text"]["body"].as_str().and_then(|body| body.parse::<u64>().ok()));
    assert!(in_order(&told), "all there, once each");
}

#[test]
fn fault_batch_joins_what_is_due_together_up_to_1000_of_one_number() {
    let mut model = model(Faults { batch: 1.0, delay_ms: MsRange::default(), ..Faults::default() });
    for nth in 0..1_500 {
        model.customer_writes(NOW_MS, CustomerAction::text(ANA, &nth.to_string())).expect("room");
    }
    let action = CustomerAction::text(ANA, "elsewhere").to_number("100000000000002");
    model.customer_writes(NOW_MS, action).expect("room");
    let sizes: Vec<usize> = webhooks(&mut model).iter().map(|webhook| webhook.carries.len()).collect();
    assert_eq!(sizes, [1_000, 500, 1]);
}

#[test]
fn fault_window_fails_free_messages_to_whoever_has_not_written() {
    let mut model = model(Faults { enforce_window: true, ..Faults::default() });
    post(&mut model, &text_to(ANA, "our-1"));
    let told = statuses(&mut model);
    assert_eq!(told[0]["errors"][0]["code"], 131_047);
    model.customer_writes(NOW_MS, CustomerAction::text(ANA, "hi")).expect("room");
    post(&mut model, &text_to(ANA, "our-2"));
    assert_eq!(names(&statuses(&mut model)), ["sent", "delivered", "read"]);
}
