//! Limits that all connections of a server share: connections, sockets, descriptors, and bytes that wait for
//! the host.

pub(crate) mod admission;
pub(crate) mod arrivals;
pub(crate) mod backlog;
pub mod descriptors;
pub(crate) mod handshakes;
