//! The table of answers, row by row, and what holds for all of them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Millis = Millis(1_795_205_465_000);

fn attempt(attempts: u32, on_unknown: OnUnknown) -> Attempt {
    Attempt { attempts, created_at: NOW, now: NOW, seed: 0, on_unknown }
}

fn http(status: u16, body: &serde_json::Value) -> Answer {
    Answer::Http { status, body: body.to_string().into_bytes() }
}

fn refused(status: u16, code: i64) -> Answer {
    http(
        status,
        &json!({"error":{"message":format!("(#{code}) no"),"code":code,"error_data":{"details":"because"}}}),
    )
}

fn hold(answer: &Answer, attempts: u32) -> SendResult {
    judge(answer, &attempt(attempts, OnUnknown::Hold)).result
}

fn due(result: &SendResult) -> Option<u64> {
    match result {
        SendResult::RetryAt(due) => Some(due.since(NOW)),
        _ => None,
    }
}

#[test]
fn o7_accepted_means_200_and_a_wamid() {
    let accepted = http(200, &json!({"messages":[{"id":"wamid.X"}]}));
    let verdict = judge(&accepted, &attempt(1, OnUnknown::Hold));
    assert_eq!(verdict.result, SendResult::Accepted(Wamid::new("wamid.X").unwrap()));
    assert_eq!(verdict.hint, NumberHint::Healthy);
    for strange in [json!({}), json!({"messages":[]}), json!({"messages":[{"id":""}]}), json!("ok")] {
        assert_eq!(hold(&http(200, &strange), 1), SendResult::Unknown, "{strange}");
    }
}

#[test]
fn p6_no_certain_answer_is_unknown_whatever_its_body_says() {
    let unsure = [
        Answer::Lost("cut".into()),
        refused(500, 131_016),
        refused(503, 100),
        http(502, &json!("bad gateway")),
        http(301, &json!({})),
        http(408, &json!({})),
    ];
    for answer in &unsure {
        assert_eq!(hold(answer, 1), SendResult::Unknown, "{answer:?}");
    }
    // Under resend the classes apply to a 5xx with a code, and to nothing else.
    let resend = |answer| judge(answer, &attempt(1, OnUnknown::Resend)).result;
    assert!(matches!(resend(&unsure[1]), SendResult::RetryAt(_)));
    assert!(matches!(resend(&unsure[2]), SendResult::Failed(_)));
    assert_eq!(resend(&unsure[0]), SendResult::Unknown);
    assert_eq!(resend(&unsure[3]), SendResult::Unknown);
}

#[test]
fn what_never_left_is_tried_again_until_it_is_too_old() {
    let not_sent = Answer::NotSent("connection refused".into());
    for attempts in [1, ATTEMPTS_MAX, 10_000] {
        assert!(due(&hold(&not_sent, attempts)).is_some_and(|wait| wait <= BACKOFF_MAX_MS));
    }
    let old = Attempt { created_at: Millis(NOW.0 - AGE_MAX_MS - 1), ..attempt(1, OnUnknown::Hold) };
    assert!(matches!(judge(&not_sent, &old).result, SendResult::Failed(_)));
}

#[test]
fn each_class_of_codes() {
    for (code, attempts, wait) in [
        (131_016, 1, Some(1_000)),
        (131_016, 4, Some(8_000)),
        (131_016, ATTEMPTS_MAX, None),
        (1, 1, Some(1_000)),
        (1, FEW_ATTEMPTS_MAX, None),
        (130_429, 50, Some(BACKOFF_MAX_MS)),
        (131_056, 1, Some(1_000)),
        (131_056, 2, Some(4_000)),
        (131_056, 3, Some(16_000)),
        (131_057, 1, Some(2 * MINUTE_MS)),
        (190, 1, Some(ACCOUNT_RETRY_MS)),
        (131_047, 1, None),
        (131_026, 1, None),
        (100, 1, None),
        (999_999, 1, None),
    ] {
        assert_eq!(due(&hold(&refused(400, code), attempts)), wait, "{code}, attempt {attempts}");
    }
}

#[test]
fn a_refusal_for_good_says_why() {
    let SendResult::Failed(error) = hold(&refused(400, 131_047), 1) else { panic!("not failed") };
    let expected = MessageError {
        code: "whatsapp_131047".into(),
        title: "(#131047) no".into(),
        detail: Some("because".into()),
        meta_code: Some(131_047),
    };
    assert_eq!(error, expected);
    let SendResult::Failed(error) = hold(&http(400, &json!("<html>")), 1) else { panic!("not failed") };
    assert_eq!(error.code, "whatsapp_http_400");
}

#[test]
fn hints_for_the_number() {
    let hint = |answer: &Answer| judge(answer, &attempt(1, OnUnknown::Hold)).hint;
    assert_eq!(hint(&refused(400, 130_429)), NumberHint::SlowDown);
    assert_eq!(hint(&refused(401, 190)), NumberHint::OutOfOrder);
    assert_eq!(hint(&http(404, &json!("no such path"))), NumberHint::OutOfOrder);
    assert_eq!(hint(&refused(400, 131_056)), NumberHint::None);
}

#[test]
fn meta_may_call_a_fault_passing() {
    let body = json!({"error":{"code":424_242,"is_transient":true}});
    assert!(due(&hold(&http(400, &body), 1)).is_some());
}

proptest! {
    #[test]
    fn p6_only_a_4xx_or_nothing_sent_may_lead_to_a_second_post_under_hold(
        status in 100_u16..600, code in any::<i64>(), attempts in 1_u32..100, seed in any::<u64>(),
    ) {
        let attempt = Attempt { seed, ..attempt(attempts, OnUnknown::Hold) };
        let result = judge(&refused(status, code), &attempt).result;
        if matches!(result, SendResult::RetryAt(_) | SendResult::Resend(_)) {
            prop_assert!((400..500).contains(&status));
        }
    }

    #[test]
    fn waits_are_never_over_and_never_endless(attempts in 1_u32..10_000, seed in any::<u64>(), code in 0_i64..200_000) {
        let attempt = Attempt { seed, ..attempt(attempts, OnUnknown::Hold) };
        if let Some(wait) = due(&judge(&refused(400, code), &attempt).result) {
            prop_assert!((500..=5 * HOUR_MS).contains(&wait), "{wait}");
        }
    }
}
