//! The packets of MQTT 3.1.1 and 5 that a client sends and gets, written apart from the product's codec.
//!
//! Sending is by functions that give bytes, so that a test can bend them; what comes is read strictly.
//! Not here: enhanced authentication.

use super::property::{Properties, Value, id};
use super::wire::{Reader, Writer};

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// A message to be published when the connection ends badly.
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// To be retained.
    pub retain: bool,
    /// MQTT 5.
    pub properties: Properties,
}

/// CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Version.
    pub version: Version,
    /// Client id.
    pub client_id: String,
    /// The token; none: neither user name nor password is sent.
    pub token: Option<String>,
    /// Clean session, clean start.
    pub clean: bool,
    /// Seconds.
    pub keep_alive_s: u16,
    /// MQTT 5.
    pub properties: Properties,
    /// Will.
    pub will: Option<Will>,
}

/// Seconds between signs of life: longer than any test, so that no PINGREQ has to be sent.
const KEEP_ALIVE_S: u16 = 600;
/// How long MQTT 5 sessions are kept where a test wants one kept, in seconds.
const SESSION_EXPIRY_S: u32 = 3_600;

impl Connect {
    /// A session that ends with its connection.
    #[must_use]
    pub fn new(version: Version, client_id: &str, token: &str) -> Self {
        Self {
            version,
            client_id: client_id.to_owned(),
            token: Some(token.to_owned()),
            clean: true,
            keep_alive_s: KEEP_ALIVE_S,
            properties: Properties::none(),
            will: None,
        }
    }

    /// MQTT 3.1.1.
    #[must_use]
    pub fn v311(client_id: &str, token: &str) -> Self {
        Self::new(Version::V311, client_id, token)
    }

    /// MQTT 5.
    #[must_use]
    pub fn v5(client_id: &str, token: &str) -> Self {
        Self::new(Version::V5, client_id, token)
    }

    /// The session outlives the connection, and goes on if there is one.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.clean = false;
        if self.version == Version::V5 {
            self.properties = self.properties.with(id::SESSION_EXPIRY, Value::Four(SESSION_EXPIRY_S));
        }
        self
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// MQTT 5: at most so many unacknowledged at once.
    #[must_use]
    pub fn receive_max(mut self, n: u16) -> Self {
        self.properties = self.properties.with(id::RECEIVE_MAX, Value::Two(n));
        self
    }

    /// MQTT 5: a user property.
    #[must_use]
    pub fn user_property(mut self, name: &str, value: &str) -> Self {
        self.properties = self.properties.user(name, value);
        self
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.text("MQTT");
        out.byte(if self.version == Version::V5 { 5 } else { 4 });
        let credentials = if self.token.is_some() { 0xC0 } else { 0 };
        let will = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        out.byte(credentials | will | u8::from(self.clean) << 1);
        out.two(self.keep_alive_s);
        if self.version == Version::V5 {
            self.properties.write(&mut out);
        }
        out.text(&self.client_id);
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                will.properties.write(&mut out);
            }
            out.text(&will.topic);
            out.bytes(&will.payload);
        }
        if let Some(token) = &self.token {
            out.text("token");
            out.text(token);
        }
        out.packet(0x10)
    }
}

/// PUBLISH, either way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Sent before, perhaps.
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Packet identifier; 0 at QoS 0.
    pub id: u16,
    /// MQTT 5.
    pub properties: Properties,
}

impl Publish {
    /// The packet.
    #[must_use]
    pub fn packet(&self, version: Version) -> Vec<u8> {
        let mut out = Writer::default();
        out.text(&self.topic);
        if self.qos > 0 {
            out.two(self.id);
        }
        if version == Version::V5 {
            self.properties.write(&mut out);
        }
        out.0.extend(&self.payload);
        out.packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain))
    }
}

/// SUBSCRIBE.
#[must_use]
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)], properties: &Properties) -> Vec<u8> {
    let mut out = Writer::default();
    out.two(id);
    if version == Version::V5 {
        properties.write(&mut out);
    }
    for (filter, options) in filters {
        out.text(filter);
        out.byte(*options);
    }
    out.packet(0x82)
}

/// UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut out = Writer::default();
    out.two(id);
    if version == Version::V5 {
        Properties::none().write(&mut out);
    }
    for filter in filters {
        out.text(filter);
    }
    out.packet(0xA2)
}

/// PUBACK with success; the same bytes in both versions.
#[must_use]
pub fn puback(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x40, 2, high, low]
}

/// DISCONNECT in the usual way; the same bytes in both versions.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];
/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK.
    ConnAck(ConnAck),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK.
    PubAck(Ack),
    /// PUBREC, PUBREL or PUBCOMP.
    Flow(Flow, Ack),
    /// SUBACK.
    SubAck(Codes),
    /// UNSUBACK; no codes in 3.1.1.
    UnsubAck(Codes),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT, MQTT 5.
    Disconnect(Disconnect),
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Session present.
    pub present: bool,
    /// 0, or why not.
    pub code: u8,
    /// MQTT 5.
    pub properties: Properties,
}

/// The packets of a flow of QoS 2 behind PUBLISH, by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// PUBREC
    PubRec = 0x50,
    /// PUBREL
    PubRel = 0x62,
    /// PUBCOMP
    PubComp = 0x70,
}

