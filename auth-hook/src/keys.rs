//! The keys that sign and verify tokens, as bytes: a shared HS256 secret, or an Ed25519 pair.
//!
//! A key carries its one algorithm, so a token cannot choose how it is checked. Not here: where keys lie (`server`),
//! what a token must say (`token`).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use schemas::Claims;
use serde_json::json;

/// Bytes of an Ed25519 public key (RFC 8032).
pub const ED25519_PUBLIC_BYTES: usize = 32;
/// Shorter HS256 secrets can be guessed from one token (RFC 7518, section 3.2); they work, and `server` warns.
pub const HS256_SECRET_BYTES_ADVISED: usize = 32;
/// Characters of the RFC 7638 thumbprint that make a key id: 96 bits, enough to tell a few keys apart.
const KEY_ID_CHARS: usize = 16;
/// Characters per line of a PEM file (RFC 7468, section 2).
const PEM_LINE_CHARS: usize = 64;

/// Why bytes are not a key, or a key could not be made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret of no bytes would accept tokens that anybody can sign.
    #[error("the HS256 secret is empty")]
    Empty,
    /// Not an Ed25519 private key.
    #[error("not an Ed25519 private key in PKCS#8 PEM form (\"BEGIN PRIVATE KEY\")")]
    Private,
    /// Not an Ed25519 public key.
    #[error("not an Ed25519 public key of 32 bytes, nor its PEM form (\"BEGIN PUBLIC KEY\")")]
    Public,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness for a new key")]
    Random,
    /// Signing failed; does not happen with a key that was accepted.
    #[error("the token could not be signed")]
    Sign,
}

/// Checks tokens against one key. Made once, then shared; [`Verifier::verify`] is in `token`.
pub struct Verifier {
    pub(crate) key: DecodingKey,
    pub(crate) algorithm: Algorithm,
    /// Public part, where there is one to show.
    public: Option<[u8; ED25519_PUBLIC_BYTES]>,
}

impl Verifier {
    /// Tokens signed with a shared secret (HS256). The bytes count as they are: no base64, no trailing newline
    /// dropped.
    ///
    /// # Errors
    /// [`KeyError::Empty`].
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self { key: DecodingKey::from_secret(secret), algorithm: Algorithm::HS256, public: None })
    }

    /// Tokens signed with Ed25519 (`EdDSA`); `public` is the raw key, as in a JWK's `x` before base64.
    #[must_use]
    pub fn ed25519(public: [u8; ED25519_PUBLIC_BYTES]) -> Self {
        Self { key: DecodingKey::from_ed_der(&public), algorithm: Algorithm::EdDSA, public: Some(public) }
    }

    /// As [`Verifier::ed25519`], from a PEM file.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn ed25519_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let key = DecodingKey::from_ed_pem(pem).map_err(|_| KeyError::Public)?;
        let bytes = key.try_get_as_bytes().map_err(|_| KeyError::Public)?;
        // The library slices the first 32 bytes off without looking: a shorter key would panic at the first token.
        bytes.try_into().map(Self::ed25519).map_err(|_| KeyError::Public)
    }

    /// The JWK set of the public key (RFC 7517); empty for a shared secret, which is nobody's business.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self.public.iter().map(jwk).collect();
        json!({ "keys": keys })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Issues tokens with one key.
pub struct Signer {
    key: EncodingKey,
    /// The shared secret itself, or the public part of a pair.
    half: SignerHalf,
}

enum SignerHalf {
    Secret(Vec<u8>),
    Public([u8; ED25519_PUBLIC_BYTES]),
}

