//! Rule `clauses`: every clause of MQTT that binds a server is named where it is kept and where it is tested, or a reason
//! stands in the list why not.
//!
//! The list is `docs/mqtt-clauses.tsv`; a clause is found by its id with the version in front, in a comment or a text:
//! on a line of product code it marks the check, on a line of test code the test. `docs/protocol.md` is written from the
//! same findings (`cargo xtask protocol`). Not here: whether a test is a good one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Finding;
use super::source::{Source, Sources};
use crate::files;

/// The list: id, what it asks, why it has no test.
const LIST: &str = "docs/mqtt-clauses.tsv";
/// Where each clause is checked and tested.
pub(crate) const TABLE: &str = "docs/protocol.md";
const VERSIONS: [&str; 2] = ["v311:", "v5:"];
const WHY: &str = "a rule of MQTT that nothing tests is broken by the next change, and clients find out";

/// A line of the list.
struct Clause {
    line: usize,
    id: String,
    asks: String,
    reason: Option<String>,
}

/// Where a clause's id stands.
#[derive(Default)]
struct Places {
    /// Files of the product.
    checks: BTreeSet<String>,
    /// File and function.
    tests: BTreeSet<(String, String)>,
}

pub(crate) fn check(root: &Path, sources: &Sources) -> Vec<Finding> {
    // A tree without the list has no protocol to speak of.
    let Some(list) = files::text(root, LIST) else {
        return Vec::new();
    };
    let clauses = read(&list);
    let known: BTreeSet<&str> = clauses.iter().map(|clause| clause.id.as_str()).collect();
    let (places, unknown) = places(sources, &known);
    let mut findings = unknown;
    for clause in &clauses {
        if clause.reason.is_some() {
            continue;
        }
        let places = places.get(&clause.id);
        if places.is_none_or(|places| places.tests.is_empty()) {
            findings.push(Finding {
                file: LIST.into(),
                line: clause.line,
                rule: "clauses",
                what: format!("no test names {}", clause.id),
                why: WHY,
                instead: "write its id at a test that fails without the rule, or a reason into the list",
            });
        }
        if places.is_none_or(|places| places.checks.is_empty()) {
            findings.push(Finding {
                file: LIST.into(),
                line: clause.line,
                rule: "clauses",
                what: format!("no code names {}", clause.id),
                why: "whoever changes that code cannot know which rule it keeps",
                instead: "write its id where the rule is kept, or a reason into the list",
            });
        }
    }
    findings
}

fn read(list: &str) -> Vec<Clause> {
    let lines = list.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|(index, line)| {
            let mut parts = line.split('\t').map(str::to_owned);
            let (id, asks) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            Clause { line: index + 1, id, asks, reason: parts.next().filter(|reason| !reason.is_empty()) }
        })
        .collect()
}

/// Where the ids stand, and those that no list has.
fn places(sources: &Sources, known: &BTreeSet<&str>) -> (BTreeMap<String, Places>, Vec<Finding>) {
    let mut found: BTreeMap<String, Places> = BTreeMap::new();
    let mut unknown = Vec::new();
    for file in sources.files.iter().filter(|file| !file.path.starts_with("xtask/")) {
        for (index, text) in file.text.lines().enumerate() {
            for id in ids(text) {
                if !known.contains(id.as_str()) {
                    unknown.push(Finding {
                        file: file.path.clone(),
                        line: index + 1,
                        rule: "clauses",
                        what: format!("{id} is not in {LIST}"),
                        why: "an id that nobody can look up proves nothing",
                        instead: "correct the id",
                    });
                    continue;
                }
                let places = found.entry(id).or_default();
                if file.lines.get(index).is_some_and(|line| line.test) {
                    places.tests.insert((file.path.clone(), function_at(file, index)));
                } else {
                    places.checks.insert(file.path.clone());
                }
            }
        }
    }
    (found, unknown)
}

/// The ids in a line: `v5:3.1.2-24`, `v311:U22`.
fn ids(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for version in VERSIONS {
        for (at, _) in text.match_indices(version) {
            let rest = &text[at + version.len()..];
            let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | 'U')));
            let number = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', '-']);
            let is_clause = number.contains('-') || number.starts_with('U');
            if is_clause {
                found.push(format!("{version}{number}"));
            }
        }
    }
    found
}

