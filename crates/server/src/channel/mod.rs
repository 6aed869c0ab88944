//! Everything that passes between the host and the I/O threads.

pub(crate) mod ask;
pub mod event;
pub(crate) mod mailbox;
pub mod notices;
pub mod request;
pub(crate) mod response_stream;
pub(crate) mod upload;
pub(crate) mod wake;
