//! A connected socket, whatever its kind.

use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp};

use crate::h2_stream::H2Stream;
use crate::progress::{Sample, SendQueue};
use crate::tls_stream::TlsStream;

/// Reads by `poll_read`, which knows that a short read has emptied the socket and so saves the
/// call that would only say so; writes by `try_write`, outside of the task if need be.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    /// The host writes to it, too.
    Shared(tcp::OwnedReadHalf),
    Unix(UnixStream),
    /// Boxed: a plain connection pays nothing for it.
    Tls(Box<TlsStream>),
    /// One of those that share a socket.
    H2(Box<H2Stream>),
}

impl Stream {
    /// Takes over an accepted socket, already non-blocking. Must run inside the runtime.
    pub(crate) fn adopt(fd: OwnedFd, unix: bool) -> io::Result<Self> {
        if unix {
            return UnixStream::from_std(fd.into()).map(Stream::Unix);
        }
        let stream = TcpStream::from_std(fd.into())?;
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    /// For a plain TCP socket, also the half that another thread may write to. Dropping that one
    /// sends FIN.
    pub(crate) fn share(self) -> (Self, Option<tcp::OwnedWriteHalf>) {
        match self {
            Stream::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (Stream::Shared(read), Some(write))
            }
            other => (other, None),
        }
    }

    /// The same for the socket below TLS, to look at.
    pub(crate) fn share_below(self) -> (Self, Option<tcp::OwnedWriteHalf>) {
        match self {
            Stream::Tls(stream) => {
                let (stream, half) = stream.share_below();
                (Stream::Tls(stream), half)
            }
            other => (other, None),
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let poll = match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Stream::Shared(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Stream::Tls(stream) => return stream.poll_read(cx, buf.initialize_unfilled()),
            Stream::H2(stream) => return stream.poll_read(cx, buf.initialize_unfilled()),
        };
        poll.map_ok(|()| buf.filled().len())
    }

    /// Appends to what is in `buf`, as much as it has room for. Only for a socket without TLS.
    pub(crate) fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => pin!(stream.read_buf(buf)).poll(cx),
            Stream::Shared(stream) => pin!(stream.read_buf(buf)).poll(cx),
            Stream::Unix(stream) => pin!(stream.read_buf(buf)).poll(cx),
            Stream::Tls(_) | Stream::H2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Neither TLS nor a stream of HTTP/2.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Stream::Tcp(_) | Stream::Shared(_) | Stream::Unix(_))
    }

    /// After `WouldBlock` it must be called with the same bytes again, to which others may have
    /// been added; or else [`Stream::give_up_claim`] first.
    pub(crate) fn try_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(buf),
            Stream::Shared(stream) => stream.as_ref().try_write(buf),
            Stream::Unix(stream) => stream.try_write(buf),
            Stream::Tls(stream) => stream.try_write(&[IoSlice::new(buf)]),
            Stream::H2(stream) => stream.try_write(&[IoSlice::new(buf)]),
        }
    }

    /// As [`Stream::try_write`].
    pub(crate) fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write_vectored(bufs),
            Stream::Shared(stream) => stream.as_ref().try_write_vectored(bufs),
            Stream::Unix(stream) => stream.try_write_vectored(bufs),
            Stream::Tls(stream) => stream.try_write(bufs),
            Stream::H2(stream) => stream.try_write(bufs),
        }
    }

    /// Writes to the socket itself, without TLS.
    pub(crate) fn try_write_plain(&self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(buf),
            Stream::Shared(stream) => stream.as_ref().try_write(buf),
            Stream::Unix(stream) => stream.try_write(buf),
            Stream::Tls(_) | Stream::H2(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Waits for input, encrypted or not.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.readable().await,
            Stream::Shared(stream) => stream.readable().await,
            Stream::Unix(stream) => stream.readable().await,
            Stream::Tls(_) | Stream::H2(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Runs a read on the descriptor itself, after [`Stream::readable`].
    pub(crate) fn try_io<R>(&self, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Stream::Tcp(stream) => stream.try_io(Interest::READABLE, f),
            Stream::Shared(stream) => stream.as_ref().try_io(Interest::READABLE, f),
            Stream::Unix(stream) => stream.try_io(Interest::READABLE, f),
            Stream::Tls(_) | Stream::H2(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(crate) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Shared(stream) => stream.as_ref().poll_write_ready(cx),
            Stream::Unix(stream) => stream.poll_write_ready(cx),
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

    /// Our own address; `None` on a Unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Shared(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(stream) => stream.socket().local_addr(),
            Stream::H2(_) => None,
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
        // An error means that the connection is gone already.
        let _ = match self {
            Stream::Tcp(stream) => socket2::SockRef::from(&*stream).shutdown(Shutdown::Write),
            Stream::Shared(stream) => {
                let socket: &TcpStream = stream.as_ref();
                socket2::SockRef::from(socket).shutdown(Shutdown::Write)
            }
            Stream::Unix(stream) => socket2::SockRef::from(&*stream).shutdown(Shutdown::Write),
            Stream::Tls(stream) => return stream.shutdown_write(),
            Stream::H2(stream) => {
                stream.shutdown_write();
                return true;
            }
        };
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
            other => (&*other, written, waiting),
        };
        // Without an answer, what the kernel has taken counts as acknowledged.
        let ask = |queue: SendQueue| queue(socket.plain_fd().ok()?).ok();
        let unacknowledged = queue.and_then(ask).unwrap_or(0);
        Sample { taken: written.saturating_sub(unacknowledged), outstanding: waiting as u64 + unacknowledged }
    }

    /// Makes dropping it end both directions by RST, so that the peer sees that something is missing. A stream of
    /// HTTP/2 is reset by being dropped.
    pub(crate) fn reset(&self) {
        // An error means that the connection is gone already.
        let _ = match self {
            Stream::Tcp(stream) => socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Stream::Shared(stream) => {
                let socket: &TcpStream = stream.as_ref();
                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))
            }
            Stream::Tls(stream) => return stream.socket().reset(),
            // Unix sockets know no RST.
            Stream::Unix(_) | Stream::H2(_) => Ok(()),
        };
    }

    /// The descriptor of a socket without TLS.
    pub(crate) fn plain_fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Stream::Tcp(stream) => Ok(stream.as_fd()),
            Stream::Shared(stream) => Ok(stream.as_ref().as_fd()),
            Stream::Unix(stream) => Ok(stream.as_fd()),
            Stream::Tls(_) | Stream::H2(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
