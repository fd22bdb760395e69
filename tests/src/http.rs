//! HTTP as a test wants it: a request, and its whole answer with status, headers and JSON.

use std::sync::OnceLock;

use serde_json::Value;

use crate::deadline::within;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none: that fails the test.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{}: no JSON ({e}): {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body, after the status was checked.
    ///
    /// # Panics
    /// If the status is another: that fails the test.
    #[must_use]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Checks that this is a problem (RFC 9457) with this status and code.
    ///
    /// # Panics
    /// If it is not: that fails the test.
    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/problem+json"), "content type {kind:?}: {}", self.text());
        let problem = self.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{problem}");
        assert!(problem["title"].is_string() && problem["type"].is_string(), "{problem}");
    }
}

/// The client that all tests share: no proxy, no redirect, and kept connections, as a browser has.
fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // reqwest is built without a TLS provider of its own. Another test may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Each test has a runtime of its own; a connection kept from another one would be dead.
            .pool_max_idle_per_host(0)
            .build()
            .expect("settings that are always the same")
    })
}

/// Sends a request; an error means that there was no whole answer.
///
/// # Errors
/// What reqwest says.
pub async fn try_send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Answer, reqwest::Error> {
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a test's method is one");
    let mut request = client().request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    within(url, async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    })
    .await
}

/// Sends a request, and fails the test if there is no answer.
pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    match try_send(method, url, headers, body).await {
        Ok(answer) => answer,
        Err(e) => panic!("{method} {url}: {e:?}"),
    }
}

/// The API for one token.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    authorization: Option<String>,
}

impl Api {
    /// With a token, or with none.
    #[must_use]
    pub fn new(http: std::net::SocketAddr, token: Option<&str>) -> Self {
        Self { base: format!("http://{http}"), authorization: token.map(|token| format!("Bearer {token}")) }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], Vec::new()).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    /// Any request.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut headers = headers.to_vec();
        if let Some(authorization) = &self.authorization {
            headers.push(("authorization", authorization));
        }
        send(method, &format!("{}{path}", self.base), &headers, body).await
    }

    /// `GET /v1/sync`: all events after a number, page by page.
    pub async fn events_after(&self, seq: u64) -> Vec<crate::event::Event> {
        let mut events: Vec<crate::event::Event> = Vec::new();
        loop {
            let after = events.last().map_or(seq, crate::event::Event::number);
            let page = self.get(&format!("/v1/sync?after={after}&limit=1000")).await.expect(200);
            let found = page["events"].as_array().unwrap_or_else(|| panic!("no events in {page}"));
            events.extend(found.iter().cloned().map(crate::event::Event::of));
            if page["more"] != true {
                return events;
            }
        }
    }

    /// `head` of `GET /v1/sync`: the number of the newest event.
    ///
    /// # Panics
    /// If the answer has none.
    pub async fn head(&self) -> u64 {
        let page = self.get("/v1/sync?limit=1").await.expect(200);
        page["head"].as_u64().unwrap_or_else(|| panic!("no head in {page}"))
    }
}
