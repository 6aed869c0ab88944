//! The parts of a connection that the host and its I/O thread share, and the outbox of its session.

pub(crate) mod direct_write;
mod gathered;
pub(crate) mod handle;
pub(crate) mod outbox;
pub(crate) mod shared;
