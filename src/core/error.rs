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

/// A name can't be subscribed or published to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not 1 to 255 bytes.
    #[error("a topic has 1 to 255 bytes, this one {0}")]
    Length(usize),
    /// `>` stands for the rest of a name and can only be the last token.
    #[error("in the pattern {0:?} the token > is not the last one")]
    TailInside(String),
    /// Patterns are for subscribers; a message is published to one topic.
    #[error("cannot publish to the pattern {0:?}")]
    Pattern(String),
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
