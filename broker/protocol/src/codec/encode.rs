//! What the server sends, written straight into the connection's output.
//!
//! Each function knows its packet's size before it writes, so that nothing above the client's Maximum Packet Size leaves
//! (`[v5:3.1.2-24]`), and writes every length in the fewest bytes (`[v5:1.5.5-1]`).

use std::num::NonZeroU16;

use schemas::{PublishProperties, QoS};

use crate::packet::Version;
use crate::reason::v311;

/// How a connection is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    /// Version.
    pub version: Version,
    /// Largest packet the client takes, in bytes; `u32::MAX` where it named none.
    pub packet_bytes_max: u32,
    /// May acknowledgements carry reason strings? `[v5:3.1.2-29]`
    pub problem_info: bool,
}

/// The acknowledgements of publishes and deliveries, by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// PUBACK
    PubAck = 0x40,
    /// PUBREC
    PubRec = 0x50,
    /// PUBREL `[v311:3.6.1-1] [v5:3.6.1-1]`
    PubRel = 0x62,
    /// PUBCOMP
    PubComp = 0x70,
}

/// A CONNACK that accepts; what is `None` is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Session present.
    pub present: bool,
    /// Session expiry interval, where it is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// The next three are told. Where the client takes only smaller packets they are not: the standard's defaults count,
    /// and a client that knows no limits is made to wait instead.
    pub announces: bool,
    /// Receive Maximum.
    pub receive_max: u16,
    /// Largest packet we take.
    pub packet_bytes_max: u32,
    /// Assigned client id.
    pub assigned_client_id: Option<String>,
    /// Topic Alias Maximum.
    pub topic_alias_max: u16,
    /// Server Keep Alive.
    pub server_keep_alive_s: Option<u16>,
    /// Authentication method, where CONNECT had one. `[v5:4.12.0-5] [v5:4.12.0-6]`
    pub auth_method: Option<&'static str>,
}

/// A topic alias towards a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    /// From 1.
    pub number: NonZeroU16,
    /// The client knows its topic: it is left out.
    pub known: bool,
}

/// A PUBLISH to a client.
#[derive(Clone, Copy, Debug)]
pub struct PublishOut<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS.
    pub qos: QoS,
    /// Packet identifier: present at QoS 1 and 2.
    pub id: Option<NonZeroU16>,
    /// Topic alias. `[v5:3.1.2-26] [v5:3.3.2-11]`
    pub alias: Option<Alias>,
    /// DUP.
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Properties that travel with the message.
    pub properties: Option<&'a PublishProperties>,
    /// Message expiry interval, counted down.
    pub expiry_s: Option<u32>,
    /// Content type, where `properties` has none.
    pub content_type: Option<&'a str>,
    /// Identifiers of the subscriptions that matched.
    pub subscription_ids: &'a [u32],
}

impl PublishOut<'_> {
    /// The QoS it goes out with.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        if self.id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce }
    }
}

const fn var_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Largest remaining length that the protocol can say.
const REMAINING_MAX: usize = 268_435_455;

