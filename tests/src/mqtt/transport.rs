//! The ways to a broker: TCP, and WebSocket with the subprotocol `mqtt`, each plain or within TLS.
//!
//! Not here: packets.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How to reach the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The MQTT listener.
    Tcp,
    /// The MQTT listener over TLS.
    Tls,
    /// `/mqtt` of the HTTP listener.
    WebSocket,
    /// The same over TLS.
    SecureWebSocket,
}

pub(super) enum Transport {
    Stream(Box<dyn Stream>),
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
}

/// Bytes in and out.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How the stream of bytes ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamEnd {
    /// WebSocket close code.
    pub(super) websocket: Option<u16>,
}

impl Transport {
    pub(super) async fn stream(address: SocketAddr, secure: bool) -> std::io::Result<Self> {
        Ok(Self::Stream(open(address, secure).await?))
    }

    pub(super) async fn websocket(address: SocketAddr, secure: bool) -> Result<Self, Error> {
        let stream = open(address, secure).await?;
        // Encrypted or not already: the address is only what the request says.
        let mut request = format!("ws://{address}/mqtt").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let (stream, response) = tokio_tungstenite::client_async(request, stream).await?;
        let protocol = response.headers().get("Sec-WebSocket-Protocol");
        assert_eq!(protocol.map(HeaderValue::as_bytes), Some(&b"mqtt"[..]), "subprotocol of the answer");
        Ok(Self::WebSocket(Box::new(stream)))
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::Stream(stream) => {
                stream.write_all(bytes).await.map_err(|e| e.to_string())?;
                stream.flush().await.map_err(|e| e.to_string())
            }
            Self::WebSocket(stream) => {
                stream.send(Message::binary(bytes.to_vec())).await.map_err(|e| e.to_string())
            }
        }
    }

    /// Adds what comes next to `buffer`.
    pub(super) async fn read(&mut self, buffer: &mut Vec<u8>) -> Result<(), StreamEnd> {
        match self {
            Self::Stream(stream) => match stream.read_buf(buffer).await {
                Ok(0) | Err(_) => Err(StreamEnd { websocket: None }),
                Ok(_) => Ok(()),
            },
            Self::WebSocket(stream) => match stream.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    buffer.extend_from_slice(&bytes);
                    Ok(())
                }
                Some(Ok(Message::Close(frame))) => {
                    Err(StreamEnd { websocket: frame.map(|frame| frame.code.into()) })
                }
                Some(Ok(Message::Text(text))) => panic!("the broker sent a text frame: {text}"),
                Some(Ok(_)) => Ok(()),
                None | Some(Err(_)) => Err(StreamEnd { websocket: None }),
            },
        }
    }
}

async fn open(address: SocketAddr, secure: bool) -> std::io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let connector = TlsConnector::from(crate::tls::client());
    Ok(Box::new(connector.connect(address.ip().into(), stream).await?))
}
