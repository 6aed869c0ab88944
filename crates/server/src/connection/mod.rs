//! One connection, as both the host and its I/O thread hold it.

pub(crate) mod direct_write;
pub(crate) mod handle;
pub(crate) mod outbox;
pub(crate) mod shared;
