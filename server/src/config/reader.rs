//! Takes settings out of their leaves: one call per key, which is its name, its default, its limits and its reason.
//!
//! The same calls that read a configuration also list its keys, so `inboxd config` cannot forget one. A wrong value
//! is noted and the default stands in, so that one run names all mistakes. Not here: the keys themselves
//! (`sections`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::source::{Leaf, Leaves, Origin, TABLE, Value, value_of_json};
use super::{Problem, Secret};

/// Reads a file that a key names.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// Largest secret file in bytes; a key that names a log file by mistake should say so.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// A key, for `inboxd config` and for "did you mean".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyDoc {
    /// Path, such as `listen.mqtt`.
    pub(crate) path: String,
    /// As it stands behind the `=`.
    pub(crate) literal: String,
    /// Whether `literal` is the default (else an example of a key that is unset by default).
    pub(crate) is_default: bool,
    /// Why it is there and why this value.
    pub(crate) why: &'static str,
}

pub(super) struct Reader<'a> {
    leaves: Leaves,
    used: BTreeSet<String>,
    read_file: ReadFile<'a>,
    /// Relative paths count from here.
    base: PathBuf,
    pub(super) keys: Vec<KeyDoc>,
    pub(super) problems: Vec<Problem>,
    /// Set where keys are to be listed: a list of tables then has one element, to show its keys.
    pub(super) listing: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(leaves: Leaves, base: PathBuf, read_file: ReadFile<'a>) -> Self {
        Self {
            leaves,
            used: BTreeSet::new(),
            read_file,
            base,
            keys: Vec::new(),
            problems: Vec::new(),
            listing: false,
        }
    }

    /// How many tables the list at `path` has; also takes an explicitly empty list.
    pub(super) fn count(&mut self, path: &str) -> usize {
        if self.listing {
            return 1;
        }
        if let Some((found, leaf)) = self.leaves.iter().find(|(key, _)| key.starts_with(&format!("{path}.")))
        {
            let (key, origin) = (found.clone(), leaf.origin.clone());
            self.used.extend(self.leaves.keys().filter(|key| key.starts_with(path)).cloned());
            self.problem(origin, &key, format!("write `[[{path}]]` with two brackets: it is a list"));
            return 0;
        }
        if self.leaves.get(path).is_some_and(|leaf| leaf.value == Value::List(Vec::new())) {
            self.used.insert(path.to_owned());
        }
        let count = (0..)
            .take_while(|index| {
                let element = format!("{path}[{index}]");
                self.leaves.keys().any(|key| key.starts_with(&element))
            })
            .count();
        // An element without keys is said to lack each that it needs.
        self.used.extend((0..count).map(|index| format!("{path}[{index}]")));
        count
    }

    /// A text that `parse` turns into something; `default` must parse.
    pub(super) fn parsed<T>(
        &mut self,
        path: &str,
        default: &str,
        why: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.list_key(path, quote(default), true, why);
        self.take(path, text_of)
            .and_then(|(text, origin)| self.noted(path, origin, parse(&text)))
            .unwrap_or_else(|| parse(default).expect("defaults are valid, a test reads them all"))
    }

    /// A text without a default.
    pub(super) fn optional<T>(
        &mut self,
        path: &str,
        example: &str,
        why: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.list_key(path, quote(example), false, why);
        self.take(path, text_of).and_then(|(text, origin)| self.noted(path, origin, parse(&text)))
    }

    /// As [`Reader::optional`], and its absence is a mistake.
    pub(super) fn required<T>(
        &mut self,
        path: &str,
        example: &str,
        why: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let missing = !self.leaves.contains_key(path);
        let value = self.optional(path, example, why, parse);
        if missing {
            self.missing(path);
        }
        value
    }

    /// A whole number within limits.
    pub(super) fn number<T>(&mut self, path: &str, default: T, least: T, most: T, why: &'static str) -> T
    where
        T: Copy + PartialOrd + FromStr + std::fmt::Display,
    {
        let number = self.optional_number(path, default, least, most, why);
        if let Some(key) = self.keys.last_mut() {
            key.is_default = true;
        }
        number.unwrap_or(default)
    }

    /// A whole number within limits, or unset.
    pub(super) fn optional_number<T>(
        &mut self,
        path: &str,
        example: T,
        least: T,
        most: T,
        why: &'static str,
    ) -> Option<T>
    where
        T: Copy + PartialOrd + FromStr + std::fmt::Display,
    {
        self.list_key(path, example.to_string(), false, why);
        let parse = |text: String| {
            text.parse::<T>()
                .ok()
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
        };
        self.take(path, whole_of).and_then(|(text, origin)| self.noted(path, origin, parse(text)))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, path: &str, words: &[(&str, T)], why: &'static str) -> T {
        let (default, _) = words[0];
        self.parsed(path, default, why, |text| choose(words, text))
    }

    /// One of a few words, or unset.
    pub(super) fn optional_choice<T: Copy>(
        &mut self,
        path: &str,
        words: &[(&str, T)],
        why: &'static str,
    ) -> Option<T> {
        let (example, _) = words[0];
        self.optional(path, example, why, |text| choose(words, text))
    }

    /// A list of texts, or the one word that stands for all (then `Ok(None)`), where there is such a word.
    pub(super) fn list<T>(
        &mut self,
        path: &str,
        all: Option<&'static str>,
        example: &str,
        why: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.list_key(path, example.to_owned(), true, why);
        let (texts, origin) = self.take(path, |value| list_of(value, all))?;
        let parsed: Result<Vec<T>, String> = texts?.iter().map(|text| parse(text)).collect();
        self.noted(path, origin, parsed)
    }

    /// A path of a file or folder; relative ones count from the file's folder.
    pub(super) fn path(&mut self, path: &str, default: &str, why: &'static str) -> PathBuf {
        let text = self.parsed(path, default, why, not_empty);
        self.base.join(text)
    }

    /// As [`Reader::path`], without a default.
    pub(super) fn optional_path(&mut self, path: &str, example: &str, why: &'static str) -> Option<PathBuf> {
        let text = self.optional(path, example, why, not_empty)?;
        Some(self.base.join(text))
    }

    /// A secret: `path` itself, or `path_file` with the name of a file that holds it.
    pub(super) fn secret(&mut self, path: &str, example_file: &str, why: &'static str) -> Option<Secret> {
        let file_path = format!("{path}_file");
        self.list_key(&file_path, quote(example_file), false, why);
        self.list_key(path, quote("…"), false, "Instead of the file: the secret itself.");
        let plain = self.take(path, text_of);
        let file = self.take(&file_path, text_of);
        let (bytes, at, origin) = match (plain, file) {
            (None, None) => return None,
            (Some(_), Some((_, origin))) => {
                self.problem(origin, &file_path, format!("stands beside `{path}`; give one of them"));
                return None;
            }
            (Some((text, origin)), None) => (text.into_bytes(), path, origin),
            (None, Some((name, origin))) => {
                let read = self.read_secret(&name);
                (self.noted(&file_path, origin.clone(), read)?, file_path.as_str(), origin)
            }
        };
        let secret = Secret::new(bytes).ok_or_else(|| "is empty".to_owned());
        self.noted(at, origin, secret)
    }

    /// As [`Reader::secret`], and its absence is a mistake unless something stands in for it.
    pub(super) fn required_secret(
        &mut self,
        path: &str,
        example_file: &str,
        why: &'static str,
        stand_in: bool,
    ) -> Option<Secret> {
        let given =
            [path.to_owned(), format!("{path}_file")].iter().any(|path| self.leaves.contains_key(path));
        let secret = self.secret(path, example_file, why);
        if !given && !stand_in {
            self.missing(&format!("{path}_file"));
        }
        secret
    }

    fn read_secret(&self, name: &str) -> Result<Vec<u8>, String> {
        let file = self.base.join(name);
        let mut bytes =
            (self.read_file)(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(format!("{} has more than {SECRET_BYTES_MAX} bytes", file.display()));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(bytes)
    }

    /// Where a key stands, for problems found after reading.
    pub(super) fn origin(&self, path: &str) -> Origin {
        self.leaves.get(path).map_or(Origin::Nowhere, |leaf| leaf.origin.clone())
    }

    pub(super) fn problem(&mut self, origin: Origin, path: &str, what: impl Into<String>) {
        self.problems.push(Problem { origin, key: path.to_owned(), what: what.into() });
    }

    fn missing(&mut self, path: &str) {
        // Where its neighbours stand: that is where it has to be written.
        let table = path.rsplit_once('.').map_or(path, |(table, _)| table);
        let origin = self
            .leaves
            .iter()
            .filter(|(key, _)| key.starts_with(table))
            .map(|(_, leaf)| leaf.origin.clone())
            .min();
        self.problem(origin.unwrap_or(Origin::Nowhere), path, "is missing");
    }

    /// The mistakes in the keys taken so far, in order.
    pub(super) fn problems(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems
    }

    /// Every leaf that no key took is a mistake.
    pub(super) fn finish(mut self) -> (Vec<KeyDoc>, Vec<Problem>) {
        let unknown: Vec<(String, Leaf)> = self
            .leaves
            .iter()
            .filter(|(path, leaf)| !self.used.contains(*path) && !self.is_empty_section(path, leaf))
            .map(|(path, leaf)| (path.clone(), leaf.clone()))
            .collect();
        for (path, leaf) in unknown {
            let what = match self.keys.iter().map(|key| &key.path).min_by_key(|key| distance(key, &path)) {
                Some(near) if distance(near, &path) <= TYPOS_MAX => {
                    format!("is not a key; did you mean `{near}`?")
                }
                _ => "is not a key; `inboxd config` lists all".to_owned(),
            };
            self.problem(leaf.origin, &path, what);
        }
        self.problems.sort();
        (self.keys, self.problems)
    }

    /// A section without keys sets nothing, and is no mistake.
    fn is_empty_section(&self, path: &str, leaf: &Leaf) -> bool {
        let inside = format!("{path}.");
        leaf.value == Value::Other(TABLE) && self.keys.iter().any(|key| key.path.starts_with(&inside))
    }

    fn list_key(&mut self, path: &str, literal: String, is_default: bool, why: &'static str) {
        self.keys.push(KeyDoc { path: path.to_owned(), literal, is_default, why });
    }

    fn take<T>(&mut self, path: &str, of: impl Fn(&Value) -> Result<T, String>) -> Option<(T, Origin)> {
        let leaf = self.leaves.get(path)?.clone();
        self.used.insert(path.to_owned());
        let value = self.noted(path, leaf.origin.clone(), of(&leaf.value))?;
        Some((value, leaf.origin))
    }

    fn noted<T>(&mut self, path: &str, origin: Origin, result: Result<T, String>) -> Option<T> {
        result.map_err(|what| self.problem(origin, path, what)).ok()
    }
}

fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) | Value::Raw(text) => Ok(text.clone()),
        Value::Whole(_) => Err("must be a text; put it in quotes".to_owned()),
        Value::List(_) => Err("must be a text, not a list".to_owned()),
        Value::Other(what) => Err(format!("must be a text, not {what}")),
    }
}

