//! A client over TCP or WebSocket that sends and gets bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::packet::{self, Connect, Packet, Published, V311};
use super::{DEADLINE, World};

enum Wire {
    Tcp(TcpStream),
    Ws(Box<WebSocketStream<TcpStream>>),
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// TCP: closed.
    Eof,
    /// WebSocket: close code.
    Code(u16),
}

/// See the module.
pub(crate) struct Client {
    wire: Wire,
    pub(crate) level: u8,
    buffer: Vec<u8>,
    /// Packets put back.
    unread: VecDeque<Packet>,
    end: Option<End>,
    next_id: u16,
}

impl Client {
    pub(crate) async fn tcp(address: SocketAddr, level: u8) -> Self {
        let wire = Wire::Tcp(TcpStream::connect(address).await.unwrap());
        Self { wire, level, buffer: Vec::new(), unread: VecDeque::new(), end: None, next_id: 1 }
    }

    pub(crate) async fn ws(address: SocketAddr, level: u8) -> Self {
        let mut request = format!("ws://{address}/mqtt").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
        Self {
            wire: Wire::Ws(Box::new(socket)),
            level,
            buffer: Vec::new(),
            unread: VecDeque::new(),
            end: None,
            next_id: 1,
        }
    }

    /// Connects over TCP and expects to be let in; session present.
    pub(crate) async fn connect(world: &World, connect: &Connect) -> (Self, bool) {
        let mut client = Self::tcp(world.mqtt, connect.level).await;
        client.send(&connect.bytes()).await;
        let ack = client.next().await;
        assert_eq!((ack.first, ack.body[1]), (0x20, 0), "{ack:?}");
        let present = ack.body[0] == 1;
        (client, present)
    }

    /// A clean session of a user.
    pub(crate) async fn user(world: &World, level: u8, user: &str) -> Self {
        let connect = Connect::new(level, &format!("{user}-device"), &world.acl_token(user));
        Self::connect(world, &connect).await.0
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write_all(bytes).await.unwrap(),
            Wire::Ws(socket) => socket.send(Message::Binary(bytes.to_vec().into())).await.unwrap(),
        }
    }

    pub(crate) async fn send_ws(&mut self, message: Message) {
        let Wire::Ws(socket) = &mut self.wire else { panic!("not a websocket") };
        socket.send(message).await.unwrap();
    }

    async fn fill(&mut self) {
        match &mut self.wire {
            Wire::Tcp(stream) => {
                let mut bytes = [0; 4096];
                match stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => self.end = Some(End::Eof),
                    Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                }
            }
            Wire::Ws(socket) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => self.buffer.extend_from_slice(&bytes),
                Some(Ok(Message::Close(frame))) => {
                    self.end = Some(End::Code(frame.map_or(0, |frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                None | Some(Err(_)) => self.end = Some(End::Eof),
            },
        }
    }

    /// Puts a packet back: it is the last of those that come next.
    pub(crate) fn unread(&mut self, packet: Packet) {
        self.unread.push_back(packet);
    }

    fn take(&mut self) -> Option<Packet> {
        if let Some(packet) = self.unread.pop_front() {
            return Some(packet);
        }
        let (length, used) = packet::read_var(self.buffer.get(1..)?)?;
        let total = 1 + used + length;
        if self.buffer.len() < total {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..total).collect();
        Some(Packet { first: bytes[0], body: bytes[1 + used..].to_vec() })
    }

    /// The next packet; `None` at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<Packet> {
        timeout(DEADLINE, async {
            loop {
                if let Some(packet) = self.take() {
                    return Some(packet);
                }
                if self.end.is_some() {
                    return None;
                }
                self.fill().await;
            }
        })
        .await
        .expect("a packet or the end, in time")
    }

    pub(crate) async fn next(&mut self) -> Packet {
        self.read().await.expect("a packet, not the end")
    }

    pub(crate) async fn published(&mut self) -> Published {
        self.next().await.published(self.level)
    }

    /// The end of the connection, with nothing before it.
    pub(crate) async fn ended(&mut self) -> End {
        let packet = self.read().await;
        assert_eq!(packet, None, "nothing before the end");
        self.end.take().unwrap()
    }

    fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Subscribes; the code.
    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with(&[], filter, options).await
    }

    pub(crate) async fn subscribe_with(&mut self, properties: &[u8], filter: &str, options: u8) -> u8 {
        let id = self.id();
        self.send(&packet::subscribe_with(self.level, id, properties, &[(filter, options)])).await;
        let ack = self.next().await;
        assert_eq!((ack.first, &ack.body[..2]), (0x90, &id.to_be_bytes()[..]), "{ack:?}");
        *ack.body.last().unwrap()
    }

    /// Publishes at QoS 1; the reason code of PUBACK.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) -> u8 {
        let id = self.id();
        self.send(&packet::publish(self.level, topic, Some(id), payload)).await;
        let ack = self.next().await;
        assert_eq!((ack.first, &ack.body[..2]), (0x40, &id.to_be_bytes()[..]), "{ack:?}");
        ack.body.get(2).copied().unwrap_or(0)
    }

    /// Sends a text to another user; the reason code of PUBACK.
    pub(crate) async fn say(&mut self, from: &str, to: &str, command: &str, words: &str) -> u8 {
        let body =
            serde_json::json!({"type": "message.send", "id": command, "to": {"user": to}, "text": words});
        self.publish(&format!("user/{from}/outbox"), body.to_string().as_bytes()).await
    }

    pub(crate) async fn puback(&mut self, id: Option<u16>) {
        self.send(&packet::puback(id.unwrap())).await;
    }

    /// Proves that the server has worked off everything sent so far and sent nothing else.
    pub(crate) async fn fence(&mut self) {
        self.send(&[0xC0, 0]).await;
        let packet = self.next().await;
        assert_eq!(packet.first, 0xD0, "PINGRESP and nothing before it: {packet:?}");
    }

    /// DISCONNECT, and the end.
    pub(crate) async fn disconnect(mut self) {
        self.send(&if self.level == V311 { vec![0xE0, 0] } else { vec![0xE0, 1, 0] }).await;
        self.ended().await;
    }
}
