//! Rule `documents`: the contract is there, and every decision record is listed.

use std::path::Path;

use super::Finding;
use crate::files;

const CONTRACT: &str = "docs/contract.md";
const RECORDS: &str = "docs/adr/";
const RECORD_LIST: &str = "docs/adr/README.md";

pub(crate) fn check(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if files::text(root, CONTRACT).is_none() {
        findings.push(Finding {
            file: CONTRACT.into(),
            line: 1,
            rule: "documents",
            what: "is missing".into(),
            why: "the names that other programs build on live there, and nowhere else",
            instead: "restore it",
        });
    }
    // Before the first list there is nothing to be missing from.
    let Some(list) = files::text(root, RECORD_LIST) else {
        return findings;
    };
    for record in files::below(root, is_record) {
        let name = record.trim_start_matches(RECORDS);
        if !list.contains(name) {
            findings.push(Finding {
                file: record.clone(),
                line: 1,
                rule: "documents",
                what: format!("is not listed in {RECORD_LIST}"),
                why: "a decision that is not in the list is taken again, differently",
                instead: "add a line with a link to it",
            });
        }
    }
    findings
}

/// `docs/adr/NNN-title.md`.
fn is_record(path: &str) -> bool {
    let Some(name) = path.strip_prefix(RECORDS) else {
        return false;
    };
    let number = name.chars().take_while(char::is_ascii_digit).count();
    number > 0 && name[number..].starts_with('-') && name.ends_with(".md") && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    fn found(tree: &Tree) -> Vec<String> {
        check(tree.root()).into_iter().map(|f| f.file).collect()
    }

    #[test]
    fn a_missing_contract_is_found() {
        assert_eq!(found(&Tree::new()), [CONTRACT]);
    }

    #[test]
    fn an_unlisted_record_is_found() {
        let tree = Tree::new()
            .with(CONTRACT, "# names")
            .with("docs/adr/001-store.md", "")
            .with("docs/adr/002-router.md", "")
            .with("docs/adr/template.md", "");
        assert_eq!(found(&tree), Vec::<String>::new(), "without a list nothing is missing from it");
        let tree = tree.with(RECORD_LIST, "- [1](001-store.md)\n");
        assert_eq!(found(&tree), ["docs/adr/002-router.md"]);
    }
}
