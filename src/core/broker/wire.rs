//! What both protocols are to the driver.

use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;

use super::dial::Duplex;
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
    /// It is in the buffer.
    Sent,
    /// The broker must answer something first; the next one has to wait, too.
    Later,
    /// It can't be sent at all.
    Refused(String),
}

/// A protocol on one connection, after the greeting. Reads and writes buffers, no socket.
pub(super) trait Wire: Send + Sync {
    /// The next whole thing in `input`; an error ends the connection. An answer goes to `out`.
    fn hear(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Option<Heard>, String>;

    /// Subscribes to what is for everybody and for nodes.
    fn begin(&mut self, out: &mut BytesMut);

    /// Subscribes to a topic or pattern.
    fn subscribe(&mut self, name: &Arc<str>, out: &mut BytesMut);

    /// The opposite.
    fn unsubscribe(&mut self, name: &Arc<str>, out: &mut BytesMut);

    /// Publishes.
    fn publish(&mut self, item: &Item, out: &mut BytesMut) -> Put;

    /// Ends a batch: asks for its confirmation, if the protocol has none for each.
    fn end_batch(&mut self, out: &mut BytesMut);

    /// Speaks to the other nodes.
    fn control(&mut self, payload: &[u8], out: &mut BytesMut);

    /// Asks for a sign of life, answered by [`Heard::Alive`].
    fn ask(&mut self, out: &mut BytesMut);

    /// How long after its first attempt the broker knows a publication again, so that it can be
    /// repeated. `None`: always.
    fn known_for(&self, item: &Item) -> Option<Duration>;
}

/// A connection that was greeted: what the protocol is, the socket, what was read beyond.
pub(super) type Opened = (Box<dyn Wire>, Box<dyn Duplex>, BytesMut);

/// Connects to the first server of the broker that can be had, and greets it.
pub(super) async fn open(url: &BrokerUrl, prefix: &str, node: u64) -> Result<Opened, String> {
    let mut reasons = Vec::new();
    for place in &url.places {
        let attempt = async {
            match url.kind {
                super::BrokerKind::Redis => super::redis::open(url, place, prefix, node).await,
                super::BrokerKind::Nats => super::nats::open(url, place, prefix, node).await,
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
