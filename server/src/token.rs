//! `inboxd token`: signs one token with the server's key. Prints it and nothing else.
//!
//! Reads the signing key only: no store, no running server. Not here: how a token is signed (`auth-hook`).

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use auth_hook::Signer;
use schemas::{Acl, Claims, Role, topic};

use crate::cli::{self, RoleArg, TokenArgs};
use crate::config::{AuthKeys, Config};
use crate::{Failure, keys};

pub(crate) fn run(config: Option<PathBuf>, args: &TokenArgs) -> Result<(), Failure> {
    let config = cli::load(config)?;
    let signer = signer(&config)?;
    let token = issue(&signer, args, now_secs())?;
    cli::print(&format!("{token}\n"))
}

/// Unix time in seconds.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The key that the server signs and verifies with.
fn signer(config: &Config) -> Result<Signer, Failure> {
    match &config.auth {
        AuthKeys::Hs256(secret) => Signer::hs256(secret.bytes()).map_err(|e| Failure::Failed(e.to_string())),
        AuthKeys::Jwks(url) => Err(Failure::Failed(format!(
            "tokens come from {url}: get one there; its signing key is not here"
        ))),
        AuthKeys::Own => {
            let path = config.data_dir.join(keys::AUTH_KEY_FILE);
            let shown = path.display();
            let pem = keys::read(&path)
                .map_err(|e| Failure::Failed(format!("{shown}: cannot be read: {e}")))?
                .ok_or_else(|| {
                    Failure::Failed(format!(
                        "{shown}: there is no key yet; the server makes it at its first start"
                    ))
                })?;
            Signer::ed25519_pem(&pem).map_err(|e| Failure::Failed(format!("{shown}: {e}")))
        }
    }
}

/// One token, valid from `now_secs`.
fn issue(signer: &Signer, args: &TokenArgs, now_secs: u64) -> Result<String, Failure> {
    let usage = |what: &str, e: &dyn std::fmt::Display| Failure::Usage(format!("--{what}: {e}"));
    for (option, filters) in [("publish", &args.publish), ("subscribe", &args.subscribe)] {
        for filter in filters {
            topic::check_filter(filter).map_err(|e| usage(option, &format!("{filter:?}: {e}")))?;
        }
    }
    let acl = Acl {
        publish: args.publish.clone(),
        subscribe: args.subscribe.clone(),
    };
    let claims = Claims {
        user: args.user.parse().map_err(|e| usage("user", &e))?,
        account: args.account.parse().map_err(|e| usage("account", &e))?,
        device: match &args.device {
            Some(device) => Some(device.parse().map_err(|e| usage("device", &e))?),
            None => None,
        },
        role: match args.role {
            RoleArg::Agent => Role::Agent,
            RoleArg::Admin => Role::Admin,
            RoleArg::Service => Role::Service,
        },
        exp: now_secs.saturating_add(args.ttl.as_secs()),
        iat: Some(now_secs),
        acl: (acl != Acl::default()).then_some(acl),
    };
    signer.issue(&claims).map_err(|e| Failure::Failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    const NOW: u64 = 1_800_000_000;

    fn args(words: &[&str]) -> TokenArgs {
        let all = ["inboxd", "token"].iter().chain(words);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Token(args) => args,
            _ => panic!("not the token command"),
        }
    }

    #[test]
    fn a_token_says_what_its_options_say() {
        let signer = Signer::hs256(b"secret").unwrap();
        let words = [
            "--account",
            "acme",
            "--user",
            "alice",
            "--device",
            "phone",
            "--role",
            "service",
            "--ttl",
            "2h",
            "--publish",
            "a/{user}",
            "--publish",
            "b",
            "--subscribe",
            "c/#",
        ];
        let token = issue(&signer, &args(&words), NOW).unwrap();
        let claims = signer.verifier().verify(token, NOW).unwrap();
        assert_eq!((claims.user.as_str(), claims.account.as_str()), ("alice", "acme"));
        assert_eq!(claims.device.unwrap().as_str(), "phone");
        assert_eq!(
            (claims.role, claims.exp, claims.iat),
            (Role::Service, NOW + 7200, Some(NOW))
        );
        let acl = claims.acl.unwrap();
        assert_eq!(
            (acl.publish, acl.subscribe),
            (vec!["a/{user}".into(), "b".into()], vec!["c/#".into()])
        );
    }

    #[test]
    fn without_options_it_is_an_agents_for_one_hour() {
        let signer = Signer::hs256(b"secret").unwrap();
        let token = issue(&signer, &args(&["--account", "a", "--user", "u"]), NOW).unwrap();
        let claims = signer.verifier().verify(token, NOW).unwrap();
        assert_eq!(
            (claims.role, claims.exp, claims.acl, claims.device),
            (Role::Agent, NOW + 3600, None, None)
        );
    }

    #[test]
    fn wrong_options_are_bad_usage_and_name_the_option() {
        let signer = Signer::hs256(b"secret").unwrap();
        for (words, option) in [
            (vec!["--account", "a/b", "--user", "u"], "--account"),
            (vec!["--account", "a", "--user", "#"], "--user"),
            (vec!["--account", "a", "--user", "u", "--device", ""], "--device"),
            (
                vec!["--account", "a", "--user", "u", "--publish", "a#"],
                "--publish",
            ),
            (
                vec!["--account", "a", "--user", "u", "--subscribe", ""],
                "--subscribe",
            ),
        ] {
            let failure = issue(&signer, &args(&words), NOW).unwrap_err();
            assert!(
                matches!(&failure, Failure::Usage(text) if text.starts_with(option)),
                "{failure:?}"
            );
        }
    }

    fn config(text: &str) -> Config {
        let sources = crate::config::Sources {
            file: Some(("/nowhere/inboxd.toml".into(), text.into())),
            ..Default::default()
        };
        Config::read(&sources, &|path| std::fs::read(path)).unwrap()
    }

    #[test]
    fn without_a_key_here_it_fails_and_says_why() {
        let failure = signer(&config("[auth]\njwks_url = \"https://id.example.com/k\"")).unwrap_err();
        assert!(matches!(&failure, Failure::Failed(text) if text.contains("https://id.example.com/k")));
        let failure = signer(&config("")).unwrap_err();
        assert!(
            matches!(&failure, Failure::Failed(text) if text.contains("first start")),
            "{failure}"
        );
    }

    #[test]
    fn the_servers_own_key_signs() {
        let folder = tempfile::tempdir().unwrap();
        let pem = auth_hook::generate_ed25519().unwrap();
        std::fs::write(folder.path().join(keys::AUTH_KEY_FILE), &pem).unwrap();
        let signer = signer(&config(&format!("data_dir = {:?}", folder.path()))).unwrap();
        let token = issue(&signer, &args(&["--account", "a", "--user", "u"]), NOW).unwrap();
        let verifier = Signer::ed25519_pem(pem.as_bytes()).unwrap().verifier();
        assert!(verifier.verify(token, NOW).is_ok());
    }
}
