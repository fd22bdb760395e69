//! WebSocket to the byte: frames as no library would send them, and what they are answered.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::support::packet::{Connect, V5, publish, subscribe};
use crate::support::{DEADLINE, World};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Its answer, by RFC 6455, section 1.3.
const ACCEPT: &str = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const MASK: [u8; 4] = [0xA5, 0x01, 0xFF, 0x00];

/// A frame of a client: opcode and FIN, payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ ..0x1_0000 => {
            bytes.push(0xFE);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0xFF);
            bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame's first byte and payload; `None` at the end.
async fn next_frame(stream: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>)> {
    let reading = async {
        let first = stream.read_u8().await.ok()?;
        let length = match stream.read_u8().await.unwrap() {
            126 => u64::from(stream.read_u16().await.unwrap()),
            127 => stream.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        Some((first, payload))
    };
    timeout(DEADLINE, reading).await.expect("a frame or the end, in time")
}

struct Raw {
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
}

impl Raw {
    /// Sends a handshake; the head of its answer, in small letters but for values.
    async fn ask(world: &World, version: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(world.ws).await.unwrap();
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
            Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: {version}\r\nSec-WebSocket-Protocol: mqtt\r\n\
            Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(DEADLINE, stream.read_u8()).await.expect("in time").unwrap());
        }
        let (reading, writing) = stream.into_split();
        (Self { reading, writing }, String::from_utf8(head).unwrap())
    }

    async fn open(world: &World) -> Self {
        let (raw, head) = Self::ask(world, "13").await;
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT), "{head}");
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n") && !head.contains("extensions"), "{head}");
        raw
    }

    /// Let in.
    async fn user(world: &World, user: &str) -> Self {
        let mut raw = Self::open(world).await;
        raw.send(&frame(0x82, &Connect::new(V5, "c", &world.acl_token(user)).bytes())).await;
        let (first, ack) = raw.frame().await.unwrap();
        assert_eq!((first, ack[0], ack[3]), (0x82, 0x20, 0), "{ack:?}");
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.writing.write_all(bytes).await.unwrap();
    }

    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        next_frame(&mut self.reading).await
    }

    /// The close code, and that nothing comes behind it.
    async fn closed(&mut self) -> u16 {
        let (first, payload) = self.frame().await.expect("Close before the end");
        assert_eq!((first, payload.len()), (0x88, 2), "{payload:?}");
        // Where it was not an answer, it waits for one. A socket that refuses it is closed already.
        let _ = self.writing.write_all(&frame(0x88, &payload)).await;
        assert_eq!(self.frame().await, None, "the end behind Close");
        u16::from_be_bytes([payload[0], payload[1]])
    }

    /// Packets, in whatever frames, until there are so many bytes.
    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let (first, payload) = self.frame().await.expect("not the end");
            assert_eq!(first, 0x82);
            bytes.extend(payload);
        }
        bytes
    }
}

/// RFC 6455, section 5.5.1: browsers call a connection that ended without it lost (1006).
#[tokio::test]
async fn close_is_answered_with_close() {
    let world = World::start().await;
    for code in [1000_u16, 1001, 4999] {
        let mut early = Raw::open(&world).await;
        early.send(&frame(0x88, &code.to_be_bytes())).await;
        assert_eq!(early.closed().await, code, "before CONNECT");
        let mut raw = Raw::user(&world, "alice").await;
        raw.send(&frame(0x88, &[&code.to_be_bytes()[..], b"tab closed"].concat())).await;
        assert_eq!(raw.closed().await, code);
    }
    let mut raw = Raw::user(&world, "alice").await;
    raw.send(&frame(0x88, b"")).await;
    assert_eq!((raw.frame().await, raw.frame().await), (Some((0x88, Vec::new())), None));
    // What is owed goes before it.
    let mut raw = Raw::user(&world, "alice").await;
    raw.send(&[frame(0x82, &publish(V5, "news", Some(7), b"!")), frame(0x88, &[3, 0xE8])].concat()).await;
    let (first, ack) = raw.frame().await.unwrap();
    assert_eq!((first, ack[0], ack[3]), (0x82, 0x40, 7), "{ack:02x?}");
    assert_eq!(raw.closed().await, 1000);
    // DISCONNECT and Close at once.
    let mut raw = Raw::user(&world, "alice").await;
    raw.send(&[frame(0x82, &[0xE0, 0]), frame(0x88, &[3, 0xE8])].concat()).await;
    assert_eq!(raw.closed().await, 1000);
}

/// Section 7.1.1: the socket is closed once both have said Close.
#[tokio::test]
async fn our_own_close_waits_for_the_clients() {
    let world = World::start().await;
    let mut raw = Raw::user(&world, "alice").await;
    let mut other = Raw::user(&world, "alice").await;
    // Taken over: DISCONNECT, Close.
    assert_eq!(raw.frame().await.map(|(first, packet)| (first, packet[0])), Some((0x82, 0xE0)));
    assert_eq!(raw.frame().await, Some((0x88, 4005_u16.to_be_bytes().to_vec())));
    // Whatever was sent with it has arrived once somebody else has been answered.
    other.send(&frame(0x82, &[0xC0, 0])).await;
    assert_eq!(other.frame().await, Some((0x82, vec![0xD0, 0])));
    let more = raw.reading.try_read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock), "not the end yet");
    raw.send(&[frame(0x82, &[0xC0, 0]), frame(0x88, &4005_u16.to_be_bytes())].concat()).await;
    assert_eq!(raw.frame().await, None);
}

