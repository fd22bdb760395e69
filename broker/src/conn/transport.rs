//! Bytes in and out, over TCP or WebSocket alike. Not here: what they mean.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::metrics::TransportKind;

/// Most bytes taken from a socket at once: the size of the read buffer that each thread has.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Close code for a WebSocket message that is not binary (RFC 6455, section 7.4.1). `[v311:6.0.0-1] [v5:6.0.0-1]`
pub(crate) const CLOSE_UNSUPPORTED_DATA: u16 = 1003;

/// A connection's two directions, polled by its one task.
pub(crate) trait Transport: Send + Unpin + 'static {
    const KIND: TransportKind;

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

/// Plain TCP.
pub(crate) struct Tcp {
    stream: TcpStream,
    shut: bool,
}

impl Tcp {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, shut: false }
    }
}

impl Transport for Tcp {
    const KIND: TransportKind = TransportKind::Tcp;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let before = into.len();
        // Zeroed once per thread: the buffer is shared and keeps its length.
        into.resize(before + READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut into[before..]);
        let result = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        into.truncate(before + count);
        ready!(result)?;
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
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
    socket: WebSocket,
    close_sent: bool,
}

impl Ws {
    pub(crate) const fn new(socket: WebSocket) -> Self {
        Self { socket, close_sent: false }
    }
}

fn broken(error: axum::Error) -> io::Error {
    io::Error::other(error)
}

impl Transport for Ws {
    const KIND: TransportKind = TransportKind::WebSocket;

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
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
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(broken)?;
        socket.start_send(Message::Binary(Bytes::copy_from_slice(bytes))).map_err(broken)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<()> {
        let mut socket = Pin::new(&mut self.socket);
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

/// A timer that is armed for the earliest time it was asked for, and made only once it is needed.
#[derive(Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    at_ms: Option<u64>,
}

impl Timer {
    /// True once the time is there. `deadline_ms` may move later without cost: the timer runs out and is set again.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, now_ms: u64, deadline_ms: u64) -> bool {
        if deadline_ms <= now_ms {
            self.at_ms = None;
            return true;
        }
        loop {
            if self.at_ms.is_none_or(|at| at > deadline_ms) {
                let until =
                    tokio::time::Instant::now() + std::time::Duration::from_millis(deadline_ms - now_ms);
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(until),
                    None => self.sleep = Some(Box::pin(tokio::time::sleep_until(until))),
                }
                self.at_ms = Some(deadline_ms);
            }
            let Some(sleep) = &mut self.sleep else {
                return false;
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            // Ran out for an earlier deadline than today's.
            let early = self.at_ms.take().is_some_and(|at| at < deadline_ms);
            if !early {
                return true;
            }
        }
    }
}
