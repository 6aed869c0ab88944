//! The numbers by which threads name connections, and questions to the host.

/// Number of a connection, unique in a process and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Names a handshake or a plain request that waits for the host's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A connection by its place in the table of its thread. The slot is valid only while the id there is
/// the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) slot: u32,
    pub(crate) id: ConnId,
}
