//! Every fixture and what it becomes; and that no JSON whatsoever brings a panic.

use proptest::prelude::*;
use schemas::message::{Kind, MediaState};
use schemas::{MessageId, Status};
use serde_json::{Value, json};
use store::{Person, StatusUpdate};

use super::*;

const RECEIVED: Millis = Millis(1_795_205_999_000);

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../schemas/fixtures/whatsapp/", $name, ".json"))
    };
}

fn all(body: &[u8]) -> Translation {
    translate(body, RECEIVED).unwrap()
}

fn messages(body: &[u8]) -> Vec<Inbound> {
    let inbound = |update| match update {
        Update::Message(inbound) => *inbound,
        Update::Status(status) => panic!("not a message: {status:?}"),
    };
    all(body).updates.into_iter().map(inbound).collect()
}

fn message(body: &[u8]) -> Inbound {
    let mut messages = messages(body);
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

fn statuses(body: &[u8]) -> Vec<StatusUpdate> {
    let status = |update| match update {
        Update::Status(status) => *status,
        Update::Message(inbound) => panic!("not a status: {inbound:?}"),
    };
    all(body).updates.into_iter().map(status).collect()
}

fn payload(message: &Inbound) -> Value {
    serde_json::from_str(message.payload.as_deref().expect("a payload")).unwrap()
}

fn ana() -> Person {
    Person {
        phone: Some("+15550000002".into()),
        user_id: Some("US.134912".into()),
        parent_user_id: None,
        name: Some("Ana".into()),
        username: None,
    }
}

#[test]
fn i2_a_text() {
    let expected = Inbound {
        number: NumberId::new("100000000000001").unwrap(),
        person: ana(),
        wamid: Wamid::new("wamid.FIXTURETEXT=").unwrap(),
        at: Millis(1_795_205_465_000),
        kind: Kind::Text,
        text: Some("hello 😀 é".into()),
        media: None,
        payload: None,
        reply_to: None,
    };
    assert_eq!(message(fixture!("text")), expected);
}

#[test]
fn i2_each_type_has_its_kind_and_its_words() {
    for (body, kind, text) in [
        (&fixture!("location")[..], Kind::Location, None),
        (fixture!("contacts"), Kind::Contacts, None),
        (fixture!("interactive_button_reply"), Kind::Interactive, Some("Yes")),
        (fixture!("interactive_list_reply"), Kind::Interactive, Some("Row")),
        (fixture!("interactive_flow_reply"), Kind::Interactive, Some("Sent")),
        (fixture!("button"), Kind::Interactive, Some("Stop")),
        (fixture!("order"), Kind::Order, Some("please")),
        (
            fixture!("system_number_changed"),
            Kind::System,
            Some("User Ana changed from 15550000002 to 15550000003"),
        ),
    ] {
        let message = message(body);
        assert_eq!((message.kind, message.text.as_deref()), (kind, text));
        assert!(payload(&message).is_object() || payload(&message).is_array());
    }
    assert_eq!(payload(&message(fixture!("order")))["product_items"][0]["quantity"], 2);
}

#[test]
fn i2_files_are_pending_and_keep_what_is_needed_to_fetch_them() {
    for (body, kind, mime, text, name) in [
        (&fixture!("image")[..], Kind::Image, "image/jpeg", Some("the roof"), None),
        (fixture!("audio_voice"), Kind::Audio, "audio/ogg; codecs=opus", None, None),
        (fixture!("video"), Kind::Video, "video/mp4", None, None),
        (fixture!("document"), Kind::Document, "application/pdf", Some("the bill"), Some("a.pdf")),
        (fixture!("sticker"), Kind::Sticker, "image/webp", None, None),
    ] {
        let message = message(body);
        let media = message.media.clone().expect("a file");
        assert_eq!((message.kind, message.text.as_deref()), (kind, text));
        assert_eq!((media.state, &*media.mime, media.name.as_deref()), (MediaState::Pending, mime, name));
        // The base64 of the fixtures is the SHA-256 of "hello".
        assert_eq!(
            media.sha256.as_deref(),
            Some("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
        );
        assert_eq!(media.url, None);
        assert!(payload(&message)["id"].as_str().unwrap().starts_with('M'));
    }
}

#[test]
fn i2_what_has_no_kind_is_kept_whole() {
    for (body, place, value) in [
        (&fixture!("reaction")[..], "/reaction/message_id", "wamid.TARGET="),
        (fixture!("reaction_removed"), "/type", "reaction"),
        (fixture!("edit"), "/edit/message/text/body", "new"),
        (fixture!("revoke"), "/revoke/original_message_id", "wamid.ORIG="),
        (fixture!("unsupported"), "/errors/0/error_data/details", "Message type is currently not supported."),
        (fixture!("unknown_type"), "/hologram/id", "H1"),
        (fixture!("interactive_without_object"), "/type", "interactive"),
        (fixture!("group_message"), "/text/body", "to all"),
    ] {
        let message = message(body);
        assert_eq!((message.kind, message.text.as_ref()), (Kind::Unsupported, None), "{place}");
        assert_eq!(payload(&message).pointer(place), Some(&json!(value)));
        assert_eq!(message.person, ana());
    }
}

#[test]
fn i2_answers_name_what_they_answer_and_forwards_do_not() {
    assert_eq!(message(fixture!("text_reply")).reply_to, Some(Wamid::new("wamid.QUOTED=").unwrap()));
    assert_eq!(message(fixture!("button")).reply_to, Some(Wamid::new("wamid.TEMPLATE=").unwrap()));
    assert_eq!(message(fixture!("text_forwarded")).reply_to, None);
}

#[test]
fn i2_a_person_without_a_phone_number() {
    let expected = Person {
        phone: None,
        user_id: Some("US.777".into()),
        parent_user_id: Some("US.ENT.1181".into()),
        name: Some("Ben".into()),
        username: Some("ben.w".into()),
    };
    assert_eq!(message(fixture!("bsuid_only")).person, expected);
}

#[test]
fn i2_contacts_are_joined_by_id_and_not_by_place() {
    let names: Vec<_> =
        messages(fixture!("contacts_not_in_step")).into_iter().map(|m| m.person.name).collect();
    assert_eq!(names, [Some("Ana".to_owned()), Some("Cleo".to_owned())]);
}

#[test]
fn i2_strings_numbers_and_halves_of_characters() {
    let odd = message(fixture!("numbers_for_strings"));
    assert_eq!((odd.text.as_deref(), odd.at), (Some("12345"), Millis(1_795_205_465_000)));
    assert_eq!(odd.person, ana());
    assert_eq!(message(fixture!("half_surrogate")).text.as_deref(), Some("cut \u{fffd}"));
}

#[test]
fn i2_a_bad_item_spoils_no_other_and_is_counted() {
    let translation = all(fixture!("bad_item_between_good_ones"));
    assert_eq!(translation.updates.len(), 2);
    assert_eq!(translation.ignored, Ignored { unreadable: 2, ..Ignored::default() });
}

#[test]
fn i2_a_message_of_nobody_or_of_no_number_is_counted() {
    let text = json!({"id":"wamid.N=","type":"text","text":{"body":"x"}});
    let body = |value: Value| json!({"entry":[{"changes":[{"field":"messages","value":value}]}]}).to_string();
    for value in [
        json!({"metadata":{"phone_number_id":"1"},"messages":[text]}),
        json!({"messages":[{"from":"15550000002","id":"wamid.N=","type":"text","text":{"body":"x"}}]}),
    ] {
        let translation = all(body(value).as_bytes());
        assert_eq!((translation.updates.len(), translation.ignored.unreadable), (0, 1));
    }
    let only_contact =
        json!({"metadata":{"phone_number_id":1},"contacts":[{"wa_id":"+15550000002"}],"messages":[text]});
    let message = message(body(only_contact).as_bytes());
    assert_eq!(message.person.phone.as_deref(), Some("+15550000002"));
    assert_eq!(message.at, RECEIVED, "no time of its own");
}

#[test]
fn o8_statuses() {
    let sent = statuses(fixture!("status_sent")).remove(0);
    let ours: MessageId = "00000000000000000000000007-0000000003".parse().unwrap();
    assert_eq!((sent.status, sent.message, sent.at), (Status::Sent, Some(ours), Millis(1_795_205_470_000)));
    assert_eq!(sent.wamid, Wamid::new("wamid.OUT1=").unwrap());
    assert_eq!(statuses(fixture!("status_delivered"))[0].status, Status::Delivered);
    let read = statuses(fixture!("status_read_foreign_callback_data")).remove(0);
    assert_eq!((read.status, read.message), (Status::Read, None));
    let played = statuses(fixture!("status_played")).remove(0);
    assert_eq!((played.status, played.at), (Status::Played, Millis(1_795_205_471_000)));
    let group: Vec<_> =
        statuses(fixture!("status_group_both_spellings")).into_iter().map(|s| s.status).collect();
    assert_eq!(group, [Status::Delivered, Status::Read]);
}

#[test]
fn o8_a_failure_says_why() {
    let failed = statuses(fixture!("status_failed")).remove(0);
    let error = failed.error.expect("an error");
    assert_eq!(
        (failed.status, &*error.code, error.meta_code),
        (Status::Failed, "whatsapp_131047", Some(131_047))
    );
    assert_eq!(error.title, "Re-engagement message");
    assert!(error.detail.expect("a detail").contains("24 hours"));
}

#[test]
fn o8_unknown_statuses_are_counted_and_hide_no_known_one() {
    let translation = all(fixture!("status_unknown_kinds"));
    assert_eq!((translation.updates.len(), translation.ignored.status), (1, 2));
}

#[test]
fn other_fields_and_empty_bodies_change_nothing() {
    for (body, fields) in [
        (&fixture!("other_field")[..], 1),
        (fixture!("history"), 1),
        (fixture!("value_errors"), 0),
        (fixture!("missing_arrays"), 0),
        (fixture!("empty"), 0),
    ] {
        let translation = all(body);
        assert_eq!((translation.updates.len(), translation.ignored.field), (0, fields));
    }
}

#[test]
fn no_object_is_unreadable() {
    for body in [&b""[..], b"{", b"[]", b"5", b"\xff\xfe", b"{\"entry\":[}"] {
        assert_eq!(translate(body, RECEIVED), Err(Unreadable), "{body:?}");
    }
}

#[test]
fn a_thousand_updates_in_one_body_stay_a_thousand_in_order() {
    let of = |n: u32| json!({"from":"15550000002","id":format!("wamid.{n}="),"timestamp":"1","type":"text","text":{"body":n}});
    let value = json!({"metadata":{"phone_number_id":"1"},"messages":(0..1000).map(of).collect::<Vec<_>>()});
    let body = json!({"entry":[{"changes":[{"field":"messages","value":value}]}]}).to_string();
    let texts: Vec<_> = messages(body.as_bytes()).into_iter().filter_map(|message| message.text).collect();
    assert_eq!(texts, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn nesting_that_readers_would_choke_on_is_not_handed_on() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let body = |levels| {
        format!(
            r#"{{"entry":[{{"changes":[{{"value":{{"metadata":{{"phone_number_id":"1"}},"messages":[{{"from":"1","id":"w","type":"x","x":{}}}]}}}}]}}]}}"#,
            deep(levels)
        )
    };
    assert!(message(body(lenient::DEPTH_MAX - 1).as_bytes()).payload.is_some());
    assert_eq!(message(body(lenient::DEPTH_MAX).as_bytes()).payload, None);
    // Deeper than any recursive reader's stack.
    let abyss = body(1_000_000);
    if let Ok(translation) = translate(abyss.as_bytes(), RECEIVED) {
        assert!(translation.updates.len() <= 1);
    }
}

/// Any JSON at all, with Meta's keys and values among its own.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["text", "image", "sent", "failed", "15550000002", "wamid.X="])
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "from",
            "id",
            "type",
            "text",
            "image",
            "body",
            "timestamp",
            "errors",
            "context",
            "status",
            "profile",
            "wa_id",
            "interactive",
            "button_reply",
            "title",
            "code",
            "sha256",
            "user_id",
            "from_user_id",
            "group_id",
            "error_data",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    leaf.prop_recursive(5, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_in_any_place_brings_no_panic_and_every_item_is_accounted_for(
        messages in prop::collection::vec(any_json(), 0..4),
        statuses in prop::collection::vec(any_json(), 0..4),
        contacts in any_json(),
    ) {
        let items = messages.len() + statuses.len();
        let value = json!({"metadata":{"phone_number_id":"1"},"contacts":contacts,"messages":messages,"statuses":statuses});
        let body = json!({"entry":[{"changes":[{"field":"messages","value":value}]}]}).to_string();
        let translation = all(body.as_bytes());
        let Ignored { unreadable, status, field } = translation.ignored;
        prop_assert_eq!(translation.updates.len() + (unreadable + status + field) as usize, items);
    }

    #[test]
    fn any_bytes_bring_no_panic(body in prop::collection::vec(any::<u8>(), 0..200), json in any_json()) {
        let _ = translate(&body, RECEIVED);
        let _ = translate(json.to_string().as_bytes(), RECEIVED);
    }
}
