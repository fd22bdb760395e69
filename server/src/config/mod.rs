//! The configuration: contract, section 3. Read once at start, from values that are handed in; then plain data.
//!
//! `source` says where a value stands, `reader` takes it out and checks it, `sections` lists the keys, `print` shows
//! them. Not here: reading the environment or the file (`main`), making keys that are missing (`keys`).

mod listen;
mod print;
mod reader;
mod sections;
mod source;
mod whatsapp;

use std::fmt;
use std::path::PathBuf;

pub(crate) use listen::{ProxiedListener, Tls};
pub(crate) use print::all_keys;
pub(crate) use reader::ReadFile;
pub(crate) use sections::{AuthKeys, Config, Log, LogFormat, Login, Refused311, Retention};
pub(crate) use source::{ENV_PREFIX, Origin, Sources};
pub(crate) use whatsapp::{OnUnknown, WhatsAppNumber};

use reader::Reader;

/// One mistake: where, which key, what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// File and line, or environment variable.
    pub(crate) origin: Origin,
    /// The key's path.
    pub(crate) key: String,
    /// What is wrong and what would be right. Never a secret.
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, what } = self;
        match key.as_str() {
            "" => write!(f, "{origin}: {what}"),
            key => write!(f, "{origin}: `{key}` {what}"),
        }
    }
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError(pub(crate) Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Bytes that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// `None` where there is nothing: an empty secret is a mistake everywhere.
    #[must_use]
    pub(crate) fn new(bytes: Vec<u8>) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// The bytes themselves.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Config {
    /// Reads a configuration. Relative paths count from the file's folder; without a file, from the working folder.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub(crate) fn read(sources: &Sources, read_file: ReadFile<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources.leaves().map_err(ConfigError)?, sources.base(), read_file);
        let config = Self::take(&mut reader);
        match reader.finish().1 {
            problems if problems.is_empty() => Ok(config),
            problems => Err(ConfigError(problems)),
        }
    }
}

/// What signing a token needs of a configuration, and no more: whoever may issue tokens need not see WhatsApp's secrets.
pub(crate) struct Signing {
    /// Where a key made at first start lies.
    pub(crate) data_dir: PathBuf,
    /// Where keys come from.
    pub(crate) auth: AuthKeys,
}

impl Signing {
    /// Reads these keys only; mistakes elsewhere are the server's to name.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake in them.
    pub(crate) fn read(sources: &Sources, read_file: ReadFile<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources.leaves().map_err(ConfigError)?, sources.base(), read_file);
        let (data_dir, auth) = (sections::data_dir(&mut reader), AuthKeys::take(&mut reader));
        match reader.problems() {
            problems if problems.is_empty() => Ok(Self { data_dir, auth }),
            problems => Err(ConfigError(problems)),
        }
    }
}

#[cfg(test)]
mod tests;
