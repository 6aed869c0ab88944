//! Publishing to all servers behind a broker.

use std::fmt;
use std::time::Duration;

use super::call::{Call, Kept};
use super::driven::Driven;
use super::error::PublishError;
use super::{nats, redis};
use crate::{BrokerKind, BrokerUrl};

/// Publishes to one broker. The connection is made when needed, and kept.
pub struct BrokerPublisher {
    url: BrokerUrl,
    prefix: String,
    link: Kept<Link>,
}

impl fmt::Debug for BrokerPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerPublisher").field("url", &self.url).finish_non_exhaustive()
    }
}

impl BrokerPublisher {
    /// For the topics of servers with this prefix. Connects to nothing yet.
    pub fn new(url: BrokerUrl, prefix: String) -> Self {
        Self { url, prefix, link: Kept::none() }
    }

    /// Publishes and waits for the broker's word that it has passed the message on to the servers
    /// that are connected to it. `payload` must be valid UTF-8 unless `binary`.
    ///
    /// A kept connection that turns out to be dead is replaced once; a message that may have been
    /// published is never sent again.
    ///
    /// # Errors
    /// See [`PublishError`]: each tells whether the message may have been published.
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
        let exchange = |mut link: Link| {
            let refusal = match &mut link {
                Link::Redis(redis) => redis.run(&call, async |redis| {
                    redis.publish(&call, &self.prefix, topic, payload, binary).await
                }),
                Link::Nats(nats) => {
                    nats.run(&call, async |nats| nats.publish(&call, topic, payload, binary).await)
                }
            }?;
            Ok((Some(link), refusal))
        };
        self.link.publish(|| connect(&self.url, &self.prefix, &call), exchange)
    }
}

/// To the first server that can be had. One that refuses is not passed over.
fn connect(url: &BrokerUrl, prefix: &str, call: &Call<'_>) -> Result<Link, PublishError> {
    let mut last = None;
    for place in &url.places {
        let connected = match url.kind() {
            BrokerKind::Redis => Driven::connect(call, || redis::connect(url, place, call)).map(Link::Redis),
            BrokerKind::Nats => {
                Driven::connect(call, || nats::connect(url, place, call, prefix)).map(Link::Nats)
            }
        };
        match connected {
            Err(error @ PublishError::Unreachable { .. }) => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| call.closed()))
}

/// A connection that was greeted.
enum Link {
    Redis(Driven<redis::Connection>),
    Nats(Driven<nats::Connection>),
}
