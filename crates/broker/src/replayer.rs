//! Reads histories over a connection of its own, so that neither a long answer nor a host that waits
//! for one holds up the session.

use std::fmt;
use std::time::Instant;

use super::config::{BrokerConfig, History};
use super::replay::{Replay, parse_position};
use super::url::{BrokerKind, BrokerUrl, Place};
use super::{nats, redis};

/// A connection after its handshake.
enum ReplayConnection {
    Redis(Box<redis::Reader>),
    Nats(Box<nats::Reader>),
}

/// Reads one history at a time. Connects when needed and keeps the connection.
pub(super) struct Replayer {
    config: BrokerConfig,
    reader: Option<ReplayConnection>,
    /// An attempt to connect is under way.
    opening: bool,
    /// When the last attempt to connect failed, and why. Calls that were already waiting then fail
    /// for the same reason, without an attempt of their own: if a server does not answer, a thousand
    /// waiting calls would otherwise take hours.
    away: Option<(Instant, String)>,
}

impl fmt::Debug for Replayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer").field("connected", &self.reader.is_some()).finish_non_exhaustive()
    }
}

impl Replayer {
    pub(super) fn new(config: &BrokerConfig) -> Self {
        Self { config: config.clone(), reader: None, opening: false, away: None }
    }

    /// See [`BrokerClient::replay`](super::BrokerClient::replay); `asked` is the time of the call.
    pub(super) async fn replay(
        &mut self,
        asked: Instant,
        topic: &str,
        position: &str,
        limits: &History,
    ) -> Replay {
        if let Some((_, reason)) = self.away.as_ref().filter(|(at, _)| asked < *at) {
            return Replay::failed(reason.clone());
        }
        let url = match self.config.check() {
            Ok(url) => url,
            Err(error) => return Replay::failed(error.to_string()),
        };
        // A position that no broker has assigned is not sent: the newest one is asked for instead.
        let (position, known) = match parse_position(position) {
            Some(_) => (position, true),
            None => ("", position.is_empty()),
        };
        // A kept connection may have ended meanwhile. Reading changes nothing and can be repeated.
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
            return Replay::failed(reason);
        }
    }

    async fn attempt(
        &mut self,
        url: &BrokerUrl,
        topic: &str,
        position: &str,
        limits: &History,
    ) -> Result<Replay, String> {
        // A connection is kept only after a complete answer.
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
            ReplayConnection::Redis(reader) => reader.replay(topic, position, limits, largest).await?,
            ReplayConnection::Nats(reader) => reader.replay(topic, position, limits, largest).await?,
        };
        self.reader = Some(reader);
        Ok(replay)
    }
}

async fn open(url: &BrokerUrl, prefix: &str) -> Result<ReplayConnection, String> {
    let mut last = String::new();
    for place in &url.places {
        match open_at(url, place, prefix).await {
            Ok(reader) => return Ok(reader),
            Err(reason) => last = reason,
        }
    }
    Err(last)
}

async fn open_at(url: &BrokerUrl, place: &Place, prefix: &str) -> Result<ReplayConnection, String> {
    Ok(match url.kind {
        BrokerKind::Redis => {
            ReplayConnection::Redis(Box::new(redis::Reader::open(url, place, prefix).await?))
        }
        BrokerKind::Nats => ReplayConnection::Nats(Box::new(nats::Reader::open(url, place, prefix).await?)),
    })
}