fn var(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Strings and binary data come from the protocol itself or are bounded by it, so their length fits; a longer one is cut
/// off rather than letting its length lie.
fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    u16(out, length);
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

const fn text_len(text: &str) -> usize {
    2 + text.len()
}

/// Identifier of the property that says why.
const REASON_STRING: u8 = 0x1F;

/// Length of what follows the length, with `fixed` bytes and a reason string.
const fn with_reason(fixed: usize, why: &str) -> usize {
    let properties = 1 + text_len(why);
    fixed + var_len(properties) + properties
}

fn text_property(out: &mut Vec<u8>, id: u8, text: &str) {
    out.push(id);
    binary(out, text.as_bytes());
}

impl Encoder {
    /// Does a packet with this remaining length fit the client?
    const fn fits(&self, remaining: usize) -> bool {
        remaining <= REMAINING_MAX && 1 + var_len(remaining) + remaining <= self.packet_bytes_max as usize
    }

    /// CONNACK that accepts; false where it is larger than the client takes, and then nothing is written.
    /// `[v5:3.1.2-24]`
    pub fn connack(&self, out: &mut Vec<u8>, ack: &ConnAck) -> bool {
        if self.version == Version::V311 {
            // [v311:3.2.2-1] [v311:3.2.2-2]
            out.extend_from_slice(&[0x20, 2, u8::from(ack.present), 0]);
            return true;
        }
        let mut properties = Vec::new();
        if let Some(seconds) = ack.session_expiry_s {
            properties.push(0x11);
            properties.extend_from_slice(&seconds.to_be_bytes());
        }
        if let Some(id) = &ack.assigned_client_id {
            // [v5:3.2.2-16]
            text_property(&mut properties, 0x12, id);
        }
        if let Some(seconds) = ack.server_keep_alive_s {
            properties.push(0x13);
            u16(&mut properties, seconds);
        }
        if let Some(method) = ack.auth_method {
            text_property(&mut properties, 0x15, method);
        }
        // [v5:3.1.2-28] [v5:3.2.2-9] [v5:U48]
        if ack.announces {
            properties.push(0x21);
            u16(&mut properties, ack.receive_max);
            properties.push(0x22);
            u16(&mut properties, ack.topic_alias_max);
            properties.push(0x27);
            properties.extend_from_slice(&ack.packet_bytes_max.to_be_bytes());
        }
        let remaining = 2 + var_len(properties.len()) + properties.len();
        if !self.fits(remaining) {
            return false;
        }
        out.push(0x20);
        var(out, remaining);
        // [v5:3.2.2-1] [v5:3.2.2-2] [v5:3.2.2-3]
        out.extend_from_slice(&[u8::from(ack.present), 0]);
        var(out, properties.len());
        out.extend_from_slice(&properties);
        true
    }

    /// CONNACK that refuses. 3.1.1 gets `code_v311`, or nothing where none fits. `[v311:3.2.2-4] [v311:3.2.2-6]`
    pub fn connack_refused(&self, out: &mut Vec<u8>, reason: u8, code_v311: Option<u8>, why: Option<&str>) {
        match self.version {
            Version::V311 => {
                if let Some(code) = code_v311 {
                    out.extend_from_slice(&[0x20, 2, 0, code]);
                }
            }
            // [v5:3.2.2-6] [v5:3.2.2-19]; reason strings of CONNACK do not depend on Request Problem Information.
            Version::V5 => self.reasoned(out, 0x20, &[0, reason], why, false),
        }
    }

    /// PUBLISH; false where it is larger than the client takes, and then nothing is written. `[v5:3.1.2-24]`
    pub fn publish(&self, out: &mut Vec<u8>, publish: &PublishOut<'_>) -> bool {
        let topic = if publish.alias.is_some_and(|alias| alias.known) { "" } else { publish.topic };
        let mut remaining = text_len(topic) + publish.payload.len();
        if publish.id.is_some() {
            remaining += 2;
        }
        let properties = (self.version == Version::V5).then(|| properties_len(publish));
        if let Some(length) = properties {
            remaining += var_len(length) + length;
        }
        if publish.topic.len() > usize::from(u16::MAX) || !self.fits(remaining) {
            return false;
        }
        // [v311:3.3.1-2] [v5:3.3.1-2] no DUP at QoS 0.
        let dup = publish.dup && publish.id.is_some();
        // [v311:2.2.2-1] [v311:4.3.1-1] [v5:4.3.1-1] [v5:3.3.1-3] [v311:3.3.1-3]
        let first = 0x30 | u8::from(dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
        out.reserve(5 + remaining);
        out.push(first);
        var(out, remaining);
        binary(out, topic.as_bytes());
        // [v311:2.3.1-5] [v5:2.2.1-2]
        if let Some(id) = publish.id {
            u16(out, id.get());
        }
        if let Some(length) = properties {
            var(out, length);
            write_properties(out, publish);
        }
        out.extend_from_slice(publish.payload);
        true
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP. `[v311:2.3.1-6] [v5:2.2.1-5]` 3.1.1 knows no reasons.
    pub fn acknowledge(&self, out: &mut Vec<u8>, ack: Ack, id: NonZeroU16, reason: u8, why: Option<&str>) {
        let first = ack as u8;
        let id = id.get().to_be_bytes();
        // Success needs no code, unless there is something to say and the client wants to hear it.
        let says_more = reason != 0 || why.is_some_and(|why| self.tells(3, why));
        if self.version == Version::V311 || !says_more {
            out.extend_from_slice(&[first, 2, id[0], id[1]]);
        } else {
            self.reasoned(out, first, &[id[0], id[1], reason], why, true);
        }
    }

    /// SUBACK: one code per filter, in order, and what is to be said of those that are refused.
    /// `[v311:3.8.4-5] [v5:3.8.4-6]` False where it is larger than the client takes.
    #[must_use]
    pub fn suback(&self, out: &mut Vec<u8>, id: NonZeroU16, codes: &[u8], why: Option<&str>) -> bool {
        self.codes(
            out,
            0x90,
            id,
            why,
            codes.iter().map(|code| match self.version {
                // [v311:3.9.3-2]
                Version::V311 if *code >= 0x80 => v311::SUBACK_FAILURE,
                _ => *code,
            }),
        )
    }

    /// UNSUBACK; 3.1.1's has no codes. `[v311:3.10.4-4] [v5:3.11.3-1]` False where it is larger than the client takes.
    #[must_use]
    pub fn unsuback(&self, out: &mut Vec<u8>, id: NonZeroU16, codes: &[u8]) -> bool {
        let codes = if self.version == Version::V311 { &[] } else { codes };
        self.codes(out, 0xB0, id, None, codes.iter().copied())
    }

    /// `[v311:2.3.1-7] [v5:2.2.1-6] [v311:3.9.3-1] [v5:3.9.3-1] [v5:3.9.3-2] [v5:3.8.4-7]`
    /// `[v5:3.10.4-4] [v5:3.11.3-2]`
    fn codes(
        &self,
        out: &mut Vec<u8>,
        first: u8,
        id: NonZeroU16,
        why: Option<&str>,
        codes: impl ExactSizeIterator<Item = u8>,
    ) -> bool {
        let fixed = 2 + codes.len();
        // [v5:3.9.2-1] [v5:3.9.2-2]
        let why = why.filter(|why| self.version == Version::V5 && self.tells(fixed, why));
        let properties = usize::from(self.version == Version::V5);
        let remaining = why.map_or(fixed + properties, |why| with_reason(fixed, why));
        if !self.fits(remaining) {
            return false;
        }
        out.push(first);
        var(out, remaining);
        u16(out, id.get());
        if let Some(why) = why {
            var(out, 1 + text_len(why));
            text_property(out, REASON_STRING, why);
        } else if properties == 1 {
            out.push(0);
        }
        out.extend(codes);
        true
    }

    /// Does the client want to hear that in a packet of so many other bytes, and has it room?
    fn tells(&self, fixed: usize, why: &str) -> bool {
        self.problem_info && self.fits(with_reason(fixed, why))
    }

    /// PINGRESP. `[v311:3.12.4-1] [v5:3.12.4-1]`
    pub fn pingresp(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xD0, 0]);
    }

    /// AUTH of MQTT 5. `[v5:3.15.1-1] [v5:3.15.2-1]`
    pub fn auth(&self, out: &mut Vec<u8>, reason: u8, method: &str) {
        let properties = 1 + text_len(method);
        let remaining = 1 + var_len(properties) + properties;
        if self.fits(remaining) {
            out.push(0xF0);
            var(out, remaining);
            out.push(reason);
            var(out, properties);
            text_property(out, 0x15, method);
        }
    }

    /// DISCONNECT of MQTT 5; 3.1.1 servers have none.
    /// `[v5:3.14.2-2]`
    pub fn disconnect(&self, out: &mut Vec<u8>, reason: u8, why: Option<&str>) {
        if self.version == Version::V5 {
            self.reasoned(out, 0xE0, &[reason], why, false);
        }
    }

    /// A packet of `fixed` bytes and perhaps a reason string, which is left out where it would not fit.
    /// `[v5:3.2.2-19] [v5:3.4.2-2] [v5:3.14.2-3]`
    fn reasoned(&self, out: &mut Vec<u8>, first: u8, fixed: &[u8], why: Option<&str>, optional: bool) {
        // [v5:3.2.2-20] [v5:3.4.2-3] [v5:3.5.2-2] [v5:3.5.2-3]
        let why = why.filter(|_| !optional || self.problem_info);
        if let Some(why) = why {
            let properties = 1 + text_len(why);
            let remaining = with_reason(fixed.len(), why);
            if self.fits(remaining) {
                out.push(first);
                var(out, remaining);
                out.extend_from_slice(fixed);
                var(out, properties);
                text_property(out, REASON_STRING, why);
                return;
            }
        }
        // CONNACK must have a property length; PUBACK and DISCONNECT may leave it out.
        let properties: &[u8] = if first == 0x20 { &[0] } else { &[] };
        let remaining = fixed.len() + properties.len();
        if self.fits(remaining) {
            out.push(first);
            var(out, remaining);
            out.extend_from_slice(fixed);
            out.extend_from_slice(properties);
        }
    }
}

fn content_type<'a>(publish: &PublishOut<'a>) -> Option<&'a str> {
    publish.properties.and_then(|p| p.content_type.as_deref()).or(publish.content_type)
}

