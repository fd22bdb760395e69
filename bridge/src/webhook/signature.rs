//! I1. Whose webhook it is: `X-Hub-Signature-256: sha256=<hex>` over the raw bytes, compared in constant time.
//!
//! A number may have an app secret of its own. Then only that secret speaks for it, and for no other number: whoever
//! holds the secret of one tenant's app must not be able to write into another tenant's conversations (P7).
//! Not here: what the body says.

use std::collections::BTreeSet;

use hmac::{Hmac, Mac};
use schemas::NumberId;
use sha2::Sha256;
use store::Update;

use crate::config::BridgeConfig;

/// Name of the header, in lower case.
pub(super) const HEADER: &str = "x-hub-signature-256";

const PREFIX: &str = "sha256=";
const DIGEST_BYTES: usize = 32;

/// All app secrets, and for which numbers each speaks.
pub(crate) struct AppSecrets {
    secrets: Vec<(Hmac<Sha256>, Scope)>,
}

/// For which numbers a signature speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// For all but those with a secret of their own.
    AllBut(BTreeSet<NumberId>),
    /// For these.
    Only(BTreeSet<NumberId>),
}

impl AppSecrets {
    pub(crate) fn new(config: &BridgeConfig) -> Self {
        let own: BTreeSet<_> = config
            .numbers
            .iter()
            .filter(|number| number.app_secret.is_some())
            .map(|number| number.id.clone())
            .collect();
        let common =
            config.app_secrets.iter().map(|secret| (key(secret.expose()), Scope::AllBut(own.clone())));
        let of_numbers = config.numbers.iter().filter_map(|number| {
            let secret = number.app_secret.as_ref()?;
            Some((key(secret.expose()), Scope::Only(BTreeSet::from([number.id.clone()]))))
        });
        Self { secrets: common.chain(of_numbers).collect() }
    }

    /// The scopes of all secrets that made this signature; empty: it is not ours.
    pub(super) fn verify(&self, header: Option<&[u8]>, body: &[u8]) -> Vec<&Scope> {
        let Some(signature) = header.and_then(parse) else { return Vec::new() };
        let made_it = |key: &Hmac<Sha256>| key.clone().chain_update(body).verify_slice(&signature).is_ok();
        self.secrets.iter().filter(|(key, _)| made_it(key)).map(|(_, scope)| scope).collect()
    }
}

impl Scope {
    fn covers(&self, number: &NumberId) -> bool {
        match self {
            Self::AllBut(numbers) => !numbers.contains(number),
            Self::Only(numbers) => numbers.contains(number),
        }
    }
}

/// Do these scopes cover everything that the updates are about?
pub(super) fn covers(scopes: &[&Scope], updates: &[Update]) -> bool {
    updates.iter().all(|update| {
        let number = match update {
            Update::Message(inbound) => &inbound.number,
            Update::Status(status) => &status.number,
        };
        scopes.iter().any(|scope| scope.covers(number))
    })
}

fn key(secret: &str) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length")
}

fn parse(header: &[u8]) -> Option<[u8; DIGEST_BYTES]> {
    let hex = header.strip_prefix(PREFIX.as_bytes())?;
    if hex.len() != 2 * DIGEST_BYTES {
        return None;
    }
    let mut digest = [0; DIGEST_BYTES];
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NumberConfig, OnUnknown, Secret};

    /// Test vector of docs: the empty webhook signed with `app-secret`.
    const BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;
    const SIGNATURE: &[u8] = b"sha256=d3e4f9da0ce6c71ab3dba55929b8eeeee2455349e534924ead19f98d143e904f";

    fn number(id: &str, secret: Option<&str>) -> NumberConfig {
        NumberConfig {
            id: NumberId::new(id).unwrap(),
            access_token: Secret::new("t"),
            app_secret: secret.map(Secret::new),
            on_unknown: OnUnknown::Hold,
            unknown_after_ms: 1,
        }
    }

    fn secrets(common: &[&str], numbers: Vec<NumberConfig>) -> AppSecrets {
        AppSecrets::new(&BridgeConfig {
            graph_url: String::new(),
            verify_token: Secret::new("v"),
            app_secrets: common.iter().map(|secret| Secret::new(*secret)).collect(),
            numbers,
        })
    }

    #[test]
    fn i1_the_signature_of_the_documented_example() {
        let ours = secrets(&["old", "app-secret"], vec![]);
        assert_eq!(ours.verify(Some(SIGNATURE), BODY).len(), 1);
        assert!(ours.verify(Some(&SIGNATURE.to_ascii_uppercase().replace_prefix()), BODY).len() == 1);
    }

    trait Prefix {
        fn replace_prefix(self) -> Vec<u8>;
    }

    impl Prefix for Vec<u8> {
        fn replace_prefix(mut self) -> Vec<u8> {
            self[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
            self
        }
    }

    #[test]
    fn i1_everything_else_is_refused() {
        let ours = secrets(&["app-secret"], vec![]);
        let mut other = SIGNATURE.to_vec();
        *other.last_mut().unwrap() = b'e';
        let mut not_hex = SIGNATURE.to_vec();
        *not_hex.last_mut().unwrap() = b'g';
        for header in
            [None, Some(&other[..]), Some(&not_hex), Some(&SIGNATURE[..70]), Some(b"sha1=00"), Some(b"")]
        {
            assert!(ours.verify(header, BODY).is_empty(), "{header:?}");
        }
        assert!(ours.verify(Some(SIGNATURE), &BODY[1..]).is_empty());
        assert!(secrets(&[], vec![]).verify(Some(SIGNATURE), BODY).is_empty());
    }

    #[test]
    fn p7_a_secret_speaks_for_its_own_numbers_only() {
        let status = |number: &str| {
            Update::Status(Box::new(store::StatusUpdate {
                number: NumberId::new(number).unwrap(),
                wamid: schemas::Wamid::new("w").unwrap(),
                message: None,
                status: schemas::Status::Sent,
                at: schemas::Millis(1),
                error: None,
            }))
        };
        let numbers = || vec![number("1", Some("own")), number("2", None)];
        for (common, own, one, two, unknown) in [
            ("app-secret", "own", false, true, true),
            ("c", "app-secret", true, false, false),
            ("app-secret", "app-secret", true, true, true),
        ] {
            let mut numbers = numbers();
            numbers[0].app_secret = Some(Secret::new(own));
            let secrets = secrets(&[common], numbers);
            let scopes = secrets.verify(Some(SIGNATURE), BODY);
            let covered = ["1", "2", "3"].map(|number| covers(&scopes, &[status(number)]));
            assert_eq!(covered, [one, two, unknown], "{common} {own}");
            assert!(!covers(&scopes, &[status("1"), status("2")]) || (one && two));
        }
    }
}
