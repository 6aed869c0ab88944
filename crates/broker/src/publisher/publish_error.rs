//! Why a message was not published.

use std::io;
use std::time::Duration;

/// A message was not published, or it is unknown whether it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Nobody listens at the address, or its permissions forbid the connection. Not published.
    #[error("cannot connect to {to}: {source}")]
    Unreachable {
        /// The address, without a password.
        to: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The server ended the connection before it had the complete request. Not published.
    #[error("the server at {to} closed the connection")]
    Closed {
        /// The address, without a password.
        to: String,
    },
    /// The server refused the message. Not published.
    #[error("the server at {to} refused the message: {reason}")]
    Refused {
        /// The address, without a password.
        to: String,
        /// One word: `too-large`, `busy`, `stopping`, …
        code: String,
        /// The reason, as a sentence.
        reason: String,
    },
    /// The server could not pass the message on to its broker, whose queue is full. Published to the
    /// subscribers on that machine only.
    #[error("the server at {to} could not pass the message on: {reason}")]
    Partly {
        /// The address, without a password.
        to: String,
        /// The reason, as a sentence.
        reason: String,
    },
    /// Another kind of server listens at the address. Not published.
    #[error("the server at {to} is not {expected}: it answered {answer:?}")]
    Foreign {
        /// The address, without a password.
        to: String,
        /// The expected kind of server.
        expected: &'static str,
        /// The beginning of the answer.
        answer: String,
    },
    /// The timeout passed before the request was sent completely. Not published.
    #[error("the server at {to} did not accept the message within {timeout:?}")]
    NotTaken {
        /// The address, without a password.
        to: String,
        /// The timeout.
        timeout: Duration,
    },
    /// The timeout passed before the answer arrived. The message may have been published.
    #[error("the server at {to} did not answer within {timeout:?}; the message may have been published")]
    NoAnswer {
        /// The address, without a password.
        to: String,
        /// The timeout.
        timeout: Duration,
    },
    /// The connection ended before the answer arrived. The message may have been published.
    #[error("the server at {to} disconnected before it answered; the message may have been published")]
    Lost {
        /// The address, without a password.
        to: String,
    },
}

impl PublishError {
    /// Whether the message may have been published, or was published to some subscribers: publishing
    /// it again could deliver it twice.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Lost { .. } | Self::Partly { .. })
    }
}