fn properties_len(publish: &PublishOut<'_>) -> usize {
    let mut length = publish.subscription_ids.iter().map(|id| 1 + var_len(*id as usize)).sum::<usize>();
    length += publish.expiry_s.map_or(0, |_| 5);
    length += publish.alias.map_or(0, |_| 3);
    length += content_type(publish).map_or(0, |text| 1 + text_len(text));
    if let Some(p) = publish.properties {
        length += p.payload_is_utf8.map_or(0, |_| 2);
        length += p.response_topic.as_deref().map_or(0, |text| 1 + text_len(text));
        length += p.correlation_data.as_ref().map_or(0, |data| 3 + data.len());
        length += p.user_properties.iter().map(|(n, v)| 1 + text_len(n) + text_len(v)).sum::<usize>();
    }
    length
}

/// `[v5:3.3.2-4] [v5:3.3.2-15] [v5:3.3.2-16] [v5:3.3.2-17] [v5:3.3.2-18] [v5:3.3.2-20]`: unchanged, in order.
fn write_properties(out: &mut Vec<u8>, publish: &PublishOut<'_>) {
    let properties = publish.properties;
    if let Some(utf8) = properties.and_then(|p| p.payload_is_utf8) {
        out.extend_from_slice(&[0x01, u8::from(utf8)]);
    }
    if let Some(seconds) = publish.expiry_s {
        out.push(0x02);
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    if let Some(text) = content_type(publish) {
        text_property(out, 0x03, text);
    }
    if let Some(alias) = publish.alias {
        out.push(0x23);
        u16(out, alias.number.get());
    }
    for id in publish.subscription_ids {
        // [v5:3.3.4-3] [v5:3.3.4-4]
        out.push(0x0B);
        var(out, *id as usize);
    }
    let Some(properties) = properties else {
        return;
    };
    if let Some(text) = &properties.response_topic {
        text_property(out, 0x08, text);
    }
    if let Some(data) = &properties.correlation_data {
        out.push(0x09);
        binary(out, data);
    }
    for (name, value) in &properties.user_properties {
        text_property(out, 0x26, name);
        binary(out, value.as_bytes());
    }
}
