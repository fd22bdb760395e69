//! Scripts one by one (O6, O8): each does what it says, to the sends it names, and to no other.

use serde_json::json;

use super::*;
use crate::whatsapp::faults::{DeliveryStatus, MsRange, StatusPlan};

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
    assert_eq!(http(&post(&mut model, &text_to(ANA, "our-2"))).0, 200, "one send only");
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
    let script = ScriptedSend::error(400, 131_026).times(2).only_to("+1555 000 0002");
    model.script(NOW_MS, Script::NextSend(script));
    let mut answers = |to| http(&post(&mut model, &text_to(to, "x"))).0;
    assert_eq!([answers("19995550000"), answers(ANA), answers(ANA), answers(ANA)], [200, 400, 400, 200]);
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
    let mut model = model(Faults { delay_ms: MsRange::new(500, 500), ..Faults::default() });
    model.script(NOW_MS, Script::NextSend(ScriptedSend::status_first()));
    let answer = post(&mut model, &text_to(ANA, "our-1"));
    assert_eq!(answer.after_status_of, model.posts().next().expect("a post").wamid);
    assert_eq!(model.next_due_ms(), Some(NOW_MS), "the first status does not wait");
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
    assert_eq!((names(&failed), &failed[0]["errors"][0]["code"]), (vec!["failed"], &json!(131_049)));
    assert!(failed[0].get("recipient_user_id").is_none());
    let odd = StatusPlan::Exactly(vec![DeliveryStatus::Failed, DeliveryStatus::Delivered]);
    model.script(NOW_MS, Script::NextSend(ScriptedSend { statuses: odd, ..ScriptedSend::default() }));
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
    assert_eq!(names(&released), ["sent", "delivered", "read", "sent", "delivered", "read"]);
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