impl Flow {
    /// The packet.
    #[must_use]
    pub fn packet(self, id: u16) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        vec![self as u8, 2, high, low]
    }
}

/// PUBACK, and those of a flow of QoS 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Packet identifier.
    pub id: u16,
    /// Reason code; 0 in 3.1.1.
    pub code: u8,
    /// MQTT 5.
    pub properties: Properties,
}

/// SUBACK, UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Packet identifier.
    pub id: u16,
    /// One a filter.
    pub codes: Vec<u8>,
}

/// DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Reason code.
    pub code: u8,
    /// Reason string.
    pub reason: Option<String>,
}

impl Packet {
    /// Reads a whole packet.
    pub(super) fn read(version: Version, bytes: &[u8]) -> Result<Self, String> {
        let mut all = Reader(bytes);
        let first = all.byte()?;
        all.variable()?;
        let mut body = all;
        let packet = match (first >> 4, first & 0x0F) {
            (2, 0) => connack(version, &mut body)?,
            (3, flags) => publish(version, flags, &mut body)?,
            (4, 0) => Self::PubAck(ack_read(version, &mut body)?),
            (5, 0) => Self::Flow(Flow::PubRec, ack_read(version, &mut body)?),
            (6, 2) => Self::Flow(Flow::PubRel, ack_read(version, &mut body)?),
            (7, 0) => Self::Flow(Flow::PubComp, ack_read(version, &mut body)?),
            (9, 0) => Self::SubAck(codes(version, &mut body)?),
            (11, 0) => Self::UnsubAck(codes(version, &mut body)?),
            (13, 0) => Self::PingResp,
            (14, 0) if version == Version::V5 => disconnect(&mut body)?,
            _ => return Err(format!("a server does not send a packet that starts with {first:#04x}")),
        };
        if body.0.is_empty() { Ok(packet) } else { Err(format!("bytes after the end of {packet:?}")) }
    }
}

fn properties(version: Version, body: &mut Reader<'_>) -> Result<Properties, String> {
    if version == Version::V5 { Properties::read(body) } else { Ok(Properties::none()) }
}

fn connack(version: Version, body: &mut Reader<'_>) -> Result<Packet, String> {
    let flags = body.byte()?;
    if flags > 1 {
        return Err(format!("CONNACK flags {flags:#04x}"));
    }
    let code = body.byte()?;
    Ok(Packet::ConnAck(ConnAck { present: flags == 1, code, properties: properties(version, body)? }))
}

fn publish(version: Version, flags: u8, body: &mut Reader<'_>) -> Result<Packet, String> {
    let qos = flags >> 1 & 3;
    if qos == 3 {
        return Err("PUBLISH with QoS 3".to_owned());
    }
    let topic = body.text()?;
    let id = if qos > 0 { body.two()? } else { 0 };
    if qos > 0 && id == 0 {
        return Err("PUBLISH with packet identifier 0".to_owned());
    }
    let properties = properties(version, body)?;
    let payload = body.take(body.0.len())?.to_vec();
    let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
    Ok(Packet::Publish(Publish { topic, payload, qos, dup, retain, id, properties }))
}

fn ack_read(version: Version, body: &mut Reader<'_>) -> Result<Ack, String> {
    let id = body.two()?;
    let code = if body.0.is_empty() { 0 } else { body.byte()? };
    if version == Version::V311 && code != 0 {
        return Err("an acknowledgement of 3.1.1 with a reason code".to_owned());
    }
    let properties = if body.0.is_empty() { Properties::none() } else { Properties::read(body)? };
    Ok(Ack { id, code, properties })
}

fn codes(version: Version, body: &mut Reader<'_>) -> Result<Codes, String> {
    let id = body.two()?;
    properties(version, body)?;
    Ok(Codes { id, codes: body.take(body.0.len())?.to_vec() })
}

fn disconnect(body: &mut Reader<'_>) -> Result<Packet, String> {
    let code = if body.0.is_empty() { 0 } else { body.byte()? };
    let properties = if body.0.is_empty() { Properties::none() } else { Properties::read(body)? };
    let reason = properties.text(id::REASON_STRING).map(str::to_owned);
    Ok(Packet::Disconnect(Disconnect { code, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_has_the_bytes_of_the_standard() {
        let bytes = Connect { keep_alive_s: 10, ..Connect::v311("c", "T") }.packet();
        let expected = b"\x10\x17\x00\x04MQTT\x04\xC2\x00\x0A\x00\x01c\x00\x05token\x00\x01T";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_publish_reads_back_in_both_versions() {
        for version in [Version::V311, Version::V5] {
            let publish = Publish {
                topic: "a/b".into(),
                payload: vec![b'x'; 200],
                qos: 1,
                dup: true,
                id: 258,
                ..Publish::default()
            };
            assert_eq!(Packet::read(version, &publish.packet(version)), Ok(Packet::Publish(publish)));
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_an_error() {
        for bytes in [&b"\x10\x00"[..], b"\x20\x02\x02\x00", b"\x36\x05\x00\x01a\x00\x01", b"\xD0\x01\x00"] {
            assert!(Packet::read(Version::V311, bytes).is_err(), "{bytes:?}");
        }
    }
}
