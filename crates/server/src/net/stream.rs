//! A connected socket, whatever its kind.

use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use tokio::net::tcp::OwnedWriteHalf;

use crate::net::h2_stream::H2Stream;
use crate::net::plain_socket::PlainSocket;
use crate::net::progress::{Sample, SendQueue};
use crate::net::tls_stream::TlsStream;

/// Reads by `poll_read`; writes by `try_write`, outside of the task if need be.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(PlainSocket),
    /// Boxed: a plain connection pays nothing for it.
    Tls(Box<TlsStream>),
    /// One of those that share a socket.
    H2(Box<H2Stream>),
}

impl From<PlainSocket> for Stream {
    fn from(socket: PlainSocket) -> Self {
        Stream::Plain(socket)
    }
}

impl Stream {
    /// For a plain TCP socket, also the half that another thread may write to. Dropping that one
    /// sends FIN.
    pub(crate) fn share(self) -> (Self, Option<OwnedWriteHalf>) {
        match self {
            Stream::Plain(socket) => {
                let (socket, half) = socket.share();
                (Stream::Plain(socket), half)
            }
            other => (other, None),
        }
    }

    /// The same for the socket below TLS, to look at.
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

    /// Appends to what is in `buf`, as much as it has room for. Only for a socket without TLS.
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

    /// Neither TLS nor a stream of HTTP/2.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Stream::Plain(_))
    }

    /// After `WouldBlock` it must be called with the same bytes again, to which others may have
    /// been added; or else [`Stream::give_up_claim`] first.
    pub(crate) fn try_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_write(buf),
            Stream::Tls(stream) => stream.try_write(&[IoSlice::new(buf)]),
            Stream::H2(stream) => stream.try_write(&[IoSlice::new(buf)]),
        }
    }

    /// As [`Stream::try_write`].
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

    /// Bytes that must be the first ones of the next write. 0 without TLS.
    pub(crate) fn claimed(&self) -> usize {
        match self {
            Stream::Tls(stream) => stream.claimed(),
            _ => 0,
        }
    }

    /// What was begun to be written will not be repeated: how many of its bytes are as good as
    /// written. 0 without TLS.
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

    /// While nothing is to be read: takes what has come off a connection that others share.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        if let Stream::H2(stream) = self {
            stream.gather(cx);
        }
    }

    /// Whether it is not read for want of room, over HTTP/2: nothing can be heard from the peer.
    pub(crate) fn is_halted(&self) -> bool {
        matches!(self, Stream::H2(stream) if stream.is_halted())
    }

    /// Ends our direction, by FIN, under TLS after its own farewell; reading goes on. False: the
    /// socket takes no more, and this must be called again when it does.
    pub(crate) fn shutdown_write(&mut self) -> bool {
        match self {
            Stream::Plain(socket) => socket.shutdown_write(),
            Stream::Tls(stream) => return stream.shutdown_write(),
            Stream::H2(stream) => stream.shutdown_write(),
        }
        true
    }

    /// [`Stream::shutdown_write`], until it is done.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.shutdown_write() {
            ready!(self.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// How far the peer is with what was written. `written`: bytes since the start, `waiting`: bytes
    /// that the caller has not written yet.
    pub(crate) fn sample(&mut self, queue: Option<SendQueue>, written: u64, waiting: usize) -> Sample {
        let (socket, written, waiting) = match self {
            Stream::H2(stream) => return stream.sample(queue, waiting),
            Stream::Tls(stream) => {
                let (sent, unsent) = stream.sent();
                (stream.socket(), sent, waiting + unsent)
            }
            Stream::Plain(socket) => (&*socket, written, waiting),
        };
        // Without an answer, what the kernel has taken counts as acknowledged.
        let ask = |queue: SendQueue| queue(socket.as_fd()).ok();
        let unacknowledged = queue.and_then(ask).unwrap_or(0);
        Sample { taken: written.saturating_sub(unacknowledged), outstanding: waiting as u64 + unacknowledged }
    }

    /// Makes dropping it end both directions by RST, so that the peer sees that something is missing.
    /// A stream of HTTP/2 is reset by being dropped.
    pub(crate) fn reset(&self) {
        match self {
            Stream::Plain(socket) => socket.reset(),
            Stream::Tls(stream) => stream.socket().reset(),
            Stream::H2(_) => {}
        }
    }
}
