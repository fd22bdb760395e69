//! The PROXY protocol, versions 1 and 2: a proxy says, before anything else, whose connection it passes on.
//!
//! Pure. Asks for bytes in portions that cannot reach beyond the header: what follows belongs to TLS or MQTT.
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>, sections 2.1 and 2.2. Not here: whose headers are
//! believed (`entrance`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// First bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// First bytes of version 1.
const V1_START: &[u8] = b"PROXY ";
/// The shortest header there is, `PROXY UNKNOWN\r\n`: so much can be read without reading too much.
const SHORTEST: usize = 15;
/// Longest line of version 1, its end included (section 2.1).
const V1_LONGEST: usize = 107;
/// Fixed part of version 2.
const V2_FIXED: usize = 16;
/// Longest version 2 that is taken: addresses, and what proxies add about TLS; they send below 600 bytes.
pub const LONGEST: usize = 2_048;
/// Addresses and ports of a version 2 header for IPv4, in bytes.
const V4_BYTES: usize = 12;
/// The same for IPv6.
const V6_BYTES: usize = 36;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many more belong to the header.
    More(usize),
    /// The header is whole. The sender, or `None` where the proxy speaks for itself (its health check).
    Done(Option<SocketAddr>),
}

/// Not a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header: {0}")]
pub struct NotProxied(&'static str);

/// Reads what has come of a header. Called with all its bytes so far, each time after as many more as were asked for.
///
/// # Errors
/// [`NotProxied`]: the connection is to be closed (section 2: a receiver must not guess).
pub fn read(bytes: &[u8]) -> Result<Progress, NotProxied> {
    if bytes.len() < SHORTEST {
        return Ok(Progress::More(SHORTEST - bytes.len()));
    }
    if bytes.starts_with(V1_START) {
        return read_v1(bytes);
    }
    if !bytes.starts_with(&SIGNATURE) {
        return Err(NotProxied("it begins with something else"));
    }
    if bytes.len() < V2_FIXED {
        return Ok(Progress::More(V2_FIXED - bytes.len()));
    }
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let total = V2_FIXED + length;
    if total > LONGEST {
        return Err(NotProxied("it is too long"));
    }
    if bytes.len() < total {
        return Ok(Progress::More(total - bytes.len()));
    }
    read_v2(bytes[12], bytes[13], &bytes[V2_FIXED..total]).map(Progress::Done)
}

fn read_v1(bytes: &[u8]) -> Result<Progress, NotProxied> {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        if bytes.len() >= V1_LONGEST {
            return Err(NotProxied("its line does not end"));
        }
        return Ok(Progress::More(if bytes.ends_with(b"\r") { 1 } else { 2.min(V1_LONGEST - bytes.len()) }));
    };
    let text = std::str::from_utf8(line).map_err(|_| NotProxied("it is not text"))?;
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(Progress::Done(None)),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let ip: IpAddr = source.parse().map_err(|_| NotProxied("its address cannot be read"))?;
            if ip.is_ipv4() != (*family == "TCP4") {
                return Err(NotProxied("its address is of the other family"));
            }
            let port = port.parse().map_err(|_| NotProxied("its port cannot be read"))?;
            Ok(Progress::Done(Some(SocketAddr::new(ip, port))))
        }
        _ => Err(NotProxied("its line cannot be read")),
    }
}

