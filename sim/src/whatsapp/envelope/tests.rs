//! The bodies against the forms of Meta's reference, and against the awkward cases (I1, O8).

use serde_json::Value;

use super::*;

fn parsed(body: &[u8]) -> Value {
    assert!(body.is_ascii(), "Graph escapes what is not ASCII");
    serde_json::from_slice(body).expect("JSON")
}

fn value(body: &[u8]) -> Value {
    parsed(body)["entry"][0]["changes"][0]["value"].clone()
}

#[test]
fn i1_a_text_message_has_the_documented_form() {
    let ana = Person::phone("+15550000002").named("Ana").with_user_id("US.134912");
    let body = text_message(&BusinessNumber::example(), &ana, "wamid.A", 1_739_321_024, "hello");
    let want = json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "200000000000001", "changes": [{ "field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "15550000001", "phone_number_id": "100000000000001" },
            "contacts": [{ "profile": { "name": "Ana" }, "wa_id": "15550000002", "user_id": "US.134912" }],
            "messages": [{ "from": "15550000002", "from_user_id": "US.134912", "id": "wamid.A",
                "timestamp": "1739321024", "type": "text", "text": { "body": "hello" } }],
        } }] }],
    });
    assert_eq!(parsed(&body), want);
}

#[test]
fn o8_a_status_echoes_the_opaque_data() {
    let update =
        StatusUpdate::new("wamid.X", DeliveryStatus::Delivered, 5, Person::phone("1555")).opaque("our-id");
    let value = value(&status(&BusinessNumber::example(), update));
    let want = json!([{ "id": "wamid.X", "status": "delivered", "timestamp": "5", "recipient_id": "1555",
        "biz_opaque_callback_data": "our-id" }]);
    assert_eq!(value["statuses"], want);
    assert!(value.get("messages").is_none());
}

#[test]
fn o8_a_failed_status_has_errors_and_no_contacts() {
    let update =
        StatusUpdate::new("wamid.X", DeliveryStatus::Failed, 5, Person::phone("1555")).error(131_047);
    let value = value(&status(&BusinessNumber::example(), update));
    assert_eq!(value["statuses"][0]["errors"][0]["code"], 131_047);
    assert!(value.get("contacts").is_none());
}

#[test]
fn i1_every_type_is_named_by_its_message() {
    for (name, content) in fixtures::every_inbound_type() {
        let from = Person::phone("15550000002");
        let kind = content.kind().to_owned();
        let inbound = InboundMessage { from, wamid: "wamid.A".to_owned(), timestamp_s: 1, content };
        let value = value(&message(&BusinessNumber::example(), inbound));
        assert_eq!(value["messages"][0]["type"], kind, "{name}");
        assert_eq!(value.get("contacts").is_none(), kind == "system", "{name}");
    }
}

#[test]
fn i1_a_person_without_phone_leaves_no_trace_of_one() {
    let body = fixtures::text_without_phone(&BusinessNumber::example(), "US.1", "wamid.A", "hi");
    let value = value(&body);
    assert!(value["messages"][0].get("from").is_none());
    assert_eq!(value["messages"][0]["from_user_id"], "US.1");
    assert_eq!(value["contacts"], json!([{ "user_id": "US.1" }]));
}

#[test]
fn i1_a_batch_keeps_the_order_of_its_updates() {
    let body = fixtures::full_batch(&BusinessNumber::example(), &Person::phone("1555"), "B");
    let body = parsed(&body);
    let changes = body["entry"][0]["changes"].as_array().expect("changes");
    let ids: Vec<&Value> = changes
        .iter()
        .flat_map(|change| ["messages", "statuses"].map(|list| &change["value"][list]))
        .filter_map(Value::as_array)
        .flatten()
        .map(|update| &update["id"])
        .collect();
    let want: Vec<Value> = (0..BATCH_MAX).map(|at| Value::String(format!("wamid.B{at}"))).collect();
    assert_eq!(ids, want.iter().collect::<Vec<_>>());
}

#[test]
fn i1_many_texts_of_one_person_share_a_change_and_a_contact() {
    let body = fixtures::many_texts(&BusinessNumber::example(), &Person::phone("1555"), "C", BATCH_MAX);
    let value = value(&body);
    assert_eq!(value["messages"].as_array().map(Vec::len), Some(BATCH_MAX));
    assert_eq!(value["contacts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn content_from_json_drops_what_the_model_gives() {
    let json = json!({ "type": "text", "text": { "body": "x" }, "id": "wamid.FAKE", "from": "1" });
    let content = Content::from_json(json.as_object().expect("object")).expect("typed");
    assert_eq!(content, Content::text("x"));
    assert_eq!(Content::from_json(&Map::new()), None);
}
