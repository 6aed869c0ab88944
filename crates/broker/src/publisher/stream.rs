//! Streams to a Redis server.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::unix;
use crate::connect::{self, Duplex};
use crate::url::{BrokerUrl, Place};

/// Connects, with TLS if the scheme demands it. `TimedOut`: the queue of a listener on a Unix socket
/// had no room until `until`.
pub(super) async fn connect(url: &BrokerUrl, place: &Place, until: Instant) -> io::Result<Box<dyn Duplex>> {
    let Place::Unix(path) = place else { return connect::connect(url, place).await };
    // The blocking call waits for a place in the listener's queue; tokio's would fail at once.
    let stream = StdUnixStream::from(unix::connect_within(path, until)?);
    stream.set_nonblocking(true)?;
    Ok(Box::new(UnixStream::from_std(stream)?))
}

/// The traffic of a stream since [`Traffic::begin`].
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Bytes that the stream has accepted. With TLS, some of them may not be written to the socket
    /// yet.
    pub(super) written: usize,
    /// Bytes received.
    pub(super) read: usize,
    /// The first bytes received.
    pub(super) start: Vec<u8>,
    /// The peer has ended the stream.
    pub(super) ended: bool,
}

impl Traffic {
    /// Maximum size of an answer in bytes: answers are numbers and errors.
    const LONGEST: usize = 64 << 10;
    /// Number of bytes kept for error messages.
    const SHOWN: usize = 240;

    /// Starts counting anew.
    pub(super) fn begin(&mut self) {
        *self = Self { ended: self.ended, ..Self::default() };
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.read > Self::LONGEST
    }

    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.ended |= bytes.is_empty();
        self.read += bytes.len();
        let room = Self::SHOWN - self.start.len();
        self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.is_too_long() {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is too long"));
        }
        Ok(())
    }
}

/// The counters of a stream that the client library owns.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Traffic>>);

impl Watch {
    pub(super) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose traffic is counted.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) watch: Watch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(self.watch.traffic().heard(&buf.filled()[before..])),
            Poll::Ready(Err(error)) => {
                self.watch.traffic().ended = true;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = &written {
            self.watch.traffic().written += n;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
