//! Who may do what: the one place that verifies tokens and decides about topics (O2, and S1 for history-api).
//!
//! Everything here is a function of its arguments: keys are bytes, `now` is a number of seconds, accounts are asked
//! through a function given at construction. Broker and history-api call [`Auth`] in-process; other brokers ask the
//! same decisions over HTTP (a thin `http.rs` beside this file, when it comes).
//! Not here: reading key files (`server`), revocation lists, carrying a decision out (`broker`, `history-api`).

pub mod acl;
pub mod keys;
pub mod metrics;
pub mod token;

use std::sync::Arc;

use schemas::{AccountId, Claims, ErrorCode};

pub use acl::{Action, ClientIdRule, Decision, DenyReason, check_client_id, decide};
pub use keys::{KeyError, Signer, Verifier, generate_ed25519};
pub use token::{TOKEN_BYTES_MAX, TokenError};

/// The decisions, as broker and history-api see them.
///
/// Neither call waits, draws randomness or reads a clock, so both may be made from any thread for every packet.
pub trait Auth: Send + Sync {
    /// Who is this? `token` as it came: the MQTT password, or what follows `Bearer `; empty means none was sent.
    /// `now_secs` is Unix time in seconds.
    ///
    /// # Errors
    /// [`AuthError`] with one of the codes `token_missing`, `token_invalid`, `token_expired`, `account_unknown`.
    fn authenticate(&self, token: &[u8], now_secs: u64) -> Result<Claims, AuthError>;

    /// May its bearer do this? `topic` is a topic name for a publish, a filter (with `$share/…` where it has one)
    /// for a subscription. Expiry is not looked at: a connection keeps `exp` and ends itself.
    fn authorize(&self, claims: &Claims, action: Action, topic: &str) -> Decision;
}

/// A token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AuthError {
    /// Stable code; its MQTT reason and HTTP status stand in `schemas`.
    pub code: ErrorCode,
    /// What is wrong, for the token's bearer. Never holds the token.
    pub detail: String,
}

impl From<TokenError> for AuthError {
    fn from(error: TokenError) -> Self {
        Self { code: error.code(), detail: error.to_string() }
    }
}

/// Does this account exist? Asked at every authentication, so it must answer from memory.
pub type AccountExists = Arc<dyn Fn(&AccountId) -> bool + Send + Sync>;

/// The decisions of this process: its keys, its accounts, the contract's rules.
#[derive(Clone)]
pub struct Hook {
    verifier: Arc<Verifier>,
    account_exists: AccountExists,
}

impl Hook {
    /// Tokens are checked against `verifier`, their account with `account_exists`.
    #[must_use]
    pub fn new(verifier: Verifier, account_exists: AccountExists) -> Self {
        Self { verifier: Arc::new(verifier), account_exists }
    }

    /// The public keys, as `/.well-known/jwks.json` shows them; an empty set with a shared secret.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.verifier.jwks()
    }
}

impl Auth for Hook {
    fn authenticate(&self, token: &[u8], now_secs: u64) -> Result<Claims, AuthError> {
        let claims = self.verifier.verify(token, now_secs)?;
        if (self.account_exists)(&claims.account) {
            Ok(claims)
        } else {
            Err(AuthError {
                code: ErrorCode::AccountUnknown,
                detail: ErrorCode::AccountUnknown.meaning().to_owned(),
            })
        }
    }

    fn authorize(&self, claims: &Claims, action: Action, topic: &str) -> Decision {
        decide(claims, action, topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{Role, UserId};

    const NOW: u64 = 1_800_000_000;

    fn claims(account: &str) -> Claims {
        Claims {
            user: UserId::new("alice").unwrap(),
            account: AccountId::new(account).unwrap(),
            device: None,
            role: Role::Agent,
            exp: NOW + 60,
            iat: Some(NOW),
            acl: None,
        }
    }

    #[test]
    fn a_token_that_verifies_needs_an_account_that_exists_and_no_more() {
        let signer = Signer::hs256(b"secret").unwrap();
        let hook = Hook::new(signer.verifier(), Arc::new(|account| account.as_str() == "acme"));
        let good = signer.issue(&claims("acme")).unwrap();
        assert_eq!(hook.authenticate(good.as_bytes(), NOW), Ok(claims("acme")));
        let foreign = signer.issue(&claims("other")).unwrap();
        let refused = hook.authenticate(foreign.as_bytes(), NOW).unwrap_err();
        assert_eq!(refused.code, ErrorCode::AccountUnknown);
        assert_eq!(hook.authenticate(b"", NOW).unwrap_err().code, ErrorCode::TokenMissing);
        assert_eq!(hook.jwks(), serde_json::json!({"keys": []}));
    }
}
