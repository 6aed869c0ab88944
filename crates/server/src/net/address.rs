//! Addresses that a server listens on, as the host configures them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The kind of listening socket, and its address.
#[derive(Debug)]
pub enum Bind {
    /// A TCP address; with port 0 the kernel chooses a free port.
    Tcp(SocketAddr),
    /// A Unix socket at a path. A stale socket file is replaced; a live one is an error.
    Unix(PathBuf),
    /// A listening stream socket, TCP or Unix, that another program opened and passed on as a descriptor.
    Fd(OwnedFd),
}

/// The configuration of one listener: its address and how its connections begin.
#[derive(Debug)]
pub struct Listen {
    /// Kind and address of the socket.
    pub bind: Bind,
    /// Name of the listener in error messages; `None` uses its address.
    pub name: Option<String>,
    /// Whether connections begin with a TLS handshake, with the settings in [`Config::tls`](crate::Config).
    pub tls: bool,
    /// Whether connections begin with a PROXY protocol header, version 1 or 2. The header is accepted if the
    /// peer is in [`Config::trusted_proxies`](crate::Config), or from any peer if that list is empty.
    pub proxy_protocol: bool,
    /// Whether to set `SO_REUSEPORT`: several processes listen on one port, and the kernel distributes new
    /// connections among them.
    pub reuse_port: bool,
    /// Whether an IPv6 socket refuses IPv4 peers. If not, they connect with IPv4-mapped addresses.
    pub only_v6: bool,
    /// Permissions of a Unix socket's file; `None` leaves them to the umask.
    pub mode: Option<u32>,
    /// Length of the queue of connections not yet accepted; `None` uses [`Config::backlog`](crate::Config).
    pub backlog: Option<i32>,
}

impl From<Bind> for Listen {
    fn from(bind: Bind) -> Self {
        Self {
            bind,
            name: None,
            tls: false,
            proxy_protocol: false,
            reuse_port: false,
            only_v6: false,
            mode: None,
            backlog: None,
        }
    }
}
