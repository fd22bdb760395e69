//! The client's half of the protocol over all of its connections: what it has published and not seen the end of, what
//! it has received and not acknowledged, and which packet identifiers are taken. O1, O4, I7, I8 at the far end.
//!
//! It does what the standard asks of a client, and says where the server does not do its part. Not here: sockets, time,
//! when to acknowledge (the driver takes [`Client::due`] in any order), what must come (the driver's judge).

use std::collections::{BTreeMap, BTreeSet};

use super::read::{self, Malformed, Packet, Published};
use super::write::{self, Connect, Properties, Publish};
use super::{V5, V311};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// CONNACK.
    Connected {
        /// Session present.
        present: bool,
        /// Return or reason code.
        code: u8,
    },
    /// A message for the application; one that came before at QoS 2 and is not released comes no second time.
    Message(Published),
    /// A PUBLISH at QoS 2 that the client has already and has not released: a mere repetition.
    Repeated(Published),
    /// A publish of its own is over: its number and the reason code.
    Published(u64, u8),
    /// PUBREC of a publish of its own: its number.
    Received(u64),
    /// SUBACK.
    Subscribed(Vec<u8>),
    /// DISCONNECT or a refusing end.
    Disconnected(u8),
    /// Anything else.
    Other,
}

/// Something the server must not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Bytes.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A packet at the wrong time.
    #[error("{0}")]
    Protocol(String),
}

/// An acknowledgement that the client owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// First byte of the packet.
    pub first: u8,
    /// Packet identifier.
    pub id: u16,
}

/// A publish whose end has not been seen.
#[derive(Clone, Debug)]
struct Outgoing {
    number: u64,
    publish: Publish,
    /// PUBREC came.
    received: bool,
    /// Its PUBREL goes out, or went out, on this connection.
    releasing: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Client {
    /// What its CONNECT says.
    pub connect: Connect,
    /// Receive Maximum it names in MQTT 5; what it holds the server to.
    pub window: u16,
    connected: bool,
    /// It threw its session away, and no server has said that it did so as well.
    anew: bool,
    next_id: u16,
    next_number: u64,
    /// In the order of sending.
    outgoing: Vec<(u16, Outgoing)>,
    /// Packet identifiers of SUBSCRIBE on this connection.
    asked: BTreeSet<u16>,
    /// Received at QoS 2 and not released.
    received: BTreeSet<u16>,
    /// In flight to us on this connection: what each still waits for from us.
    due: Vec<Due>,
    /// At QoS 1 and 2, not over, on this connection.
    in_flight: BTreeSet<u16>,
    aliases: BTreeMap<u16, String>,
    server_window: u16,
    bytes: Vec<u8>,
}

impl Client {
    /// A client that has never been connected.
    #[must_use]
    pub fn new(level: u8, client_id: &str, password: &[u8], window: u16) -> Self {
        debug_assert!(level == V5 || level == V311);
        let connect = Connect {
            level,
            clean: false,
            keep_alive_s: 0,
            client_id: client_id.to_owned(),
            user: Some("u".to_owned()),
            password: Some(password.to_vec()),
            will: None,
            // Session expiry: never.
            properties: Properties::default().long(0x11, u32::MAX).short(0x21, window),
        };
        Self {
            connect,
            window,
            connected: false,
            anew: false,
            next_id: 1,
            next_number: 1,
            outgoing: Vec::new(),
            asked: BTreeSet::new(),
            received: BTreeSet::new(),
            due: Vec::new(),
            in_flight: BTreeSet::new(),
            aliases: BTreeMap::new(),
            server_window: u16::MAX,
            bytes: Vec::new(),
        }
    }

    /// Is it connected, as far as it knows?
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Publishes whose end has not been seen.
    #[must_use]
    pub const fn unfinished(&self) -> usize {
        self.outgoing.len()
    }

