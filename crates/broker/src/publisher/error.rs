//! Why a message was not published.

use std::io;
use std::time::Duration;

/// A message was not published, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Nobody listens, or the file's permissions keep us out. Not published.
    #[error("cannot connect to {to}: {source}")]
    Unreachable {
        /// Its address, without a password.
        to: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The server ended the connection before it had the whole request. Not published.
    #[error("the server behind {to} closed the connection")]
    Closed {
        /// Its address, without a password.
        to: String,
    },
    /// The server gave a reason not to. Not published.
    #[error("the server behind {to} refused the message: {reason}")]
    Refused {
        /// Its address, without a password.
        to: String,
        /// One word: `too-large`, `busy`, `stopping`, …
        code: String,
        /// A sentence.
        reason: String,
    },
    /// The server could not pass the message on to its broker, whose queue is full. Published in
    /// part: to those who are connected to that machine.
    #[error("the server behind {to} could not pass the message on: {reason}")]
    Partly {
        /// Its address, without a password.
        to: String,
        /// A sentence.
        reason: String,
    },
    /// What listens there speaks something else. Not published.
    #[error("what listens on {to} is not {expected}: it answered {answer:?}")]
    Foreign {
        /// Its address, without a password.
        to: String,
        /// What should be there.
        expected: &'static str,
        /// The start of what it said.
        answer: String,
    },
    /// The time was up before the request was out. Not published.
    #[error("the server behind {to} did not take the message within {timeout:?}")]
    NotTaken {
        /// Its address, without a password.
        to: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// The time was up before the answer came. May have been published.
    #[error("the server behind {to} did not answer within {timeout:?}; the message may have been published")]
    NoAnswer {
        /// Its address, without a password.
        to: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// The connection ended instead of an answer. May have been published.
    #[error("the server behind {to} went away before it answered; the message may have been published")]
    Lost {
        /// Its address, without a password.
        to: String,
    },
}

impl PublishError {
    /// Whether the message may have been published all the same, or was to some: publishing it
    /// again could deliver it twice.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Lost { .. } | Self::Partly { .. })
    }
}
