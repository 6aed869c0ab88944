//! The interface between a session and the protocol that it speaks: [`Driver`].

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::envelope::Body;
use super::queue::Item;

/// Something that a driver has received from the broker.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A copy of a message, delivered by the subscription to the name `via`. `topic` is `None` if
    /// the channel or subject is not one of a topic.
    Message { via: Arc<str>, topic: Option<String>, body: Body },
    /// A message for every connection.
    Broadcast(Body),
    /// A control message of a node.
    Control(Body),
    /// The broker has carried out the publication of this number.
    Confirmed(u64),
    /// The broker has carried out all publications up to this number, except those to be stored.
    ConfirmedUpTo(u64),
    /// The broker has refused a publication for good. `uncertain`: part of it may have been carried
    /// out.
    Refused { number: u64, reason: String, uncertain: bool },
    /// The broker refuses something that does not belong to a single publication, such as a
    /// subscription.
    Loss { topic: String, reason: String },
    /// The answer to [`Driver::ping`]: the broker has processed everything that was sent before it.
    Alive,
    /// Progress that does not concern the session.
    Nothing,
}

/// The outcome of [`Driver::publish`].
#[derive(Debug)]
pub(super) enum SendResult {
    /// The publication is queued for the next write.
    Sent,
    /// The publication, and those queued after it, must wait for an answer of the broker.
    Later,
    /// The publication cannot be sent at all, for this reason.
    Refused(String),
}

/// One connection and its protocol, after the handshake. Commands are buffered until
/// [`Driver::poll_incoming`] sends them. A driver never reconnects; its session makes a new one.
pub(super) trait Driver {
    /// Sends what is buffered and receives the next item. An error ends the connection.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, String>>;

    /// Number of bytes received so far: a broker in the middle of a long message is not silent.
    fn received(&self) -> u64;

    /// Whether the buffer has room for more commands.
    fn has_room(&self) -> bool;

    /// Subscribes to broadcasts and control messages.
    fn start(&mut self);

    /// Subscribes to a topic or pattern.
    fn subscribe(&mut self, name: &Arc<str>);

    /// Ends the subscription to a topic or pattern.
    fn unsubscribe(&mut self, name: &Arc<str>);

    /// Publishes to a topic, to its history, or to every connection.
    fn publish(&mut self, item: &Item) -> SendResult;

    /// Sends a control message to the other nodes.
    fn control(&mut self, payload: &[u8]);

    /// Sends a ping, whose answer is [`Incoming::Alive`].
    fn ping(&mut self);

    /// How long after its first attempt a publication may be repeated, because the broker or the
    /// nodes recognize the repetition. `None`: forever.
    fn retry_window(&self, item: &Item) -> Option<Duration>;
}

/// The reason for refusing a payload that exceeds what nodes accept from a broker.
pub(super) fn too_large(bytes: usize, largest: usize) -> String {
    format!(
        "the payload has {bytes} bytes, but nodes accept at most {largest} from a broker (option \
        brokerQueue)"
    )
}

/// Bytes that a driver buffers before a write: enough for large writes, and little enough that
/// subscriptions and pings do not wait long behind publications.
pub(super) const BATCH: usize = 256 << 10;
