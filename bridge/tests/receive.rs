//! I1–I3, P1, P5: what Meta sees, and what is on disk when it sees it.

#![allow(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

mod support;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use bridge::{Bridge, BridgeConfig, Handle, OnUnknown, Secret};
use schemas::Millis;
use serde_json::Value;
use store::{JournalApply, JournalOp, Op, Outcome, Store, WEBHOOK_EFFECTS_MAX};
use support::{SECRET, clock, config, inbound, listen, messages, post, post_signed, store, texts, until};
use tower::ServiceExt as _;

async fn start(store: &Arc<dyn Store>, config: BridgeConfig) -> (Handle, Router) {
    let bridge = Bridge::start(config, Arc::clone(store), clock()).await.unwrap();
    let router = bridge.router();
    (bridge, router)
}

/// A bridge whose Graph API nobody asks.
async fn receiving(store: &Arc<dyn Store>) -> (Handle, Router) {
    start(store, config("http://127.0.0.1:9", OnUnknown::Hold, 1)).await
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], status);
    (status, problem["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn i3_on_disk_when_answered_and_once_however_often_it_comes() {
    let (_dir, store) = store().await;
    let (_bridge, router) = receiving(&store).await;
    for _ in 0..3 {
        let response = post(&router, inbound([1, 2]), SECRET).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(texts(&messages(&*store).await), ["1", "2"]);
    }
    post(&router, inbound([2, 3]), SECRET).await;
    assert_eq!(texts(&messages(&*store).await), ["1", "2", "3"]);
}

#[tokio::test]
async fn i1_without_our_signature_nothing_is_stored() {
    let (_dir, store) = store().await;
    let (_bridge, router) = receiving(&store).await;
    let body = inbound([1]).into_bytes();
    let other = sim::whatsapp::sign::signature(b"other", &body);
    for signature in [None, Some(&*other), Some("sha256="), Some("nonsense")] {
        let response = post_signed(&router, body.clone(), signature).await;
        assert_eq!(code(response).await, (401, "signature_invalid".to_owned()), "{signature:?}");
    }
    assert!(messages(&*store).await.is_empty());
}

#[tokio::test]
async fn i1_what_cannot_be_understood_is_taken_all_the_same() {
    let (_dir, store) = store().await;
    let (_bridge, router) = receiving(&store).await;
    for body in ["", "{", "[]", "null", "{}", r#"{"entry":[{"changes":[{"field":"new","value":{}}]}]}"#] {
        assert_eq!(post(&router, body, SECRET).await.status(), StatusCode::OK, "{body}");
    }
    assert_eq!(post(&router, inbound([1]), SECRET).await.status(), StatusCode::OK, "and nothing is blocked");
    assert_eq!(texts(&messages(&*store).await), ["1"]);
}

#[tokio::test]
async fn i1_four_mebibytes_are_taken_and_no_more() {
    let (_dir, store) = store().await;
    let (_bridge, router) = receiving(&store).await;
    let limit = 4 << 20;
    assert_eq!(post(&router, vec![b' '; limit], SECRET).await.status(), StatusCode::OK);
    let response = post(&router, vec![b' '; limit + 1], SECRET).await;
    assert_eq!(code(response).await, (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn p1_a_store_that_cannot_write_is_503_so_that_meta_sends_it_again() {
    let (_dir, store) = store().await;
    let (_bridge, router) = receiving(&store).await;
    store.close().await;
    for body in [inbound([1]), inbound(0..1000), "{".to_owned()] {
        let response = post(&router, body, SECRET).await;
        assert!(response.headers().contains_key("retry-after"));
        assert_eq!(code(response).await, (503, "store_unavailable".to_owned()));
    }
}

#[tokio::test]
async fn i1_metas_verification() {
    let (_dir, store) = store().await;
    let (_bridge, router) = receiving(&store).await;
    let get = async |query: &str| {
        let request = Request::get(format!("/webhooks/whatsapp{query}")).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    let right = get("?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=verify%20me").await;
    assert_eq!(right.status(), StatusCode::OK);
    assert_eq!(right.headers()["content-type"], "text/plain");
    assert_eq!(to_bytes(right.into_body(), 100).await.unwrap(), "1158201444");
    for query in [
        "",
        "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=no",
        "?hub.mode=x&hub.challenge=1&hub.verify_token=verify+me",
    ] {
        assert_eq!(code(get(query).await).await, (403, "verify_token_invalid".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn p5_a_thousand_updates_in_one_body_and_what_comes_after_them_keep_their_order() {
    let (_dir, store) = store().await;
    let mut commits = listen(&store);
    let (_bridge, router) = receiving(&store).await;
    assert_eq!(post(&router, inbound(0..1000), SECRET).await.status(), StatusCode::OK);
    assert_eq!(post(&router, inbound([1000]), SECRET).await.status(), StatusCode::OK);
    let all = until(&store, &mut commits, "1,001 messages", async |store| {
        let messages = messages(store).await;
        (messages.len() == 1001).then_some(messages)
    })
    .await;
    assert_eq!(texts(&all), (0..=1000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(store.open_journal().await.unwrap().is_empty(), "worked off");
}

#[tokio::test]
async fn p5_what_a_former_process_left_in_the_journal_is_worked_off_first() {
    let (_dir, store) = store().await;
    let mut commits = listen(&store);
    let body = inbound(0..500);
    let op = JournalOp { body: body.clone().into(), received_us: clock()() };
    let Outcome::Journaled(journal) = store::commit(&*store, Op::Journal(op)).await.unwrap() else {
        panic!()
    };
    // It came as far as its first part.
    let translation = bridge::translate::translate(body.as_bytes(), Millis(1)).unwrap();
    let updates = translation.updates[..WEBHOOK_EFFECTS_MAX].to_vec();
    let part = JournalApply { journal, from: 0, updates, last: false };
    store::commit(&*store, Op::JournalApply(part)).await.unwrap();
    let (_bridge, router) = receiving(&store).await;
    assert_eq!(post(&router, inbound([500]), SECRET).await.status(), StatusCode::OK);
    let all = until(&store, &mut commits, "501 messages", async |store| {
        let messages = messages(store).await;
        (messages.len() == 501).then_some(messages)
    })
    .await;
    assert_eq!(texts(&all), (0..=500).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn p7_the_secret_of_one_number_does_not_speak_for_another() {
    let (_dir, store) = store().await;
    let mut own = config("http://127.0.0.1:9", OnUnknown::Hold, 1);
    own.numbers[0].app_secret = Some(Secret::new("own"));
    let (_bridge, router) = start(&store, own).await;
    let response = post(&router, inbound([1]), SECRET).await;
    assert_eq!(code(response).await, (401, "signature_invalid".to_owned()));
    assert!(messages(&*store).await.is_empty());
    assert_eq!(post(&router, inbound([1]), "own").await.status(), StatusCode::OK);
    assert_eq!(texts(&messages(&*store).await), ["1"]);
}
