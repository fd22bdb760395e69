//! Bytes in and out, over TCP, TLS or WebSocket alike. Not here: what they mean, frames (`websocket`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::metrics::TransportKind;

/// Most bytes taken from a socket at once: the size of the read buffer that each thread has.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// A connection's two directions, polled by its one task.
pub(crate) trait Transport: Send + Unpin + 'static {
    fn kind(&self) -> TransportKind;

    /// Appends what has arrived to `into`; 0 = the other side sends no more. An error: it takes no more either, or has
    /// broken a rule of the transport's own.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Takes some of `bytes`. The rest must come next, and may have grown by then.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends on what was taken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Closes: with this code where there are any and the transport knows of no other, and then until the other side has closed as well, so that what was
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
