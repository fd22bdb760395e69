//! Tokens (contract, section 4), signed by hand with the shared secret of the test's configuration: HS256, written apart
//! from the product's own signer.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The secret of every server of the tests.
pub const SECRET: &str = "a secret that only the tests know, 32 bytes or more";
/// Longer than any test.
const TTL_S: u64 = 3_600;

/// A token to be signed.
#[derive(Clone, Debug)]
pub struct Token {
    claims: Value,
    secret: String,
}

impl Token {
    /// An agent's, for an hour.
    #[must_use]
    pub fn of(account: &str, user: &str) -> Self {
        let now = now_s();
        let claims = json!({"sub": user, "acc": account, "role": "agent", "iat": now, "exp": now + TTL_S});
        Self { claims, secret: SECRET.to_owned() }
    }

    /// With any claim.
    #[must_use]
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    /// For one device.
    #[must_use]
    pub fn device(self, device: &str) -> Self {
        self.with("dev", device)
    }

    /// That may publish to and subscribe to these general topics.
    #[must_use]
    pub fn acl(self, publish: &[&str], subscribe: &[&str]) -> Self {
        self.with("acl", json!({"publish": publish, "subscribe": subscribe}))
    }

    /// That ends so many seconds from now; 0 or less: it has ended.
    #[must_use]
    pub fn ttl(self, seconds: i64) -> Self {
        self.with("exp", now_s().saturating_add_signed(seconds))
    }

    /// Signed with another secret.
    #[must_use]
    pub fn forged(mut self) -> Self {
        self.secret.push('!');
        self
    }

    /// The token.
    ///
    /// # Panics
    /// Never: HMAC takes a key of any length.
    #[must_use]
    pub fn sign(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({"alg": "HS256", "typ": "JWT"}));
        let signed = format!("{head}.{}", part(&self.claims));
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.secret.as_bytes()).expect("any length");
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

/// Unix time in seconds.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
