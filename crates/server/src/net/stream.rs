//! The transport of one connection: a socket, a socket with TLS, or a stream of an HTTP/2 connection.

use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use tokio::net::tcp::OwnedWriteHalf;

use crate::net::h2_stream::H2Stream;
use crate::net::plain_socket::PlainSocket;
use crate::net::progress::{OutputSnapshot, SendQueue};
use crate::net::tls_stream::TlsStream;

/// Read with `poll_read`; written with `try_write`, which also works outside of the connection's task.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(PlainSocket),
    /// Boxed, so that a plain connection doesn't pay for its size.
    Tls(Box<TlsStream>),
    /// One stream of an HTTP/2 connection, which shares its socket with others.
    H2(Box<H2Stream>),
}

impl From<PlainSocket> for Stream {
    fn from(socket: PlainSocket) -> Self {
        Stream::Plain(socket)
    }
}

impl Stream {
    /// For a plain TCP socket, also returns a write half that another thread may use. Dropping the half sends
    /// FIN.
    pub(crate) fn share(self) -> (Self, Option<OwnedWriteHalf>) {
        match self {
            Stream::Plain(socket) => {
                let (socket, half) = socket.share();
                (Stream::Plain(socket), half)
            }
            other => (other, None),
        }
    }

    /// For the TCP socket below TLS, also returns a write half, used only to query the socket.
    pub(crate) fn share_below(self) -> (Self, Option<OwnedWriteHalf>) {
        match self {
            Stream::Tls(stream) => {
                let (stream, half) = stream.share_below();
                (Stream::Tls(stream), half)
            }
            other => (other, None),
        }
    }

    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) => socket.poll_read(cx, buf),
            Stream::Tls(stream) => stream.poll_read(cx, buf),
            Stream::H2(stream) => stream.poll_read(cx, buf),
        }
    }

    /// Appends input to `buf`, at most as much as its spare capacity. Returns `Unsupported` unless
    /// [`Stream::is_plain`].
    #[inline]
    pub(crate) fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) => socket.poll_read_chunk(cx, buf),
            Stream::Tls(_) | Stream::H2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Whether this is a socket without TLS and HTTP/2.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Stream::Plain(_))
    }

    /// Writes as much of `buf` as there is room for. After `WouldBlock` the next write must begin with the
    /// same bytes, to which others may be appended, unless [`Stream::give_up_claim`] is called first.
    pub(crate) fn try_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_write(buf),
            Stream::Tls(stream) => stream.try_write(&[IoSlice::new(buf)]),
            Stream::H2(stream) => stream.try_write(&[IoSlice::new(buf)]),
        }
    }

    /// [`Stream::try_write`] for several buffers.
    pub(crate) fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_write_vectored(bufs),
            Stream::Tls(stream) => stream.try_write(bufs),
            Stream::H2(stream) => stream.try_write(bufs),
        }
    }

    pub(crate) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(socket) => socket.poll_write_ready(cx),
            Stream::Tls(stream) => stream.poll_write_ready(cx),
            Stream::H2(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Number of bytes with which the next write must begin again, see [`Stream::try_write`]. 0 without TLS.
    pub(crate) fn claimed(&self) -> usize {
        match self {
            Stream::Tls(stream) => stream.claimed(),
            _ => 0,
        }
    }

    /// Declares that the last write will not be repeated. Returns how many of its bytes are already encrypted
    /// and must be treated as written. 0 without TLS.
    pub(crate) fn give_up_claim(&mut self) -> usize {
        match self {
            Stream::Tls(stream) => stream.give_up_claim(),
            _ => 0,
        }
    }

    /// The verified certificate of a TLS client, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Stream::Tls(stream) => stream.peer_certificate(),
            _ => None,
        }
    }

    /// Whether a TLS client has chosen HTTP/2 (RFC 7301).
    pub(crate) fn speaks_h2(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.alpn() == Some(b"h2"))
    }

    /// Moves input from a shared HTTP/2 connection into the stream's own buffer. To be called while the
    /// session doesn't read.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        if let Stream::H2(stream) = self {
            stream.gather(cx);
        }
    }

    /// Whether the HTTP/2 connection is not read for lack of room, so that the server receives nothing from
    /// the peer.
    pub(crate) fn is_halted(&self) -> bool {
        matches!(self, Stream::H2(stream) if stream.is_halted())
    }

    /// Ends the server's direction, with FIN, under TLS after `close_notify`; reading goes on. Returns false
    /// if the socket has no room, in which case this must be called again when it has.
    pub(crate) fn shutdown_write(&mut self) -> bool {
        match self {
            Stream::Plain(socket) => socket.shutdown_write(),
            Stream::Tls(stream) => return stream.shutdown_write(),
            Stream::H2(stream) => stream.shutdown_write(),
        }
        true
    }

    /// Calls [`Stream::shutdown_write`] until it is done.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.shutdown_write() {
            ready!(self.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The peer's progress in taking the output. `written` is the number of bytes written since the start,
    /// `waiting` the number that the caller has not written yet.
    pub(crate) fn sample(
        &mut self,
        queue: Option<SendQueue>,
        written: u64,
        waiting: usize,
    ) -> OutputSnapshot {
        let (socket, written, waiting) = match self {
            Stream::H2(stream) => return stream.sample(queue, waiting),
            Stream::Tls(stream) => {
                let (sent, unsent) = stream.sent();
                (stream.socket(), sent, waiting + unsent)
            }
            Stream::Plain(socket) => (&*socket, written, waiting),
        };
        // If the kernel can't be asked, the bytes that it has accepted count as acknowledged.
        let ask = |queue: SendQueue| queue(socket.as_fd()).ok();
        let unacknowledged = queue.and_then(ask).unwrap_or(0);
        OutputSnapshot {
            taken: written.saturating_sub(unacknowledged),
            outstanding: waiting as u64 + unacknowledged,
        }
    }

    /// Makes a later drop end both directions with RST, which shows the peer that data is missing. A stream
    /// of HTTP/2 is always reset when it is dropped before its end.
    pub(crate) fn reset(&self) {
        match self {
            Stream::Plain(socket) => socket.reset(),
            Stream::Tls(stream) => stream.socket().reset(),
            Stream::H2(_) => {}
        }
    }
}
