//! Every way in which a request can fail, as problem+json with a stable code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::command::CommandError;
use schemas::problem::{CONTENT_TYPE, Problem};
use schemas::{Encoding, ErrorCode};
use store::{CommitError, ReadError, Refusal};

/// Seconds after which a client that was told 503 may try again.
const RETRY_AFTER_S: &str = "1";

/// A request that failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    detail: String,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The table's own words are all there is to say.
    pub(crate) fn plain(code: ErrorCode) -> Self {
        Self::new(code, code.meaning())
    }

    pub(crate) fn bad_parameter(name: &str, why: &str) -> Self {
        Self::new(ErrorCode::ParameterInvalid, format!("parameter `{name}`: {why}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem::new(self.code, self.detail);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Encoding::Json.write(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            // RFC 6750, section 3.
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
            }
            _ => {}
        }
        response
    }
}

impl From<auth_hook::AuthError> for ApiError {
    fn from(error: auth_hook::AuthError) -> Self {
        auth_hook::metrics::count_refused(error.code);
        Self::new(error.code, error.detail)
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        Self::new(error.code, error.detail)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.detail)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "a read failed");
        if error.is_retryable() {
            Self::plain(ErrorCode::StoreUnavailable)
        } else {
            Self::plain(ErrorCode::Internal)
        }
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        tracing::error!(%error, "a commit failed");
        if matches!(error, CommitError::DiskFull { .. }) {
            return Self::plain(ErrorCode::DiskFull);
        }
        if error.is_retryable() {
            // Also where the outcome is unknown: sent again with the same id it has the effect of once (P4).
            Self::new(ErrorCode::StoreUnavailable, "not certainly stored; send it again with the same id")
        } else {
            Self::plain(ErrorCode::Internal)
        }
    }
}
