//! Which lines are test code: items under `#[cfg(test)]`, files that such an item names, and test folders.
//!
//! Needed because most rules hold for one side only: a test may panic, the product may not.

use std::collections::BTreeSet;

use super::source::Source;

/// Sets [`super::source::Line::test`] in all files.
pub(crate) fn mark(files: &mut [Source]) {
    let mut named = BTreeSet::new();
    for file in files.iter_mut() {
        let whole = in_test_folder(&file.path) || file.lines.iter().any(|l| l.code.trim() == "#![cfg(test)]");
        for item in test_items(file) {
            if let Some(module) = &item.module {
                named.insert(named_path(file, &item).unwrap_or_else(|| module_stem(&file.path, module)));
            }
            for line in &mut file.lines[item.first..=item.last] {
                line.test = true;
            }
        }
        if whole {
            file.lines.iter_mut().for_each(|line| line.test = true);
        }
    }
    for file in files {
        let inside =
            |stem: &String| file.path == format!("{stem}.rs") || file.path.starts_with(&format!("{stem}/"));
        if named.iter().any(inside) {
            file.lines.iter_mut().for_each(|line| line.test = true);
        }
    }
}

/// The crate `tests`, and every crate's own `tests/` folder.
fn in_test_folder(path: &str) -> bool {
    path.split('/').rev().skip(1).any(|folder| folder == "tests")
}

/// An item that is compiled for tests only; lines counted from 0.
struct TestItem {
    first: usize,
    last: usize,
    /// `mod NAME;`: its lines are in another file.
    module: Option<String>,
}

fn test_items(file: &Source) -> Vec<TestItem> {
    let mut items: Vec<TestItem> = Vec::new();
    for (first, line) in file.lines.iter().enumerate() {
        let inside = items.last().is_some_and(|item| first <= item.last);
        if !inside && is_test_attribute(&line.code) {
            items.push(item_from(file, first));
        }
    }
    items
}

/// `#[cfg(test)]`, `#[cfg(any(test, …))]` and the like, but not `#[cfg(not(test))]`.
fn is_test_attribute(code: &str) -> bool {
    let Some(condition) = code.trim().strip_prefix("#[cfg(") else {
        return false;
    };
    let words: Vec<&str> = condition.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    words.contains(&"test") && !words.contains(&"not")
}

/// From the attribute to the end of its item: the first `;` outside braces, or the brace that closes the first one.
fn item_from(file: &Source, first: usize) -> TestItem {
    let mut depth = 0_usize;
    let mut square = 0_usize;
    let mut head = String::new();
    for (index, line) in file.lines.iter().enumerate().skip(first) {
        for c in line.code.chars() {
            match c {
                '[' => square += 1,
                ']' => square = square.saturating_sub(1),
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return TestItem { first, last: index, module: None };
                    }
                }
                ';' if depth == 0 && square == 0 => {
                    return TestItem { first, last: index, module: declared_module(&head) };
                }
                _ => {}
            }
            head.push(c);
        }
        head.push(' ');
    }
    TestItem { first, last: file.lines.len() - 1, module: None }
}

/// `NAME` of an item's text `… mod NAME`.
fn declared_module(item: &str) -> Option<String> {
    let mut words = item.split_whitespace().rev();
    let name = words.next()?;
    (words.next() == Some("mod")).then(|| name.to_owned())
}

/// Where `#[path = "FILE.rs"]` of the item points, without `.rs`. Read from the text: literals are blank in the code.
fn named_path(file: &Source, item: &TestItem) -> Option<String> {
    let lines = file.text.lines().take(item.last + 1).skip(item.first);
    let quoted = lines.filter_map(|line| line.trim().strip_prefix("#[path = \"")).next()?;
    let (folder, _) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    Some(format!("{folder}/{}", quoted.split('"').next()?.trim_end_matches(".rs")))
}

/// Where `mod NAME;` in the file `path` finds its source, without `.rs`.
fn module_stem(path: &str, name: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/{name}"),
        _ => format!("{}/{name}", path.trim_end_matches(".rs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the lines that are test code, for each file.
    fn marked(files: &[(&str, &str)]) -> Vec<Vec<usize>> {
        let mut sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::new((*path).into(), (*text).into())).collect();
        mark(&mut sources);
        let test_lines = |s: &Source| (1..).zip(&s.lines).filter(|(_, l)| l.test).map(|(n, _)| n).collect();
        sources.iter().map(test_lines).collect()
    }

    #[test]
    fn a_tests_module_ends_at_its_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { y } }\n}\nfn c() {}\n";
        assert_eq!(marked(&[("store/src/lib.rs", text)]), [vec![2, 3, 4, 5]]);
    }

    #[test]
    fn a_single_test_function_does_not_swallow_what_follows() {
        let text = "#[cfg(any(test, feature = \"x\"))]\nfn a(x: [u8; 2]) {\n}\nfn b() {}\n";
        assert_eq!(marked(&[("store/src/lib.rs", text)]), [vec![1, 2, 3]]);
        assert_eq!(marked(&[("store/src/lib.rs", "#[cfg(not(test))]\nfn a() {}\n")]), [Vec::<usize>::new()]);
    }

    #[test]
    fn the_file_of_a_tests_module_is_test_code() {
        let files = [
            ("store/src/plan.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n"),
            ("store/src/plan/tests.rs", "fn b() {}\n"),
            ("store/src/lib.rs", "#[cfg(test)]\nmod kit;\n"),
            ("store/src/kit/deep.rs", "fn c() {}\n"),
            ("store/src/other.rs", "fn d() {}\n"),
            ("store/src/acl.rs", "#[cfg(test)]\n#[path = \"acl_tests.rs\"]\nmod tests;\n"),
            ("store/src/acl_tests.rs", "fn e() {}\n"),
        ];
        assert_eq!(
            marked(&files),
            [vec![1, 2], vec![1], vec![1, 2], vec![1], vec![], vec![1, 2, 3], vec![1]]
        );
    }

    #[test]
    fn test_folders_are_test_code() {
        let none = Vec::<usize>::new();
        let files = [("tests/src/lib.rs", "x\n"), ("store/tests/a.rs", "x\n"), ("store/src/tests.rs", "x\n")];
        assert_eq!(marked(&files), [vec![1], vec![1], none]);
    }
}
