//! The admin listener: metrics and health for everybody on this machine, administration for the bearer of the token.
//!
//! A request with an `Origin` header comes from a web page and is refused: no page has any business here, and the
//! browser of somebody who works on this machine would be its way in. Not here: what the routes of `/admin/v1` do
//! (`backup`, `verify`); those of `/hooks`, which come with what they administer.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use ring::digest;
use schemas::ErrorCode;
use schemas::problem::{self, Problem};
use store::Store;

use crate::{backup, verify};

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Can the server do its work? The text says why not.
pub(crate) type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Admin {
    metrics: PrometheusHandle,
    ready: Readiness,
    /// SHA-256 of the token: comparing digests takes the same time wherever two tokens begin to differ, as far as
    /// the one who asks can choose.
    token: Arc<[u8]>,
    /// Whom `/admin/v1` administers; `None` in tests of the listener itself.
    store: Option<Arc<dyn Store>>,
}

impl Admin {
    /// `token` as it stands in its file; white space around it does not count.
    pub(crate) fn new(metrics: PrometheusHandle, ready: Readiness, token: &[u8]) -> Self {
        Self { metrics, ready, token: fingerprint(token.trim_ascii()).into(), store: None }
    }

    /// The store that is administered.
    pub(crate) fn with_store(self, store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The routes.
    pub(crate) fn router(self) -> Router {
        let administration = Router::new()
            .route("/admin/v1/backup", post(start_backup))
            .route("/admin/v1/verify", post(start_verify))
            .route("/admin/v1/{*rest}", any(no_such_route))
            .route_layer(middleware::from_fn_with_state(self.clone(), require_token));
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .merge(administration)
            .fallback(no_such_route)
            .layer(middleware::from_fn(refuse_web_pages))
            .with_state(self)
    }
}

fn fingerprint(token: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, token).as_ref().to_vec()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], admin.metrics.render()).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match (admin.ready)() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn start_backup(State(admin): State<Admin>, body: Bytes) -> Response {
    match admin.store {
        Some(store) => backup::route(store, body).await,
        None => no_such_route().await,
    }
}

async fn start_verify(State(admin): State<Admin>) -> Response {
    match admin.store {
        Some(store) => verify::route(store),
        None => no_such_route().await,
    }
}

async fn no_such_route() -> Response {
    problem(ErrorCode::NotFound, "there is no such route")
}

async fn require_token(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        None => problem(
            ErrorCode::TokenMissing,
            "send `Authorization: Bearer` with the content of [admin] token_file",
        ),
        Some(token) if fingerprint(token.trim_ascii()) == *admin.token => next.run(request).await,
        Some(_) => problem(ErrorCode::TokenInvalid, "this is not the content of [admin] token_file"),
    }
}

/// What follows `Bearer `; the scheme in any case (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

async fn refuse_web_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "requests of web pages are refused here\n").into_response();
    }
    next.run(request).await
}

/// An error as problem+json.
pub(crate) fn problem(code: ErrorCode, detail: &str) -> Response {
    let body = serde_json::to_vec(&Problem::new(code, detail)).expect("a problem is texts and a number");
    let status = StatusCode::from_u16(code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let challenge = (status == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
    (status, [(header::CONTENT_TYPE, problem::CONTENT_TYPE)], challenge, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use reqwest::{Method, StatusCode};

    /// Serves the routes on a free port of this machine.
    async fn serve(ready: Result<(), String>) -> String {
        // `reqwest` is built without a TLS provider of its own.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("inboxd_test_total").increment(1));
        let admin = Admin::new(recorder.handle(), Arc::new(move || ready.clone()), b"geheim\n");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, admin.router()).await });
        format!("http://{address}")
    }

    async fn ask(base: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
        let mut request = reqwest::Client::new().request(Method::GET, format!("{base}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    #[tokio::test]
    async fn metrics_and_health_are_open() {
        let base = serve(Ok(())).await;
        let (status, text) = ask(&base, "/metrics", &[]).await;
        assert!(status.is_success() && text.contains("inboxd_test_total 1"), "{text}");
        assert_eq!(ask(&base, "/healthz", &[]).await, (StatusCode::OK, "ok\n".into()));
        assert_eq!(ask(&base, "/readyz", &[]).await, (StatusCode::OK, "ready\n".into()));
    }

    #[tokio::test]
    async fn readiness_says_why_not() {
        let base = serve(Err("the disk is full".into())).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "the disk is full\n".to_owned());
        assert_eq!(ask(&base, "/readyz", &[]).await, expected);
        assert!(ask(&base, "/healthz", &[]).await.0.is_success());
    }

    #[tokio::test]
    async fn administration_needs_the_token() {
        let base = serve(Ok(())).await;
        for (headers, status, code) in [
            (vec![], 401, "token_missing"),
            (vec![("authorization", "Basic eA==")], 401, "token_missing"),
            (vec![("authorization", "Bearer gehei")], 401, "token_invalid"),
            (vec![("authorization", "Bearer ")], 401, "token_missing"),
            (vec![("authorization", "Bearer geheim")], 404, "not_found"),
            (vec![("authorization", "bearer geheim")], 404, "not_found"),
        ] {
            let (got, body) = ask(&base, "/admin/v1/accounts", &headers).await;
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((got.as_u16(), body["code"].as_str()), (status, Some(code)), "{headers:?}");
        }
        assert_eq!(ask(&base, "/elsewhere", &[]).await.0, 404);
    }

    #[tokio::test]
    async fn a_web_page_gets_nothing_even_with_the_token() {
        let base = serve(Ok(())).await;
        for path in ["/metrics", "/healthz", "/readyz", "/admin/v1/accounts", "/elsewhere"] {
            for origin in ["https://evil.example", "null", "http://127.0.0.1:9464"] {
                let headers = [("origin", origin), ("authorization", "Bearer geheim")];
                assert_eq!(ask(&base, path, &headers).await.0, StatusCode::FORBIDDEN, "{path}");
            }
        }
    }
}
