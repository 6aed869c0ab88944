//! Opens and accepts sockets, and moves their descriptors to high numbers.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Lowest number given to the descriptor of an accepted socket. `select(2)`, and so PHP's `stream_select`,
/// can't handle descriptors above 1023, so the lower ones are left to PHP's own streams.
const FIRST_DESCRIPTOR: i32 = 1024;
/// Pause after accept() failed, usually because the descriptor limit was reached.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(100);

/// Whether a connection waits to be accepted.
pub(crate) fn has_pending_connection(listener: &Socket) -> bool {
    let mut listener = [PollFd::new(listener, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // accept() reports an error of the socket.
    poll(&mut listener, Some(&now)) != Ok(0)
}

/// Accepts a connection. Returns a non-blocking socket with a high descriptor and, on TCP, with `TCP_NODELAY`,
/// which it inherits from the listener on Linux; and the peer's address, which is `None` on a Unix socket.
pub(crate) fn accept_one(listener: &Socket) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    #[cfg(target_os = "linux")]
    let (fd, remote) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    #[cfg(not(target_os = "linux"))]
    let (fd, remote) = {
        let (fd, remote) = acceptfrom_with(listener, SocketFlags::empty())?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        // Fails on a Unix socket, which has no such option.
        let _ = socket2::SockRef::from(&fd).set_tcp_nodelay(true);
        (fd, remote)
    };
    let remote = remote.and_then(|a| SocketAddr::try_from(a).ok());
    Ok((lift(fd), remote))
}

/// Moves a descriptor to a number of at least 1024, to leave the low ones to PHP. Keeps its number if the
/// descriptor limit doesn't allow that.
pub(crate) fn lift(fd: OwnedFd) -> OwnedFd {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() >= FIRST_DESCRIPTOR {
        return fd;
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_DESCRIPTOR).unwrap_or(fd)
}

/// Opens a listening TCP socket.
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

/// Takes over a listening socket that another program has opened.
///
/// # Errors
/// The descriptor is not a listening stream socket.
pub(crate) fn inherited(fd: OwnedFd) -> io::Result<Socket> {
    let socket = Socket::from(fd);
    let listens = socket2::SockRef::from(&socket).is_listener()?;
    if !listens || socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
    }
    rustix::io::fcntl_setfd(socket.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// The URL scheme of a WebSocket, with or without TLS (RFC 6455 section 3).
pub(crate) fn scheme(tls: bool) -> &'static str {
    if tls { "wss" } else { "ws" }
}

/// Formats the address of a listening socket as a URL.
pub(crate) fn url_of(address: &SockAddr, tls: bool) -> String {
    if let Some(address) = address.as_socket() {
        return format!("{}://{address}", scheme(tls));
    }
    let path = address.as_pathname().map(|path| path.display().to_string());
    format!("unix://{}", path.unwrap_or_default())
}
