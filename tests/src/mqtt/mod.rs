//! A raw MQTT client for tests: both versions, over TCP and WebSocket, every acknowledgement in the test's hand.
//!
//! I7 and O1 as a device sees them. It does nothing by itself: no acknowledgement, no ping, no reconnect. What comes
//! while something else is awaited is kept, in order.
//! Not here: real clients (`clients`), what an inbox event is (`event`).

mod packet;
mod property;
mod transport;
mod wire;

use std::collections::VecDeque;

pub use packet::{
    Ack, Codes, ConnAck, Connect, DISCONNECT, Disconnect, Flow, PINGREQ, Packet, Publish, Version, Will,
    puback, subscribe, unsubscribe,
};
pub use property::{Properties, Value, id};
pub use transport::Link;

use crate::deadline::within;
use crate::event::Event;
use crate::server::Addresses;
use transport::{StreamEnd, Transport};

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// DISCONNECT of an MQTT 5 server.
    pub disconnect: Option<Disconnect>,
    /// WebSocket close code.
    pub websocket: Option<u16>,
}

impl Ending {
    /// Reason code of the DISCONNECT.
    #[must_use]
    pub fn code(&self) -> Option<u8> {
        self.disconnect.as_ref().map(|disconnect| disconnect.code)
    }

    /// Reason string of the DISCONNECT.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.disconnect.as_ref()?.reason.as_deref()
    }
}

/// A CONNECT that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of the CONNACK.
    pub code: u8,
    /// Reason string of the CONNACK.
    pub reason: Option<String>,
    /// How the connection ended after that.
    pub ending: Ending,
}

/// A connection to a broker.
pub struct Client {
    transport: Transport,
    version: Version,
    /// What the client is called in a failure.
    name: String,
    buffer: Vec<u8>,
    /// Came while something else was awaited.
    kept: VecDeque<Packet>,
    disconnect: Option<Disconnect>,
    end: Option<StreamEnd>,
    next_id: u16,
    /// The CONNACK.
    pub connack: ConnAck,
}

