//! A connected socket, whatever its kind.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Reads by `poll_read`, which knows that a short read has emptied the socket and so saves the
/// call that would only say so; writes by `try_write`, outside of the task if need be.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self {
            Stream::Tcp($stream) => $body,
            Stream::Unix($stream) => $body,
        }
    };
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

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let poll = each!(self, s => Pin::new(s).poll_read(cx, &mut buf));
        poll.map_ok(|()| buf.filled().len())
    }

    pub(crate) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        each!(self, s => s.try_write(buf))
    }

    pub(crate) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, s => s.try_write_vectored(bufs))
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => s.poll_write_ready(cx))
    }

    /// Our own address; `None` on a Unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Sends FIN; reading goes on.
    pub(crate) fn shutdown_write(&self) {
        let fd = each!(self, s => s.as_fd());
        // An error means that the connection is gone already.
        let _ = socket2::SockRef::from(&fd).shutdown(Shutdown::Write);
    }
}
