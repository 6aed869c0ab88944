//! A connected TCP or Unix socket without TLS.

use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp};

/// The socket of one connection. It is read with `poll_read`, which knows that a short read has emptied the
/// socket and so saves a system call that would only return `WouldBlock`. It is written with `try_write`,
/// which also works outside of the task.
#[derive(Debug)]
pub(crate) enum PlainSocket {
    Tcp(TcpStream),
    /// A TCP socket whose write half the host holds too, for direct writes.
    Shared(tcp::OwnedReadHalf),
    Unix(UnixStream),
}

impl PlainSocket {
    /// Registers an accepted, non-blocking socket with the runtime. Must be called inside the runtime.
    pub(crate) fn adopt(fd: OwnedFd, unix: bool) -> io::Result<Self> {
        if unix {
            return UnixStream::from_std(fd.into()).map(Self::Unix);
        }
        TcpStream::from_std(fd.into()).map(Self::Tcp)
    }

    /// Splits off a write half of a TCP socket, to which another thread may write. Dropping the half sends
    /// FIN.
    pub(crate) fn share(self) -> (Self, Option<tcp::OwnedWriteHalf>) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (Self::Shared(read), Some(write))
            }
            other => (other, None),
        }
    }

    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let poll = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Self::Shared(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
        };
        poll.map_ok(|()| buf.filled().len())
    }

    /// Appends input to `buf`, at most as much as its spare capacity.
    #[inline]
    pub(crate) fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => pin!(stream.read_buf(buf)).poll(cx),
            Self::Shared(stream) => pin!(stream.read_buf(buf)).poll(cx),
            Self::Unix(stream) => pin!(stream.read_buf(buf)).poll(cx),
        }
    }

    #[inline]
    pub(crate) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(buf),
            Self::Shared(stream) => stream.as_ref().try_write(buf),
            Self::Unix(stream) => stream.try_write(buf),
        }
    }

    #[inline]
    pub(crate) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(bufs),
            Self::Shared(stream) => stream.as_ref().try_write_vectored(bufs),
            Self::Unix(stream) => stream.try_write_vectored(bufs),
        }
    }

    /// Waits until there is input.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Shared(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Runs `f`, a read on the descriptor itself, after [`PlainSocket::readable`]. If it returns
    /// `WouldBlock`, the socket counts as not readable.
    pub(crate) fn try_io<R>(&self, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, f),
            Self::Shared(stream) => stream.as_ref().try_io(Interest::READABLE, f),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, f),
        }
    }

    #[inline]
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Shared(stream) => stream.as_ref().poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// The local address; `None` on a Unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Shared(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Ends the direction to the peer (FIN); reading goes on.
    pub(crate) fn shutdown_write(&self) {
        // An error means that the connection is already lost.
        let _ = match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Shared(stream) => {
                let socket: &TcpStream = stream.as_ref();
                socket2::SockRef::from(socket).shutdown(Shutdown::Write)
            }
            Self::Unix(stream) => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
        };
    }

    /// Makes a later drop end both directions with RST, which shows the peer that data is missing.
    pub(crate) fn reset(&self) {
        // An error means that the connection is already lost.
        let _ = match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Self::Shared(stream) => {
                let socket: &TcpStream = stream.as_ref();
                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))
            }
            // Unix sockets have no RST.
            Self::Unix(_) => Ok(()),
        };
    }
}

impl AsFd for PlainSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Shared(stream) => stream.as_ref().as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
