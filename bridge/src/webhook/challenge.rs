//! I1. Meta's verification of the endpoint: `hub.mode=subscribe`, our token, and a text to be given back.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::ErrorCode;
use sha2::{Digest, Sha256};

use super::problem::problem;
use crate::config::Secret;

/// Answers with the challenge as it came, or with 403.
pub(super) fn answer(query: &[(String, String)], verify_token: &Secret) -> Response {
    let value = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let right = value("hub.verify_token").is_some_and(|token| is_same(token, verify_token.expose()));
    match (value("hub.mode"), value("hub.challenge"), right) {
        (Some("subscribe"), Some(challenge), true) => {
            let headers = [(header::CONTENT_TYPE, "text/plain"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (StatusCode::OK, headers, challenge.to_owned()).into_response()
        }
        (_, _, true) => {
            problem(ErrorCode::VerifyTokenInvalid, "`hub.mode` must be `subscribe`, with a `hub.challenge`")
        }
        (_, _, false) => {
            problem(ErrorCode::VerifyTokenInvalid, "`hub.verify_token` is missing or another one")
        }
    }
}

/// Compares digests, so that the time taken says nothing about the token. An empty token is none.
fn is_same(given: &str, ours: &str) -> bool {
    !ours.is_empty() && Sha256::digest(given) == Sha256::digest(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(query: &[(&str, &str)], token: &str) -> u16 {
        let query: Vec<_> = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        answer(&query, &Secret::new(token)).status().as_u16()
    }

    #[test]
    fn i1_only_our_token_gets_its_challenge_back() {
        let right = [("hub.mode", "subscribe"), ("hub.challenge", "1158201444"), ("hub.verify_token", "tok")];
        assert_eq!(status(&right, "tok"), 200);
        assert_eq!(status(&right, "other"), 403);
        assert_eq!(status(&right[..2], "tok"), 403);
        assert_eq!(status(&right[1..], "tok"), 403);
        assert_eq!(status(&[], ""), 403);
        assert_eq!(
            status(&[("hub.mode", "subscribe"), ("hub.challenge", "1"), ("hub.verify_token", "")], ""),
            403
        );
    }
}
