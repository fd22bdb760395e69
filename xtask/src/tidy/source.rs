//! Rust files as the rules see them: line by line, without comments and texts, each line marked as test or product.
//!
//! A rule that searches plain text would find its own name in a comment; so comments and the insides of literals
//! are blanked first, columns and lines unchanged.

use std::path::Path;

use super::testcode;
use crate::files;

/// All Rust files of the tree.
pub(crate) struct Sources {
    /// Sorted by path.
    pub(crate) files: Vec<Source>,
}

/// One Rust file.
pub(crate) struct Source {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// As it stands on disk.
    pub(crate) text: String,
    /// Line by line, from line 1.
    pub(crate) lines: Vec<Line>,
}

/// One line of a [`Source`].
pub(crate) struct Line {
    /// Code only: comments and the insides of literals are blanks.
    pub(crate) code: String,
    /// Compiled for tests only.
    pub(crate) test: bool,
}

impl Sources {
    /// Reads every `.rs` below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut files: Vec<Source> = files::below(root, |path| path.ends_with(".rs"))
            .into_iter()
            .filter_map(|path| files::text(root, &path).map(|text| Source::new(path, text)))
            .collect();
        testcode::mark(&mut files);
        Self { files }
    }
}

impl Source {
    pub(crate) fn new(path: String, text: String) -> Self {
        let code = without_comments_and_literals(&text);
        let lines = code.lines().map(|line| Line { code: line.to_owned(), test: false }).collect();
        Self { path, text, lines }
    }

    /// Every place where the path or name `needle` stands as whole words, as (line, is it test code).
    pub(crate) fn uses(&self, needle: &str) -> impl Iterator<Item = (usize, bool)> {
        self.lines
            .iter()
            .enumerate()
            .filter(move |(_, line)| contains_words(&line.code, needle))
            .map(|(index, line)| (index + 1, line.test))
    }
}

/// Whether `needle` stands in `code` and no letter of a longer name touches its ends.
fn contains_words(code: &str, needle: &str) -> bool {
    let of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    let (first, last) = (needle.starts_with(of_a_name), needle.ends_with(of_a_name));
    code.match_indices(needle).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + needle.len()..].chars().next();
        let longer = first && before.is_some_and(of_a_name) || last && after.is_some_and(of_a_name);
        !longer
    })
}

/// The same text with blanks for comments and for the insides of strings and characters; line ends stay.
fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_token(&chars, at);
        let blank = end > at + 1;
        for &c in &chars[at..end] {
            out.push(if blank && c != '\n' { ' ' } else { c });
        }
        at = end;
    }
    out
}

/// Where the comment or literal that starts at `at` ends; `at + 1` if none starts there.
fn end_of_token(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let after_a_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (chars[at], next) {
        ('/', Some('/')) => chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |n| at + n),
        ('/', Some('*')) => end_of_block_comment(chars, at),
        ('"', _) => end_of_quoted(chars, at, '"'),
        ('r', Some('"' | '#')) if !after_a_name => end_of_raw(chars, at + 1).unwrap_or(at + 1),
        ('b' | 'c', Some('r')) if !after_a_name => end_of_raw(chars, at + 2).unwrap_or(at + 1),
        // 'a' and '\n' are characters, 'a without a closing quote is a lifetime.
        ('\'', Some('\\')) => end_of_quoted(chars, at, '\''),
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at + 1,
    }
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn end_of_quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of `#…#"…"#…#` that starts at `start`, if one does.
fn end_of_raw(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start..].iter().take_while(|&&c| c == '#').count();
    let open = start + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut at = open + 1;
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let code = without_comments_and_literals(text);
        assert_eq!(code.chars().count(), text.chars().count(), "columns must not move");
        code
    }

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        for (text, gone, kept) in [
            ("a.b() // a.unwrap()\nc", "unwrap", "c"),
            ("a /* x /* unwrap */ y */ b", "unwrap", "b"),
            (r#"f("a \" unwrap"); g"#, "unwrap", "g"),
            ("f(r#\"x \" unwrap\"#); g", "unwrap", "g"),
            ("f(br\"unwrap\\\"); g", "unwrap", "g"),
            ("let q = '\"'; a.unwrap(); let r = '\"';", "'\"'", "a.unwrap()"),
            ("fn f<'a>(x: &'a str) { x.unwrap() }", "nothing", "x.unwrap()"),
            ("let q = '\\''; a.unwrap()", "'\\''", "a.unwrap()"),
            ("let r#type = 1; var\"unwrap\"", "unwrap", "type = 1"),
        ] {
            let code = code(text);
            assert!(!code.contains(gone), "{text:?} became {code:?}");
            assert!(code.contains(kept), "{text:?} became {code:?}");
        }
    }

    #[test]
    fn a_name_is_found_as_a_whole_word_only() {
        assert!(contains_words("let x = rand::random();", "rand"));
        assert!(!contains_words("operand + strand_of", "rand"));
        assert!(contains_words("x.unwrap()", ".unwrap()"));
        assert!(!contains_words("x.unwrap_or(1)", ".unwrap()"));
        assert!(contains_words("Instant::now()", "Instant::now"));
    }
}
