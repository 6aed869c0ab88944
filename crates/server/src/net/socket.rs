//! Sockets and descriptors: how they are opened, accepted and numbered.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Accepted sockets get numbers from here on: `select(2)`, and so PHP's `stream_select`, can't
/// handle descriptors over 1023, and PHP's own streams need those below.
const FIRST_DESCRIPTOR: i32 = 1024;
/// Pause after accept() failed, usually because the descriptor limit was reached.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(100);

/// Whether there is a connection to accept.
pub(crate) fn somebody_waits(listener: &Socket) -> bool {
    let mut listener = [PollFd::new(listener, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An error of the socket is left to accept().
    poll(&mut listener, Some(&now)) != Ok(0)
}

/// Accepts a connection: a non-blocking socket whose descriptor is high, and the peer's address,
/// which a Unix socket does not have.
pub(crate) fn accept_one(listener: &Socket) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    #[cfg(target_os = "linux")]
    let (fd, remote) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    #[cfg(not(target_os = "linux"))]
    let (fd, remote) = {
        let (fd, remote) = acceptfrom_with(listener, SocketFlags::empty())?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        (fd, remote)
    };
    let remote = remote.and_then(|a| SocketAddr::try_from(a).ok());
    Ok((lift(fd), remote))
}

/// Gives a descriptor a number that leaves the low ones to PHP, where the limit allows it.
pub(crate) fn lift(fd: OwnedFd) -> OwnedFd {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() >= FIRST_DESCRIPTOR {
        return fd;
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_DESCRIPTOR).unwrap_or(fd)
}

/// A listening TCP socket.
pub(crate) fn tcp(address: SocketAddr, backlog: i32, reuse_port: bool, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // The administrator sets the default (`net.ipv6.bindv6only`), so both values are set explicitly.
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

/// A listening socket that another program has opened.
pub(crate) fn inherited(fd: OwnedFd) -> io::Result<Socket> {
    let socket = Socket::from(fd);
    let listens = socket2::SockRef::from(&socket).is_listener()?;
    if !listens || socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
    }
    rustix::io::fcntl_setfd(socket.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

pub(crate) fn scheme(tls: bool) -> &'static str {
    if tls { "wss" } else { "ws" }
}

/// The address of a listening socket as a URL.
pub(crate) fn url_of(address: &SockAddr, tls: bool) -> String {
    if let Some(address) = address.as_socket() {
        return format!("{}://{address}", scheme(tls));
    }
    let path = address.as_pathname().map(|path| path.display().to_string());
    format!("unix://{}", path.unwrap_or_default())
}
