//! Tests of `token`: what verifies, what does not, and that nothing changed ever does.

use super::*;
use crate::keys::{Signer, generate_ed25519};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

fn base() -> Value {
    json!({"sub":"alice","acc":"acme","role":"agent","exp":NOW + 3600,"iat":NOW})
}

/// Signs any claims with HS256, also such as our own types would not write.
fn sign(claims: &Value) -> String {
    sign_as(&json!({"alg":"HS256","typ":"JWT"}), claims)
}

fn sign_as(header: &Value, claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn verify(claims: &Value) -> Result<Claims, TokenError> {
    Verifier::hs256(SECRET).unwrap().verify(sign(claims), NOW)
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = base();
    claims[field] = value;
    claims
}

fn without(field: &str) -> Value {
    let mut claims = base();
    claims.as_object_mut().unwrap().remove(field);
    claims
}

#[test]
fn both_kinds_of_key_verify_what_they_signed() {
    let claims = verify(&with("acl", json!({"publish":["a/#"]}))).unwrap();
    let pem = generate_ed25519().unwrap();
    for signer in [Signer::hs256(SECRET).unwrap(), Signer::ed25519_pem(pem.as_bytes()).unwrap()] {
        let token = signer.issue(&claims).unwrap();
        assert_eq!(signer.verifier().verify(token, NOW), Ok(claims.clone()));
    }
}

#[test]
fn the_header_of_a_key_pairs_token_names_the_key() {
    let signer = Signer::ed25519_pem(generate_ed25519().unwrap().as_bytes()).unwrap();
    let token = signer.issue(&verify(&base()).unwrap()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.kid.as_deref(), signer.verifier().jwks()["keys"][0]["kid"].as_str());
}

#[test]
fn exp_has_no_leeway_and_iat_and_nbf_have_sixty_seconds() {
    assert!(verify(&with("exp", json!(NOW + 1))).is_ok());
    assert_eq!(verify(&with("exp", json!(NOW))), Err(TokenError::Expired));
    assert_eq!(verify(&with("exp", json!(-1))), Err(TokenError::Expired));
    assert_eq!(verify(&with("exp", json!(NOW as f64 + 0.9))), Err(TokenError::Expired));
    assert!(verify(&with("exp", json!(NOW as f64 + 1.5))).is_ok());
    for claim in ["iat", "nbf"] {
        assert!(verify(&with(claim, json!(NOW + LEEWAY_SECS))).is_ok(), "{claim}");
        let late = verify(&with(claim, json!(NOW + LEEWAY_SECS + 1)));
        assert_eq!(late, Err(TokenError::NotYet { claim }));
        assert_eq!(late.unwrap_err().code(), ErrorCode::TokenInvalid);
    }
    assert_eq!(TokenError::Expired.code(), ErrorCode::TokenExpired);
}

#[test]
fn claims_that_are_missing_or_not_allowed() {
    for claims in [
        without("exp"),
        without("sub"),
        without("acc"),
        with("exp", json!("tomorrow")),
        with("exp", json!(null)),
        with("sub", json!("a/b")),
        with("sub", json!("+")),
        with("sub", json!("")),
        with("sub", json!(7)),
        with("acc", json!("$SYS")),
        with("acc", json!("x".repeat(129))),
        with("dev", json!("#")),
        with("role", json!("root")),
        with("acl", json!({"publish":"#"})),
        json!([]),
        json!("alice"),
    ] {
        let refused = verify(&claims).unwrap_err();
        assert!(matches!(refused, TokenError::Claims(_)), "{claims}: {refused:?}");
        assert_eq!(refused.code(), ErrorCode::TokenInvalid);
    }
}

#[test]
fn claims_that_may_be_left_out_and_ones_we_do_not_know() {
    let claims = verify(&without("role")).unwrap();
    assert_eq!(claims.role, Role::Agent);
    assert!(verify(&without("iat")).is_ok());
    assert!(verify(&with("dev", json!(null))).unwrap().device.is_none());
    for (field, value) in [("aud", json!("others")), ("iss", json!("x")), ("jti", json!([1]))] {
        assert!(verify(&with(field, value)).is_ok(), "{field}");
    }
}

#[test]
fn only_the_keys_own_algorithm_is_accepted() {
    let verifier = Verifier::hs256(SECRET).unwrap();
    for alg in ["HS384", "HS512", "EdDSA", "RS256"] {
        let token = sign_as(&json!({"alg":alg}), &base());
        assert_eq!(verifier.verify(token, NOW), Err(TokenError::Algorithm), "{alg}");
    }
    for alg in ["none", "None", "hs256", ""] {
        let token = sign_as(&json!({"alg":alg}), &base());
        assert_eq!(verifier.verify(token, NOW), Err(TokenError::Malformed), "{alg}");
    }
    let unsigned = sign_as(&json!({"alg":"none"}), &base());
    let (message, _) = unsigned.rsplit_once('.').unwrap();
    assert!(verifier.verify(format!("{message}."), NOW).is_err());

    // The classic: a token signed by HMAC with the public key as its secret.
    let pair = Signer::ed25519_pem(generate_ed25519().unwrap().as_bytes()).unwrap().verifier();
    let x = pair.jwks()["keys"][0]["x"].as_str().unwrap().to_owned();
    let public = URL_SAFE_NO_PAD.decode(x).unwrap();
    let forged = Signer::hs256(&public).unwrap().issue(&verify(&base()).unwrap()).unwrap();
    assert_eq!(pair.verify(forged, NOW), Err(TokenError::Algorithm));
}

#[test]
fn another_key_does_not_do() {
    let token = sign(&base());
    let other = Verifier::hs256(b"another secret").unwrap();
    assert_eq!(other.verify(token, NOW), Err(TokenError::Signature));
}

#[test]
fn an_extension_that_the_header_demands_is_refused() {
    let token = sign_as(&json!({"alg":"HS256","crit":["exp"],"exp":1}), &base());
    let verifier = Verifier::hs256(SECRET).unwrap();
    assert_eq!(verifier.verify(token, NOW), Err(TokenError::Critical));
}

#[test]
fn no_token_is_not_a_bad_token_and_a_huge_one_is_not_looked_at() {
    let verifier = Verifier::hs256(SECRET).unwrap();
    assert_eq!(verifier.verify(b"", NOW).unwrap_err().code(), ErrorCode::TokenMissing);
    let huge = sign(&with("x", json!("x".repeat(TOKEN_BYTES_MAX))));
    assert_eq!(verifier.verify(&huge, NOW), Err(TokenError::TooLong { got: huge.len() }));
    for bad in ["x", "..", "a.b.c", "a.b.c.d", "\u{e9}.\u{e9}.\u{e9}"] {
        assert_eq!(verifier.verify(bad, NOW), Err(TokenError::Malformed), "{bad}");
    }
}

#[test]
fn an_error_never_shows_the_token() {
    let verifier = Verifier::hs256(SECRET).unwrap();
    let token = sign(&base());
    let other = Verifier::hs256(b"another secret").unwrap();
    let texts = [
        other.verify(&token, NOW).unwrap_err().to_string(),
        verifier.verify(&token[1..], NOW).unwrap_err().to_string(),
        format!("{verifier:?}"),
    ];
    for text in texts {
        assert!(!text.contains(&token[5..20]) && !text.contains("secret of"), "{text}");
    }
}

proptest! {
    #[test]
    fn p7_a_changed_token_never_verifies(at in any::<prop::sample::Index>(), byte in any::<u8>(), ed in any::<bool>()) {
        let signer = if ed {
            let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
            Signer::ed25519_pem(pem.as_bytes()).unwrap()
        } else {
            Signer::hs256(SECRET).unwrap()
        };
        let mut token = signer.issue(&verify(&base()).unwrap()).unwrap().into_bytes();
        let at = at.index(token.len());
        prop_assume!(token[at] != byte);
        token[at] = byte;
        prop_assert!(signer.verifier().verify(&token, NOW).is_err());
    }

    #[test]
    fn p9_any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Verifier::hs256(SECRET).unwrap().verify(&bytes, NOW).is_err());
    }

    #[test]
    fn p9_any_signed_claims_give_an_answer(text in "[\\[\\]{}\":,a-z0-9.eE-]{0,40}") {
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(text));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
        let refused = Verifier::hs256(SECRET).unwrap().verify(format!("{message}.{signature}"), NOW).unwrap_err();
        prop_assert_eq!(refused.code(), ErrorCode::TokenInvalid);
    }
}
