//! One error type per operation.

use std::io;

/// A listener could not be opened. The host should tell its user, who frees the address or
/// chooses another.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address as the host gave it.
    pub address: String,
    /// The operating system's reason.
    pub source: io::Error,
}

/// A server did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The threads or the descriptors that the event path needs could not be had.
    #[error("cannot start the I/O threads: {0}")]
    Runtime(#[from] io::Error),
}

/// The server belongs to the parent of this process: threads don't survive a fork. Start a
/// server of its own in the child.
#[derive(Debug, thiserror::Error)]
#[error("this server was started in process {started_in} and cannot be used in its fork {here}")]
pub struct ForkError {
    /// The process that started the server.
    pub started_in: u32,
    /// The process that called.
    pub here: u32,
}
