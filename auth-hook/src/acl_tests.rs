//! Tests of `acl`: one table of the contract's rules, and the property behind P7.

use std::sync::Arc;

use super::*;
use proptest::prelude::*;
use schemas::{AccountId, Role, UserId};

const PUBLISH: Action = Action::Publish { qos: 1, retain: false };

fn claims(user: &str, device: Option<&str>, publish: &[&str], subscribe: &[&str]) -> Claims {
    let owned = |filters: &[&str]| filters.iter().map(|f| (*f).to_owned()).collect();
    Claims {
        user: UserId::new(user).unwrap(),
        account: AccountId::new("acme").unwrap(),
        device: device.map(|d| UserId::new(d).unwrap()),
        role: Role::Agent,
        exp: u64::MAX,
        iat: None,
        acl: Some(Arc::new(Acl { publish: owned(publish), subscribe: owned(subscribe) })),
    }
}

/// (filters granted for publish and subscribe alike, action, topic, expected), for user `alice` with device `phone`.
type Row = (&'static [&'static str], Action, &'static str, Result<(), DenyReason>);

use DenyReason::{NotGranted, OtherUser, Reserved, SharedNotSupported, TopicInvalid};

const SUB: Action = Action::Subscribe;
const ALL: &[&str] = &["#", "user/#", "user/+/inbox", "$SYS/#", "$share/g/#"];
const NONE: &[&str] = &[];

