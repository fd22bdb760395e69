//! Every fixture is read, and so are bodies that no fixture foresees.

use super::*;
use crate::whatsapp::lenient::{read, readable};
use proptest::prelude::*;

/// Messages and statuses of a body, each `None` where the item cannot be read.
type Seen = (Vec<Option<Message>>, Vec<Option<Status>>);

fn values<'a>(text: &'a str) -> Vec<Value<'a>> {
    let webhook: Webhook<'a> = serde_json::from_str(text).unwrap();
    let mut values = Vec::new();
    for entry in webhook.entry.0 {
        let entry: Entry<'a> = serde_json::from_str(entry.get()).unwrap_or_default();
        for change in entry.changes.0 {
            let change: Change<'a> = serde_json::from_str(change.get()).unwrap_or_default();
            values.extend(change.value.and_then(|value| serde_json::from_str(value.get()).ok()));
        }
    }
    values
}

fn seen(body: &str) -> Seen {
    let text = readable(body.as_bytes());
    let mut seen = Seen::default();
    for value in values(&text) {
        seen.0.extend(value.messages.0.iter().map(|item| read(item)));
        seen.1.extend(value.statuses.0.iter().map(|item| read(item)));
    }
    seen
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/whatsapp/", $name, ".json"))
    };
}

#[test]
fn the_common_part_of_a_message() {
    let (messages, statuses) = seen(fixture!("text_reply"));
    let message = messages[0].clone().unwrap();
    assert_eq!(message.from.as_deref(), Some("15550000002"));
    assert_eq!(message.timestamp, Some(1_795_205_465));
    assert_eq!(message.context.unwrap().id.as_deref(), Some("wamid.QUOTED="));
    assert_eq!(statuses, []);
}

#[test]
fn numbers_are_read_where_strings_belong() {
    let message = seen(fixture!("numbers_for_strings")).0.remove(0).unwrap();
    assert_eq!((message.from.as_deref(), message.timestamp), (Some("15550000002"), Some(1_795_205_465)));
}

#[test]
fn an_unreadable_item_spoils_no_other() {
    let (messages, _) = seen(fixture!("bad_item_between_good_ones"));
    let ids: Vec<_> = messages.iter().map(|m| m.as_ref().map(|m| m.id.as_deref())).collect();
    assert_eq!(ids, [Some(Some("wamid.FIXTUREGOOD1=")), None, Some(None), Some(Some("wamid.FIXTUREGOOD2="))]);
}

#[test]
fn a_name_cut_in_the_middle_of_a_character_costs_that_character_only() {
    let text = readable(fixture!("half_surrogate").as_bytes());
    let value = values(&text).remove(0);
    let contact: Contact = read(value.contacts.0[0]).unwrap();
    assert_eq!(contact.profile.unwrap().name.as_deref(), Some("Ana \u{fffd}"));
    let text: Text = read(object_of(value.messages.0[0], "text").unwrap()).unwrap();
    assert_eq!(text.body.as_deref(), Some("cut \u{fffd}"));
}

#[test]
fn both_spellings_of_a_groups_participant() {
    let (_, statuses) = seen(fixture!("status_group_both_spellings"));
    let participants: Vec<_> = statuses
        .iter()
        .flatten()
        .map(|s| (s.recipient_participant_id.as_deref(), s.recipient_parent_user_id.as_deref()))
        .collect();
    assert_eq!(
        participants,
        [(Some("15550000002"), Some("US.ENT.1181")), (Some("15550000004"), Some("US.ENT.1182"))]
    );
}

#[test]
fn a_failure_says_why() {
    let status = seen(fixture!("status_failed")).1.remove(0).unwrap();
    assert_eq!(status.errors[0].code, Some(131_047));
    assert!(status.errors[0].error_data.as_ref().unwrap().details.as_ref().unwrap().contains("24 hours"));
}

#[test]
fn missing_and_null_lists_are_empty_ones() {
    for body in
        [fixture!("missing_arrays"), fixture!("empty"), "{}", r#"{"entry":null}"#, r#"{"entry":{"a":[]}}"#]
    {
        assert_eq!(seen(body), Seen::default(), "{body}");
    }
}

#[test]
fn the_object_of_a_type_is_kept_to_the_letter() {
    let raw: &RawValue = serde_json::from_str(
        r#"{"type":"location","location": {"latitude":37.440000000000000001, "x":"\u00e9"}}"#,
    )
    .unwrap();
    assert_eq!(
        object_of(raw, "location").unwrap().get(),
        r#"{"latitude":37.440000000000000001, "x":"\u00e9"}"#
    );
    assert!(object_of(raw, "image").is_none());
}

/// Any JSON at all, with the keys of a webhook among its keys.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "\\PC{0,12}".prop_map(Json::from),
        prop::sample::select(vec!["messages", "text", "sent", "1795205465", "wamid.X="]).prop_map(Json::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "entry",
            "changes",
            "field",
            "value",
            "metadata",
            "phone_number_id",
            "contacts",
            "messages",
            "statuses",
            "id",
            "type",
            "text",
            "body",
            "timestamp",
            "errors",
            "context",
            "status",
            "from",
            "profile",
            "wa_id",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    leaf.prop_recursive(7, 96, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_is_read_without_a_panic(value in any_json()) {
        let body = serde_json::json!({"entry": [{"changes": [{"field": "messages", "value": value}]}]});
        seen(&body.to_string());
    }
}
