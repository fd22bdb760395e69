//! I1. How a refusal looks: problem+json of the contract. Not here: which refusal.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::problem::{CONTENT_TYPE, Problem};
use schemas::{Encoding, ErrorCode};

/// Seconds after which a sender that was told 503 may try again.
const RETRY_AFTER_S: &str = "5";

pub(super) fn problem(code: ErrorCode, detail: impl Into<String>) -> Response {
    let problem = Problem::new(code, detail);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Encoding::Json.write(&problem)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}