impl Client {
    /// Connects, and fails the test if that is refused.
    pub async fn connect(to: Addresses, link: Link, connect: &Connect) -> Self {
        match Self::try_connect(to, link, connect).await {
            Ok(client) => client,
            Err(refused) => panic!("{} was refused: {refused:?}", connect.client_id),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Refused`], once the broker has closed the connection.
    pub async fn try_connect(to: Addresses, link: Link, connect: &Connect) -> Result<Self, Refused> {
        let mut client = Self::open(to, link, connect.version, &connect.client_id).await;
        client.send(&connect.packet()).await;
        match client.next().await {
            Ok(Packet::ConnAck(ack)) if ack.code == 0 => {
                client.connack = ack;
                Ok(client)
            }
            Ok(Packet::ConnAck(ack)) => {
                let reason = ack.properties.text(id::REASON_STRING).map(str::to_owned);
                Err(Refused { code: ack.code, reason, ending: client.ended().await })
            }
            other => panic!("{}: instead of CONNACK came {other:?}", client.name),
        }
    }

    /// A connection on which nothing has been sent.
    pub async fn open(to: Addresses, link: Link, version: Version, name: &str) -> Self {
        let transport = within("connect", async {
            match link {
                Link::Tcp => Transport::stream(to.mqtt, false).await.map_err(|e| e.to_string()),
                Link::Tls => {
                    let address = to.mqtts.expect("the server listens for TLS");
                    Transport::stream(address, true).await.map_err(|e| e.to_string())
                }
                Link::WebSocket => Transport::websocket(to.http, false).await.map_err(|e| e.to_string()),
                Link::SecureWebSocket => Transport::websocket(to.http, true).await.map_err(|e| e.to_string()),
            }
        });
        Self {
            transport: transport.await.expect("the broker accepts connections"),
            version,
            name: format!("{name} ({version:?}, {link:?})"),
            buffer: Vec::new(),
            kept: VecDeque::new(),
            disconnect: None,
            end: None,
            next_id: 0,
            connack: ConnAck { present: false, code: 0, properties: Properties::none() },
        }
    }

    /// A packet identifier that was not used lately.
    pub fn new_id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    /// Sends bytes as they are. A connection that the broker has closed meanwhile is no failure here: what it sent
    /// before is still to be read.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = within("send", self.transport.write(bytes)).await;
    }

    /// The next packet, or how the connection ended.
    ///
    /// # Errors
    /// [`Ending`]
    pub async fn next(&mut self) -> Result<Packet, Ending> {
        match self.kept.pop_front() {
            Some(packet) => Ok(packet),
            None => self.receive().await,
        }
    }

    /// The next packet, however long nothing comes: for those who listen while others decide when it ends.
    ///
    /// # Errors
    /// [`Ending`]
    pub async fn next_however_late(&mut self) -> Result<Packet, Ending> {
        match self.kept.pop_front() {
            Some(packet) => Ok(packet),
            None => self.receive_for(None).await,
        }
    }

    /// Sends SUBSCRIBE and gives the codes.
    pub async fn subscribe_with(&mut self, filters: &[(&str, u8)], properties: &Properties) -> Vec<u8> {
        let id = self.new_id();
        self.send(&subscribe(self.version, id, filters, properties)).await;
        let wanted = |packet: &Packet| match packet {
            Packet::SubAck(ack) if ack.id == id => Some(ack.codes.clone()),
            _ => None,
        };
        self.await_packet("SUBACK", wanted).await
    }

    /// Subscribes to one filter, and fails the test if that is refused or another QoS is granted.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) {
        let codes = self.subscribe_with(&[(filter, qos)], &Properties::none()).await;
        assert_eq!(codes, [qos], "{}: SUBACK for {filter}", self.name);
    }

    /// Sends UNSUBSCRIBE and waits for its answer.
    pub async fn unsubscribe(&mut self, filter: &str) {
        let id = self.new_id();
        self.send(&unsubscribe(self.version, id, &[filter])).await;
        let wanted = |packet: &Packet| matches!(packet, Packet::UnsubAck(ack) if ack.id == id).then_some(());
        self.await_packet("UNSUBACK", wanted).await;
    }

    /// Publishes at QoS 1 and gives the PUBACK.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> Ack {
        let publish = Publish { topic: topic.to_owned(), payload: payload.into(), ..Publish::default() };
        self.publish_with(publish).await
    }

    /// Publishes at QoS 1 and gives the PUBACK.
    pub async fn publish_with(&mut self, publish: Publish) -> Ack {
        let id = self.start_publish(publish).await;
        let wanted = |packet: &Packet| match packet {
            Packet::PubAck(ack) if ack.id == id => Some(ack.clone()),
            _ => None,
        };
        self.await_packet("PUBACK", wanted).await
    }

    /// Publishes at QoS 1 without waiting; gives the packet identifier.
    pub async fn start_publish(&mut self, publish: Publish) -> u16 {
        let id = self.new_id();
        self.send(&Publish { qos: 1, id, ..publish }.packet(self.version)).await;
        id
    }

    /// Publishes at QoS 0.
    pub async fn publish_qos0(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        let publish = Publish { topic: topic.to_owned(), payload: payload.into(), ..Publish::default() };
        self.send(&publish.packet(self.version)).await;
    }

    /// Sends PINGREQ and waits for the answer: everything that the broker wrote before it is here then.
    pub async fn ping(&mut self) {
        self.send(&PINGREQ).await;
        let wanted = |packet: &Packet| (*packet == Packet::PingResp).then_some(());
        self.await_packet("PINGRESP", wanted).await;
    }

    /// Acknowledges.
    pub async fn ack(&mut self, id: u16) {
        self.send(&puback(id)).await;
    }

    /// Waits for PUBREC, PUBREL or PUBCOMP.
    pub async fn flow(&mut self, flow: Flow, id: u16) {
        let wanted = |packet: &Packet| {
            matches!(packet, Packet::Flow(f, ack) if *f == flow && ack.id == id).then_some(())
        };
        self.await_packet("a packet of QoS 2", wanted).await;
    }

    /// The next message; not acknowledged.
    pub async fn message(&mut self) -> Publish {
        let wanted = |packet: &Packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        };
        self.await_packet("PUBLISH", wanted).await
    }

    /// Messages that are here already, after a [`Client::ping`]; not acknowledged.
    pub async fn messages_so_far(&mut self) -> Vec<Publish> {
        self.ping().await;
        let kept = std::mem::take(&mut self.kept);
        let messages = kept.into_iter().filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        });
        messages.collect()
    }

    /// The next event of an inbox; not acknowledged.
    pub async fn unacked_event(&mut self) -> Event {
        let publish = self.message().await;
        Event::read(&publish)
    }

    /// The next event of an inbox, acknowledged.
    pub async fn event(&mut self) -> Event {
        let event = self.unacked_event().await;
        if event.packet_id != 0 {
            self.ack(event.packet_id).await;
        }
        event
    }

    /// The next `count` events, acknowledged.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// Events, acknowledged, up to and including the first that `wanted` accepts.
    pub async fn events_until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.event().await;
            let found = wanted(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }

    /// Waits until the broker has closed the connection.
    pub async fn ended(&mut self) -> Ending {
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(ending) => return ending,
            }
        }
    }

    /// DISCONNECT, then waits for the end: the broker has seen it.
    pub async fn disconnect(mut self) {
        self.send(&DISCONNECT).await;
        self.ended().await;
    }

    async fn await_packet<T>(&mut self, what: &str, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        if let Some(place) = self.kept.iter().position(|packet| wanted(packet).is_some()) {
            let packet = self.kept.remove(place).expect("it was just found there");
            return wanted(&packet).expect("it was just wanted");
        }
        loop {
            match self.receive_for(Some(what)).await {
                Ok(packet) => match wanted(&packet) {
                    Some(found) => return found,
                    None => self.kept.push_back(packet),
                },
                Err(ending) => panic!("{}: instead of {what} the connection ended: {ending:?}", self.name),
            }
        }
    }

    async fn receive(&mut self) -> Result<Packet, Ending> {
        self.receive_for(Some("a packet")).await
    }

    /// The next packet from the wire, within the deadline where the wait has a name. DISCONNECT is noted; the end that
    /// follows it is the answer.
    async fn receive_for(&mut self, what: Option<&str>) -> Result<Packet, Ending> {
        loop {
            let length =
                wire::whole_packet(&self.buffer).unwrap_or_else(|why| panic!("{}: {why}", self.name));
            if let Some(length) = length {
                let bytes: Vec<u8> = self.buffer.drain(..length).collect();
                match Packet::read(self.version, &bytes) {
                    Ok(Packet::Disconnect(disconnect)) => self.disconnect = Some(disconnect),
                    Ok(packet) => return Ok(packet),
                    Err(why) => panic!("{}: the broker sent {bytes:02x?}: {why}", self.name),
                }
                continue;
            }
            if self.end.is_none() {
                let read = self.transport.read(&mut self.buffer);
                let read = match what {
                    Some(what) => within(&format!("{}: {what}", self.name), read).await,
                    None => read.await,
                };
                self.end = read.err();
            }
            if let Some(end) = &self.end {
                let websocket = end.websocket;
                return Err(Ending { disconnect: self.disconnect.clone(), websocket });
            }
        }
    }
}
