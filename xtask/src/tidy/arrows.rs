//! Rule `arrows`: which crate may depend on which (docs/ARCHITECTURE.md).
//!
//! Read from `[dependencies]` and `[build-dependencies]` of each member, whatever the target; not from
//! `[dev-dependencies]`, which tests may need. Everything flows through the store: broker and bridge that know
//! each other would make a second, unsaved way from WhatsApp to a device.

use std::path::Path;

use super::Finding;
use crate::files;

/// A crate of ours, and the crates of ours that it may use.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("schemas", &[]),
    ("auth-hook", &["schemas"]),
    ("store", &["schemas"]),
    ("listener", &[]),
    ("broker-protocol", &["schemas"]),
    ("broker", &["broker-protocol", "listener", "store", "auth-hook", "schemas"]),
    ("bridge", &["store", "schemas"]),
    ("history-api", &["store", "auth-hook", "schemas"]),
    ("sim", &[]),
    ("inboxd", LIBRARIES),
    // Leaves: they may use every library; nobody may use them, and they reach the binary as a process only.
    ("world", &["broker-protocol", "broker", "store", "schemas", "sim"]),
    ("powercut", &["store", "schemas", "sim"]),
    ("fuzz", &["broker-protocol", "broker", "store", "auth-hook", "schemas", "sim"]),
    ("tests", LIBRARIES),
    ("bench", LIBRARIES),
    ("xtask", &[]),
];

const LIBRARIES: &[&str] = &[
    "schemas",
    "auth-hook",
    "store",
    "listener",
    "broker-protocol",
    "broker",
    "bridge",
    "history-api",
    "sim",
];

const RULE: &str = "arrows";
const WHY: &str = "an arrow outside the picture lets one room depend on another's inside, and soon no part can be read or changed alone";

pub(crate) fn check(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in files::below(root, |path| path.ends_with("/Cargo.toml")) {
        let Some(text) = files::text(root, &manifest) else {
            continue;
        };
        match text.parse::<toml::Table>() {
            Ok(table) => findings.extend(check_manifest(&manifest, &text, &table)),
            Err(e) => findings.push(Finding {
                file: manifest,
                line: 1,
                rule: RULE,
                what: format!("is no TOML: {}", e.message()),
                why: "what cannot be read cannot be checked",
                instead: "mend the file",
            }),
        }
    }
    findings
}

fn check_manifest(file: &str, text: &str, table: &toml::Table) -> Vec<Finding> {
    let Some(name) = table.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str) else {
        return Vec::new();
    };
    let finding =
        |line, what, instead| Finding { file: file.into(), line, rule: RULE, what, why: WHY, instead };
    let Some((_, allowed)) = ALLOWED.iter().find(|(member, _)| *member == name) else {
        let what = format!("`{name}` is not in the table of allowed arrows");
        return vec![finding(
            1,
            what,
            "add it to ALLOWED in xtask/src/tidy/arrows.rs and to docs/ARCHITECTURE.md",
        )];
    };
    let is_ours = |crate_name: &str| ALLOWED.iter().any(|(member, _)| *member == crate_name);
    used_crates(table)
        .into_iter()
        .filter(|used| is_ours(used) && !allowed.contains(&used.as_str()))
        .map(|used| {
            let what = format!("`{name}` depends on `{used}`");
            let instead =
                "move what both need into `schemas`, pass it in through `server`, or use [dev-dependencies] for a test";
            finding(line_of(text, &used), what, instead)
        })
        .collect()
}

/// Names of all packages that end up in the product, also renamed ones and those for one target only.
fn used_crates(table: &toml::Table) -> Vec<String> {
    let targets = table.get("target").and_then(toml::Value::as_table);
    let tables = std::iter::once(table)
        .chain(targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table));
    let mut used = Vec::new();
    for table in tables {
        for section in ["dependencies", "build-dependencies"] {
            let Some(dependencies) = table.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (key, value) in dependencies {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                used.push(renamed.unwrap_or(key).to_owned());
            }
        }
    }
    used
}

/// The first line that names the crate; line 1 if it is written in a way we do not search for.
fn line_of(text: &str, name: &str) -> usize {
    let names = |line: &str| {
        line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '=']))
            || line.contains(&format!("\"{name}\""))
    };
    // The first lines are the package's own name.
    text.lines().position(|line| names(line) && !line.starts_with("name")).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n\n{rest}")
    }

    fn found(tree: &Tree) -> Vec<(String, usize, String)> {
        check(tree.root()).into_iter().map(|f| (f.file, f.line, f.what)).collect()
    }

    #[test]
    fn bridge_may_not_know_the_broker() {
        let text = manifest("bridge", "[dependencies]\nstore.workspace = true\nbroker.workspace = true\n");
        let tree = Tree::new().with("bridge/Cargo.toml", &text);
        assert_eq!(found(&tree), [("bridge/Cargo.toml".into(), 6, "`bridge` depends on `broker`".into())]);
    }

    #[test]
    fn renamed_target_and_build_dependencies_count() {
        let text = manifest(
            "store",
            "[build-dependencies]\nbridge.workspace = true\n\n[target.'cfg(unix)'.dependencies]\nb = { package = \"broker\" }\n",
        );
        let tree = Tree::new().with("store/Cargo.toml", &text);
        assert_eq!(found(&tree).len(), 2);
    }

    #[test]
    fn nobody_uses_a_leaf_and_tests_may_use_any_crate_for_development() {
        let tree = Tree::new()
            .with("tests/Cargo.toml", &manifest("tests", "[dependencies]\ninboxd.path = \"../server\"\n"))
            .with("server/Cargo.toml", &manifest("inboxd", "[dependencies]\nbench.path = \"../bench\"\n"))
            .with("store/Cargo.toml", &manifest("store", "[dev-dependencies]\nsim.workspace = true\n"));
        let files: Vec<String> = found(&tree).into_iter().map(|(file, _, _)| file).collect();
        assert_eq!(files, ["server/Cargo.toml", "tests/Cargo.toml"]);
    }

    #[test]
    fn a_new_crate_must_be_given_its_arrows() {
        let tree = Tree::new().with("search/Cargo.toml", &manifest("search", ""));
        assert_eq!(found(&tree).len(), 1);
    }

    #[test]
    fn the_picture_itself_passes() {
        let broker = "[dependencies]\nbroker-protocol.workspace = true\nstore.workspace = true\n";
        let tree = Tree::new().with("broker/Cargo.toml", &manifest("broker", broker));
        assert_eq!(found(&tree), []);
    }
}
