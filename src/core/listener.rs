//! Listening sockets: how they are opened, and the loop that accepts.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::config::{Bind, Listen};
use crate::entry::Entry;
use crate::env::State;
use crate::error::BindError;
use crate::handshakes::HandshakePlace;
use crate::notices::{Trouble, log_trouble};
use crate::queue::Command;
use crate::stats::Counters;
use crate::turn;
use crate::unix_socket::{self, UnixFile};

/// Sockets accepted before others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Accepted sockets get numbers from here on: `select(2)`, and so PHP's `stream_select`, can't
/// handle descriptors over 1023, and PHP's own streams need those below.
const FIRST_DESCRIPTOR: i32 = 1024;
/// Pause after `accept` failed for want of descriptors or memory.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(100);

/// A listening socket, non-blocking.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Removed in the end, before the socket closes.
    file: Option<UnixFile>,
    socket: Socket,
    url: String,
    entry: Entry,
}

impl Listener {
    /// Opens what `listen` says.
    pub(crate) fn open(listen: Listen, backlog: i32) -> Result<Self, BindError> {
        let Listen { bind, name, tls, proxy_protocol, reuse_port, only_v6, mode, .. } = listen;
        let backlog = listen.backlog.unwrap_or(backlog);
        let address = name.unwrap_or_else(|| match &bind {
            Bind::Tcp(address) => format!("{}://{address}", scheme(tls)),
            Bind::Unix(path) => format!("unix://{}", path.display()),
            Bind::Fd(_) => "the given descriptor".to_owned(),
        });
        let opened = match bind {
            Bind::Tcp(address) => tcp(address, backlog, reuse_port, only_v6).map(|socket| (socket, None)),
            Bind::Unix(path) => {
                unix_socket::listen(path, backlog, mode).map(|(socket, file)| (socket, Some(file)))
            }
            Bind::Fd(fd) => inherited(fd).map(|socket| (socket, None)),
        };
        let named = opened.and_then(|(socket, file)| {
            socket.set_nonblocking(true)?;
            let url = url_of(&socket.local_addr()?, tls);
            Ok(Self { socket, url, file, entry: Entry { tls, proxy_protocol } })
        });
        named.map_err(|source| BindError { address, source })
    }

    /// As a URL, with the port that the kernel chose.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn wants_tls(&self) -> bool {
        self.entry.tls
    }

    /// Of a socket over TCP.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Begins to accept. Aborting the task closes the listener.
    pub(crate) fn spawn(self, state: Arc<State>) -> io::Result<AbortHandle> {
        #[expect(
            deprecated,
            reason = "its objection is to owners that lie about their descriptor; a Socket doesn't"
        )]
        let fd = AsyncFd::with_interest(self.socket, Interest::READABLE)?;
        Ok(turn::spawn(accept(fd, self.file, self.entry, state)).abort_handle())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

async fn accept(listener: AsyncFd<Socket>, file: Option<UnixFile>, entry: Entry, state: Arc<State>) {
    let _vital = crate::io::Vital;
    let _file = file;
    let mut turn = 0usize;
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            let connections = state.limits.open();
            if !state.handshakes.has_room(connections) {
                if !somebody_waits(listener.get_ref()) {
                    ready.clear_ready();
                    break;
                }
                if state.handshakes.make_room(connections).await {
                    Counters::one(&state.counters.handshakes_displaced);
                    log_trouble(None, &Trouble::Displaced);
                }
                if state.stopping.load(Ordering::Relaxed) {
                    return;
                }
                continue;
            }
            match accept_one(listener.get_ref()) {
                Ok((fd, remote)) => {
                    Counters::one(&state.counters.accepted);
                    let Some(place) = place(&state, remote, entry) else { continue };
                    // The listeners belong to thread 0; the threads take turns.
                    let thread = turn % state.mailboxes.len();
                    turn = turn.wrapping_add(1);
                    if thread == 0 {
                        crate::http::spawn(&state, fd, remote, entry, place);
                    } else {
                        state.mailboxes[thread].pass(Command::Adopt { fd, remote, entry, place });
                        state.mailboxes[thread].deliver();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    break;
                }
                // The peer gave up while it waited in the queue.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    Counters::one(&state.counters.accept_errors);
                    log_trouble(None, &Trouble::Accept(&error));
                    tokio::time::sleep(BACK_OFF).await;
                    break;
                }
            }
        }
        if state.stopping.load(Ordering::Relaxed) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The place of an accepted socket. `None`: its address has as many as it may, and it is closed.
fn place(state: &State, remote: Option<SocketAddr>, entry: Entry) -> Option<HandshakePlace> {
    let ip = remote.map(|address| address.ip());
    // Proxies speak for many.
    if entry.proxy_protocol || state.config.trusted_proxies.contains(ip) {
        return Some(state.handshakes.enter_unknown());
    }
    let place = state.handshakes.enter(ip);
    if place.is_none() {
        Counters::one(&state.counters.handshakes_refused);
        log_trouble(remote, &Trouble::Address);
    }
    place
}

/// Whether there is a connection to accept.
fn somebody_waits(listener: &Socket) -> bool {
    let mut listener = [PollFd::new(listener, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What is wrong with the socket, accept tells.
    poll(&mut listener, Some(&now)) != Ok(0)
}

/// A non-blocking socket with a high number, and the peer's address if it has one.
fn accept_one(listener: &Socket) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
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

fn tcp(address: SocketAddr, backlog: i32, reuse_port: bool, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // The default is the administrator's (`net.ipv6.bindv6only`): say it either way.
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn inherited(fd: OwnedFd) -> io::Result<Socket> {
    let socket = Socket::from(fd);
    let listens = socket2::SockRef::from(&socket).is_listener()?;
    if !listens || socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
    }
    rustix::io::fcntl_setfd(socket.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

fn scheme(tls: bool) -> &'static str {
    if tls { "wss" } else { "ws" }
}

pub(crate) fn url_of(address: &SockAddr, tls: bool) -> String {
    if let Some(address) = address.as_socket() {
        return format!("{}://{address}", scheme(tls));
    }
    let path = address.as_pathname().map(|path| path.display().to_string());
    format!("unix://{}", path.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn dir() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("sprocket-listener-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn port_zero_is_filled_in() {
        let listener = Listener::open(Bind::Tcp("127.0.0.1:0".parse().unwrap()).into(), 8).unwrap();
        assert!(listener.url().starts_with("ws://127.0.0.1:"));
        assert!(!listener.url().ends_with(":0"));
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = Listener::open(Bind::Tcp("127.0.0.1:0".parse().unwrap()).into(), 8).unwrap();
        let taken = first.url().trim_start_matches("ws://").parse().unwrap();
        let error = Listener::open(Bind::Tcp(taken).into(), 8).unwrap_err();
        assert!(error.to_string().contains(first.url()), "{error}");
    }

    #[test]
    fn a_plain_file_is_never_removed() {
        let path = dir().join("plain.txt");
        std::fs::write(&path, "keep").unwrap();
        assert!(Listener::open(Bind::Unix(path.clone()).into(), 8).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "keep");
    }

    #[test]
    fn only_a_listening_socket_is_taken_over() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Listener::open(Bind::Fd(a.into()).into(), 8).is_err());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Listener::open(Bind::Fd(listener.into()).into(), 8).is_ok());
    }
}
