//! S1. Who asks: the bearer token of the request, checked before anything else is looked at.
//!
//! Not here: what makes a token good (`auth-hook`).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use schemas::Claims;
use store::Asker;

use crate::App;
use crate::error::ApiError;

const SCHEME: &[u8] = b"bearer ";

/// The claims of a token that verified.
pub(crate) struct Bearer(Claims);

impl Bearer {
    pub(crate) fn asker(&self) -> Asker {
        Asker { account: self.0.account.clone(), user: self.0.user.clone() }
    }
}

impl FromRequestParts<Arc<App>> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let now_secs = (app.clock)() / 1_000_000;
        Ok(Self(app.auth.authenticate(token(header), now_secs)?))
    }
}

/// What follows `Bearer `; another scheme is no token at all.
fn token(header: &[u8]) -> &[u8] {
    match header.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => token.trim_ascii(),
        _ => b"",
    }
}
