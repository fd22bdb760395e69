//! Where settings come from: presets, then the file, then the environment; each value with its place.
//!
//! A setting is a leaf with a path (`listen.mqtt`, `whatsapp.number[0].account`). Later layers replace earlier ones.
//! Not here: what a leaf must look like (`reader`), reading the file or the environment (`main`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Problem;

/// Prefix of all our environment variables.
pub(crate) const ENV_PREFIX: &str = "INBOXD_";
/// The one key outside sections has a short name of its own.
const ENV_DATA_DIR: &str = "INBOXD_DATA_DIR";
/// The one list of tables: set in the environment as a JSON list of objects.
pub(super) const NUMBERS: &str = "whatsapp.number";

/// Everything a configuration is read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Values that stand in for the defaults: path and text. Used by `demo`.
    pub(crate) presets: Vec<(&'static str, String)>,
    /// The file's path and text, where there is a file.
    pub(crate) file: Option<(PathBuf, String)>,
    /// Environment variables; those that are not ours are ignored.
    pub(crate) env: BTreeMap<String, String>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// In the file: line, from 1.
    File(PathBuf, usize),
    /// In an environment variable.
    Env(String),
    /// Nowhere: a default, a preset, or missing.
    Nowhere,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Nowhere => f.write_str("configuration"),
        }
    }
}

/// A value, as its source spelled it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(String),
    List(Vec<Self>),
    /// Text from the environment: the key decides what it is.
    Raw(String),
    /// Something no key takes; its name, for the message.
    Other(&'static str),
}

/// Name of a table where none belongs, or of one without keys, which may be a section.
pub(super) const TABLE: &str = "a table";

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All leaves by path.
pub(super) type Leaves = BTreeMap<String, Leaf>;

impl Sources {
    /// The folder that relative paths count from.
    pub(super) fn base(&self) -> PathBuf {
        let folder = self.file.as_ref().and_then(|(path, _)| path.parent());
        folder.map_or_else(PathBuf::new, Path::to_owned)
    }

    /// Merges the layers.
    pub(super) fn leaves(&self) -> Result<Leaves, Vec<Problem>> {
        let mut leaves = Leaves::new();
        for (path, text) in &self.presets {
            let leaf = Leaf { value: Value::Raw(text.clone()), origin: Origin::Nowhere };
            leaves.insert((*path).to_owned(), leaf);
        }
        if let Some((path, text)) = &self.file {
            overlay(&mut leaves, from_file(path, text).map_err(|problem| vec![problem])?);
        }
        overlay(&mut leaves, from_env(&self.env)?);
        Ok(leaves)
    }
}

/// Puts a layer over another. A secret given as `key` takes the place of a lower layer's `key_file`, and the other
/// way round; a list of tables takes the place of a whole list.
fn overlay(lower: &mut Leaves, upper: Leaves) {
    if upper.keys().any(|path| path.starts_with(NUMBERS)) {
        lower.retain(|path, _| !path.starts_with(NUMBERS));
    }
    for path in upper.keys() {
        match path.strip_suffix("_file") {
            Some(plain) => lower.remove(plain),
            None => lower.remove(&format!("{path}_file")),
        };
    }
    lower.extend(upper);
}

fn from_file(path: &Path, text: &str) -> Result<Leaves, Problem> {
    let line_of = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
    let table = DeTable::parse(text).map_err(|e| {
        let line = line_of(e.span().map_or(0, |span| span.start));
        Problem {
            origin: Origin::File(path.to_owned(), line),
            key: key_on_line(text, line),
            what: format!("not valid TOML: {}", e.message().replace('\n', ", ")),
        }
    })?;
    let mut leaves = Leaves::new();
    flatten(table.get_ref(), "", &mut |key, value, offset| {
        let origin = Origin::File(path.to_owned(), line_of(offset));
        leaves.insert(key, Leaf { value, origin });
    });
    Ok(leaves)
}

/// What stands before the `=` of a line that is no TOML. Never what stands behind it, which may be a secret.
fn key_on_line(text: &str, line: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    line.split_once('=').map_or("", |(key, _)| key).trim().to_owned()
}

fn flatten(table: &DeTable<'_>, prefix: &str, found: &mut impl FnMut(String, Value, usize)) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        let offset = key.span().start;
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(inner, &format!("{path}."), found),
            DeValue::Array(items)
                if !items.is_empty() && items.iter().all(|item| is_table(item.get_ref())) =>
            {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        let path = format!("{path}[{index}]");
                        if inner.is_empty() {
                            found(path, Value::Other("an empty table"), item.span().start);
                        } else {
                            flatten(inner, &format!("{path}."), found);
                        }
                    }
                }
            }
            other => found(path, value_of(other), offset),
        }
    }
}

fn is_table(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Table(_))
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(whole) if whole.radix() == 10 => Value::Whole(whole.as_str().to_owned()),
        DeValue::Integer(_) => Value::Other("a number that is not decimal"),
        DeValue::Array(items) => Value::List(items.iter().map(|item| value_of(item.get_ref())).collect()),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(_) => Value::Other("true or false"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other(TABLE),
    }
}

/// `INBOXD_<SECTION>__<KEY>`. Variables of ours without `__` are left alone: Kubernetes sets `INBOXD_PORT` and the
/// like for a service that is called inboxd.
fn from_env(env: &BTreeMap<String, String>) -> Result<Leaves, Vec<Problem>> {
    let mut leaves = Leaves::new();
    let mut problems = Vec::new();
    for (name, text) in env {
        let origin = Origin::Env(name.clone());
        let path = match name.strip_prefix(ENV_PREFIX).and_then(|rest| rest.split_once("__")) {
            _ if name == ENV_DATA_DIR => "data_dir".to_owned(),
            Some((section, key)) => format!("{section}.{key}").to_lowercase(),
            None => continue,
        };
        if path == NUMBERS {
            match serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(text) {
                Ok(tables) => numbers_from_json(&tables, &origin, &mut leaves),
                // The parser's words may quote the text, which holds secrets: only its place is told.
                Err(e) => problems.push(Problem {
                    origin,
                    key: NUMBERS.to_owned(),
                    what: format!("must be a JSON list of objects (fault at column {})", e.column()),
                }),
            }
        } else {
            let value = Value::Raw(text.clone());
            leaves.insert(path, Leaf { value, origin });
        }
    }
    if problems.is_empty() { Ok(leaves) } else { Err(problems) }
}

fn numbers_from_json(
    tables: &[serde_json::Map<String, serde_json::Value>],
    origin: &Origin,
    leaves: &mut Leaves,
) {
    let leaf = |value| Leaf { value, origin: origin.clone() };
    if tables.is_empty() {
        leaves.insert(NUMBERS.to_owned(), leaf(Value::List(Vec::new())));
    }
    for (index, table) in tables.iter().enumerate() {
        if table.is_empty() {
            leaves.insert(format!("{NUMBERS}[{index}]"), leaf(Value::Other("an empty table")));
        }
        for (key, value) in table {
            leaves.insert(format!("{NUMBERS}[{index}].{key}"), leaf(value_of_json(value)));
        }
    }
}

pub(super) fn value_of_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Number(number) => Value::Whole(number.to_string()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(value_of_json).collect()),
        serde_json::Value::Null => Value::Other("null"),
        serde_json::Value::Bool(_) => Value::Other("true or false"),
        serde_json::Value::Object(_) => Value::Other("an object"),
    }
}
