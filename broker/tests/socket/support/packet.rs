//! Packets by hand: builders for what clients send, readers for what they get.

/// Protocol level 4.
pub(crate) const V311: u8 = 4;
/// Protocol level 5.
pub(crate) const V5: u8 = 5;

pub(crate) fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

pub(crate) fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

pub(crate) fn var(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        out.push(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            return out;
        }
    }
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(var(body.len()));
    out.extend_from_slice(body);
    out
}

/// A CONNECT to be changed.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) level: u8,
    pub(crate) client: String,
    pub(crate) token: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Vec<u8>,
    /// Topic, payload, QoS.
    pub(crate) will: Option<(String, Vec<u8>, u8)>,
}

impl Connect {
    pub(crate) fn new(level: u8, client: &str, token: &str) -> Self {
        Self {
            level,
            client: client.to_owned(),
            token: token.to_owned(),
            clean: true,
            keep_alive: 60,
            properties: Vec::new(),
            will: None,
        }
    }

    /// A session that outlives its connection.
    pub(crate) fn persistent(level: u8, client: &str, token: &str) -> Self {
        let mut connect = Self::new(level, client, token);
        connect.clean = false;
        if level == V5 {
            connect.properties = [&[0x11][..], &3600_u32.to_be_bytes()].concat();
        }
        connect
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut flags = 0b1000_0000 | 0b0100_0000 | u8::from(self.clean) << 1;
        if let Some((_, _, qos)) = &self.will {
            flags |= 0b100 | qos << 3;
        }
        let mut body = [&text("MQTT")[..], &[self.level, flags], &self.keep_alive.to_be_bytes()].concat();
        if self.level == V5 {
            body.extend(var(self.properties.len()));
            body.extend_from_slice(&self.properties);
        }
        body.extend(text(&self.client));
        if let Some((topic, payload, _)) = &self.will {
            if self.level == V5 {
                body.push(0);
            }
            body.extend(text(topic));
            body.extend(binary(payload));
        }
        body.extend(text("user"));
        body.extend(text(&self.token));
        packet(0x10, &body)
    }
}

pub(crate) fn subscribe(level: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(level, id, &[], filters)
}

pub(crate) fn subscribe_with(level: u8, id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == V5 {
        body.extend(var(properties.len()));
        body.extend_from_slice(properties);
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub(crate) fn unsubscribe(level: u8, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == V5 {
        body.push(0);
    }
    body.extend(text(filter));
    packet(0xA2, &body)
}

/// QoS 0 where `id` is `None`, else QoS 1.
pub(crate) fn publish(level: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if let Some(id) = id {
        body.extend(id.to_be_bytes());
    }
    if level == V5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(if id.is_some() { 0x32 } else { 0x30 }, &body)
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

/// A packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// A PUBLISH from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) id: Option<u16>,
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Published {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

impl Packet {
    pub(crate) fn published(&self, level: u8) -> Published {
        assert_eq!(self.first >> 4, 3, "not a PUBLISH: {self:?}");
        let qos = (self.first >> 1) & 3;
        let length = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let topic = String::from_utf8(self.body[2..2 + length].to_vec()).unwrap();
        let mut rest = &self.body[2 + length..];
        let mut id = None;
        if qos > 0 {
            id = Some(u16::from_be_bytes([rest[0], rest[1]]));
            rest = &rest[2..];
        }
        let mut properties = Vec::new();
        if level == V5 {
            let (length, used) = read_var(rest).unwrap();
            properties = rest[used..used + length].to_vec();
            rest = &rest[used + length..];
        }
        Published {
            dup: self.first & 8 != 0,
            retain: self.first & 1 != 0,
            topic,
            id,
            properties,
            payload: rest.to_vec(),
        }
    }
}

/// Value and bytes used.
pub(crate) fn read_var(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}
