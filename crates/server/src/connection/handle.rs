//! The host's handle of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use crate::connection::shared::Shared;
use crate::id::ConnId;

/// The host's handle of a connection. It is cheap to clone, and all its methods work without a round trip
/// to the I/O thread.
#[derive(Debug, Clone)]
pub struct Connection(pub(crate) Arc<Shared>);

impl Connection {
    /// The connection's ID, unique within the process.
    pub fn id(&self) -> ConnId {
        self.0.id
    }

    /// Whether the connection accepts sends: neither has the host closed it nor has the core detected its
    /// end.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Number of bytes, framing included, that `send` has accepted and the kernel has not.
    pub fn buffered_amount(&self) -> usize {
        self.0.buffered()
    }

    /// The peer's IP address; `None` on a Unix socket.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        self.0.remote.map(|a| a.ip())
    }

    /// The peer's port; 0 on a Unix socket.
    pub fn remote_port(&self) -> u16 {
        self.0.remote.map_or(0, |a| a.port())
    }
}