const TABLE: &[Row] = &[
    // The inbox and the signals are the owner's to read and nobody's to write.
    (NONE, SUB, "user/alice/inbox", Ok(())),
    (NONE, SUB, "user/alice/signals", Ok(())),
    (ALL, SUB, "user/bob/inbox", Err(OtherUser)),
    (ALL, SUB, "user/bob/signals", Err(OtherUser)),
    (ALL, PUBLISH, "user/alice/inbox", Err(Reserved)),
    (ALL, PUBLISH, "user/bob/inbox", Err(Reserved)),
    (ALL, PUBLISH, "user/alice/signals", Err(Reserved)),
    // The outbox is the owner's to write, at any QoS, and nobody's to read.
    (NONE, PUBLISH, "user/alice/outbox", Ok(())),
    (NONE, Action::Publish { qos: 0, retain: false }, "user/alice/outbox", Ok(())),
    (NONE, Action::Publish { qos: 2, retain: false }, "user/alice/outbox", Ok(())),
    (ALL, PUBLISH, "user/bob/outbox", Err(OtherUser)),
    (ALL, PUBLISH, "user/$x/outbox", Err(OtherUser)),
    (ALL, SUB, "user/alice/outbox", Err(Reserved)),
    // Everybody of the account reads every status, nobody writes one.
    (NONE, SUB, "user/alice/status", Ok(())),
    (NONE, SUB, "user/bob/status", Ok(())),
    (NONE, SUB, "user/+/status", Ok(())),
    (ALL, PUBLISH, "user/alice/status", Err(Reserved)),
    // Nothing else below `user` or `$`, whatever acl says.
    (ALL, SUB, "user/#", Err(Reserved)),
    (ALL, SUB, "user/alice/#", Err(Reserved)),
    (ALL, SUB, "user/alice/+", Err(Reserved)),
    (ALL, SUB, "user/+/inbox", Err(Reserved)),
    (ALL, SUB, "user/+/status/#", Err(Reserved)),
    (ALL, SUB, "user/alice/inbox/x", Err(Reserved)),
    (ALL, SUB, "user/+", Err(Reserved)),
    (ALL, SUB, "user", Err(Reserved)),
    (ALL, SUB, "user//status", Err(Reserved)),
    (ALL, SUB, "user/$x/status", Err(Reserved)),
    (ALL, SUB, "$SYS/#", Err(Reserved)),
    (ALL, PUBLISH, "$SYS/x", Err(Reserved)),
    (ALL, PUBLISH, "user", Err(Reserved)),
    (ALL, PUBLISH, "user/x", Err(Reserved)),
    (ALL, PUBLISH, "user/alice/outbox/x", Err(Reserved)),
    // Shared subscriptions: by the inner filter, never below `user`.
    (ALL, SUB, "$share/g/user/alice/inbox", Err(SharedNotSupported)),
    (ALL, SUB, "$share/g/user/bob/inbox", Err(SharedNotSupported)),
    (ALL, SUB, "$share/g/user/+/status", Err(SharedNotSupported)),
    (ALL, SUB, "$share/g/user/#", Err(SharedNotSupported)),
    (ALL, SUB, "$share/g/$SYS/#", Err(Reserved)),
    (&["jobs/#"], SUB, "$share/g/jobs/+", Ok(())),
    (&["jobs/#"], SUB, "$share/g/other", Err(NotGranted)),
    (&["$share/g/jobs/#"], SUB, "$share/g/jobs/+", Err(NotGranted)),
    // General topics: one granted filter must match, or cover entirely.
    (NONE, SUB, "a", Err(NotGranted)),
    (NONE, PUBLISH, "a", Err(NotGranted)),
    (&["#"], SUB, "#", Ok(())),
    (&["#"], SUB, "+/alice/inbox", Ok(())),
    (&["#"], PUBLISH, "a/b", Ok(())),
    (&["+"], SUB, "#", Err(NotGranted)),
    (&["a/+"], SUB, "a/b", Ok(())),
    (&["a/+"], SUB, "a/+", Ok(())),
    (&["a/+"], SUB, "a/#", Err(NotGranted)),
    (&["a/#"], SUB, "a", Ok(())),
    (&["a/#"], PUBLISH, "a", Ok(())),
    (&["a/+"], PUBLISH, "a", Err(NotGranted)),
    (&["a", "a/+", "a/+/#"], SUB, "a/#", Err(NotGranted)),
    (&["users/#"], SUB, "users/bob/inbox", Ok(())),
    // Placeholders; `{what}` is none and stands for itself.
    (&["chat/{user}/#"], PUBLISH, "chat/alice/x", Ok(())),
    (&["chat/{user}/#"], PUBLISH, "chat/bob/x", Err(NotGranted)),
    (&["{account}/{device}"], SUB, "acme/phone", Ok(())),
    (&["p-{user}-{device}/x"], SUB, "p-alice-phone/x", Ok(())),
    (&["{what}/{user"], SUB, "{what}/{user", Ok(())),
    (&["user/{user}/#"], SUB, "user/alice/#", Err(Reserved)),
    // What is no filter grants nothing.
    (&["a/#/b", "a#", "", "a\0"], PUBLISH, "a/x", Err(NotGranted)),
    // What is no topic gets nothing.
    (ALL, PUBLISH, "a/+", Err(TopicInvalid)),
    (ALL, PUBLISH, "", Err(TopicInvalid)),
    (ALL, SUB, "a/#/b", Err(TopicInvalid)),
    (ALL, SUB, "$share/g", Err(TopicInvalid)),
    (ALL, SUB, "user/alice/inbox\0", Err(TopicInvalid)),
];

#[test]
fn o2_the_table_of_the_contract() {
    for (filters, action, topic, expected) in TABLE {
        let claims = claims("alice", Some("phone"), filters, filters);
        let expected = expected.map_or_else(Decision::Deny, |()| Decision::Allow);
        assert_eq!(decide(&claims, *action, topic), expected, "{filters:?} {action:?} {topic:?}");
    }
}

#[test]
fn a_right_to_publish_is_no_right_to_subscribe() {
    let claims = claims("alice", None, &["out"], &["in"]);
    assert!(decide(&claims, PUBLISH, "out").is_allowed() && decide(&claims, SUB, "in").is_allowed());
    assert!(!decide(&claims, PUBLISH, "in").is_allowed() && !decide(&claims, SUB, "out").is_allowed());
}

