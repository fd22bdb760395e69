//! The house rules that a compiler does not check, each in a file of its own.
//!
//! A rule reads the tree and returns findings; it prints nothing and changes nothing. Rules are lexical on purpose
//! (no parser, no build): `cargo xtask tidy` answers in a second, also on a tree that does not compile.

mod arrows;
mod calls;
pub(crate) mod clauses;
mod documents;
mod headers;
mod size;
mod source;
mod testcode;

use std::fmt;
use std::path::Path;

use source::Sources;

/// One breach of a rule, with all that is needed to mend it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the root of the repository.
    pub(crate) file: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// The rule's short name.
    pub(crate) rule: &'static str,
    /// What stands there.
    pub(crate) what: String,
    /// What breaks if it stays.
    pub(crate) why: &'static str,
    /// How to mend it.
    pub(crate) instead: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, what, why, instead } = self;
        write!(f, "{file}:{line}: [{rule}] {what}\n    why: {why}\n    do:  {instead}")
    }
}

/// Every finding below `root`, sorted by file and line.
pub(crate) fn check(root: &Path) -> Vec<Finding> {
    let sources = Sources::read(root);
    let mut findings = arrows::check(root);
    findings.extend(headers::check(root, &sources));
    findings.extend(size::check(&sources));
    findings.extend(calls::check(&sources));
    findings.extend(clauses::check(root, &sources));
    findings.extend(documents::check(root));
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::Tree;

    #[test]
    fn this_repository_needs_no_excuses_in_its_own_chores() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        let ours: Vec<_> = check(root).into_iter().filter(|f| f.file.starts_with("xtask/")).collect();
        assert_eq!(ours, []);
    }

    #[test]
    fn every_rule_is_asked() {
        let swollen = "fn a() {}\n".repeat(801);
        let tree = Tree::new()
            .with("schemas/Cargo.toml", "[package]\nname = \"schemas\"\n[dependencies]\nstore = {}\n")
            .with(
                "schemas/src/lib.rs",
                &format!("fn a() {{ Instant::now(); env::var(x).unwrap(); }}\n{swollen}"),
            )
            .with("tests/src/lib.rs", "//! Tests.\n#[ignore]\nfn a() { thread::sleep(x) }\n");
        let rules: BTreeSet<&str> = check(tree.root()).iter().map(|finding| finding.rule).collect();
        let all = [
            "arrows",
            "documents",
            "environment",
            "header",
            "no-ignore",
            "no-sleep",
            "no-unwrap",
            "pure-core",
            "size",
        ];
        assert_eq!(rules, BTreeSet::from(all));
    }

    #[test]
    fn a_finding_says_where_what_why_and_what_to_do() {
        let finding = Finding {
            file: "store/src/lib.rs".into(),
            line: 7,
            rule: "no-unwrap",
            what: "`.unwrap()`".into(),
            why: "a panic",
            instead: "return an error",
        };
        let text = finding.to_string();
        for part in
            ["store/src/lib.rs:7:", "[no-unwrap]", "`.unwrap()`", "why: a panic", "do:  return an error"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
