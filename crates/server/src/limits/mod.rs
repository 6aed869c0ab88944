//! Bounds that all connections of a server share.

pub(crate) mod admission;
pub(crate) mod arrivals;
pub(crate) mod backlog;
pub mod descriptors;
pub(crate) mod handshakes;
