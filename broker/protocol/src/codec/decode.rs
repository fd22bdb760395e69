//! rmqtt-codec's packets → ours.

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::{error::DecodeError, types, v3, v5 as five};
use schemas::{Encoding, Epoch, Publication, PublishProperties, QoS, wire};

use super::PacketError;
use super::check::{self, Findings};
use crate::packet::{Auth, Connect, Filter, Incoming, Publish, Start, Subscribe, Version, Will};

/// Receive Maximum where a client names none. `[v5:3.1.2.11.3]`
const RECEIVE_MAX_DEFAULT: u16 = 65_535;
/// Session expiry of a 3.1.1 session that is not clean: it never ends by itself.
const EXPIRY_NEVER: u32 = u32::MAX;

/// Decodes one whole packet. `header` is the length of its fixed header.
///
/// # Errors
/// The first rule that the packet breaks.
pub fn decode(version: Version, mut frame: BytesMut, header: usize) -> Result<Incoming, PacketError> {
    let findings = check::check(version, &frame, header)?;
    if let Some(at) = findings.expiry_zero_at {
        frame[at] = 1;
    }
    if let Some(at) = findings.empty_id_flags_at {
        frame[at] |= 0b10;
    }
    match version {
        Version::V311 => decode_v311(&mut frame),
        Version::V5 => decode_v5(&mut frame, findings),
    }
}

fn decode_v311(frame: &mut BytesMut) -> Result<Incoming, PacketError> {
    use tokio_util::codec::Decoder;
    let (packet, _) = v3::Codec::default().decode(frame).map_err(|e| refused(&e))?.ok_or(CUT)?;
    Ok(match packet {
        v3::Packet::Connect(connect) => Incoming::Connect(Box::new(connect_v311(*connect))),
        v3::Packet::Publish(publish) => {
            Incoming::Publish(Box::new(publish_of(*publish, Findings::default())))
        }
        v3::Packet::PublishAck { packet_id } => Incoming::PubAck(packet_id),
        v3::Packet::PublishReceived { packet_id } => Incoming::PubRec { id: packet_id, reason: 0 },
        v3::Packet::PublishRelease { packet_id } => Incoming::PubRel(packet_id),
        v3::Packet::PublishComplete { packet_id } => Incoming::PubComp(packet_id),
        v3::Packet::Subscribe { packet_id, topic_filters } => Incoming::Subscribe(Box::new(Subscribe {
            id: packet_id,
            subscription_id: None,
            filters: topic_filters
                .into_iter()
                .map(|(filter, qos)| Filter {
                    filter: Arc::from(&*filter),
                    qos: qos_of(qos),
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: 0,
                })
                .collect(),
            start: Start::Head,
        })),
        v3::Packet::Unsubscribe { packet_id, topic_filters } => Incoming::Unsubscribe {
            id: packet_id,
            filters: topic_filters.iter().map(ToString::to_string).collect(),
        },
        v3::Packet::PingRequest => Incoming::PingReq,
        v3::Packet::Disconnect => Incoming::Disconnect { reason: 0, expiry_s: None },
        v3::Packet::ConnectAck(_)
        | v3::Packet::SubscribeAck { .. }
        | v3::Packet::UnsubscribeAck { .. }
        | v3::Packet::PingResponse => return Err(SERVERS),
    })
}

