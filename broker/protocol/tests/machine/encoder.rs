//! What we write is what rmqtt-codec reads: two implementations must agree.

use std::num::NonZeroU16;

use broker_protocol::Version;
use broker_protocol::codec::{Ack, ConnAck, Encoder, PublishOut};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rmqtt_codec::{v3, v5};
use schemas::{PublishProperties, QoS};
use tokio_util::codec::Decoder;

const FIVE: Encoder = Encoder { version: Version::V5, packet_bytes_max: u32::MAX, problem_info: true };
const OLD: Encoder = Encoder { version: Version::V311, ..FIVE };

fn read5(out: &[u8]) -> v5::Packet {
    let mut bytes = BytesMut::from(out);
    let (packet, _) = v5::Codec::default().decode(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    packet
}

fn read3(out: &[u8]) -> v3::Packet {
    let mut bytes = BytesMut::from(out);
    let (packet, _) = v3::Codec::default().decode(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    packet
}

fn small_text() -> impl Strategy<Value = String> {
    "[a-zé]{0,200}"
}

prop_compose! {
    fn properties()(
        payload_is_utf8 in any::<Option<bool>>(),
        content_type in proptest::option::of(small_text()),
        response_topic in proptest::option::of("[a-z]{1,9}"),
        correlation_data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        user_properties in proptest::collection::vec((small_text(), small_text()), 0..4),
    ) -> PublishProperties {
        PublishProperties {
            payload_is_utf8,
            message_expiry_s: None,
            content_type,
            response_topic,
            correlation_data: correlation_data.map(Bytes::from),
            user_properties,
        }
    }
}

proptest! {
    #[test]
    fn publishes_read_back(
        topic in "[a-z/é]{1,300}",
        payload in proptest::collection::vec(any::<u8>(), 0..20_000),
        id in any::<Option<NonZeroU16>>(),
        twice in any::<bool>(),
        dup in any::<bool>(),
        retain in any::<bool>(),
        properties in properties(),
        expiry_s in proptest::option::of(1..u32::MAX),
        subscription_ids in proptest::collection::vec(1..268_435_455_u32, 0..4),
    ) {
        let qos = match (id, twice) { (None, _) => QoS::AtMostOnce, (_, false) => QoS::AtLeastOnce, _ => QoS::ExactlyOnce };
        let publish = PublishOut {
            topic: &topic, payload: &payload, qos, id, alias: None, dup, retain, properties: Some(&properties), expiry_s,
            content_type: None, subscription_ids: &subscription_ids,
        };
        let mut out = Vec::new();
        prop_assert!(FIVE.publish(&mut out, &publish));
        let v5::Packet::Publish(read) = read5(&out) else { panic!("not a PUBLISH") };
        prop_assert_eq!(&*read.topic, &topic);
        prop_assert_eq!(&read.payload[..], &payload[..]);
        prop_assert_eq!((read.packet_id, read.qos as u8), (id, qos as u8));
        prop_assert_eq!((read.dup, read.retain), (dup && id.is_some(), retain));
        let found = read.properties.unwrap();
        prop_assert_eq!(found.is_utf8_payload, properties.payload_is_utf8.unwrap_or(false));
        prop_assert_eq!(found.message_expiry_interval.map(std::num::NonZeroU32::get), expiry_s);
        prop_assert_eq!(found.content_type.as_deref(), properties.content_type.as_deref());
        prop_assert_eq!(found.response_topic.as_deref(), properties.response_topic.as_deref());
        prop_assert_eq!(found.correlation_data, properties.correlation_data.clone());
        let pairs: Vec<(String, String)> =
            found.user_properties.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        prop_assert_eq!(pairs, properties.user_properties.clone());
        let ids: Vec<u32> = found.subscription_ids.iter().map(|id| id.get()).collect();
        prop_assert_eq!(ids, subscription_ids.clone());

        // To the byte: with one byte less allowed nothing is written. [v5:3.1.2-24]
        let exact = Encoder { packet_bytes_max: u32::try_from(out.len()).unwrap(), ..FIVE };
        let mut again = Vec::new();
        prop_assert!(exact.publish(&mut again, &publish) && again == out);
        let less = Encoder { packet_bytes_max: exact.packet_bytes_max - 1, ..FIVE };
        prop_assert!(!less.publish(&mut again, &publish) && again == out);

        let mut out = Vec::new();
        prop_assert!(OLD.publish(&mut out, &publish));
        let v3::Packet::Publish(read) = read3(&out) else { panic!("not a PUBLISH") };
        prop_assert_eq!((&*read.topic, &read.payload[..], read.packet_id), (&*topic, &payload[..], id));
    }

    /// `[v5:3.4.2-2] [v5:3.1.2-29]`: a reason string leaves before the packet does.
    /// `[v5:3.14.2-3]`
    #[test]
    fn acknowledgements_fit_the_client(id in any::<NonZeroU16>(), max in 1_u32..80, problem_info in any::<bool>()) {
        let encoder = Encoder { packet_bytes_max: max, problem_info, ..FIVE };
        let mut out = Vec::new();
        encoder.acknowledge(&mut out, Ack::PubAck, id, 0x87, Some("acl_denied"));
        prop_assert!(out.len() <= max as usize);
        if max >= 5 {
            let v5::Packet::PublishAck(ack) = read5(&out) else { panic!("not a PUBACK") };
            prop_assert_eq!((ack.packet_id, u8::from(ack.reason_code)), (id, 0x87));
            prop_assert_eq!(ack.reason_string.is_some(), problem_info && max >= 19);
        }
        // What there is to say of a success is left out with its code: the acknowledgement itself must go.
        let mut out = Vec::new();
        encoder.acknowledge(&mut out, Ack::PubRec, id, 0, Some("so"));
        let said = problem_info && max >= 11;
        prop_assert_eq!(out.len(), if said { 11 } else { 4 });
        let mut out = Vec::new();
        encoder.disconnect(&mut out, 0x8E, Some("x"));
        prop_assert!(out.len() <= max as usize);
    }
}

/// `[v5:3.9.2-1] [v5:3.9.2-2]`: what is said of a refused filter goes before its code does.
#[test]
fn a_subscription_that_is_refused_says_why_where_there_is_room() {
    let id = NonZeroU16::new(7).unwrap();
    for (max, problem_info, said) in
        [(u32::MAX, true, true), (12, true, true), (11, true, false), (99, false, false)]
    {
        let encoder = Encoder { packet_bytes_max: max, problem_info, ..FIVE };
        let mut out = Vec::new();
        assert!(encoder.suback(&mut out, id, &[1, 0x83], Some("no")));
        let v5::Packet::SubscribeAck(ack) = read5(&out) else { panic!("not a SUBACK") };
        assert_eq!((ack.packet_id, ack.status.len(), ack.reason_string.is_some()), (id, 2, said), "{max}");
    }
    let mut out = Vec::new();
    assert!(OLD.suback(&mut out, id, &[0x83], Some("no")));
    assert_eq!(out, [0x90, 3, 0, 7, 0x80]);
}

/// `[v311:2.2.2-1] [v5:2.1.3-1] [v311:2.3.1-7] [v5:2.2.1-6]`
#[test]
fn the_others_read_back() {
    let id = NonZeroU16::new(7).unwrap();
    let mut out = Vec::new();
    let ack = ConnAck {
        present: true,
        session_expiry_s: Some(9),
        announces: true,
        receive_max: 256,
        packet_bytes_max: 1000,
        assigned_client_id: Some("auto".to_owned()),
        topic_alias_max: 16,
        server_keep_alive_s: Some(30),
        auth_method: Some("JWT"),
    };
    assert!(FIVE.connack(&mut out, &ack));
    assert_eq!(out.windows(6).filter(|w| *w == b"\x15\x00\x03JWT").count(), 1);
    let v5::Packet::ConnectAck(read) = read5(&out) else { panic!("not a CONNACK") };
    assert!(read.session_present && read.retain_available && read.shared_subscription_available);
    assert_eq!((read.max_qos as u8, read.receive_max.get(), read.topic_alias_max), (2, 256, 16));
    assert_eq!((read.assigned_client_id.as_deref(), read.server_keepalive_sec), (Some("auto"), Some(30)));
    assert_eq!((read.max_packet_size, read.session_expiry_interval_secs), (Some(1000), Some(9)));
    out.clear();
    assert!(FIVE.suback(&mut out, id, &[0, 1, 0x87], None));
    assert_eq!(out, [0x90, 6, 0, 7, 0, 0, 1, 0x87]);
    out.clear();
    assert!(OLD.suback(&mut out, id, &[0, 1, 0x87], None));
    assert_eq!(out, [0x90, 5, 0, 7, 0, 1, 0x80]);
    out.clear();
    assert!(OLD.unsuback(&mut out, id, &[0, 0x11]));
    assert_eq!(out, [0xB0, 2, 0, 7], "[v311:3.11] has no payload");
    out.clear();
    FIVE.acknowledge(&mut out, Ack::PubComp, id, 0x92, None);
    assert_eq!(out, [0x70, 3, 0, 7, 0x92]);
    out.clear();
    OLD.disconnect(&mut out, 0x8E, None);
    assert!(out.is_empty(), "3.1.1 servers have no DISCONNECT");
}
