//! MQTT 5 properties: id and value, as they stand in a packet. Written apart from the product's codec, so that a
//! misreading there shows here.
//!
//! Not here: which packet may carry which property; a test that wants a wrong one can send it.

use super::wire::{Reader, Writer};

/// Ids of the properties that tests name.
pub mod id {
    /// Content type.
    pub const CONTENT_TYPE: u8 = 0x03;
    /// Response topic.
    pub const RESPONSE_TOPIC: u8 = 0x08;
    /// Correlation data.
    pub const CORRELATION_DATA: u8 = 0x09;
    /// Subscription identifier.
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    /// Session expiry interval.
    pub const SESSION_EXPIRY: u8 = 0x11;
    /// Assigned client identifier.
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    /// Will Delay Interval.
    pub const WILL_DELAY: u8 = 0x18;
    /// Reason string.
    pub const REASON_STRING: u8 = 0x1F;
    /// Receive maximum.
    pub const RECEIVE_MAX: u8 = 0x21;
    /// User property.
    pub const USER_PROPERTY: u8 = 0x26;
}

/// A property's value; which form an id has is the standard's table 2-4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One byte.
    Byte(u8),
    /// Two bytes.
    Two(u16),
    /// Four bytes.
    Four(u32),
    /// Variable byte integer.
    Variable(u32),
    /// UTF-8 text.
    Text(String),
    /// Binary data.
    Bytes(Vec<u8>),
    /// Name and value.
    Pair(String, String),
}

/// The properties of one packet, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Value)>);

impl Properties {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.0.push((id, value));
        self
    }

    /// With one more user property.
    #[must_use]
    pub fn user(self, name: &str, value: &str) -> Self {
        self.with(id::USER_PROPERTY, Value::Pair(name.to_owned(), value.to_owned()))
    }

    /// The first text with this id.
    #[must_use]
    pub fn text(&self, id: u8) -> Option<&str> {
        self.0.iter().find_map(|(found, value)| match value {
            Value::Text(text) if *found == id => Some(text.as_str()),
            _ => None,
        })
    }

    /// The first number with this id, whatever its width.
    #[must_use]
    pub fn number(&self, id: u8) -> Option<u32> {
        self.0.iter().find_map(|(found, value)| match value {
            _ if *found != id => None,
            Value::Byte(n) => Some(u32::from(*n)),
            Value::Two(n) => Some(u32::from(*n)),
            Value::Four(n) | Value::Variable(n) => Some(*n),
            _ => None,
        })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        let mut body = Writer::default();
        for (id, value) in &self.0 {
            body.byte(*id);
            match value {
                Value::Byte(n) => body.byte(*n),
                Value::Two(n) => body.two(*n),
                Value::Four(n) => body.four(*n),
                Value::Variable(n) => body.variable(*n),
                Value::Text(text) => body.text(text),
                Value::Bytes(bytes) => body.bytes(bytes),
                Value::Pair(name, value) => {
                    body.text(name);
                    body.text(value);
                }
            }
        }
        out.variable(u32::try_from(body.0.len()).expect("a test's properties are short"));
        out.0.extend(body.0);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let length = from.variable()? as usize;
        let mut body = Reader(from.take(length)?);
        let mut properties = Self::none();
        while !body.0.is_empty() {
            let id = body.byte()?;
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Byte(body.byte()?),
                0x13 | 0x21 | 0x22 | 0x23 => Value::Two(body.two()?),
                0x02 | 0x11 | 0x18 | 0x27 => Value::Four(body.four()?),
                0x0B => Value::Variable(body.variable()?),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(body.text()?),
                0x09 | 0x16 => Value::Bytes(body.bytes()?),
                0x26 => Value::Pair(body.text()?, body.text()?),
                other => return Err(format!("property {other:#04x} does not exist")),
            };
            properties.0.push((id, value));
        }
        Ok(properties)
    }
}