fn decode_v5(frame: &mut BytesMut, findings: Findings) -> Result<Incoming, PacketError> {
    use tokio_util::codec::Decoder;
    let (packet, _) = five::Codec::default().decode(frame).map_err(|e| refused(&e))?.ok_or(CUT)?;
    Ok(match packet {
        five::Packet::Connect(connect) => Incoming::Connect(Box::new(connect_v5(*connect, findings))),
        five::Packet::Publish(publish) => Incoming::Publish(Box::new(publish_of(*publish, findings))),
        five::Packet::PublishAck(ack) => Incoming::PubAck(ack.packet_id),
        five::Packet::PublishReceived(ack) => {
            Incoming::PubRec { id: ack.packet_id, reason: ack.reason_code.into() }
        }
        five::Packet::PublishRelease(ack) => Incoming::PubRel(ack.packet_id),
        five::Packet::PublishComplete(ack) => Incoming::PubComp(ack.packet_id),
        five::Packet::Subscribe(subscribe) => Incoming::Subscribe(Box::new(subscribe_v5(subscribe))),
        five::Packet::Unsubscribe(unsubscribe) => Incoming::Unsubscribe {
            id: unsubscribe.packet_id,
            filters: unsubscribe.topic_filters.iter().map(ToString::to_string).collect(),
        },
        five::Packet::PingRequest => Incoming::PingReq,
        five::Packet::Disconnect(disconnect) => Incoming::Disconnect {
            reason: disconnect.reason_code.into(),
            expiry_s: disconnect.session_expiry_interval_secs,
        },
        five::Packet::Auth(auth) => Incoming::Auth(Box::new(Auth {
            reason: auth.reason_code.into(),
            method: auth.auth_method.map(|method| method.to_string()),
            data: auth.auth_data.map(|data| data.to_vec()),
        })),
        five::Packet::ConnectAck(_)
        | five::Packet::SubscribeAck(_)
        | five::Packet::UnsubscribeAck(_)
        | five::Packet::PingResponse => return Err(SERVERS),
    })
}

const CUT: PacketError = PacketError::malformed("v5:U25", "a length beyond the end of the packet");
const SERVERS: PacketError = PacketError::protocol("v5:U24", "a packet that only servers send");

/// What is left to rmqtt-codec: strings that are not UTF-8, reason codes not of the packet's list, and what our own walk
/// should have found before.
fn refused(error: &DecodeError) -> PacketError {
    match error {
        DecodeError::Utf8Error => PacketError::malformed("v5:1.5.4-1", "a string is not UTF-8"),
        _ => PacketError::malformed("v5:4.13.1-1", "the packet cannot be parsed"),
    }
}

