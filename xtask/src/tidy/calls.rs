//! Rules on single calls: what may not be written, on which side, and where.
//!
//! One table. clippy bans some of these too; it cannot tell a pure core from its shell, nor a test from the product.

use super::Finding;
use super::source::{Source, Sources};

/// Code without I/O, clock and chance: what it returns depends on its arguments alone. Starts of paths.
const PURE_CORES: [&str; 7] = [
    "broker/protocol/src/",
    "schemas/src/",
    "auth-hook/src/acl.rs",
    "store/src/plan",
    "bridge/src/translate",
    "bridge/src/sender/plan.rs",
    "sim/src/whatsapp/model",
];

/// Who may read the environment: the one place that does it for the product, and what is no product.
const MAY_READ_ENVIRONMENT: [&str; 4] = ["server/", "tests/", "xtask/", "bench/"];

struct Rule {
    name: &'static str,
    calls: &'static [&'static str],
    /// Whether it holds for this line of this file.
    holds: fn(&Source, test: bool) -> bool,
    why: &'static str,
    instead: &'static str,
}

const RULES: [Rule; 5] = [
    Rule {
        name: "no-ignore",
        calls: &["#[ignore", ", ignore)", ", ignore ="],
        holds: |_, _| true,
        why: "a test that does not run is believed all the same",
        instead: "make it run, or make it a layer that is shown as SKIPPED with its reason",
    },
    Rule {
        name: "no-sleep",
        calls: &["thread::sleep", "time::sleep", "sleep_until", "sleep_ms"],
        holds: |_, test| test,
        why: "too short on a slow machine, too long on every other one",
        instead: "wait for the event itself with a deadline, or use a clock that is an argument",
    },
    Rule {
        name: "no-unwrap",
        calls: &[".unwrap()", ".unwrap_err()"],
        holds: |_, test| !test,
        why: "a panic ends a connection that did nothing wrong (P9), and says nothing to the operator",
        instead: "return an error, or `expect(\"why it cannot fail\")`",
    },
    Rule {
        name: "pure-core",
        calls: &[
            "Instant::now",
            "SystemTime::now",
            "rand",
            "getrandom",
            "std::fs",
            "std::net",
            "std::thread",
            "tokio",
        ],
        holds: |file, test| !test && PURE_CORES.iter().any(|core| file.path.starts_with(core)),
        why: "a core that looks at the clock, the dice or the disk cannot be replayed from a seed",
        instead: "take time, ids and bytes as arguments; let the shell around the core fetch them",
    },
    Rule {
        name: "environment",
        calls: &["env::var", "env::var_os", "env::vars"],
        holds: |file, test| !test && !MAY_READ_ENVIRONMENT.iter().any(|folder| file.path.starts_with(folder)),
        why: "a setting read in a corner is in no configuration file, no `inboxd config` and no test",
        instead: "make it a key of the crate's Config, which `server` fills",
    },
];

pub(crate) fn check(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &RULES {
        for file in &sources.files {
            for call in rule.calls {
                let places = file.uses(call).filter(|(_, test)| (rule.holds)(file, *test));
                findings.extend(places.map(|(line, _)| Finding {
                    file: file.path.clone(),
                    line,
                    rule: rule.name,
                    what: format!("`{call}`"),
                    why: rule.why,
                    instead: rule.instead,
                }));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    /// (rule, file, line) of every finding in one planted file.
    fn found(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let tree = Tree::new().with(path, text);
        let mut found: Vec<_> =
            check(&Sources::read(tree.root())).into_iter().map(|f| (f.rule, f.line)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn each_rule_finds_its_planted_fault() {
        for (rule, path, text, line) in [
            (
                "no-ignore",
                "store/src/a.rs",
                "#[cfg(test)]\nmod tests {\n#[test]\n#[ignore]\nfn a() {}\n}\n",
                4,
            ),
            ("no-ignore", "tests/tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n", 2),
            ("no-sleep", "tests/src/lib.rs", "fn a() {\nstd::thread::sleep(D);\n}\n", 2),
            (
                "no-sleep",
                "store/src/a.rs",
                "#[cfg(test)]\nasync fn a() {\ntokio::time::sleep(D).await\n}\n",
                3,
            ),
            ("no-unwrap", "store/src/a.rs", "fn a() { b().unwrap(); }\n", 1),
            ("pure-core", "broker/protocol/src/a.rs", "fn a() { std::time::Instant::now(); }\n", 1),
            ("pure-core", "bridge/src/translate/status.rs", "fn a() {\nSystemTime::now();\n}\n", 2),
            ("pure-core", "sim/src/whatsapp/model.rs", "use rand::Rng;\n", 1),
            ("pure-core", "store/src/plan.rs", "use std::fs;\n", 1),
            ("environment", "broker/src/a.rs", "fn a() { std::env::var(\"X\"); }\n", 1),
        ] {
            assert_eq!(found(path, text), [(rule, line)], "{path}: {text}");
        }
    }

    #[test]
    fn what_is_allowed_is_left_alone() {
        for (path, text) in [
            ("store/src/a.rs", "#[cfg(test)]\nmod tests {\nfn a() { b().unwrap(); }\n}\n"),
            ("store/src/a.rs", "// never .unwrap() and no thread::sleep\nfn a() { log(\".unwrap()\") }\n"),
            ("broker/src/conn.rs", "fn a() { Instant::now(); tokio::time::sleep(d); }\n"),
            ("server/src/config.rs", "fn a() { std::env::var(\"X\"); }\n"),
            ("tests/src/lib.rs", "fn a() { std::env::var(\"X\").unwrap(); }\n"),
            ("schemas/src/a.rs", "#[cfg(test)]\nmod tests {\nfn a() { Instant::now(); }\n}\n"),
        ] {
            assert_eq!(found(path, text), [], "{path}: {text}");
        }
    }
}