/// `[v311:6.0.0-1] [v5:6.0.0-1]`
#[tokio::test]
async fn a_broken_rule_has_its_close_code() {
    let world = World::start().await;
    let ping = [0xC0, 0];
    for (what, bytes, code) in [
        ("text", frame(0x81, &ping), 1003),
        ("empty text", frame(0x81, b""), 1003),
        ("not masked", vec![0x82, 2, 0xC0, 0], 1002),
        ("RSV1", frame(0xC2, &ping), 1002),
        ("opcode 3", frame(0x83, &ping), 1002),
        ("a continuation of nothing", frame(0x80, &ping), 1002),
        ("a message within a message", [frame(0x02, &ping), frame(0x82, &ping)].concat(), 1002),
        ("a ping in two frames", frame(0x09, b"?"), 1002),
        ("a ping of 126 bytes", frame(0x89, &[0; 126]), 1002),
        ("a close code that may not be sent", frame(0x88, &1006_u16.to_be_bytes()), 1002),
        ("a reason that is not UTF-8", frame(0x88, b"\x03\xE8\xFF"), 1007),
        ("a packet that is none", frame(0x82, &[0xC1, 0]), 4006),
    ] {
        let mut raw = Raw::user(&world, "alice").await;
        // What came before it was in order, and is answered.
        raw.send(&[frame(0x82, &ping), bytes].concat()).await;
        let mut answers = Vec::new();
        let close = loop {
            match raw.frame().await.expect(what) {
                (0x82, packets) => answers.extend(packets),
                (first, payload) => break (first, payload),
            }
        };
        assert_eq!(close, (0x88, u16::to_be_bytes(code).to_vec()), "{what}");
        assert!(answers.starts_with(&[0xD0, 0]), "{what}: {answers:02x?}");
        let _ = raw.writing.write_all(&frame(0x88, &close.1)).await;
        assert_eq!(raw.frame().await, None, "{what}");
    }
}

/// As over TCP: told before it has all come.
#[tokio::test]
async fn a_packet_that_is_too_large_is_told_so() {
    let world = World::start().await;
    let mut raw = Raw::user(&world, "alice").await;
    let packet = publish(V5, "news", Some(1), &vec![7; 300 << 10]);
    raw.send(&frame(0x82, &packet)[..1_000]).await;
    let farewell = raw.bytes(3).await;
    assert_eq!((farewell[0], farewell[2]), (0xE0, 0x95));
    assert_eq!(raw.closed().await, 4006);
}

/// `[v311:6.0.0-2] [v5:6.0.0-2]`: packets have a limit, messages have none.
#[tokio::test]
async fn a_message_of_five_megabytes_is_forty_packets() {
    const PACKETS: u16 = 40;
    let world = World::start().await;
    let mut raw = Raw::user(&world, "alice").await;
    let payload = vec![7; 130_000];
    let all: Vec<u8> = (1..=PACKETS).flat_map(|id| publish(V5, "news", Some(id), &payload)).collect();
    assert!(all.len() > 5_000_000);
    let fragments: Vec<u8> = all
        .chunks(700_001)
        .enumerate()
        .flat_map(|(n, part)| {
            [frame(if n == 0 { 0x02 } else { 0x00 }, part), frame(0x8A, b"still here")].concat()
        })
        .chain(frame(0x80, b""))
        .collect();
    for bytes in [frame(0x82, &all), fragments] {
        raw.send(&bytes).await;
        let mut acks = raw.bytes(4 * usize::from(PACKETS)).await;
        assert_eq!(acks.len() % usize::from(PACKETS), 0, "{acks:02x?}");
        let each = acks.len() / usize::from(PACKETS);
        let ids: Vec<u8> = acks.chunks_mut(each).map(|ack| ack[3]).collect();
        assert_eq!(ids, (1..=40).collect::<Vec<u8>>());
    }
}

/// Pongs come between frames, whatever else is under way. `[v311:6.0.0-2] [v5:6.0.0-2]`
#[tokio::test]
async fn pings_are_answered_beside_large_messages() {
    const MESSAGES: u16 = 20;
    let world = World::start().await;
    let mut raw = Raw::user(&world, "alice").await;
    raw.send(&frame(0x82, &subscribe(V5, 1, &[("news", 1)]))).await;
    assert_eq!(raw.bytes(5).await[0], 0x90);
    let payload = vec![7; 100_000];
    let mut bytes = Vec::new();
    for id in 1..=MESSAGES {
        bytes.extend(frame(0x82, &publish(V5, "news", Some(id), &payload)));
        bytes.extend(frame(0x89, &id.to_be_bytes()));
    }
    let Raw { reading, writing } = &mut raw;
    let receiving = async {
        let (mut data, mut pongs) = (0, Vec::new());
        while data < usize::from(MESSAGES) * payload.len() || pongs.last() != Some(&MESSAGES) {
            match next_frame(reading).await.expect("not the end") {
                (0x8A, pong) => pongs.push(u16::from_be_bytes([pong[0], pong[1]])),
                (first, packets) => {
                    assert_eq!(first, 0x82);
                    data += packets.len();
                }
            }
        }
        pongs
    };
    let (sent, pongs) = tokio::join!(writing.write_all(&bytes), receiving);
    assert!(sent.is_ok() && pongs.is_sorted(), "{pongs:?}");
}

/// Section 4.4.
#[tokio::test]
async fn another_version_is_told_which_one_is_spoken() {
    let world = World::start().await;
    let (_, head) = Raw::ask(&world, "8").await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert!(head.contains("sec-websocket-version: 13\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
}
