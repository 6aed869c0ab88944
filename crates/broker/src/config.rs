//! Settings: the broker, and what a topic with history keeps there.

use std::time::Duration;

use super::error::BrokerUrlError;
use super::subject::Subjects;
use super::url::{BrokerKind, BrokerUrl};

/// A broker that connects nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Address and credentials: `redis://…`, `nats://…`; see [`BrokerUrl`].
    pub url: String,
    /// Prefix of every channel, subject and key that belongs to this application.
    pub prefix: String,
    /// Bytes of publications that may wait until the broker has confirmed them.
    pub queue: usize,
}

impl BrokerConfig {
    /// The default of [`BrokerConfig::prefix`].
    pub const PREFIX: &str = "sprocket:";
    /// The default of [`BrokerConfig::queue`]: 16 MiB.
    pub const QUEUE: usize = 16 << 20;

    /// Settings with the default prefix and queue.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: Self::PREFIX.to_owned(), queue: Self::QUEUE }
    }

    /// Size in bytes of the largest payload that a node publishes to the broker or accepts from it:
    /// [`BrokerConfig::queue`], but at least [`BrokerConfig::QUEUE`].
    pub fn largest(&self) -> usize {
        self.queue.max(Self::QUEUE)
    }

    /// Checks address and prefix.
    ///
    /// # Errors
    /// One of them is not allowed; the error says which and what is allowed.
    pub fn check(&self) -> Result<BrokerUrl, BrokerUrlError> {
        let url = BrokerUrl::parse(&self.url)?;
        check_prefix(url.kind(), &self.prefix)?;
        Ok(url)
    }
}

/// Checks that the names of this protocol can begin with `prefix`.
///
/// # Errors
/// The prefix is too long, or contains characters that the protocol does not allow.
pub fn check_prefix(kind: BrokerKind, prefix: &str) -> Result<(), BrokerUrlError> {
    let (fits, allowed) = match kind {
        BrokerKind::Redis => {
            (!prefix.chars().any(char::is_control), "at most 100 bytes of UTF-8 without control characters")
        }
        BrokerKind::Nats => (
            Subjects::new(prefix).is_some(),
            "1 to 100 bytes, tokens separated by dots, without whitespace, \"*\", \">\" or \"%\"",
        ),
    };
    if fits && prefix.len() <= 100 {
        return Ok(());
    }
    Err(BrokerUrlError {
        value: prefix.to_owned(),
        part: "the prefix".to_owned(),
        allowed: allowed.to_owned(),
    })
}

/// Limits on the publications that a topic keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Maximum number of publications.
    pub messages: usize,
    /// Maximum age of a publication. `None`: no limit.
    pub seconds: Option<Duration>,
    /// Maximum sum of the payloads in bytes. NATS does not enforce it.
    pub bytes: usize,
    /// The first occurrence of these bytes in a text message is replaced by the message's position.
    pub stamp: Option<String>,
}

impl Default for History {
    fn default() -> Self {
        Self { messages: 100, seconds: Some(Duration::from_secs(300)), bytes: 1 << 20, stamp: None }
    }
}
