//! One error type per operation.

/// The address of a broker, or the prefix of its names, is not allowed. The message never contains
/// the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker's address {value:?} is not allowed: {part} must be {allowed}")]
pub struct BrokerUrlError {
    /// The address without its password.
    pub value: String,
    /// The part that is wrong: `the scheme`, `the port`, …
    pub part: String,
    /// A description of what is allowed instead.
    pub allowed: String,
}

/// The queue to the broker is full: the broker is unreachable, or slower than the publishers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the queue to the broker is full: {queued} bytes wait, and the limit is {limit}")]
pub struct QueueFull {
    /// Bytes in the queue.
    pub queued: usize,
    /// Maximum number of bytes in the queue.
    pub limit: usize,
}
