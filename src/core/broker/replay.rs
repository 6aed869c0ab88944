//! What a topic with history has kept, on a connection of its own: a long answer, or a host that
//! waits for one, holds nothing up.

use bytes::Bytes;
use std::fmt;
use std::time::Instant;

use super::url::{BrokerKind, BrokerUrl, Place};
use super::{BrokerConfig, History, nats, redis};

/// What was published to a topic after a position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// Nothing is missing. Otherwise `entries` is empty.
    pub complete: bool,
    /// In the order of the topic.
    pub entries: Vec<Entry>,
    /// The topic's position now, which is that of the last entry if there is one. Empty: the
    /// broker could not be asked.
    pub position: String,
    /// Why it could not be asked.
    pub failed: Option<String>,
}

/// A message of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, as in [`FromBroker::Message`](super::FromBroker::Message).
    pub position: String,
    /// The payload.
    pub payload: Bytes,
    /// Not text.
    pub binary: bool,
}

/// A connection that was greeted.
enum Reader {
    Redis(Box<redis::Reader>),
    Nats(Box<nats::Reader>),
}

/// Asks one question at a time; connects when needed, and keeps the connection.
pub(super) struct Replays {
    config: BrokerConfig,
    reader: Option<Reader>,
    /// A connection is being made.
    opening: bool,
    /// When it could not be made, and why. Who waited meanwhile need not wait for another attempt:
    /// with a host that does not answer, a thousand questions would take hours.
    away: Option<(Instant, String)>,
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replays").field("connected", &self.reader.is_some()).finish_non_exhaustive()
    }
}

impl Replays {
    pub(super) fn new(config: &BrokerConfig) -> Self {
        Self { config: config.clone(), reader: None, opening: false, away: None }
    }

    /// `asked`: when the question came.
    pub(super) async fn replay(
        &mut self,
        asked: Instant,
        topic: &str,
        position: &str,
        limits: &History,
    ) -> Replay {
        let failed = |reason: String| Replay { failed: Some(reason), ..Replay::default() };
        if let Some((_, reason)) = self.away.as_ref().filter(|(at, _)| asked < *at) {
            return failed(reason.clone());
        }
        let url = match self.config.check() {
            Ok(url) => url,
            Err(error) => return failed(error.to_string()),
        };
        // What is no position of ours, the broker need not see.
        let (position, known) =
            if is_position(position) { (position, true) } else { ("", position.is_empty()) };
        // A kept connection may have ended since: questions change nothing and can be repeated.
        loop {
            let kept = self.reader.is_some();
            self.opening = false;
            let attempt = self.attempt(&url, topic, position, limits);
            let reason = match tokio::time::timeout(url.patience(), attempt).await {
                Ok(Ok(replay)) => return Replay { complete: replay.complete && known, ..replay },
                Ok(Err(_)) if kept => continue,
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {:?}", url.patience()),
            };
            if self.opening {
                self.away = Some((Instant::now(), reason.clone()));
            }
            return failed(reason);
        }
    }

    async fn attempt(
        &mut self,
        url: &BrokerUrl,
        topic: &str,
        position: &str,
        limits: &History,
    ) -> Result<Replay, String> {
        // Only what has answered in full is kept.
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                self.opening = true;
                let reader = open(url, &self.config.prefix).await?;
                self.opening = false;
                reader
            }
        };
        let largest = self.config.largest();
        let replay = match &mut reader {
            Reader::Redis(reader) => reader.replay(topic, position, limits, largest).await?,
            Reader::Nats(reader) => reader.replay(topic, position, limits, largest).await?,
        };
        self.reader = Some(reader);
        Ok(replay)
    }
}

async fn open(url: &BrokerUrl, prefix: &str) -> Result<Reader, String> {
    let mut last = String::new();
    for place in &url.places {
        match open_at(url, place, prefix).await {
            Ok(reader) => return Ok(reader),
            Err(reason) => last = reason,
        }
    }
    Err(last)
}

async fn open_at(url: &BrokerUrl, place: &Place, prefix: &str) -> Result<Reader, String> {
    Ok(match url.kind {
        BrokerKind::Redis => Reader::Redis(Box::new(redis::Reader::open(url, place, prefix).await?)),
        BrokerKind::Nats => Reader::Nats(Box::new(nats::Reader::open(url, place, prefix).await?)),
    })
}

/// `EPOCH-OFFSET`, two numbers.
pub(super) fn parse_position(position: &str) -> Option<(u64, u64)> {
    let (epoch, offset) = position.split_once('-')?;
    let number = |text: &str| {
        let digits = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((number(epoch)?, number(offset)?))
}

fn is_position(position: &str) -> bool {
    parse_position(position).is_some()
}
