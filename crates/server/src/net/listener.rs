//! Listening sockets of clients.

use socket2::Socket;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::BindError;
use crate::net::address::{Bind, Listen};
use crate::net::socket::{inherited, scheme, tcp, url_of};
use crate::net::unix_socket::{self, UnixFile};

/// What the connections of a listener begin with, before HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tls: bool,
    pub(crate) proxy_protocol: bool,
}

impl Entry {
    /// Whether connections begin with HTTP at once.
    pub(crate) fn is_plain(self) -> bool {
        self == Self::default()
    }
}

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

    /// The socket, what its connections begin with, and its file, which must go before the socket.
    pub(crate) fn into_parts(self) -> (Socket, Entry, Option<UnixFile>) {
        (self.socket, self.entry, self.file)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
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
