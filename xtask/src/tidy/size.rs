//! Rule `size`: no file holds more than 800 lines of product code.

use super::Finding;
use super::source::Sources;

/// Aim at 400. At 800 a file has two subjects; the trees we admire all have one swollen centre, and it began so.
const MOST_PRODUCT_LINES: usize = 800;

pub(crate) fn check(sources: &Sources) -> Vec<Finding> {
    sources
        .files
        .iter()
        .map(|file| (file, file.lines.iter().filter(|line| !line.test).count()))
        .filter(|(_, lines)| *lines > MOST_PRODUCT_LINES)
        .map(|(file, lines)| Finding {
            file: file.path.clone(),
            line: MOST_PRODUCT_LINES + 1,
            rule: "size",
            what: format!("has {lines} lines of product code, {MOST_PRODUCT_LINES} are the most"),
            why: "a file with two subjects is read by nobody from end to end",
            instead: "split it by subject, each part with a header of its own",
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn only_product_lines_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// a\n".repeat(MOST_PRODUCT_LINES));
        let most = "//! a\n".repeat(MOST_PRODUCT_LINES);
        let tree = Tree::new()
            .with("store/src/most.rs", &(most.clone() + &tests))
            .with("store/src/more.rs", &(most + "//! one more\n"));
        let found: Vec<String> = check(&Sources::read(tree.root())).into_iter().map(|f| f.file).collect();
        assert_eq!(found, ["store/src/more.rs"]);
    }
}
