//! The routes over the store in memory: what a client sees, refusals included.

use std::sync::atomic::{AtomicU64, Ordering};

use auth_hook::{Hook, Signer};
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use schemas::{AccountId, Claims, Epoch, NumberId, Role, UserId};
use serde_json::{Value, json};
use store::{Agents, Number, Op, Settings, UserSeen};
use tower::ServiceExt as _;

use super::*;

const NOW_S: u64 = 1_795_205_465;

struct World {
    router: Router,
    signer: Signer,
    store: Arc<dyn Store>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The code of a problem whose shape is right.
    fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member} is missing in {problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }

    fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

impl World {
    /// Users alice and bob of acme, eve of evil; both accounts have a number.
    async fn new() -> Self {
        let mut settings = Settings::new(Epoch(7));
        for (id, account) in [("1", "acme"), ("2", "evil")] {
            settings.numbers.push(Number {
                id: NumberId::new(id).unwrap(),
                account: AccountId::new(account).unwrap(),
                agents: Agents::All,
                triage: vec![],
            });
        }
        // Every commit is a millisecond after the one before, so that lists have one order.
        let ticks = Arc::new(AtomicU64::new(NOW_S * 1000));
        let clock: store::Clock = Arc::new(move || schemas::Millis(ticks.fetch_add(1, Ordering::Relaxed)));
        let store = store::engine::memory::open(settings, clock).unwrap();
        for (account, user) in [("acme", "alice"), ("acme", "bob"), ("evil", "eve")] {
            let seen = UserSeen {
                account: AccountId::new(account).unwrap(),
                user: UserId::new(user).unwrap(),
                agent: true,
            };
            store::commit(&*store, Op::UserSeen(seen)).await.unwrap();
        }
        let signer = Signer::hs256(&[7; 32]).unwrap();
        let auth =
            Hook::new(signer.verifier(), Arc::new(|account| matches!(account.as_str(), "acme" | "evil")));
        let config = Config { command_bytes_max: 100_000 };
        let router = router(config, Arc::clone(&store), Arc::new(auth), Arc::new(|| NOW_S * 1_000_000));
        Self { router, signer, store }
    }

    fn token(&self, user: &str, exp: u64) -> String {
        let claims = Claims {
            user: UserId::new(user).unwrap(),
            account: AccountId::new(if user == "eve" { "evil" } else { "acme" }).unwrap(),
            device: None,
            role: Role::Agent,
            exp,
            iat: None,
            acl: None,
        };
        self.signer.issue(&claims).unwrap()
    }