/// The function a line belongs to: for a comment in front of one, that one; else the one above.
fn function_at(file: &Source, index: usize) -> String {
    let name = |line: &str| {
        let rest = &line[line.find("fn ")? + 3..];
        line.trim_start().starts_with(['f', 'a', 'p']).then(|| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            rest[..end].to_owned()
        })
    };
    let code = |index: usize| file.lines.get(index).map_or("", |line| line.code.as_str());
    let is_comment = file.text.lines().nth(index).is_some_and(|line| line.trim_start().starts_with("///"));
    let below = (index..file.lines.len()).find_map(|at| name(code(at)));
    let above = (0..=index).rev().find_map(|at| name(code(at)));
    let found = if is_comment { below } else { above };
    found.unwrap_or_else(|| "the file".to_owned())
}

/// What `docs/protocol.md` has to be; `None` without a list.
pub(crate) fn table(root: &Path) -> Option<String> {
    let clauses = read(&files::text(root, LIST)?);
    let known: BTreeSet<&str> = clauses.iter().map(|clause| clause.id.as_str()).collect();
    let (places, _) = places(&Sources::read(root), &known);
    let mut out = String::from(HEAD);
    for version in VERSIONS {
        let name = if version == "v5:" { "5.0" } else { "3.1.1" };
        out.push_str(&format!(
            "\n## MQTT {name}\n| clause | asks | checked in | tested by |\n|---|---|---|---|\n"
        ));
        for clause in clauses.iter().filter(|clause| clause.id.starts_with(version)) {
            out.push_str(&row(clause, places.get(&clause.id), version));
        }
    }
    Some(out)
}

fn row(clause: &Clause, places: Option<&Places>, version: &str) -> String {
    let id = clause.id.trim_start_matches(version);
    let asks = clause.asks.replace('|', "/");
    let empty = Places::default();
    let places = places.unwrap_or(&empty);
    let checks: Vec<&str> = places.checks.iter().map(|path| short(path)).collect();
    let tests: Vec<String> =
        places.tests.iter().map(|(path, function)| format!("`{}` {function}", short(path))).collect();
    let tests = match (&clause.reason, tests.is_empty()) {
        (Some(reason), true) => format!("– {reason}"),
        _ => tests.join(", "),
    };
    format!("| {id} | {asks} | {} | {tests} |\n", checks.join(", "))
}

/// Paths without what all of them share.
fn short(path: &str) -> &str {
    path.trim_start_matches("broker/protocol/").trim_end_matches(".rs")
}

const HEAD: &str = "\
# MQTT 3.1.1 and 5.0, clause by clause

Written by `cargo xtask protocol` from `docs/mqtt-clauses.tsv` and from the ids that stand in the sources; `cargo xtask
tidy` fails on a clause without code and test that name it, or a reason. Paths without a crate are in `broker/protocol`. U1…U48 are duties
that the standard states without a number.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const ONE: &str = "# list\nv5:3.1.2-24\tnever above the maximum\n";

    fn found(tree: &Tree) -> Vec<String> {
        check(tree.root(), &Sources::read(tree.root())).into_iter().map(|f| f.what).collect()
    }

    #[test]
    fn a_clause_needs_a_test_or_a_reason() {
        assert_eq!(found(&Tree::new()), Vec::<String>::new());
        let tree = Tree::new().with(LIST, ONE).with("b/src/a.rs", "//! A.\n// [v5:3.1.2-24]\nfn a() {}\n");
        assert_eq!(found(&tree), ["no test names v5:3.1.2-24"]);
        let untold =
            Tree::new().with(LIST, ONE).with("b/tests/a.rs", "//! A.\n// v5:3.1.2-24\nfn fits() {}\n");
        assert_eq!(found(&untold), ["no code names v5:3.1.2-24"]);
        let tree = tree.with("b/tests/a.rs", "//! A.\n/// `[v5:3.1.2-24]`\n#[test]\nfn fits() {}\n");
        assert_eq!(found(&tree), Vec::<String>::new());
        let table = table(tree.root()).expect("a list");
        assert!(
            table.contains("| 3.1.2-24 | never above the maximum | b/src/a | `b/tests/a` fits |"),
            "{table}"
        );
        let reason = Tree::new().with(LIST, "v5:U1\tasks\tclients only\n");
        assert_eq!(found(&reason), Vec::<String>::new());
    }

    #[test]
    fn an_id_that_is_in_no_list_is_found() {
        let both = "//! A.\n// v5:3.1.2-24 v5:x\n";
        let tree = Tree::new().with(LIST, ONE).with("b/src/a.rs", both).with("b/tests/b.rs", both);
        assert_eq!(found(&tree), Vec::<String>::new());
        let tree = tree.with("b/tests/a.rs", "//! A.\n// v5:9.9.9-9\n");
        assert_eq!(found(&tree), ["v5:9.9.9-9 is not in docs/mqtt-clauses.tsv"]);
    }
}