    /// Takes the start of a packet that is cut: somebody else reads on.
    pub fn take_cut(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// A new connection: CONNECT. `clean` throws away both halves of the session; until a server has done so, each
    /// further CONNECT asks for it again.
    pub fn reconnect(&mut self, clean: bool) -> Vec<u8> {
        self.connected = false;
        self.anew |= clean;
        let clean = self.anew;
        self.connect.clean = clean;
        self.asked.clear();
        self.due.clear();
        self.in_flight.clear();
        self.aliases.clear();
        self.bytes.clear();
        self.server_window = u16::MAX;
        if clean {
            self.forget();
        }
        self.connect.bytes()
    }

    fn forget(&mut self) {
        self.outgoing.clear();
        self.received.clear();
    }

    /// PUBLISH: its number, and bytes where it is connected and the server's window has room. `None`: it may not be sent
    /// now.
    pub fn publish(&mut self, mut publish: Publish) -> Option<(u64, Vec<u8>)> {
        if !self.connected || (publish.qos > 0 && self.outgoing.len() >= usize::from(self.server_window)) {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        if publish.qos > 0 {
            publish.id = self.free_id();
        }
        let bytes = publish.bytes(self.connect.level);
        if publish.qos > 0 {
            publish.dup = true;
            let id = publish.id;
            self.outgoing.push((id, Outgoing { number, publish, received: false, releasing: false }));
        }
        Some((number, bytes))
    }

    fn free_id(&mut self) -> u16 {
        loop {
            let id = self.next_id;
            // Few, so that they are used again soon.
            self.next_id = if id >= 64 { 1 } else { id + 1 };
            if !self.asked.contains(&id) && self.outgoing.iter().all(|(taken, _)| *taken != id) {
                return id;
            }
        }
    }

    /// SUBSCRIBE.
    pub fn subscribe(&mut self, filters: &[(String, u8)], properties: &Properties) -> Vec<u8> {
        let id = self.free_id();
        self.asked.insert(id);
        write::subscribe(self.connect.level, id, properties, filters)
    }

    /// Acknowledgements that it owes, in the order in which they became due.
    #[must_use]
    pub fn due(&self) -> &[Due] {
        &self.due
    }

    /// Sends one of them.
    pub fn acknowledge(&mut self, index: usize) -> Vec<u8> {
        let Due { first, id } = self.due.remove(index);
        match first {
            0x40 | 0x70 => {
                self.in_flight.remove(&id);
            }
            0x62 => {
                if let Some((_, out)) = self.outgoing.iter_mut().find(|(taken, _)| *taken == id) {
                    out.releasing = true;
                }
            }
            _ => {}
        }
        write::ack(first, id, 0)
    }

    /// Bytes of the server: what came of them, and what is to be sent at once.
    ///
    /// # Errors
    /// [`Broken`]: the connection is to be given up.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(Vec<Got>, Vec<u8>), Broken> {
        self.bytes.extend_from_slice(bytes);
        let (mut got, mut answer, mut at) = (Vec::new(), Vec::new(), 0);
        while let Some((packet, length)) = read::packet(self.connect.level, &self.bytes[at..])? {
            at += length;
            got.push(self.packet(packet, &mut answer)?);
        }
        self.bytes.drain(..at);
        Ok((got, answer))
    }

    fn packet(&mut self, packet: Packet, answer: &mut Vec<u8>) -> Result<Got, Broken> {
        if !self.connected && !matches!(packet, Packet::ConnAck { .. } | Packet::Auth(_)) {
            return Err(protocol("something before CONNACK"));
        }
        Ok(match packet {
            Packet::ConnAck { present, code, receive_max } => {
                self.connack(present, code, receive_max, answer)?
            }
            Packet::Publish(publish) => self.message(publish)?,
            Packet::Ack { first, id, reason } => self.acknowledged(first, id, reason)?,
            Packet::SubAck(id, codes) => {
                if !self.asked.remove(&id) {
                    return Err(protocol("SUBACK for no SUBSCRIBE"));
                }
                Got::Subscribed(codes)
            }
            Packet::Disconnect(reason) => {
                self.connected = false;
                Got::Disconnected(reason)
            }
            Packet::UnsubAck(..) | Packet::PingResp | Packet::Auth(_) => Got::Other,
        })
    }

    fn connack(
        &mut self,
        present: bool,
        code: u8,
        receive_max: Option<u16>,
        answer: &mut Vec<u8>,
    ) -> Result<Got, Broken> {
        if self.connected {
            return Err(protocol("a second CONNACK"));
        }
        if present && self.connect.clean {
            return Err(protocol("session present after a clean start"));
        }
        if code == 0 {
            self.connected = true;
            self.anew = false;
            self.server_window = receive_max.unwrap_or(u16::MAX);
            if !present {
                // The server has no session: neither has the client any more.
                self.received.clear();
                if self.connect.clean {
                    self.outgoing.clear();
                }
            }
            for (id, out) in &mut self.outgoing {
                // [v5:4.4.0-1] in the order in which they were sent.
                if out.received {
                    out.releasing = true;
                    answer.extend(write::ack(0x62, *id, 0));
                } else {
                    answer.extend(out.publish.bytes(self.connect.level));
                }
            }
        }
        Ok(Got::Connected { present, code })
    }

    fn message(&mut self, mut publish: Published) -> Result<Got, Broken> {
        if let Some(alias) = publish.alias {
            if publish.topic.is_empty() {
                let known = self.aliases.get(&alias);
                publish.topic = known.ok_or_else(|| protocol("an alias that stands for nothing"))?.clone();
            } else {
                self.aliases.insert(alias, publish.topic.clone());
            }
        }
        if publish.qos == 0 {
            return Ok(Got::Message(publish));
        }
        let again = publish.qos == 2 && self.received.contains(&publish.id);
        if !self.in_flight.insert(publish.id) && !again {
            return Err(protocol(format!("packet identifier {} while it is in flight", publish.id)));
        }
        if self.connect.level == V5 && self.in_flight.len() > usize::from(self.window) {
            return Err(protocol("more in flight than Receive Maximum"));
        }
        if publish.qos == 1 {
            self.due.push(Due { first: 0x40, id: publish.id });
            return Ok(Got::Message(publish));
        }
        self.due.push(Due { first: 0x50, id: publish.id });
        let fresh = self.received.insert(publish.id);
        Ok(if fresh { Got::Message(publish) } else { Got::Repeated(publish) })
    }

    fn acknowledged(&mut self, first: u8, id: u16, reason: u8) -> Result<Got, Broken> {
        if first == 0x62 {
            // PUBREL: the packet identifier is free once PUBCOMP is sent.
            self.received.remove(&id);
            self.in_flight.insert(id);
            self.due.push(Due { first: 0x70, id });
            return Ok(Got::Other);
        }
        let Some(at) = self.outgoing.iter().position(|(taken, _)| *taken == id) else {
            return Err(protocol(format!("an acknowledgement {first:#x} of nothing: {id}")));
        };
        let (qos, out) = (self.outgoing[at].1.publish.qos, &mut self.outgoing[at].1);
        let number = out.number;
        match (first, qos) {
            (0x40, 1) => {}
            (0x50, 2) if reason >= 0x80 && !out.received => {}
            (0x50, 2) if !out.releasing => {
                out.received = true;
                let due = Due { first: 0x62, id };
                if !self.due.contains(&due) {
                    self.due.push(due);
                }
                return Ok(Got::Received(number));
            }
            (0x70, 2) if out.releasing => {}
            _ => return Err(protocol(format!("{first:#x} for {id} at QoS {qos}"))),
        }
        self.outgoing.remove(at);
        Ok(Got::Published(number, reason))
    }
}

fn protocol(what: impl Into<String>) -> Broken {
    Broken::Protocol(what.into())
}
