//! Messages of a topic's history, as the client gets them.

use bytes::Bytes;

/// The messages of a topic after a position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// No message is missing between the position and the first entry. Otherwise `entries` is empty.
    pub complete: bool,
    /// The messages, oldest first.
    pub entries: Vec<ReplayEntry>,
    /// Position of the topic's newest message. Empty if the history could not be read.
    pub position: String,
    /// Why the history could not be read.
    pub failed: Option<String>,
}

/// A message of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayEntry {
    /// Its position, as in [`FromBroker::Message`](super::FromBroker::Message).
    pub position: String,
    /// The payload.
    pub payload: Bytes,
    /// The payload is binary; otherwise it is valid UTF-8.
    pub binary: bool,
}

impl Replay {
    /// A history that could not be read.
    pub fn failed(reason: String) -> Self {
        Self { failed: Some(reason), ..Self::default() }
    }
}

/// Parses a position of a broker: epoch and offset, two decimal numbers joined by `-`.
pub(super) fn parse_position(position: &str) -> Option<(u64, u64)> {
    let (epoch, offset) = position.split_once('-')?;
    let number = |text: &str| {
        let digits = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((number(epoch)?, number(offset)?))
}
