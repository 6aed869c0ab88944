//! Publishing to all servers behind a broker.

use std::fmt;
use std::time::Duration;

use super::call::{Call, Kept};
use super::driven::Driven;
use super::publish_error::PublishError;
use super::{nats, redis};
use crate::{BrokerKind, BrokerUrl};

/// A publisher for one broker. It connects when needed and keeps the connection.
pub struct BrokerPublisher {
    url: BrokerUrl,
    prefix: String,
    link: Kept<BrokerConnection>,
}

impl fmt::Debug for BrokerPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerPublisher").field("url", &self.url).finish_non_exhaustive()
    }
}

impl BrokerPublisher {
    /// A publisher for servers with this prefix. It does not connect yet.
    pub fn new(url: BrokerUrl, prefix: String) -> Self {
        Self { url, prefix, link: Kept::none() }
    }

    /// Publishes, and waits until the broker confirms that it has passed the message on to the
    /// servers that are connected to it. `payload` must be valid UTF-8 unless `binary`.
    ///
    /// If a kept connection turns out to be dead, the message is sent on a new one, once. A message
    /// that may have been published is never sent again.
    ///
    /// # Errors
    /// Each variant of [`PublishError`] says whether the message may have been published.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        binary: bool,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let expected = match self.url.kind() {
            BrokerKind::Redis => "a Redis server",
            BrokerKind::Nats => "a NATS server",
        };
        let call = Call::begin(&self.url, expected, timeout);
        let exchange = |mut link: BrokerConnection| {
            let refusal = match &mut link {
                BrokerConnection::Redis(redis) => redis.run(&call, async |redis| {
                    redis.publish(&call, &self.prefix, topic, payload, binary).await
                }),
                BrokerConnection::Nats(nats) => {
                    nats.run(&call, async |nats| nats.publish(&call, topic, payload, binary).await)
                }
            }?;
            Ok((Some(link), refusal))
        };
        self.link.publish(|| connect(&self.url, &self.prefix, &call), exchange)
    }
}

/// Connects to the first server that is reachable. A server that refuses the connection ends the
/// search.
fn connect(url: &BrokerUrl, prefix: &str, call: &Call<'_>) -> Result<BrokerConnection, PublishError> {
    let mut last = None;
    for place in &url.places {
        let connected = match url.kind() {
            BrokerKind::Redis => {
                Driven::connect(call, || redis::connect(url, place, call)).map(BrokerConnection::Redis)
            }
            BrokerKind::Nats => {
                Driven::connect(call, || nats::connect(url, place, call, prefix)).map(BrokerConnection::Nats)
            }
        };
        match connected {
            Err(error @ PublishError::Unreachable { .. }) => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| call.closed()))
}

/// A connection after its handshake.
enum BrokerConnection {
    Redis(Driven<redis::Connection>),
    Nats(Driven<nats::Connection>),
}
