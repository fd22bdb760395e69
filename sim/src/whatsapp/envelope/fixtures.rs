//! Ready-made awkward cases for tests of webhook receivers (I1, O8): every inbound type, and the bodies that break
//! receivers which believe their documentation.
//!
//! Not in here: what a receiver should make of them; that is its own tests' business.

use serde_json::json;

use super::{BATCH_MAX, BusinessNumber, Content, InboundMessage, Person, StatusUpdate, Update};
use crate::whatsapp::faults::DeliveryStatus;

/// 2025-02-12 00:43:44 UTC, the second the fixtures start at.
pub const BASE_TIMESTAMP_S: u64 = 1_739_321_024;

/// Every type of inbound message Meta documents, with a name for the test's output. Where a type comes in several
/// forms, each is here; `wamid.TARGET` stands for a message that came before.
pub fn every_inbound_type() -> Vec<(&'static str, Content)> {
    [words_and_files(), taps_and_forms(), reactions_and_events()].concat()
}

/// What `reaction`, `edit`, `revoke` and quotes point at.
const TARGET: &str = "wamid.TARGET";

fn words_and_files() -> Vec<(&'static str, Content)> {
    vec![
        ("text", Content::text("hello, is the café open? ☕")),
        ("text_quoting", Content::text("yes, this one").quoting("15550000001", TARGET)),
        ("text_forwarded", Content::text("look").with("context", json!({ "forwarded": true }))),
        ("text_from_ad", Content::text("I saw your ad").with("referral", referral())),
        ("image", Content::image("M1", Some("the box"))),
        ("video", Content::video("M2", None)),
        ("audio", Content::audio("M3", false)),
        ("voice", Content::audio("M4", true)),
        ("document", Content::document("M5", "invoice.pdf", None)),
        ("sticker", Content::sticker("M6", false)),
        ("location", Content::location(37.44, -122.16, Some("Cafe"))),
        (
            "location_as_strings",
            Content::new("location", json!({ "latitude": "37.44", "longitude": "-122.16" })),
        ),
        ("contacts", Content::contacts("B J", "+15550000009")),
        (
            "contacts_requested",
            Content::new(
                "contacts",
                json!([{ "origin": "contact_request", "phones": [{ "phone": "+15550000002", "wa_id": "15550000002" }] }]),
            ),
        ),
    ]
}

fn taps_and_forms() -> Vec<(&'static str, Content)> {
    vec![
        ("button", Content::button("STOP", "Stop")),
        ("button_reply", Content::button_reply("yes", "Yes")),
        ("list_reply", Content::list_reply("row1", "Row")),
        ("flow_reply", Content::form_reply("flow", &json!({ "flow_token": "T1", "size": "M" }))),
        ("address_reply", Content::form_reply("address_message", &json!({ "values": { "city": "Pune" } }))),
        ("call_permission_reply", Content::call_permission_reply(true)),
        ("interactive_without_object", Content::bare("interactive")),
        ("order", Content::order("C1", "SKU", 2)),
    ]
}

fn reactions_and_events() -> Vec<(&'static str, Content)> {
    vec![
        ("reaction", Content::reaction(TARGET, Some("👍"))),
        ("reaction_removed", Content::reaction(TARGET, None)),
        ("reaction_removed_empty", Content::reaction(TARGET, Some(""))),
        ("system_changed_number", Content::system_changed_number("15550000002", "15550000003")),
        ("system_changed_user_id", Content::system_changed_user_id("US.1", "US.2")),
        ("system_identity_changed", Content::system_identity_changed("DF2lS5v2W6x=")),
        ("unsupported_poll", Content::unsupported("poll")),
        ("unsupported_edit", Content::unsupported("edit")),
        ("unsupported_without_object", Content::bare("unsupported")),
        (
            "media_not_fetched",
            Content::bare("unsupported").with("errors", json!([super::graph_error::webhook_error(131_052)])),
        ),
        ("edit", Content::edit(TARGET, "hello again")),
        ("revoke", Content::revoke(TARGET)),
        ("request_welcome", Content::bare("request_welcome")),
        ("unknown", Content::bare("unknown")),
        ("from_the_future", Content::new("hologram", json!({ "frames": 3 }))),
    ]
}

/// The body of a webhook with `count` texts of one person, wamids `wamid.{prefix}0…`, one second apart.
pub fn many_texts(number: &BusinessNumber, from: &Person, prefix: &str, count: usize) -> Vec<u8> {
    let updates: Vec<Update> = (0..count)
        .map(|at| {
            Update::Message(InboundMessage {
                from: from.clone(),
                wamid: format!("wamid.{prefix}{at}"),
                timestamp_s: BASE_TIMESTAMP_S + at as u64,
                content: Content::text(&format!("message {at}")),
            })
        })
        .collect();
    super::batch(number, &updates)
}

/// The largest batch Meta sends: [`BATCH_MAX`] updates in one body, messages and statuses taking turns.
pub fn full_batch(number: &BusinessNumber, person: &Person, prefix: &str) -> Vec<u8> {
    let updates: Vec<Update> = (0..BATCH_MAX)
        .map(|at| {
            let wamid = format!("wamid.{prefix}{at}");
            let timestamp_s = BASE_TIMESTAMP_S + at as u64;
            if at % 2 == 0 {
                let content = Content::text(&format!("message {at}"));
                Update::Message(InboundMessage { from: person.clone(), wamid, timestamp_s, content })
            } else {
                Update::Status(StatusUpdate::new(&wamid, DeliveryStatus::Sent, timestamp_s, person.clone()))
            }
        })
        .collect();
    super::batch(number, &updates)
}

/// The body of a webhook with a text whose sender has no phone number: no `from`, no `wa_id`.
pub fn text_without_phone(number: &BusinessNumber, user_id: &str, wamid: &str, text: &str) -> Vec<u8> {
    super::text_message(number, &Person::user_id(user_id), wamid, BASE_TIMESTAMP_S, text)
}

fn referral() -> serde_json::Value {
    json!({
        "source_url": "https://fb.me/ad", "source_id": "120", "source_type": "ad", "headline": "Spring sale",
        "body": "Chat with us", "media_type": "image", "image_url": "https://example.com/ad.jpg",
        "ctwa_clid": "ARA1", "welcome_message": { "text": "Hi there" },
    })
}
