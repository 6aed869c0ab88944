//! The identifiers that threads and the host exchange for connections and for requests to the host.

/// Number of a connection, unique within a process and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Identifies a handshake or a plain request that waits for the host's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// The position of a connection in the table of its thread. The slot may be reused, so it refers to the
/// connection only if the connection in it has this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) slot: u32,
    pub(crate) id: ConnId,
}
