//! All faults together, seeded (I1, O6, O8): a run is a function of its seed, and keeps Meta's promises.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A day's work under faults: every answer and every webhook, as bytes.
fn storm(seed: u64) -> (Model, Vec<Vec<u8>>) {
    const PEOPLE: u64 = 4;
    let mut model = seeded(Faults::storm(), seed);
    let mut seen = Vec::new();
    for nth in 0..120 {
        let now_ms = NOW_MS + nth * 40;
        let phone = format!("1555000000{}", nth % PEOPLE);
        let wamid = model.customer_writes(now_ms, CustomerAction::text(&phone, "hi ☕")).expect("room");
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