#[test]
fn a_device_placeholder_without_a_device_grants_nothing() {
    let claims = claims("alice", None, &["d/{device}"], &["d/{device}", "{device}"]);
    for topic in ["d/", "d/{device}", "{device}", "d"] {
        assert_eq!(decide(&claims, SUB, topic), Decision::Deny(NotGranted), "{topic}");
    }
}

#[test]
fn a_user_called_like_a_placeholder_stays_that_user() {
    let claims = claims("{account}", None, &["{user}/x"], &[]);
    assert!(decide(&claims, PUBLISH, "{account}/x").is_allowed());
    assert!(!decide(&claims, PUBLISH, "acme/x").is_allowed());
}

#[test]
fn a_shared_subscription_below_user_has_its_own_reason_code() {
    for reason in DenyReason::ALL {
        let expected = if reason == SharedNotSupported { 0x9E } else { 0x87 };
        assert_eq!(reason.mqtt(), expected, "{reason:?}");
    }
}

#[test]
fn client_ids() {
    let id = |text| ClientId::new(text).unwrap();
    let with = claims("alice", Some("phone"), &[], &[]);
    let without = claims("alice", None, &[], &[]);
    assert_eq!(check_client_id(&with, "phone"), Ok(ClientIdRule::AsSent(id("phone"))));
    assert_eq!(check_client_id(&with, ""), Ok(ClientIdRule::Assigned(id("phone"))));
    assert_eq!(check_client_id(&with, "phone2"), Err(ErrorCode::ClientIdMismatch));
    assert_eq!(check_client_id(&without, "any/#"), Ok(ClientIdRule::AsSent(id("any/#"))));
    assert_eq!(check_client_id(&without, ""), Ok(ClientIdRule::Draw));
}

/// Levels that can come near the reserved tree.
fn level() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "user",
        "bob",
        "alice",
        "inbox",
        "outbox",
        "signals",
        "status",
        "+",
        "#",
        "$share",
        "$SYS",
        "g",
        "",
        "{user}",
        "{device}",
        "{account}",
        "x",
    ])
    .prop_map(str::to_owned)
}

fn topic_like() -> impl Strategy<Value = String> {
    let any = prop::collection::vec(level(), 0..6).prop_map(|levels| levels.join("/"));
    // Blind chance seldom builds what could do harm, so half of the cases are built on purpose.
    let near = (prop::sample::select(vec!["", "$share/g/"]), level(), level())
        .prop_map(|(share, who, kind)| format!("{share}user/{who}/{kind}"));
    prop_oneof![3 => any, 5 => near, 1 => Just("#".to_owned()), 1 => Just("user/#".to_owned())]
}

proptest! {
    /// P7: however the acl reads, what is granted never names a reserved topic of somebody else.
    #[test]
    fn p7_no_acl_opens_another_users_reserved_topics(
        filters in prop::collection::vec(topic_like(), 0..6),
        wanted in topic_like(),
        user in prop::sample::select(vec!["alice", "user", "{user}", "x", "inbox"]),
    ) {
        let mut claims = claims(user, Some("g"), &[], &[]);
        claims.acl = Some(Arc::new(Acl { publish: filters.clone(), subscribe: filters }));
        if decide(&claims, PUBLISH, &wanted).is_allowed() && topic::is_reserved(&wanted) {
            prop_assert_eq!(&wanted, &format!("user/{user}/outbox"));
        }
        if decide(&claims, SUB, &wanted).is_allowed() {
            let (shared, inner) = match topic::split_share(&wanted) {
                Some((_, inner)) => (true, inner),
                None => (false, wanted.as_str()),
            };
            if topic::is_reserved(inner) {
                let own = [format!("user/{user}/inbox"), format!("user/{user}/signals")];
                prop_assert!(!shared, "{}", wanted);
                prop_assert!(own.iter().any(|t| t == inner) || inner.ends_with("/status"), "{}", wanted);
            }
        }
    }
}
