//! Frames of a WebSocket over the stream that an upgrade left. I7, O1.
//!
//! A frame is streamed to the session as its bytes arrive and never held, so a connection that is idle keeps the two
//! machines of `broker_protocol::websocket` and nothing else.
//! Not here: the rules of frames (there), how the stream came to be (`upgrade`).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use broker_protocol::websocket::{Ended, Reader, Writer};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::transport::{READ_BYTES, Transport};
use crate::metrics::TransportKind;

/// A WebSocket: its binary messages are a stream of bytes that knows no frames. `[v311:6.0.0-2] [v5:6.0.0-2]`
pub(crate) struct WebSocket<S> {
    stream: S,
    reader: Reader,
    writer: Writer,
    /// What Close is to say whatever the session says: the connection has been told that this ended it.
    last_word: Option<Ended>,
    secure: bool,
    /// Something was written since the stream was flushed.
    unflushed: bool,
    /// Our direction is shut.
    shut: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> WebSocket<S> {
    pub(crate) fn new(stream: S, secure: bool) -> Self {
        Self {
            stream,
            reader: Reader::default(),
            writer: Writer::default(),
            last_word: None,
            secure,
            unflushed: false,
            shut: false,
        }
    }

    /// Sends control frames, as far as they may go now. Where the socket takes nothing, they go with what comes next.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let [answers, _] = self.writer.next(&[]);
            if answers.is_empty() {
                break;
            }
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, answers))?;
            self.wrote(count)?;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize) -> io::Result<usize> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(self.writer.wrote(count))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for WebSocket<S> {
    fn kind(&self) -> TransportKind {
        if self.secure { TransportKind::SecureWebSocket } else { TransportKind::WebSocket }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            // One that is broken is found out by reading.
            let _ = self.poll_answers(cx);
            if let Some(ended) = self.reader.ended() {
                self.last_word = Some(ended);
                return Poll::Ready(match ended {
                    // As where TCP is shut in one direction: answers that are owed may go before our Close.
                    Ended::Closed(_) => Ok(0),
                    Ended::Broken(_) => Err(io::ErrorKind::InvalidData.into()),
                });
            }
            let before = into.len();
            into.reserve(READ_BYTES);
            if ready!(poll_read_buf(Pin::new(&mut self.stream), cx, into))? == 0 {
                return Poll::Ready(Ok(0));
            }
            let kept = self.reader.read(&mut into[before..], &mut self.writer);
            into.truncate(before + kept);
            if kept > 0 {
                let _ = self.poll_answers(cx);
                return Poll::Ready(Ok(kept));
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.writer.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writer.begin(bytes.len());
        loop {
            let [head, payload] = self.writer.next(bytes);
            let parts = [IoSlice::new(head), IoSlice::new(payload)];
            let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &parts))?;
            let taken = self.wrote(count)?;
            if taken > 0 {
                // Pongs that waited for the end of the frame.
                let _ = self.poll_answers(cx);
                return Poll::Ready(Ok(taken));
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Close is said and waited for, in whichever order (RFC 6455, section 7.1); then the stream is closed.
    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<()> {
        self.writer.close(match self.last_word {
            None => Some(code),
            Some(Ended::Closed(code)) => code,
            Some(Ended::Broken(fault)) => Some(fault.close_code()),
        });
        if ready!(self.poll_answers(cx)).is_err() {
            return Poll::Ready(());
        }
        let mut ignored = [0; 1024];
        loop {
            if self.reader.ended().is_some() && !self.shut {
                // An error means that it is closed already.
                let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
                self.shut = true;
            }
            let mut buffer = ReadBuf::new(&mut ignored);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.reader.read(buffer.filled_mut(), &mut self.writer);
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::driver::Connection;
    use crate::conn::upgrade::Stream;

    /// Beside the connection over TCP (`driver`), in bytes: what frames and the upgrade add. Who has to raise it has found
    /// out why.
    #[test]
    fn p8_an_idle_websocket_is_small() {
        assert!(size_of::<Connection<WebSocket<Stream>>>() <= 152 + 136);
    }
}
