//! `inboxd config`: every key with default and reason, as a valid file. deploy/inboxd.toml is this text.

use super::Config;
use super::reader::{KeyDoc, Reader};
use super::source::{Leaves, NUMBERS};

/// Longest line of a reason, so that the file reads well in a terminal.
const LINE_CHARS: usize = 100;

const HEAD: &str = "\
# Every key of inboxd with its default and the reason for it. Keys that are commented out have no default.
# Each can also be set as INBOXD_<SECTION>__<KEY> in the environment (data_dir: INBOXD_DATA_DIR; lists as JSON), which
# comes before the file. Relative paths count from this file's folder. `inboxd config --check FILE` checks a file.
";

/// The text. Parsed again, it is the default configuration.
#[must_use]
pub(crate) fn all_keys() -> String {
    let mut reader =
        Reader::new(Leaves::new(), std::path::PathBuf::new(), &|_| Err(std::io::ErrorKind::NotFound.into()));
    reader.listing = true;
    // Problems (a list element without its required keys) do not matter: nothing is configured by this.
    let _ = Config::take(&mut reader);
    let element = format!("{NUMBERS}[0]");
    let mut keys = reader.finish().0;
    // A list of tables has to stand behind the keys of its section; sections keep their order of appearance.
    let mut sections: Vec<String> = Vec::new();
    for key in &keys {
        let (section, _) = split(key);
        if !sections.iter().any(|known| known == section) {
            sections.push(section.to_owned());
        }
    }
    keys.sort_by_key(|key| sections.iter().position(|section| section == split(key).0));

    let mut out = String::from(HEAD);
    let mut current = "";
    for key in &keys {
        let (section, name) = split(key);
        let in_list = section == element;
        if section != current {
            current = section;
            out.push('\n');
            out.push_str(&if in_list { format!("# [[{NUMBERS}]]") } else { format!("[{section}]") });
        }
        out.push('\n');
        wrap(key.why, &mut out);
        let comment = if key.is_default && !in_list { "" } else { "# " };
        out.push_str(&format!("{comment}{name} = {}\n", key.literal));
    }
    out
}

fn split(key: &KeyDoc) -> (&str, &str) {
    key.path.rsplit_once('.').unwrap_or(("", &key.path))
}

fn wrap(text: &str, out: &mut String) {
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
