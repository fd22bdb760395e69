//! I1 from Meta's side: the `X-Hub-Signature-256` header of a webhook delivery, HMAC-SHA256 with the app secret over
//! the raw body bytes.
//!
//! Not in here: checking a signature in constant time; that is the bridge's own code, and a test that used this file's
//! idea of checking would prove nothing about it.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header's name, as Meta writes it.
pub const SIGNATURE_HEADER: &str = "X-Hub-Signature-256";

/// The header's value: `sha256=` and 64 lower-case hex digits.
pub fn signature(app_secret: &[u8], body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(app_secret).expect("HMAC takes a key of any length");
    mac.update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

/// How to sign one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// As Meta does.
    #[default]
    Correct,
    /// Well-formed, made with another key.
    Wrong,
    /// No header at all.
    Missing,
}

impl Signature {
    /// The header's value for `body`; `None` where the header is left out.
    pub fn header(self, app_secret: &[u8], body: &[u8]) -> Option<String> {
        match self {
            Self::Correct => Some(signature(app_secret, body)),
            Self::Wrong => Some(signature(&[app_secret, b"-not"].concat(), body)),
            Self::Missing => None,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;

    #[test]
    fn i1_signature_matches_the_known_vector() {
        assert_eq!(BODY.len(), 49);
        assert_eq!(
            signature(b"app-secret", BODY),
            "sha256=d3e4f9da0ce6c71ab3dba55929b8eeeee2455349e534924ead19f98d143e904f"
        );
    }

    #[test]
    fn a_wrong_signature_is_well_formed_but_another() {
        let right = Signature::Correct.header(b"app-secret", BODY).expect("signed");
        let wrong = Signature::Wrong.header(b"app-secret", BODY).expect("signed");
        assert_eq!(right.len(), wrong.len());
        assert_ne!(right, wrong);
        assert_eq!(Signature::Missing.header(b"app-secret", BODY), None);
    }
}