fn whole_of(value: &Value) -> Result<String, String> {
    match value {
        Value::Whole(text) | Value::Raw(text) => Ok(text.replace('_', "")),
        Value::Text(_) => Err("must be a whole number, without quotes".to_owned()),
        Value::List(_) => Err("must be a whole number, not a list".to_owned()),
        Value::Other(what) => Err(format!("must be a whole number, not {what}")),
    }
}

/// `Ok(None)`: the word that stands for all.
fn list_of(value: &Value, all: Option<&'static str>) -> Result<Option<Vec<String>>, String> {
    let expected = || match all {
        Some(word) => format!("must be {word:?} or a list of texts"),
        None => "must be a list of texts".to_owned(),
    };
    match value {
        Value::Text(word) | Value::Raw(word) if Some(word.as_str()) == all => Ok(None),
        Value::Raw(json) => match serde_json::from_str(json) {
            Ok(json) => list_of(&value_of_json(&json), all),
            Err(_) => Err(format!("{}, written as JSON", expected())),
        },
        Value::List(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| if let Value::Text(text) = item { Some(text.clone()) } else { None })
                .collect();
            texts.map(Some).ok_or_else(expected)
        }
        _ => Err(expected()),
    }
}

fn choose<T: Copy>(words: &[(&str, T)], text: &str) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("must be {}", known.join(" or "))
    })
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// As a TOML text.
fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Most letters that a misspelled key may differ by to be understood.
const TYPOS_MAX: usize = 3;

/// Letters to change, add or drop to get from one word to the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
