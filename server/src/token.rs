//! `inboxd token`: signs one token with the server's key. Prints it and nothing else.
//!
//! Reads the signing key only: no store, no running server. Not here: how a token is signed (`auth-hook`).

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use schemas::{Acl, Claims, Role, topic};

use crate::Failure;
use crate::cli::{self, RoleArg, TokenArgs};
use crate::keys::{self, Missing};

pub(crate) fn run(config: Option<PathBuf>, args: &TokenArgs) -> Result<(), Failure> {
    let config = cli::load_signing(config)?;
    let claims = claims(args, now_secs())?;
    let signer = keys::signer_of(&config.auth, &config.data_dir, Missing::Fail)?;
    let token = signer.issue(&claims).map_err(|e| Failure::Failed(e.to_string()))?;
    cli::print(&format!("{token}\n"))
}

/// Unix time in seconds.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What the token is to say, valid from `now_secs`.
fn claims(args: &TokenArgs, now_secs: u64) -> Result<Claims, Failure> {
    let usage = |what: &str, e: &dyn std::fmt::Display| Failure::Usage(format!("--{what}: {e}"));
    for (option, filters) in [("publish", &args.publish), ("subscribe", &args.subscribe)] {
        for filter in filters {
            topic::check_filter(filter).map_err(|e| usage(option, &format!("{filter:?}: {e}")))?;
        }
    }
    let acl = Acl { publish: args.publish.clone(), subscribe: args.subscribe.clone() };
    Ok(Claims {
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
        acl: (acl != Acl::default()).then(|| std::sync::Arc::new(acl)),
    })
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
        let claims = claims(&args(&words), NOW).unwrap();
        assert_eq!((claims.user.as_str(), claims.account.as_str()), ("alice", "acme"));
        assert_eq!(claims.device.unwrap().as_str(), "phone");
        assert_eq!((claims.role, claims.exp, claims.iat), (Role::Service, NOW + 7200, Some(NOW)));
        let acl = claims.acl.unwrap();
        assert_eq!(
            (acl.publish.clone(), acl.subscribe.clone()),
            (vec!["a/{user}".into(), "b".into()], vec!["c/#".into()])
        );
    }

    #[test]
    fn without_options_it_is_an_agents_for_one_hour() {
        let claims = claims(&args(&["--account", "a", "--user", "u"]), NOW).unwrap();
        assert_eq!(
            (claims.role, claims.exp, claims.acl, claims.device),
            (Role::Agent, NOW + 3600, None, None)
        );
    }

    #[test]
    fn wrong_options_are_bad_usage_and_name_the_option() {
        for (words, option) in [
            (vec!["--account", "a/b", "--user", "u"], "--account"),
            (vec!["--account", "a", "--user", "#"], "--user"),
            (vec!["--account", "a", "--user", "u", "--device", ""], "--device"),
            (vec!["--account", "a", "--user", "u", "--publish", "a#"], "--publish"),
            (vec!["--account", "a", "--user", "u", "--subscribe", ""], "--subscribe"),
        ] {
            let failure = claims(&args(&words), NOW).unwrap_err();
            assert!(matches!(&failure, Failure::Usage(text) if text.starts_with(option)), "{failure:?}");
        }
    }
}
