//! JSON as Graph writes it (I1, O8): everything outside ASCII is `\uXXXX`, astral characters as two of them.
//!
//! Load-bearing: a receiver that parses and re-serialises before it checks the signature passes every test made with
//! plain ASCII, and fails on the first "é" in production.

use std::io;

use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};

/// The bytes of `value`.
pub(super) fn to_vec(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, AsciiOnly))
        .expect("a JSON value has string keys and a Vec takes every write");
    bytes
}

struct AsciiOnly;

impl Formatter for AsciiOnly {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            if character.is_ascii() {
                writer.write_all(&[character as u8])?;
                continue;
            }
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::to_vec;
    use serde_json::{Value, json};

    #[test]
    fn non_ascii_is_escaped_and_reads_back_the_same() {
        let value = json!({ "text": "café 👍 \"quoted\" \n" });
        let bytes = to_vec(&value);
        assert_eq!(bytes, br#"{"text":"caf\u00e9 \ud83d\udc4d \"quoted\" \n"}"#);
        assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), value);
    }
}