impl Signer {
    /// Signs with a shared secret (HS256).
    ///
    /// # Errors
    /// [`KeyError::Empty`].
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self { key: EncodingKey::from_secret(secret), half: SignerHalf::Secret(secret.to_vec()) })
    }

    /// Signs with an Ed25519 private key in PKCS#8 PEM form, as [`generate_ed25519`] and
    /// `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    /// [`KeyError::Private`].
    pub fn ed25519_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ed_pem(pem).map_err(|_| KeyError::Private)?;
        // OpenSSL leaves the public part out of the file, hence "maybe unchecked": it is computed then.
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes()).map_err(|_| KeyError::Private)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Private)?;
        Ok(Self { key, half: SignerHalf::Public(public) })
    }

    /// The verifier that accepts what this signer issues.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        match &self.half {
            SignerHalf::Secret(secret) => {
                Verifier { key: DecodingKey::from_secret(secret), algorithm: Algorithm::HS256, public: None }
            }
            SignerHalf::Public(public) => Verifier::ed25519(*public),
        }
    }

    /// A signed token (compact JWS). With a key pair its header names the key.
    ///
    /// # Errors
    /// [`KeyError::Sign`].
    pub fn issue(&self, claims: &Claims) -> Result<String, KeyError> {
        let header = match &self.half {
            SignerHalf::Secret(_) => jsonwebtoken::Header::new(Algorithm::HS256),
            SignerHalf::Public(public) => {
                let mut header = jsonwebtoken::Header::new(Algorithm::EdDSA);
                header.kid = Some(key_id(public));
                header
            }
        };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| KeyError::Sign)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(secret)")
    }
}

/// Makes a new Ed25519 key pair: a PKCS#8 file in PEM form.
///
/// The one function of this crate that draws randomness, from the operating system: a key that could be replayed
/// from arguments would be no secret.
///
/// # Errors
/// [`KeyError::Random`].
pub fn generate_ed25519() -> Result<String, KeyError> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
    let encoded = STANDARD.encode(document.as_ref());
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE_CHARS));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(pem)
}

fn jwk(public: &[u8; ED25519_PUBLIC_BYTES]) -> serde_json::Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
        "kid": key_id(public), "x": URL_SAFE_NO_PAD.encode(public),
    })
}

/// Start of the key's thumbprint (RFC 7638; members in this very order, no spaces).
fn key_id(public: &[u8; ED25519_PUBLIC_BYTES]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let mut id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    id.truncate(KEY_ID_CHARS);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.1 and A.3: a public key and its thumbprint.
    const RFC8037_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const RFC8037_THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

    #[test]
    fn the_key_id_is_the_start_of_the_standards_thumbprint() {
        let public = URL_SAFE_NO_PAD.decode(RFC8037_X).unwrap().try_into().unwrap();
        assert_eq!(key_id(&public), RFC8037_THUMBPRINT[..KEY_ID_CHARS]);
        let set = Verifier::ed25519(public).jwks();
        assert_eq!(set["keys"][0]["x"], RFC8037_X);
        assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn new_keys_differ_and_read_back() {
        let (one, other) = (generate_ed25519().unwrap(), generate_ed25519().unwrap());
        assert_ne!(one, other);
        assert!(one.lines().all(|line| line.len() <= PEM_LINE_CHARS));
        Signer::ed25519_pem(one.as_bytes()).unwrap();
    }

    #[test]
    fn a_key_made_by_openssl_reads() {
        // openssl genpkey -algorithm ed25519; RFC 8410, section 10.3 has the same form.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let set = Signer::ed25519_pem(pem.as_bytes()).unwrap().verifier().jwks();
        assert_eq!(set["keys"][0]["x"], "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        let public = "-----BEGIN PUBLIC KEY-----\n\
                      MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                      -----END PUBLIC KEY-----\n";
        assert_eq!(Verifier::ed25519_pem(public.as_bytes()).unwrap().jwks(), set);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(Verifier::hs256(b"").err(), Some(KeyError::Empty));
        assert_eq!(Signer::hs256(b"").err(), Some(KeyError::Empty));
        assert_eq!(Signer::ed25519_pem(b"secret").err(), Some(KeyError::Private));
        assert_eq!(Verifier::ed25519_pem(b"").err(), Some(KeyError::Public));
        // A public key whose bit string is one byte short.
        let short = "-----BEGIN PUBLIC KEY-----\n\
                     MCkwBQYDK2VwAyAAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZg==\n\
                     -----END PUBLIC KEY-----\n";
        assert_eq!(Verifier::ed25519_pem(short.as_bytes()).err(), Some(KeyError::Public));
    }
}
