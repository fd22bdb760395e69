//! A decoded packet in its plainest bytes: every field that the broker keeps, nothing else.

use std::num::NonZeroU16;

use broker_protocol::{Auth, Connect, Incoming, Publish, Start, Subscribe, Version, Will};
use schemas::{Encoding, PublishProperties, wire};
use sim::mqtt::write::{self, Properties};
use sim::mqtt::{V5, V311};

pub(super) fn bytes(version: Version, packet: &Incoming) -> Vec<u8> {
    let level = if version == Version::V5 { V5 } else { V311 };
    match packet {
        Incoming::Connect(packet) => connect(level, packet),
        Incoming::Publish(packet) => publish(level, packet),
        Incoming::PubAck(id) => write::ack(0x40, id.get(), 0),
        Incoming::PubRec { id, reason } => write::ack(0x50, id.get(), *reason),
        Incoming::PubRel(id) => write::ack(0x62, id.get(), 0),
        Incoming::PubComp(id) => write::ack(0x70, id.get(), 0),
        Incoming::Subscribe(packet) => subscribe(level, packet),
        Incoming::Unsubscribe { id, filters } => write::unsubscribe(level, id.get(), filters),
        Incoming::PingReq => write::PINGREQ.to_vec(),
        Incoming::Disconnect { reason, expiry_s } => {
            let expiry = expiry_s.map(|seconds| Properties::default().long(0x11, seconds));
            write::disconnect(level, *reason, &expiry.unwrap_or_default())
        }
        Incoming::Auth(packet) => auth(packet),
    }
}

fn connect(level: u8, connect: &Connect) -> Vec<u8> {
    let mut properties = Properties::default()
        .long(0x11, connect.session_expiry_s)
        .short(0x21, connect.receive_max)
        .short(0x22, connect.topic_alias_max)
        .byte(0x17, u8::from(connect.problem_info));
    if let Some(max) = connect.packet_bytes_max {
        properties = properties.long(0x27, max);
    }
    if let Some(method) = &connect.auth_method {
        properties = properties.data(0x15, method.as_bytes());
    }
    if let Some(data) = &connect.auth_data {
        properties = properties.data(0x16, data);
    }
    if connect.encoding == Encoding::Msgpack {
        properties = properties.pair(wire::FORMAT_PROPERTY, "msgpack");
    }
    write::Connect {
        level,
        clean: connect.clean,
        keep_alive_s: connect.keep_alive_s,
        client_id: connect.client_id.clone(),
        // 3.1.1 allows no password without a user name.
        user: Some(String::new()),
        password: Some(connect.password.clone()),
        will: connect.will.as_deref().map(will),
        properties,
    }
    .bytes()
}

fn will(will: &Will) -> write::Will {
    let message = &will.message;
    let properties = message.properties.as_deref().map(carried).unwrap_or_default();
    write::Will {
        topic: message.topic.to_string(),
        payload: message.payload.to_vec(),
        qos: message.qos as u8,
        retain: message.retain,
        properties: properties.long(0x18, will.delay_s),
    }
}

fn carried(properties: &PublishProperties) -> Properties {
    let mut out = Properties::default();
    if let Some(utf8) = properties.payload_is_utf8 {
        out = out.byte(0x01, u8::from(utf8));
    }
    if let Some(seconds) = properties.message_expiry_s {
        out = out.long(0x02, seconds);
    }
    if let Some(text) = &properties.content_type {
        out = out.data(0x03, text.as_bytes());
    }
    if let Some(topic) = &properties.response_topic {
        out = out.data(0x08, topic.as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        out = out.data(0x09, data);
    }
    for (name, value) in &properties.user_properties {
        out = out.pair(name, value);
    }
    out
}

fn publish(level: u8, publish: &Publish) -> Vec<u8> {
    let message = &publish.message;
    let mut properties = message.properties.as_deref().map(carried).unwrap_or_default();
    if let Some(alias) = publish.alias {
        properties = properties.short(0x23, alias.get());
    }
    write::Publish {
        topic: message.topic.to_string(),
        payload: message.payload.to_vec(),
        qos: message.qos as u8,
        retain: message.retain,
        dup: false,
        id: publish.id.map_or(0, NonZeroU16::get),
        properties,
    }
    .bytes(level)
}

fn subscribe(level: u8, subscribe: &Subscribe) -> Vec<u8> {
    let mut properties = Properties::default();
    if let Some(id) = subscribe.subscription_id {
        properties = properties.var(0x0B, id);
    }
    properties = match subscribe.start {
        Start::Head => properties,
        Start::Invalid => properties.pair("after", "x"),
        Start::After(after, None) => properties.pair("after", &after.to_string()),
        Start::After(after, Some(epoch)) => {
            properties.pair("after", &after.to_string()).pair("epoch", &epoch.to_string())
        }
    };
    let filters = subscribe.filters.iter().map(|filter| {
        let flags = u8::from(filter.no_local) << 2 | u8::from(filter.retain_as_published) << 3;
        (filter.filter.to_string(), filter.qos as u8 | flags | filter.retain_handling << 4)
    });
    write::subscribe(level, subscribe.id.get(), &properties, &filters.collect::<Vec<_>>())
}

fn auth(auth: &Auth) -> Vec<u8> {
    let mut properties = Properties::default();
    if let Some(method) = &auth.method {
        properties = properties.data(0x15, method.as_bytes());
    }
    if let Some(data) = &auth.data {
        properties = properties.data(0x16, data);
    }
    write::auth(auth.reason, &properties)
}
