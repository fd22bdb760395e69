//! Rule `header`: every source file opens with what it is, which step of the flow, and what is not in it.

use std::path::Path;

use super::Finding;
use super::source::Sources;
use crate::files;

const WHY: &str = "a reader who opens the file in the middle of a flow cannot tell what belongs here";

pub(crate) fn check(root: &Path, sources: &Sources) -> Vec<Finding> {
    let rust = sources.files.iter().filter(|file| !file.text.starts_with("//!")).map(|file| {
        finding(
            &file.path,
            "does not start with `//!`",
            "open it with `//!`: what it is, its flow tag, what is not here",
        )
    });
    let page = files::below(root, |path| {
        path.starts_with("web/src/") && (path.ends_with(".ts") || path.ends_with(".tsx"))
    })
    .into_iter()
    .filter(|path| {
        let text = files::text(root, path).unwrap_or_default();
        !text.starts_with("//") && !text.starts_with("/*")
    })
    .map(|path| {
        finding(
            &path,
            "does not start with a comment",
            "open it with a comment: what it is, its flow tag, what is not here",
        )
    });
    rust.chain(page).collect()
}

fn finding(file: &str, what: &str, instead: &'static str) -> Finding {
    Finding { file: file.into(), line: 1, rule: "header", what: what.into(), why: WHY, instead }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn files_without_a_header_are_found() {
        let tree = Tree::new()
            .with("store/src/lib.rs", "//! The store.\n")
            .with("store/src/bare.rs", "use std::fmt;\n")
            .with("web/src/bare.ts", "import x from 'y';\n")
            .with("web/src/good.ts", "// The page.\n")
            .with("web/src/also.ts", "/** The page. */\n")
            .with("web/node_modules/x/src/bare.rs", "fn x() {}\n");
        let found: Vec<String> =
            check(tree.root(), &Sources::read(tree.root())).into_iter().map(|f| f.file).collect();
        assert_eq!(found, ["store/src/bare.rs", "web/src/bare.ts"]);
    }
}
