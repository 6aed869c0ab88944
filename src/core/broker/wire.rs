//! What both protocols are to the driver.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::BrokerConfig;
use super::envelope::Body;
use super::queue::Item;
use super::url::BrokerUrl;

/// What was heard from a broker.
#[derive(Debug)]
pub(super) enum Heard {
    /// A copy of a message, by the subscription to `via`. The channel may turn out to be no topic.
    Message { via: Arc<str>, topic: Option<String>, body: Body },
    /// A message for everybody.
    Broadcast(Body),
    /// A node speaks to nodes.
    Control(Body),
    /// This publication was carried out.
    Done(u64),
    /// All up to this one were, except those that were to be stored.
    DoneTo(u64),
    /// This publication was refused, for good. Uncertain: not before some of it was done.
    Refused { number: u64, reason: String, uncertain: bool },
    /// The broker refuses something that no single publication answers for.
    Trouble { topic: String, reason: String },
    /// The broker lives, and has dealt with what was sent before the question.
    Alive,
    /// Nothing of interest.
    Nothing,
}

/// What became of a publication that should be sent.
#[derive(Debug)]
pub(super) enum Put {
    /// It goes out with what is said next.
    Sent,
    /// The broker must answer something first; the next one has to wait, too.
    Later,
    /// It can't be sent at all.
    Refused(String),
}

/// A protocol on one connection, after the greeting. Words wait until [`Wire::poll_hear`] sends
/// them; it never connects again by itself.
pub(super) trait Wire {
    /// Sends what waits, and hears the next thing; an error ends the connection.
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, String>>;

    /// Bytes that have come in up to now: somebody who sends something long is not silent.
    fn received(&self) -> u64;

    /// More can be said: what waits is not long.
    fn has_room(&self) -> bool;

    /// Subscribes to what is for everybody and for nodes.
    fn begin(&mut self);

    /// Subscribes to a topic or pattern.
    fn subscribe(&mut self, name: &Arc<str>);

    /// The opposite.
    fn unsubscribe(&mut self, name: &Arc<str>);

    /// Publishes.
    fn publish(&mut self, item: &Item) -> Put;

    /// Speaks to the other nodes.
    fn control(&mut self, payload: &[u8]);

    /// Asks for a sign of life, answered by [`Heard::Alive`].
    fn ask(&mut self);

    /// How long after its first attempt the broker knows a publication again, so that it can be
    /// repeated. `None`: always.
    fn known_for(&self, item: &Item) -> Option<Duration>;
}

/// The reason for which a payload is refused that is larger than what nodes take from a broker.
pub(super) fn too_large(bytes: usize, largest: usize) -> String {
    format!("the payload has {bytes} bytes, nodes take {largest} from a broker (brokerQueue)")
}

/// Bytes that are put together before they are sent: enough for large writes, and little enough
/// that subscriptions and signs of life don't wait long behind publications.
pub(super) const BATCH: usize = 256 << 10;

/// Connects to the first server of the broker that can be had, and greets it.
pub(super) async fn open(url: &BrokerUrl, config: &BrokerConfig, node: u64) -> Result<Box<dyn Wire>, String> {
    let (prefix, largest) = (config.prefix.as_str(), config.largest());
    let mut reasons = Vec::new();
    for place in &url.places {
        let attempt = async {
            match url.kind {
                super::BrokerKind::Redis => super::redis::open(url, place, prefix, node, largest).await,
                super::BrokerKind::Nats => super::nats::open(url, place, prefix, node, largest).await,
            }
        };
        match tokio::time::timeout(url.patience(), attempt).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(reason)) => reasons.push(reason),
            Err(_) => reasons.push(format!("no answer within {:?}", url.patience())),
        }
    }
    Err(reasons.join("; "))
}
