//! I1. WhatsApp's side of the webhook, by hand: bodies as they are, signed as said. For what the simulator does not do:
//! wrong signatures, broken JSON, the same again, a thousand updates at once.

use std::net::SocketAddr;

use sim::whatsapp::envelope::{self, Person, StatusUpdate};
use sim::whatsapp::faults::DeliveryStatus;
use sim::whatsapp::sign::{SIGNATURE_HEADER, Signature};
use sim::whatsapp::{BusinessNumber, Content};

use crate::http::{Answer, send, try_send};
use crate::token::now_s;

/// The secret of every server of the tests.
pub const APP_SECRET: &str = "the app secret of the tests";
const PATH: &str = "/webhooks/whatsapp";

/// Posts a body once.
pub async fn post(http: SocketAddr, body: Vec<u8>, sign: Signature) -> Answer {
    let signature = sign.header(APP_SECRET.as_bytes(), &body);
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(signature.as_deref().map(|signature| (SIGNATURE_HEADER, signature)));
    send("POST", &format!("http://{http}{PATH}"), &headers, body).await
}

/// Posts a signed body once and tells whether it was answered 200: for servers that die under it.
pub async fn is_taken(http: SocketAddr, body: Vec<u8>) -> bool {
    let signature = sim::whatsapp::sign::signature(APP_SECRET.as_bytes(), &body);
    let headers = [("content-type", "application/json"), (SIGNATURE_HEADER, signature.as_str())];
    let answer = try_send("POST", &format!("http://{http}{PATH}"), &headers, body).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

/// Posts a signed body once, and fails the test unless it is answered 200.
pub async fn deliver(http: SocketAddr, body: Vec<u8>) {
    let answer = post(http, body, Signature::Correct).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A body with one text of a customer.
#[must_use]
pub fn text(number: &BusinessNumber, phone: &str, wamid: &str, text: &str) -> Vec<u8> {
    envelope::text_message(number, &person(phone), wamid, now_s(), text)
}

/// The update that a text of a customer is, for bodies with several.
#[must_use]
pub fn text_update(phone: &str, wamid: &str, text: &str) -> envelope::Update {
    envelope::Update::Message(envelope::InboundMessage {
        from: person(phone),
        wamid: wamid.to_owned(),
        timestamp_s: now_s(),
        content: Content::text(text),
    })
}

/// A body with one status of a message of ours.
#[must_use]
pub fn status(number: &BusinessNumber, phone: &str, wamid: &str, status: DeliveryStatus) -> Vec<u8> {
    envelope::status(number, StatusUpdate::new(wamid, status, now_s(), person(phone)))
}

fn person(phone: &str) -> Person {
    Person::phone(phone).named(&format!("Customer {phone}"))
}
