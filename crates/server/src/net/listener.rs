//! Listening sockets on which clients connect.

use socket2::Socket;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::BindError;
use crate::net::address::{Bind, Listen};
use crate::net::socket::{inherited, scheme, tcp, url_of};
use crate::net::unix_socket::{self, UnixFile};

/// The protocols that precede HTTP on the connections of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Preamble {
    /// A TLS handshake.
    pub(crate) tls: bool,
    /// A PROXY protocol header, before TLS.
    pub(crate) proxy_protocol: bool,
}

impl Preamble {
    /// Whether connections begin directly with HTTP.
    pub(crate) fn is_plain(self) -> bool {
        self == Self::default()
    }
}

/// A non-blocking listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The file of a Unix socket. Removed before the socket closes.
    file: Option<UnixFile>,
    socket: Socket,
    /// The address as a URL, for users.
    url: String,
    preamble: Preamble,
}

impl Listener {
    /// Opens the socket that `listen` describes; `backlog` is the default length of its queue.
    ///
    /// # Errors
    /// The address can't be used, or the inherited descriptor is not a listening stream socket.
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
            if cfg!(target_os = "linux") && socket.local_addr()?.as_socket().is_some() {
                // Accepted sockets inherit the option, which saves a system call for each.
                socket.set_tcp_nodelay(true)?;
            }
            let url = url_of(&socket.local_addr()?, tls);
            Ok(Self { socket, url, file, preamble: Preamble { tls, proxy_protocol } })
        });
        named.map_err(|source| BindError { address, source })
    }

    /// The address as a URL, with the port that the kernel chose.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn wants_tls(&self) -> bool {
        self.preamble.tls
    }

    /// The local address of a TCP socket; `None` for a Unix socket.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok().and_then(|address| address.as_socket())
    }

    /// Returns the socket, the protocols that precede HTTP, and the socket's file, which must be removed
    /// before the socket closes.
    pub(crate) fn into_parts(self) -> (Socket, Preamble, Option<UnixFile>) {
        (self.socket, self.preamble, self.file)
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
    fn the_url_has_the_port_that_the_kernel_chose() {
        let listener = Listener::open(Bind::Tcp("127.0.0.1:0".parse().unwrap()).into(), 8).unwrap();
        assert!(listener.url().starts_with("ws://127.0.0.1:"));
        assert!(!listener.url().ends_with(":0"));
    }

    #[test]
    fn accepted_sockets_send_without_delay() {
        let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for bind in [Bind::Tcp("127.0.0.1:0".parse().unwrap()), Bind::Fd(inherited.into())] {
            let listener = Listener::open(bind.into(), 8).unwrap();
            let _client = std::net::TcpStream::connect(listener.tcp_address().unwrap()).unwrap();
            let (accepted, _) = crate::net::socket::accept_one(&listener.socket).unwrap();
            assert!(socket2::SockRef::from(&accepted).tcp_nodelay().unwrap());
        }
    }

    #[test]
    fn the_error_names_a_port_in_use() {
        let first = Listener::open(Bind::Tcp("127.0.0.1:0".parse().unwrap()).into(), 8).unwrap();
        let in_use = first.url().trim_start_matches("ws://").parse().unwrap();
        let error = Listener::open(Bind::Tcp(in_use).into(), 8).unwrap_err();
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
    fn only_a_listening_socket_is_inherited() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Listener::open(Bind::Fd(a.into()).into(), 8).is_err());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Listener::open(Bind::Fd(listener.into()).into(), 8).is_ok());
    }
}
