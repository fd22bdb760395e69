//! What a client sends, as bytes. O1, I8.
//!
//! Writes what it is told to, right or wrong. Not here: when to send what (`client`).

use super::V5;

/// Properties of MQTT 5, in order.
#[derive(Clone, Debug, Default)]
pub struct Properties(Vec<u8>);

impl Properties {
    /// A property of one byte.
    #[must_use]
    pub fn byte(mut self, id: u8, value: u8) -> Self {
        self.0.extend([id, value]);
        self
    }

    /// A property of two bytes.
    #[must_use]
    pub fn short(mut self, id: u8, value: u16) -> Self {
        self.0.push(id);
        self.0.extend(value.to_be_bytes());
        self
    }

    /// A property of four bytes.
    #[must_use]
    pub fn long(mut self, id: u8, value: u32) -> Self {
        self.0.push(id);
        self.0.extend(value.to_be_bytes());
        self
    }

    /// A variable byte integer.
    #[must_use]
    pub fn var(mut self, id: u8, value: u32) -> Self {
        self.0.push(id);
        self.0.extend(var(value as usize));
        self
    }

    /// Text, or binary data.
    #[must_use]
    pub fn data(mut self, id: u8, value: &[u8]) -> Self {
        self.0.push(id);
        self.0.extend(data(value));
        self
    }

    /// A user property.
    #[must_use]
    pub fn pair(mut self, name: &str, value: &str) -> Self {
        self.0.push(0x26);
        self.0.extend(data(name.as_bytes()));
        self.0.extend(data(value.as_bytes()));
        self
    }

    /// With their length in front; nothing in 3.1.1.
    fn bytes(&self, level: u8) -> Vec<u8> {
        if level == V5 { [&var(self.0.len())[..], &self.0].concat() } else { Vec::new() }
    }
}

/// A variable byte integer.
#[must_use]
pub fn var(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// Text or binary data with its length in front; what is longer than a length can say is cut off.
#[must_use]
pub fn data(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &bytes[..usize::from(length)]].concat()
}

/// Any packet.
#[must_use]
pub fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![first];
    bytes.extend(var(length));
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A will.
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Properties.
    pub properties: Properties,
}

/// CONNECT.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// Protocol level.
    pub level: u8,
    /// Clean session or clean start.
    pub clean: bool,
    /// Keep alive in seconds.
    pub keep_alive_s: u16,
    /// Client id.
    pub client_id: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Will.
    pub will: Option<Will>,
    /// Properties.
    pub properties: Properties,
}

impl Connect {
    /// As a packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        flags |= u8::from(self.user.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        let mut payload = data(self.client_id.as_bytes());
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
            payload.extend(will.properties.bytes(self.level));
            payload.extend(data(will.topic.as_bytes()));
            payload.extend(data(&will.payload));
        }
        if let Some(user) = &self.user {
            payload.extend(data(user.as_bytes()));
        }
        if let Some(password) = &self.password {
            payload.extend(data(password));
        }
        let head = [0, 4, b'M', b'Q', b'T', b'T', self.level, flags];
        let keep_alive = self.keep_alive_s.to_be_bytes();
        packet(0x10, &[&head, &keep_alive, &self.properties.bytes(self.level), &payload])
    }
}

/// PUBLISH.
#[derive(Clone, Debug, Default)]
pub struct Publish {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// Packet identifier, at QoS 1 and 2.
    pub id: u16,
    /// Properties.
    pub properties: Properties,
}

impl Publish {
    /// As a packet.
    #[must_use]
    pub fn bytes(&self, level: u8) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let id = self.id.to_be_bytes();
        let id = if self.qos == 0 { &[][..] } else { &id };
        packet(first, &[&data(self.topic.as_bytes()), id, &self.properties.bytes(level), &self.payload])
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP by their first byte; a reason of 0 is left out.
#[must_use]
pub fn ack(first: u8, id: u16, reason: u8) -> Vec<u8> {
    let reason: &[u8] = if reason == 0 { &[] } else { &[reason] };
    packet(first, &[&id.to_be_bytes(), reason])
}

/// SUBSCRIBE: filters with their options.
#[must_use]
pub fn subscribe(level: u8, id: u16, properties: &Properties, filters: &[(String, u8)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (filter, options) in filters {
        payload.extend(data(filter.as_bytes()));
        payload.push(*options);
    }
    packet(0x82, &[&id.to_be_bytes(), &properties.bytes(level), &payload])
}

/// UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe(level: u8, id: u16, filters: &[String]) -> Vec<u8> {
    let payload: Vec<u8> = filters.iter().flat_map(|filter| data(filter.as_bytes())).collect();
    packet(0xA2, &[&id.to_be_bytes(), &Properties::default().bytes(level), &payload])
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// DISCONNECT.
#[must_use]
pub fn disconnect(level: u8, reason: u8, properties: &Properties) -> Vec<u8> {
    if level == V5 { packet(0xE0, &[&[reason], &properties.bytes(level)]) } else { packet(0xE0, &[]) }
}

/// AUTH.
#[must_use]
pub fn auth(reason: u8, properties: &Properties) -> Vec<u8> {
    packet(0xF0, &[&[reason], &properties.bytes(V5)])
}
