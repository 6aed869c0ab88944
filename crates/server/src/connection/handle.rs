//! The host's end of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use crate::connection::shared::Shared;
use crate::id::ConnId;

/// The host's handle of a connection. Cheap to clone, readable without asking an I/O thread.
#[derive(Debug, Clone)]
pub struct Connection(pub(crate) Arc<Shared>);

impl Connection {
    /// Its number.
    pub fn id(&self) -> ConnId {
        self.0.id
    }

    /// False as soon as the host has closed it or the core has seen its end.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Bytes, framing included, that were accepted by `send` and not yet taken by the kernel.
    pub fn buffered_amount(&self) -> usize {
        self.0.buffered()
    }

    /// The peer's address; `None` on a Unix socket.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        self.0.remote.map(|a| a.ip())
    }

    /// The peer's port; 0 on a Unix socket.
    pub fn remote_port(&self) -> u16 {
        self.0.remote.map_or(0, |a| a.port())
    }
}
