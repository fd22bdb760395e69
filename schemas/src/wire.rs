//! JSON or MessagePack: which one, and back and forth (rmp-serde for MessagePack, maps with the JSON field names).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a payload is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON, the default.
    #[default]
    Json,
    /// MessagePack, asked for with user property `format: msgpack`.
    Msgpack,
}

/// Name of the MQTT 5 user property of CONNECT that chooses the encoding of events.
pub const FORMAT_PROPERTY: &str = "format";

/// Deepest nesting that is read: that of `serde_json`, so that what one encoding takes the other does.
const DEPTH_MAX: usize = 128;

/// The payload is not readable in its encoding, or is not of the expected shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

impl Encoding {
    /// MQTT 5 content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/msgpack",
        }
    }

    /// The encoding of an incoming command: by content type where there is one that we know, else by first byte.
    /// A MessagePack map starts at 0x80–0x8F, 0xDE or 0xDF, none of which can start JSON.
    #[must_use]
    pub fn detect(content_type: Option<&str>, payload: &[u8]) -> Self {
        match content_type {
            Some("application/json") => Self::Json,
            Some("application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack") => {
                Self::Msgpack
            }
            _ => match payload.first() {
                Some(0x80..=0x8F | 0xDE | 0xDF) => Self::Msgpack,
                _ => Self::Json,
            },
        }
    }

    /// Writes a value of ours.
    ///
    /// # Panics
    /// Never for the types of this crate: they have text keys, and memory is the only sink.
    #[must_use]
    pub fn write<T: Serialize + ?Sized>(self, value: &T) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(value).expect("our types have text keys"),
            Self::Msgpack => rmp_serde::to_vec_named(value).expect("our types have text keys"),
        }
    }

    /// Reads a value of ours.
    ///
    /// # Errors
    /// [`WireError`] with the parser's own words.
    pub fn read<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, WireError> {
        match self {
            Self::Json => serde_json::from_slice(payload).map_err(|e| WireError(e.to_string())),
            Self::Msgpack => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
                reader.set_max_depth(DEPTH_MAX);
                T::deserialize(&mut reader).map_err(|e| WireError(e.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Values are read level by level on the stack of a thread that serves many: however deep a client nests them, it
    /// must not come to its end.
    #[test]
    fn nesting_has_its_limit_in_both_encodings() {
        /// A quarter of what the threads of the server have.
        const STACK: usize = 512 << 10;
        let read = |encoding: Encoding, depth: usize| {
            let payload = match encoding {
                Encoding::Json => ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes(),
                Encoding::Msgpack => [vec![0x91; depth], vec![0xC0]].concat(),
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            let read = thread.spawn(move || encoding.read::<Value>(&payload).is_ok());
            read.expect("a thread").join().expect("no panic")
        };
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            assert!(read(encoding, DEPTH_MAX - 1));
            assert!(!read(encoding, DEPTH_MAX + 1));
            assert!(!read(encoding, 100_000));
        }
    }
}