const fn qos_of(qos: types::QoS) -> QoS {
    match qos {
        types::QoS::AtMostOnce => QoS::AtMostOnce,
        types::QoS::AtLeastOnce => QoS::AtLeastOnce,
        types::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn connect_v311(connect: v3::Connect) -> Connect {
    Connect {
        version: Version::V311,
        clean: connect.clean_session,
        keep_alive_s: connect.keep_alive,
        client_id: connect.client_id.to_string(),
        password: connect.password.map(|p| p.to_vec()).unwrap_or_default(),
        will: connect.last_will.map(|will| {
            Box::new(Will {
                message: Publication {
                    topic: Arc::from(&*will.topic),
                    payload: Bytes::copy_from_slice(&will.message),
                    qos: qos_of(will.qos),
                    retain: will.retain,
                    properties: None,
                },
                delay_s: 0,
            })
        }),
        session_expiry_s: if connect.clean_session { 0 } else { EXPIRY_NEVER },
        receive_max: RECEIVE_MAX_DEFAULT,
        packet_bytes_max: None,
        topic_alias_max: 0,
        problem_info: false,
        auth_method: None,
        auth_data: None,
        encoding: Encoding::Json,
    }
}

fn connect_v5(connect: five::Connect, findings: Findings) -> Connect {
    let msgpack = connect
        .user_properties
        .iter()
        .any(|(name, value)| &**name == wire::FORMAT_PROPERTY && &**value == "msgpack");
    Connect {
        version: Version::V5,
        clean: findings.clean,
        keep_alive_s: connect.keep_alive,
        client_id: connect.client_id.to_string(),
        password: connect.password.map(|p| p.to_vec()).unwrap_or_default(),
        will: connect.last_will.map(|will| Box::new(will_v5(will, findings))),
        session_expiry_s: connect.session_expiry_interval_secs,
        receive_max: connect.receive_max.map_or(RECEIVE_MAX_DEFAULT, NonZeroU16::get),
        packet_bytes_max: connect.max_packet_size.map(std::num::NonZeroU32::get),
        topic_alias_max: connect.topic_alias_max,
        problem_info: connect.request_problem_info,
        auth_method: connect.auth_method.map(|m| m.to_string()),
        auth_data: connect.auth_data.map(|d| d.to_vec()),
        encoding: if msgpack { Encoding::Msgpack } else { Encoding::Json },
    }
}

/// `[v5:3.1.3-10] [v5:U41]`
fn will_v5(will: five::LastWill, findings: Findings) -> Will {
    let properties = PublishProperties {
        payload_is_utf8: findings.payload_format,
        message_expiry_s: expiry(will.message_expiry_interval, findings),
        content_type: will.content_type.map(|t| t.to_string()),
        response_topic: will.response_topic.map(|t| t.to_string()),
        correlation_data: will.correlation_data.map(|d| Bytes::copy_from_slice(&d)),
        user_properties: pairs(&will.user_properties),
    };
    Will {
        message: Publication {
            topic: Arc::from(&*will.topic),
            payload: Bytes::copy_from_slice(&will.message),
            qos: qos_of(will.qos),
            retain: will.retain,
            properties: boxed(properties),
        },
        delay_s: will.will_delay_interval_sec.unwrap_or(0),
    }
}

fn publish_of(publish: types::Publish, findings: Findings) -> Publish {
    let mut alias = None;
    let properties = publish.properties.and_then(|p| {
        alias = p.topic_alias;
        boxed(PublishProperties {
            payload_is_utf8: findings.payload_format,
            message_expiry_s: expiry(p.message_expiry_interval, findings),
            content_type: p.content_type.map(|t| t.to_string()),
            response_topic: p.response_topic.map(|t| t.to_string()),
            correlation_data: p.correlation_data.map(|d| Bytes::copy_from_slice(&d)),
            user_properties: pairs(&p.user_properties),
        })
    });
    Publish {
        // [v311:2.3.1-5] [v5:2.2.1-2] [v311:3.3.1-3] [v5:3.3.1-3]
        id: publish.packet_id,
        alias,
        message: Publication {
            topic: Arc::from(&*publish.topic),
            payload: publish.payload,
            qos: qos_of(publish.qos),
            retain: publish.retain,
            properties,
        },
    }
}

fn expiry(decoded: Option<std::num::NonZeroU32>, findings: Findings) -> Option<u32> {
    if findings.expiry_zero_at.is_some() { Some(0) } else { decoded.map(std::num::NonZeroU32::get) }
}

fn boxed(properties: PublishProperties) -> Option<Box<PublishProperties>> {
    (properties != PublishProperties::default()).then(|| Box::new(properties))
}

fn pairs(properties: &five::UserProperties) -> Vec<(String, String)> {
    properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn subscribe_v5(subscribe: five::Subscribe) -> Subscribe {
    let start = start_of(&subscribe.user_properties);
    Subscribe {
        id: subscribe.packet_id,
        subscription_id: subscribe.id.map(std::num::NonZeroU32::get),
        filters: subscribe
            .topic_filters
            .into_iter()
            .map(|(filter, options)| Filter {
                filter: Arc::from(&*filter),
                qos: qos_of(options.qos),
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                retain_handling: options.retain_handling.into(),
            })
            .collect(),
        start,
    }
}

/// User property of SUBSCRIBE that names the last number the client has.
const AFTER_PROPERTY: &str = "after";
/// User property of SUBSCRIBE that names the epoch of that number.
const EPOCH_PROPERTY: &str = "epoch";

fn start_of(properties: &five::UserProperties) -> Start {
    let get = |wanted: &str| properties.iter().find(|(name, _)| &**name == wanted).map(|(_, value)| &**value);
    let Some(after) = get(AFTER_PROPERTY) else {
        return if get(EPOCH_PROPERTY).is_some() { Start::Invalid } else { Start::Head };
    };
    // An epoch that is none of ours is a foreign one, whatever it looks like.
    let epoch = get(EPOCH_PROPERTY).map(Epoch::named);
    after.parse().map_or(Start::Invalid, |after| Start::After(after, epoch))
}
