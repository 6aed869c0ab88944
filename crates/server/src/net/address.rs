//! The addresses of a server, as its host names them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Where to listen.
#[derive(Debug)]
pub enum Bind {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix socket at a path. A stale file is replaced, a live one is an error.
    Unix(PathBuf),
    /// A listening stream socket that was made by somebody else, TCP or Unix.
    Fd(OwnedFd),
}

/// A listener: where, and how.
#[derive(Debug)]
pub struct Listen {
    /// Where.
    pub bind: Bind,
    /// What errors call it; `None` for the address itself.
    pub name: Option<String>,
    /// Connections begin with a TLS handshake, by [`Config::tls`](crate::Config).
    pub tls: bool,
    /// Connections begin with a header of the PROXY protocol, version 1 or 2. It counts if the peer
    /// is in [`Config::trusted_proxies`](crate::Config), or if nobody is.
    pub proxy_protocol: bool,
    /// `SO_REUSEPORT`: several processes listen on one port, and the kernel shares out.
    pub reuse_port: bool,
    /// Whether an IPv6 socket refuses IPv4 peers. They come with mapped addresses otherwise.
    pub only_v6: bool,
    /// Permissions of a Unix socket's file; `None`: by the umask.
    pub mode: Option<u32>,
    /// Instead of [`Config::backlog`](crate::Config).
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
