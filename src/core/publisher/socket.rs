//! A blocking connection to a broker, with a deadline for each use.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::unix;
use crate::broker::{BrokerUrl, Place, client_config, server_name};

/// With or without TLS.
pub(super) enum Socket {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Socket {
    /// Without TLS. Looking up a name takes as long as the system's resolver is set to.
    pub(super) fn connect(place: &Place, until: Instant) -> io::Result<Self> {
        let raw = match place {
            Place::Tcp { host, port } => Raw::Tcp(tcp(host, *port, until)?),
            Place::Unix(path) => Raw::Unix(UnixStream::from(unix::dial(path, until)?)),
        };
        Ok(Self::Plain(Timed { raw, until }))
    }

    /// Puts TLS on it, and shakes hands.
    pub(super) fn secure(self, url: &BrokerUrl, place: &Place) -> io::Result<Self> {
        let Self::Plain(mut socket) = self else { return Ok(self) };
        let config = client_config(url).map_err(io::Error::other)?;
        let name = server_name(place).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    /// Until when the next reads and writes may take.
    pub(super) fn give(&mut self, until: Instant) {
        self.timed().until = until;
    }

    /// Something can be read at once, which may be the end.
    pub(super) fn has_news(&mut self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let fd = self.timed().raw.as_fd();
        !matches!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)), Ok(0))
    }

    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    /// All of it is the kernel's then. After an error it is not, not all of it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.write_all(bytes),
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    /// 0: the end.
    pub(super) fn receive(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Plain(timed) => timed.read(chunk),
            Self::Tls(stream) => stream.read(chunk),
        };
        match read {
            // TLS without a farewell.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

/// The first address of the host that accepts.
fn tcp(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Not zero, which would mean for ever.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left.max(Duration::from_micros(1))) }
}

/// Reads and writes that end in time.
pub(super) struct Timed {
    raw: Raw,
    until: Instant,
}

enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Timed {
    /// Again after a signal; `TimedOut` in the end.
    fn until_done(
        &mut self,
        mut call: impl FnMut(&mut Raw, Duration) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match call(&mut self.raw, left(self.until)?) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the kernel says when the time that it was given is up.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}

impl Read for Timed {
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        self.until_done(|raw, left| match raw {
            Raw::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(chunk)
            }
            Raw::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(chunk)
            }
        })
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_done(|raw, left| match raw {
            Raw::Tcp(stream) => {
                stream.set_write_timeout(Some(left))?;
                stream.write(bytes)
            }
            Raw::Unix(stream) => {
                stream.set_write_timeout(Some(left))?;
                stream.write(bytes)
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
