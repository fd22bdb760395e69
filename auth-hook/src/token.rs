//! Does a token verify, and what does it say (contract, section 4)? The clock is an argument.
//!
//! Not here: the keys (`keys`), what the claims allow (`acl`), whether the account exists ([`crate::Hook`]).

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use schemas::{AccountId, Acl, Claims, ErrorCode, Role, UserId};
use serde::{Deserialize, Deserializer};

use crate::keys::Verifier;

/// Longest token in bytes. Ours have 200 to 400, an identity provider's one or two thousand; web servers commonly
/// stop at 8 KiB for a header. It also limits the filters of an `acl`.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far `iat` and `nbf` may lie ahead of our clock, in seconds. `exp` has no leeway.
pub const LEEWAY_SECS: u64 = 60;

/// Why a token is refused. Says nothing of its content beyond the claim that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// None was sent.
    #[error("there is no token")]
    Missing,
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("the token has {got} bytes, at most {TOKEN_BYTES_MAX} are taken")]
    TooLong {
        /// Bytes it has.
        got: usize,
    },
    /// Not three parts of base64url, or a header that is no JOSE header or names no algorithm we know.
    #[error("this is not a signed JWT")]
    Malformed,
    /// Signed in another way than this server's key is for; `none` is no way at all.
    #[error("the token is signed with another algorithm than this server accepts")]
    Algorithm,
    /// The header demands an extension that we do not have (RFC 7515, section 4.1.11).
    #[error("the token's header demands an extension (`crit`) that is not known here")]
    Critical,
    /// The signature is not by our key over these bytes.
    #[error("the token's signature does not verify")]
    Signature,
    /// A claim is missing or has a value that is not allowed.
    #[error("the token's claims are not allowed: {0}")]
    Claims(String),
    /// `iat` or `nbf` lies in the future.
    #[error("the token is not valid yet: `{claim}` lies more than {LEEWAY_SECS} s ahead")]
    NotYet {
        /// Which claim.
        claim: &'static str,
    },
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
}

impl TokenError {
    /// The stable code that clients see.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing => ErrorCode::TokenMissing,
            Self::Expired => ErrorCode::TokenExpired,
            _ => ErrorCode::TokenInvalid,
        }
    }
}

/// The claims as an issuer may spell them.
#[derive(Deserialize)]
struct RawClaims {
    sub: UserId,
    acc: AccountId,
    dev: Option<UserId>,
    #[serde(default)]
    role: Role,
    exp: NumericDate,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    acl: Option<Acl>,
}

/// Unix seconds, cut to whole ones; RFC 7519 allows fractions, and some libraries send them. Negative ones are 0.
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a time claim must be a number of seconds")]
        enum Number {
            Whole(u64),
            Other(f64),
        }
        Ok(Self(match Number::deserialize(deserializer)? {
            Number::Whole(seconds) => seconds,
            // Saturates at both ends, which is what we want.
            Number::Other(seconds) => seconds as u64,
        }))
    }
}

impl Verifier {
    /// Checks the signature with this verifier's one algorithm, then the times against `now_secs` (Unix seconds),
    /// and reads the claims. `exp` must be there, and the token ends at that very second. `aud` and `iss` are not
    /// looked at: the key alone says who may issue.
    ///
    /// # Errors
    /// [`TokenError`]; [`TokenError::code`] is what clients are told.
    pub fn verify(&self, token: impl AsRef<[u8]>, now_secs: u64) -> Result<Claims, TokenError> {
        let token = token.as_ref();
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { got: token.len() });
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.alg != self.algorithm {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let raw = jsonwebtoken::decode::<RawClaims>(token, &self.key, &self.rules())
            .map_err(|e| match e.kind() {
                ErrorKind::InvalidSignature => TokenError::Signature,
                ErrorKind::Json(e) => TokenError::Claims(e.to_string()),
                _ => TokenError::Malformed,
            })?
            .claims;
        raw.check_times(now_secs)?;
        Ok(raw.into())
    }

    /// Only the signature is left to the library: its checks of time read the clock themselves.
    fn rules(&self) -> jsonwebtoken::Validation {
        let mut rules = jsonwebtoken::Validation::new(self.algorithm);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.validate_aud = false;
        rules
    }
}

impl RawClaims {
    fn check_times(&self, now_secs: u64) -> Result<(), TokenError> {
        if now_secs >= self.exp.0 {
            return Err(TokenError::Expired);
        }
        let latest = now_secs.saturating_add(LEEWAY_SECS);
        for (claim, date) in [("iat", &self.iat), ("nbf", &self.nbf)] {
            if date.as_ref().is_some_and(|date| date.0 > latest) {
                return Err(TokenError::NotYet { claim });
            }
        }
        Ok(())
    }
}

impl From<RawClaims> for Claims {
    fn from(raw: RawClaims) -> Self {
        Self {
            user: raw.sub,
            account: raw.acc,
            device: raw.dev,
            role: raw.role,
            exp: raw.exp.0,
            iat: raw.iat.map(|date| date.0),
            acl: raw.acl.map(Arc::new),
        }
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
