//! The channels between the host and the I/O threads, and the data that passes through them: items and
//! events to the host, commands and answers to the threads.

pub(crate) mod ask;
pub mod event;
pub(crate) mod item;
pub(crate) mod lanes;
pub(crate) mod mailbox;
pub mod notices;
pub mod request;
pub(crate) mod response_stream;
pub(crate) mod upload;
pub(crate) mod wake;
