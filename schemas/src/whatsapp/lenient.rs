//! How foreign JSON is read: total functions, in which a wrong shape is an absence and never a panic.
//!
//! `serde_json` gives up on a whole document where one string holds half of a surrogate pair (Meta cuts names at a
//! number of UTF-16 units) or a key stands twice. [`readable`] and [`read`] mend both. Not here: any field's name.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Deepest nesting of JSON that is handed on. Meta's own is below 12; `serde_json` stops at 128, and what we hand on
/// is nested into our own events before a client parses it.
pub const DEPTH_MAX: usize = 64;

/// Bytes as text in which every string can be parsed: bad UTF-8 and halves of surrogate pairs become U+FFFD.
/// Borrowed where there is nothing to mend.
#[must_use]
pub fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => mend_surrogates(text),
        Cow::Owned(text) => Cow::Owned(mend_surrogates(&text).into_owned()),
    }
}

/// Replaces escapes that are half of a surrogate pair.
fn mend_surrogates(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let length = match (escape(bytes, at), escape(bytes, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                let mended = out.get_or_insert_default();
                mended.push_str(&text[copied..at]);
                mended.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            (Some(_), _) => 6,
            // Any other escape is the backslash and one byte: `\\u` must not be taken for an escaped character.
            (None, _) => 2,
        };
        at += length;
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut mended) => {
            mended.push_str(&text[copied..]);
            Cow::Owned(mended)
        }
    }
}

/// The number of an escape `\uXXXX` at this place, if there is one.
fn escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// How deep arrays and objects are nested in a JSON text.
#[must_use]
pub fn depth(json: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Reads one item; where a key stands twice, the last one counts. `None` where it is not an object at all.
#[must_use]
pub fn read<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    if !raw.get().starts_with('{') {
        return None;
    }
    serde_json::from_str(raw.get())
        .or_else(|_| serde_json::from_str::<Value>(raw.get()).and_then(serde_json::from_value))
        .ok()
}

/// A list whose items are read one by one, so that a bad one spoils no other. Absent, `null` or no list: empty.
#[derive(Clone, Debug, Default)]
pub struct Items<'a>(pub Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Taken raw first: only the text of it tells a list from anything else without consuming it.
        let raw: &'a RawValue = Deserialize::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

/// Text, for `deserialize_with`: strings as they are, numbers and booleans as written, all else absent.
///
/// # Errors
/// Only where the document itself is broken.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(Text)
}

/// A whole number, for `deserialize_with`: numbers (fractions cut off) and strings of digits, all else absent.
///
/// # Errors
/// Only where the document itself is broken.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = deserializer.deserialize_any(Text)?;
    Ok(text.and_then(|text| {
        let text = text.trim();
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        whole.parse().ok()
    }))
}

/// A nested object, for `deserialize_with`: a wrong shape is an absence.
///
/// # Errors
/// Only where the document itself is broken.
pub fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    Ok(if value.is_object() { serde_json::from_value(value).ok() } else { None })
}

/// A list of objects, for `deserialize_with`: items of a wrong shape are left out.
///
/// # Errors
/// Only where the document itself is broken.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(items) => items
            .into_iter()
            .filter(Value::is_object)
            .filter_map(|item| serde_json::from_value(item).ok())
            .collect(),
        _ => Vec::new(),
    })
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Some(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Probe {
        #[serde(deserialize_with = "text")]
        a: Option<String>,
        #[serde(deserialize_with = "integer")]
        n: Option<i64>,
    }

    fn probe(json: &str) -> Option<Probe> {
        read(serde_json::from_str::<&RawValue>(json).unwrap())
    }

    #[test]
    fn whatever_stands_in_a_field_the_others_are_read() {
        for (json, a, n) in [
            (r#"{"a":"x","n":5}"#, Some("x"), Some(5)),
            (r#"{"a":7,"n":"5"}"#, Some("7"), Some(5)),
            (r#"{"a":true,"n":5.9}"#, Some("true"), Some(5)),
            (r#"{"a":null,"n":"-3"}"#, None, Some(-3)),
            (r#"{"a":[1,{}],"n":5}"#, None, Some(5)),
            (r#"{"a":{"x":[]},"n":"many"}"#, None, None),
            (r#"{"a":"first","a":"last","n":1}"#, Some("last"), Some(1)),
            (r#"{"unknown":{}}"#, None, None),
        ] {
            let expected = Probe { a: a.map(str::to_owned), n };
            assert_eq!(probe(json), Some(expected), "{json}");
        }
        assert_eq!(probe("[]"), None);
        assert_eq!(probe("5"), None);
    }

    #[test]
    fn half_a_surrogate_pair_is_mended_and_a_whole_one_kept() {
        for (raw, mended) in [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\ude00\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83dx\u00e9""#, r#""\ufffdx\u00e9""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
        ] {
            assert_eq!(readable(raw.as_bytes()), mended);
            assert!(serde_json::from_str::<String>(mended).is_ok());
        }
        assert_eq!(readable(b"\"\xff\""), "\"\u{fffd}\"");
    }

    #[test]
    fn brackets_in_strings_are_not_depth() {
        assert_eq!(depth(r#"{"a":["[[[\"[["],"b":{}}"#), 2);
        assert_eq!(depth("5"), 0);
    }

    proptest! {
        #[test]
        fn what_is_readable_stays_as_it_is(text in "\\PC*") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(readable(json.as_bytes()), json.as_str());
        }

        #[test]
        fn mended_strings_parse(units in prop::collection::vec(any::<u16>(), 0..8)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("\"{escaped}\"");
            prop_assert!(serde_json::from_str::<String>(&readable(json.as_bytes())).is_ok());
        }
    }
}
