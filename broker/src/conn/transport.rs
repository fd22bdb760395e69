//! Bytes in and out, over TCP, TLS or WebSocket alike. Not here: what they mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::metrics::TransportKind;

/// Most bytes taken from a socket at once: the size of the read buffer that each thread has.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Close code for a WebSocket message that is not binary (RFC 6455, section 7.4.1). `[v311:6.0.0-1] [v5:6.0.0-1]`
pub(crate) const CLOSE_UNSUPPORTED_DATA: u16 = 1003;

/// A connection's two directions, polled by its one task.
pub(crate) trait Transport: Send + Unpin + 'static {
    fn kind(&self) -> TransportKind;

    /// Appends what has arrived to `into`; 0 = the other side has closed. An error of kind `InvalidData` is the client's
    /// fault.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Takes some of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends on what was taken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Closes: with this code where there are any, and then until the other side has closed as well, so that what was
    /// sent last is not lost to a reset.
    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<()>;
}

/// A stream of bytes: TCP, plain or within TLS.
pub(crate) struct Raw<S> {
    stream: S,
    kind: TransportKind,
    shut: bool,
}

impl<S> Raw<S> {
    pub(crate) const fn new(stream: S, kind: TransportKind) -> Self {
        Self { stream, kind, shut: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Raw<S> {
    fn kind(&self) -> TransportKind {
        self.kind
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        // Into room that was never zeroed: zeroing 64 KiB costs more than taking a packet out of them.
        into.reserve(READ_BYTES);
        poll_read_buf(Pin::new(&mut self.stream), cx, into)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _code: u16) -> Poll<()> {
        if !self.shut {
            // An error means that it is closed already.
            let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            self.shut = true;
        }
        let mut ignored = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut ignored);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

/// A WebSocket: its binary messages are a stream of bytes that knows no frames. `[v311:6.0.0-2] [v5:6.0.0-2]`
pub(crate) struct Ws {
    socket: Box<WebSocket>,
    secure: bool,
    close_sent: bool,
}

impl Ws {
    pub(crate) fn new(socket: WebSocket, secure: bool) -> Self {
        Self { socket: Box::new(socket), secure, close_sent: false }
    }
}

fn broken(error: axum::Error) -> io::Error {
    io::Error::other(error)
}

impl Transport for Ws {
    fn kind(&self) -> TransportKind {
        if self.secure { TransportKind::SecureWebSocket } else { TransportKind::WebSocket }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            match ready!(Pin::new(&mut *self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                Some(Ok(Message::Binary(bytes))) => {
                    into.extend_from_slice(&bytes);
                    return Poll::Ready(Ok(bytes.len()));
                }
                // [v311:6.0.0-1] [v5:6.0.0-1]
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(0)),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut *self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(broken)?;
        socket.start_send(Message::Binary(Bytes::copy_from_slice(bytes))).map_err(broken)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<()> {
        let mut socket = Pin::new(&mut *self.socket);
        if !self.close_sent {
            if ready!(socket.as_mut().poll_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            let frame = CloseFrame { code, reason: "".into() };
            if socket.as_mut().start_send(Message::Close(Some(frame))).is_err() {
                return Poll::Ready(());
            }
            self.close_sent = true;
        }
        if ready!(socket.as_mut().poll_flush(cx)).is_err() {
            return Poll::Ready(());
        }
        loop {
            match ready!(socket.as_mut().poll_next(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    }
}