fn read_v2(version_command: u8, family: u8, body: &[u8]) -> Result<Option<SocketAddr>, NotProxied> {
    match version_command {
        // LOCAL: whatever addresses stand there are to be ignored.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(NotProxied("its version or command is unknown")),
    }
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match family {
        // Over TCP; what follows the addresses (TLVs) is not for us.
        0x11 if body.len() >= V4_BYTES => {
            let octets: [u8; 4] = body[..4].try_into().map_err(|_| NotProxied("it is cut"))?;
            Ok(Some(SocketAddr::new(Ipv4Addr::from(octets).into(), port(8))))
        }
        0x21 if body.len() >= V6_BYTES => {
            let octets: [u8; 16] = body[..16].try_into().map_err(|_| NotProxied("it is cut"))?;
            // An IPv4 address in IPv6 clothes is the same client.
            Ok(Some(SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), port(32))))
        }
        0x11 | 0x21 => Err(NotProxied("it is shorter than its addresses")),
        // UNSPEC, UDP, Unix sockets: accepted, and the address is not known.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads as a connection is read: never more than was asked for. The sender, and how many bytes were taken.
    fn feed(stream: &[u8]) -> Result<(Option<SocketAddr>, usize), NotProxied> {
        let mut taken = 0;
        loop {
            match read(&stream[..taken])? {
                Progress::Done(source) => return Ok((source, taken)),
                Progress::More(more) => {
                    assert!(more > 0);
                    taken += more;
                    if taken > stream.len() {
                        return Err(NotProxied("cut"));
                    }
                }
            }
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    fn v4_body() -> Vec<u8> {
        let mut body = vec![203, 0, 113, 7, 10, 0, 0, 1];
        body.extend(4_321_u16.to_be_bytes());
        body.extend(1_883_u16.to_be_bytes());
        body
    }

    #[test]
    fn headers_of_both_versions() {
        let someone = Some("203.0.113.7:4321".parse().unwrap());
        let someone_6 = Some("[2001:db8::7]:4321".parse().unwrap());
        let mut v6_body = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        v6_body.extend([0; 16]);
        v6_body.extend([0x10, 0xE1, 0x07, 0x5B]);
        let mut mapped = "::ffff:203.0.113.7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        mapped.extend(&v6_body[16..]);
        let with_more = [v4_body(), vec![0x04, 0, 3, 1, 2, 3]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4321 1883\r\n".to_vec(), someone),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4321 1883\r\n".to_vec(), someone_6),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff::1 65535 65535\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4_body()), someone),
            (v2(0x21, 0x11, &with_more), someone),
            (v2(0x21, 0x21, &v6_body), someone_6),
            (v2(0x21, 0x21, &mapped), someone),
            (v2(0x20, 0x11, &v4_body()), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let stream = [&header[..], b"\x10\x0c\x00\x04MQTT"].concat();
            assert_eq!(feed(&stream), Ok((expected, header.len())), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let too_long = v2(0x21, 0x11, &vec![0; LONGEST]);
        for bytes in [
            &b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4321\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4321 1883 9\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 4321 1883\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 1883\r\n",
            b"PROXY UDP4 203.0.113.7 10.0.0.1 4321 1883\r\n",
            b"PROXY TCP4 203.0.113.777 10.0.0.1 4321 1883\r\n",
            &[b"PROXY TCP4 ".as_slice(), &[b' '; 200]].concat(),
            &too_long,
            &v2(0x11, 0x11, &v4_body()),
            &v2(0x22, 0x11, &v4_body()),
            &v2(0x21, 0x11, &v4_body()[..11]),
            &v2(0x21, 0x21, &v4_body()),
        ] {
            assert!(feed(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        /// Whatever comes: no panic, no more than the longest header, nothing asked for that is not the header's.
        #[test]
        fn anything(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0..4_usize) {
            let start: &[u8] = [&b""[..], b"PROXY ", &SIGNATURE, b"PROXY TCP4 "][start];
            let stream = [start, &bytes].concat();
            if let Ok((_, taken)) = feed(&stream) {
                prop_assert!(taken <= LONGEST);
            }
        }

        /// A whole header in front of anything is taken to its end and not a byte further.
        #[test]
        fn a_byte_too_many_is_never_taken(
            command in 0x20..=0x21_u8, family in any::<u8>(),
            body in prop::collection::vec(any::<u8>(), 36..400), rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let header = v2(command, family, &body);
            let stream = [&header[..], &rest].concat();
            prop_assert_eq!(feed(&stream).map(|(_, taken)| taken), Ok(header.len()));
        }
    }
}
