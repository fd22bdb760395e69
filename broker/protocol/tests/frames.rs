//! WebSocket frames: RFC 6455's rules one by one, and streams in pieces of any size.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, also in a helper")]

use broker_protocol::websocket::{Ended, Fault, Reader, Writer};
use proptest::collection::vec;
use proptest::prelude::*;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What came of a stream: payload, what it was answered, how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    payload: Vec<u8>,
    answers: Vec<u8>,
    ended: Option<Ended>,
}

/// Reads a stream in pieces that end at these places.
fn read(bytes: &[u8], cuts: &[usize]) -> Read {
    let (mut reader, mut writer, mut read) = (Reader::default(), Writer::default(), Read::default());
    let mut cuts = cuts.to_vec();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut at = 0;
    for cut in cuts {
        let mut piece = bytes[at..cut].to_vec();
        let kept = reader.read(&mut piece, &mut writer);
        read.payload.extend_from_slice(&piece[..kept]);
        let answer = writer.next(&[])[0].to_vec();
        writer.wrote(answer.len());
        read.answers.extend(answer);
        at = cut;
    }
    read.ended = reader.ended();
    read
}

fn ended(bytes: &[u8]) -> Option<Ended> {
    read(bytes, &[]).ended
}

/// Frames of a server: first byte and payload.
fn served(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (u16::from_be_bytes(*rest.first_chunk().unwrap()).into(), &rest[2..]),
            127 => (u64::from_be_bytes(*rest.first_chunk().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        frames.push((*first, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    frames
}

/// The examples of section 5.7, as a client sends them.
#[test]
fn the_examples_of_the_rfc() {
    let hello = [0x82, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    assert_eq!(read(&hello, &[]).payload, b"Hello");
    let ping = [0x89, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    assert_eq!(read(&ping, &[]).answers, b"\x8A\x05Hello");
}

/// `[v311:6.0.0-1] [v5:6.0.0-1]`
#[test]
fn every_rule_has_its_close_code() {
    let broken = |fault| Some(Ended::Broken(fault));
    let begun = frame(0x02, b"be");
    for (what, bytes) in [
        ("not masked", vec![0x82, 0x01]),
        ("RSV1", vec![0xC2]),
        ("RSV2", vec![0xA2]),
        ("RSV3", vec![0x92]),
        ("an opcode nobody knows", vec![0x83]),
        ("a control opcode nobody knows", vec![0x8B]),
        ("a continuation of nothing", vec![0x80]),
        ("a message within a message", [&begun[..], &[0x82]].concat()),
        ("text within a message", [&begun[..], &[0x81]].concat()),
        ("a ping in two frames", vec![0x09]),
        ("a ping of 126 bytes", vec![0x89, 0x80 | 126]),
        ("125 bytes in a length of two", vec![0x82, 0xFE, 0, 125, 1, 2, 3, 4]),
        ("65,535 bytes in a length of eight", vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4]),
        ("a length of 64 bits", vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ("half a close code", frame(0x88, &[3])),
    ] {
        assert_eq!(ended(&bytes), broken(Fault::Protocol), "{what}");
        assert_eq!(ended(&bytes[..bytes.len() - 1]), None, "{what}: told by the byte that shows it");
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        assert_eq!(ended(&frame(0x88, &u16::to_be_bytes(code))), broken(Fault::Protocol), "{code}");
    }
    for code in [1000, 1001, 1003, 1007, 1014, 3000, 4006, 4999] {
        assert_eq!(ended(&frame(0x88, &u16::to_be_bytes(code))), Some(Ended::Closed(Some(code))));
    }
    assert_eq!(ended(&frame(0x88, b"")), Some(Ended::Closed(None)));
    assert_eq!(ended(&frame(0x88, b"\x03\xE8b\xC3\xA9")), Some(Ended::Closed(Some(1000))));
    assert_eq!(ended(&frame(0x88, b"\x03\xE8b\xC3")), broken(Fault::Reason));
    assert_eq!(ended(&[0x81]), broken(Fault::Text));
    assert_eq!([Fault::Protocol, Fault::Text, Fault::Reason].map(Fault::close_code), [1002, 1003, 1007]);
}

/// `[v311:6.0.0-2] [v5:6.0.0-2]`: a message of nearly 2^63 bytes is no more trouble than any other.
#[test]
fn payload_comes_out_before_its_frame_is_whole() {
    let (mut reader, mut writer) = (Reader::default(), Writer::default());
    let mut bytes = vec![0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    bytes.extend([0; 4]);
    bytes.extend(b"as it comes");
    let kept = reader.read(&mut bytes, &mut writer);
    assert_eq!((&bytes[..kept], reader.ended()), (&b"as it comes"[..], None));
}

#[test]
fn nothing_is_read_behind_the_end() {
    let close = frame(0x88, b"\x03\xE8");
    let bytes = [frame(0x82, b"a"), close, frame(0x82, b"b"), frame(0x89, b"?")].concat();
    let expected =
        Read { payload: b"a".to_vec(), answers: Vec::new(), ended: Some(Ended::Closed(Some(1000))) };
    assert_eq!(read(&bytes, &[]), expected);
    assert_eq!(read(&[frame(0x82, b"a"), vec![0x81], frame(0x82, b"b")].concat(), &[]).payload, b"a");
}

/// P8: who sends pings and takes no answer does not make us keep them.
#[test]
fn a_flood_of_pings_is_answered_as_far_as_there_is_room_and_at_the_end() {
    let (mut reader, mut writer) = (Reader::default(), Writer::default());
    for n in 0..10_000_u32 {
        reader.read(&mut frame(0x89, &n.to_be_bytes()), &mut writer);
    }
    let mut answers = Vec::new();
    loop {
        let lead = writer.next(&[])[0].to_vec();
        if lead.is_empty() {
            break;
        }
        assert!(lead.len() <= 1 << 11, "{} bytes wait", lead.len());
        writer.wrote(lead.len());
        answers.extend(lead);
    }
    let pongs = served(&answers);
    assert!(pongs.len() < 1_000, "{}", pongs.len());
    assert_eq!(pongs[0], (0x8A, 0_u32.to_be_bytes().to_vec()));
    assert_eq!(pongs.last().unwrap(), &(0x8A, 9_999_u32.to_be_bytes().to_vec()));
}

#[test]
fn nothing_follows_close() {
    let mut writer = Writer::default();
    writer.begin(3);
    writer.close(Some(4006));
    let mut reader = Reader::default();
    reader.read(&mut frame(0x89, b"?"), &mut writer);
    let out = writer.next(b"end").concat();
    assert_eq!((&out[..], writer.wrote(out.len())), (&b"\x82\x03end"[..], 3));
    assert_eq!(writer.next(&[])[0], b"\x88\x02\x0F\xA6");
    assert!(writer.is_closed());
}

/// A message, cut into frames, and what stands before each of them.
#[derive(Clone, Debug)]
enum Step {
    Message(Vec<Vec<u8>>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = |max| vec(any::<u8>(), 0..max);
    let step = prop_oneof![
        4 => vec(bytes(400), 1..4).prop_map(Step::Message),
        1 => bytes(126).prop_map(Step::Ping),
        1 => bytes(126).prop_map(Step::Pong),
    ];
    vec(step, 0..8)
}

/// A stream, what it carries, and what it is answered. Every other message has a ping between its frames.
fn stream(steps: &[Step]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (mut bytes, mut payload, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let pong = |answers: &mut Vec<u8>, ping: &[u8]| {
        answers.extend([0x8A, ping.len() as u8]);
        answers.extend(ping);
    };
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Message(parts) => {
                for (part, data) in parts.iter().enumerate() {
                    let first = if part == 0 { 0x02 } else { 0x00 };
                    let fin = if part + 1 == parts.len() { 0x80 } else { 0 };
                    bytes.extend(frame(first | fin, data));
                    payload.extend(data);
                    if n % 2 == 0 && fin == 0 {
                        bytes.extend(frame(0x89, b"between"));
                        pong(&mut answers, b"between");
                    }
                }
            }
            Step::Ping(data) => {
                bytes.extend(frame(0x89, data));
                pong(&mut answers, data);
            }
            Step::Pong(data) => bytes.extend(frame(0x8A, data)),
        }
    }
    (bytes, payload, answers)
}

proptest! {
    /// `[v311:6.0.0-2] [v5:6.0.0-2]`
    #[test]
    fn a_stream_is_read_alike_in_any_pieces(steps in steps(), cuts in vec(any::<prop::sample::Index>(), 0..20)) {
        let (bytes, payload, answers) = stream(&steps);
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        prop_assert_eq!(read(&bytes, &cuts), Read { payload, answers, ended: None });
    }

    /// P9: whatever the bytes are.
    #[test]
    fn any_bytes_end_alike_in_any_pieces(
        steps in steps(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = stream(&steps).0;
        bytes.push(0x88);
        for (place, flip) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
        }
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &every));
    }

    /// A socket takes what it likes; pings come meanwhile.
    #[test]
    fn what_is_written_is_frames_whatever_the_socket_takes(
        payload in vec(any::<u8>(), 0..70_000),
        takes in vec(1_usize..30_000, 1..40),
        grows in vec(1_usize..30_000, 1..10),
    ) {
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        let (mut out, mut sent, mut there, mut pings) = (Vec::new(), 0, 0, 0);
        let (mut takes, mut grows) = (takes.iter().cycle(), grows.iter().cycle());
        while sent < payload.len() {
            if sent == there {
                there = payload.len().min(there + grows.next().unwrap());
            }
            writer.begin(there - sent);
            if pings < 5 {
                reader.read(&mut frame(0x89, b"!"), &mut writer);
                pings += 1;
            }
            let both = writer.next(&payload[sent..there]).concat();
            let took = both.len().min(*takes.next().unwrap());
            out.extend_from_slice(&both[..took]);
            sent += writer.wrote(took);
        }
        out.extend_from_slice(writer.next(&[])[0]);
        let (data, pongs): (Vec<_>, Vec<_>) = served(&out).into_iter().partition(|(first, _)| *first == 0x82);
        prop_assert!(pongs.iter().all(|pong| *pong == (0x8A, b"!".to_vec())));
        prop_assert_eq!(pongs.len(), pings);
        prop_assert_eq!(data.into_iter().flat_map(|(_, data)| data).collect::<Vec<_>>(), payload);
    }
}