    async fn request(&self, request: Request) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    async fn get(&self, user: &str, path: &str) -> Answer {
        let token = self.token(user, NOW_S + 60);
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.request(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, user: &str, path: &str, key: Option<&str>, body: impl Into<Body>) -> Answer {
        let token = self.token(user, NOW_S + 60);
        let mut request = Request::post(path).header(header::AUTHORIZATION, format!("bearer {token}"));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.request(request.body(body.into()).unwrap()).await
    }

    async fn say(&self, id: &str, to: Value, text: &str) -> Value {
        let body = json!({"id": id, "to": to, "text": text});
        let answer = self.post("alice", "/v1/messages", None, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["message"].clone()
    }
}

fn bob() -> Value {
    json!({"user": "bob"})
}

#[tokio::test]
async fn s4_a_message_is_stored_before_it_is_answered_and_once_per_id() {
    let world = World::new().await;
    let body = json!({"id":"c1","to":{"whatsapp":"+15550000002","number":"1"},"kind":"text","text":"hi"})
        .to_string();
    let first = world.post("alice", "/v1/messages", None, body.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    let message = &first.json()["message"];
    assert_eq!(
        (&message["text"], &message["status"], &message["command_id"]),
        (&json!("hi"), &json!("sending"), &json!("c1"))
    );
    let id = message["id"].as_str().unwrap();
    assert_eq!(world.get("alice", &format!("/v1/messages/{id}")).await.json()["text"], "hi");
    // Again: in another spelling, and with the id in the header.
    let again = world.post("alice", "/v1/messages", None, body.clone()).await;
    assert_eq!((again.status, &again.text), (StatusCode::OK, &first.text));
    let spelled =
        r#"{ "text":"hi", "type":"message.send", "to":{"number":"1","whatsapp":"+1 555 000 0002"} }"#;
    for key in ["c1", "\"c1\""] {
        let again = world.post("alice", "/v1/messages", Some(key), spelled).await;
        assert_eq!((again.status, &again.text), (StatusCode::OK, &first.text), "{key}");
    }
    assert_eq!(
        world.post("alice", "/v1/messages", Some("c1"), body).await.status,
        StatusCode::OK,
        "both alike"
    );
    let sends = world.store.open_sends(None, 10).await.unwrap();
    assert_eq!(sends.len(), 1, "one effect");
    // An id is its user's own.
    let bobs = world.post("bob", "/v1/messages", Some("c1"), spelled).await;
    assert_eq!(bobs.status, StatusCode::CREATED);
}

#[tokio::test]
async fn s4_refusals_say_what_is_wrong() {
    let world = World::new().await;
    world.say("used", bob(), "hi").await;
    let good = |id: &str| json!({"id":id,"to":{"user":"bob"},"text":"x"});
    for (key, body, status, code) in [
        (Some("a"), good("b").to_string(), 400, "id_conflict"),
        (None, json!({"to":{"user":"bob"},"text":"x"}).to_string(), 400, "command_malformed"),
        (Some("a b"), json!({"to":{"user":"bob"},"text":"x"}).to_string(), 400, "command_malformed"),
        (None, good("used").to_string(), 409, "id_reused"),
        (None, "{".to_owned(), 400, "json_malformed"),
        (None, String::new(), 400, "json_malformed"),
        (None, "[]".to_owned(), 400, "command_malformed"),
        (None, json!({"id":"z","type":"message.sing"}).to_string(), 400, "command_unknown"),
        (None, json!({"id":"z","text":"x"}).to_string(), 400, "command_malformed"),
        (
            None,
            json!({"id":"z","to":{"user":"bob"},"text":"x".repeat(4097)}).to_string(),
            400,
            "text_too_long",
        ),
        (
            None,
            json!({"id":"z","to":{"whatsapp":"+1","number":"2"},"text":"x"}).to_string(),
            404,
            "number_unknown",
        ),
        (None, "x".repeat(100_001), 413, "body_too_large"),
    ] {
        let answer = world.post("alice", "/v1/messages", key, body.clone()).await;
        assert_eq!(answer.refused(), (status, code.to_owned()), "{key:?} {:.80}", body);
    }
    assert_eq!(world.store.open_sends(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn s4_messagepack_is_taken_like_json() {
    let world = World::new().await;
    let packed = schemas::Encoding::Msgpack.write(&json!({"id":"m","to":{"user":"bob"},"text":"hi"}));
    let answer = world.post("alice", "/v1/messages", None, packed).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
}

#[tokio::test]
async fn s4_reading_lowers_unread_and_may_be_repeated() {
    let world = World::new().await;
    let message = world.say("c1", bob(), "hi").await;
    let conversation = message["conversation"].as_str().unwrap();
    let path = format!("/v1/conversations/{conversation}");
    assert_eq!(world.get("bob", &path).await.json()["unread"], 1);
    let body = json!({"up_to": message["id"]}).to_string();
    let read = world.post("bob", &format!("{path}/read"), None, body.clone()).await;
    assert_eq!((read.status, read.json()), (StatusCode::CREATED, json!({"message": null})));
    assert_eq!(world.get("bob", &path).await.json()["unread"], 0);
    let again = world.post("bob", &format!("{path}/read"), None, body).await;
    assert_eq!((again.status, again.text), (StatusCode::OK, read.text));
    for (path, body, status, code) in [
        (format!("{path}/read"), json!({}), 400, "command_malformed"),
        (format!("{path}/read"), json!({"up_to":"x"}), 404, "not_found"),
        (format!("{path}/read"), json!({"up_to":format!("{conversation}-0000000009")}), 404, "not_found"),
        (format!("{path}/read"), json!({"up_to":"x","id":"own"}), 404, "not_found"),
        (format!("{path}/read"), json!({"up_to":7}), 400, "command_malformed"),
        (format!("{path}/read"), json!({"up_to":message["id"],"conversation":"x"}), 400, "command_malformed"),
        ("/v1/conversations/x/read".to_owned(), json!({"up_to":message["id"]}), 404, "conversation_unknown"),
    ] {
        let answer = world.post("bob", &path, None, body.to_string()).await;
        assert_eq!(answer.refused(), (status, code.to_owned()), "{path} {body}");
    }
    let eve =
        world.post("eve", &format!("{path}/read"), None, json!({"up_to": message["id"]}).to_string()).await;
    assert_eq!(eve.refused(), (404, "conversation_unknown".to_owned()));
}

#[tokio::test]
async fn p7_no_token_no_answer_and_what_is_anothers_is_not_there() {
    let world = World::new().await;
    let message = world.say("c1", bob(), "secret").await;
    let (id, conversation) = (message["id"].as_str().unwrap(), message["conversation"].as_str().unwrap());
    let paths = ["/v1/sync".to_owned(), "/v1/conversations".to_owned(), format!("/v1/messages/{id}")];
    for path in &paths {
        let with = |value: String| {
            Request::get(path).header(header::AUTHORIZATION, value).body(Body::empty()).unwrap()
        };
        let none = world.request(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(none.refused(), (401, "token_missing".to_owned()), "{path}");
        assert_eq!(none.headers[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(
            world.request(with("Basic abc".into())).await.refused(),
            (401, "token_missing".to_owned())
        );
        assert_eq!(
            world.request(with("Bearer abc".into())).await.refused(),
            (401, "token_invalid".to_owned())
        );
        let old = with(format!("Bearer {}", world.token("alice", NOW_S)));
        assert_eq!(world.request(old).await.refused(), (401, "token_expired".to_owned()));
    }
    for (path, code) in [
        (format!("/v1/messages/{id}"), "not_found"),
        (format!("/v1/conversations/{conversation}"), "conversation_unknown"),
        (format!("/v1/conversations/{conversation}/messages"), "conversation_unknown"),
        ("/v1/messages/nonsense".to_owned(), "not_found"),
        ("/v1/conversations/nonsense/messages".to_owned(), "conversation_unknown"),
    ] {
        assert_eq!(world.get("eve", &path).await.refused(), (404, code.to_owned()), "{path}");
    }
    assert_eq!(world.get("eve", "/v1/conversations").await.json()["items"], json!([]));
    assert_eq!(world.get("eve", "/v1/sync").await.json()["events"], json!([]));
    let into = json!({"id":"e1","conversation":conversation,"text":"x"}).to_string();
    assert_eq!(world.post("eve", "/v1/messages", None, into).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn s3_conversations_newest_first_page_by_page() {
    let world = World::new().await;
    for n in 0..5 {
        world
            .say(
                &format!("c{n}"),
                json!({"whatsapp": format!("+1555000000{n}"), "number": "1"}),
                &format!("text {n}"),
            )
            .await;
    }
    let mut path = "/v1/conversations?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = world.get("alice", &path).await;
        let page = answer.json();
        assert_eq!((&page["epoch"], &page["head"]), (&json!(Epoch(7).to_string()), &json!(5)));
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["last_message"]["text"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => {
                let link = answer.headers[header::LINK].to_str().unwrap();
                assert_eq!(link, format!("</v1/conversations?limit=2&cursor={next}>; rel=\"next\""));
                path = link[1..link.find('>').unwrap()].to_owned();
            }
            None => {
                assert!(!answer.headers.contains_key(header::LINK) && page["next"].is_null());
                break;
            }
        }
    }
    assert_eq!(seen, ["text 4", "text 3", "text 2", "text 1", "text 0"]);
}

#[tokio::test]
async fn s3_messages_before_and_after() {
    let world = World::new().await;
    let mut ids = Vec::new();
    let mut conversation = String::new();
    for n in 0..5 {
        let message = world.say(&format!("c{n}"), bob(), &n.to_string()).await;
        ids.push(message["id"].as_str().unwrap().to_owned());
        conversation = message["conversation"].as_str().unwrap().to_owned();
    }
    let path = format!("/v1/conversations/{conversation}/messages");
    let texts = |page: &Value| -> String {
        page["items"].as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect()
    };
    for (query, expected, more) in [
        (String::new(), "43210", false),
        ("?limit=2".to_owned(), "43", true),
        (format!("?before={}", ids[2]), "10", false),
        (format!("?before={}&limit=1", ids[2]), "1", true),
        (format!("?after={}", ids[2]), "43", false),
        (format!("?after={}&limit=1", ids[2]), "3", true),
        (format!("?after={}", ids[4]), "", false),
    ] {
        let answer = world.get("bob", &format!("{path}{query}")).await;
        let page = answer.json();
        assert_eq!((&*texts(&page), page["next"].is_string()), (expected, more), "{query}");
        assert_eq!(answer.headers.contains_key(header::LINK), more);
    }
    // Cursors go on in their own direction.
    for (query, expected) in [("?limit=2".to_owned(), "21"), (format!("?after={}&limit=2", ids[0]), "43")] {
        let next =
            world.get("bob", &format!("{path}{query}")).await.json()["next"].as_str().unwrap().to_owned();
        assert_eq!(
            texts(&world.get("bob", &format!("{path}?cursor={next}&limit=2")).await.json()),
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn s3_wrong_parameters_are_named() {
    let world = World::new().await;
    let message = world.say("c1", bob(), "hi").await;
    let list = format!("/v1/conversations/{}/messages", message["conversation"].as_str().unwrap());
    for (path, code) in [
        ("/v1/conversations?limit=0".to_owned(), "parameter_invalid"),
        ("/v1/conversations?limit=-1".to_owned(), "parameter_invalid"),
        ("/v1/conversations?limit=many".to_owned(), "parameter_invalid"),
        ("/v1/conversations?cursor=!".to_owned(), "cursor_invalid"),
        ("/v1/sync?after=-1".to_owned(), "parameter_invalid"),
        ("/v1/sync?after=one".to_owned(), "parameter_invalid"),
        (format!("{list}?before=x"), "cursor_invalid"),
        (format!("{list}?cursor=AAAA"), "cursor_invalid"),
        (format!("{list}?before={0}&after={0}", message["id"].as_str().unwrap()), "parameter_invalid"),
    ] {
        assert_eq!(world.get("alice", &path).await.refused(), (400, code.to_owned()), "{path}");
    }
    for path in ["/v1/conversations?limit=99999999999", "/v1/sync?limit=5000&unknown=1"] {
        assert_eq!(world.get("alice", path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn s2_sync_goes_on_from_any_number_and_resets_where_numbers_mean_nothing() {
    let world = World::new().await;
    for n in 0..5 {
        world.say(&format!("c{n}"), bob(), &n.to_string()).await;
    }
    let epoch = Epoch(7).to_string();
    for (query, numbers, more) in [
        (String::new(), vec![1, 2, 3, 4, 5], false),
        ("?after=0&limit=2".to_owned(), vec![1, 2], true),
        (format!("?after=2&limit=3&epoch={epoch}"), vec![3, 4, 5], false),
        ("?after=5".to_owned(), vec![], false),
    ] {
        let answer = world.get("bob", &format!("/v1/sync{query}")).await.json();
        let events = answer["events"].as_array().unwrap();
        let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!((seqs, answer["more"].as_bool()), (numbers, Some(more)), "{query}");
        assert_eq!((&answer["head"], &answer["epoch"]), (&json!(5), &json!(epoch)));
        assert!(events.iter().all(|event| event["type"] == "message.created" && event["v"] == 1));
    }
    for query in ["?after=6".to_owned(), format!("?after=2&epoch={}", Epoch(8)), "?epoch=nonsense".to_owned()]
    {
        let answer = world.get("bob", &format!("/v1/sync{query}")).await.json();
        assert_eq!(
            (&answer["reset"], &answer["head"], &answer["epoch"]),
            (&json!(true), &json!(5), &json!(epoch)),
            "{query}"
        );
        let conversations = answer["snapshot"]["conversations"].as_array().unwrap();
        assert_eq!((conversations.len(), &conversations[0]["unread"]), (1, &json!(5)));
        assert!(answer["snapshot"]["next"].is_null());
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let world = World::new().await;
    for path in ["/v1", "/v1/", "/v1/nothing", "/v1/conversations/a/b/c", "/v1/messages/a/b"] {
        assert_eq!(world.get("alice", path).await.refused(), (404, "not_found".to_owned()), "{path}");
    }
    let delete = Request::builder().method(Method::DELETE).uri("/v1/sync").body(Body::empty()).unwrap();
    let answer = world.request(delete).await;
    assert_eq!(answer.refused(), (405, "method_not_allowed".to_owned()));
    assert_eq!(answer.headers[header::ALLOW], "GET,HEAD");
}

#[tokio::test]
async fn a_store_that_is_closed_is_503_and_says_when_to_come_again() {
    let world = World::new().await;
    world.store.close().await;
    let answer = world
        .post("alice", "/v1/messages", Some("late"), json!({"to":{"user":"bob"},"text":"x"}).to_string())
        .await;
    assert_eq!(answer.refused(), (503, "store_unavailable".to_owned()));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}
