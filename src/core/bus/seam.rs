//! Between the hub and a broker, whichever it is.

use bytes::Bytes;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

use crate::config::{BrokerConfig, History};
use crate::error::BusError;

/// The queue for the broker is full: it has been away for too long, or takes too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue for the broker is full")]
pub(crate) struct QueueFull;

/// What a topic holds behind a position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Nothing is missing between the position and the first entry.
    pub(crate) complete: bool,
    /// Position, payload, whether it is binary; oldest first.
    pub(crate) entries: Vec<(String, Bytes, bool)>,
    /// Of the newest publication.
    pub(crate) position: String,
}

/// What a broker tells the hub. What the node itself has sent does not come back, but for what it
/// has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(dead_code, reason = "a broker says so")]
pub(crate) enum FromBroker {
    /// A publication of another node or program.
    Message {
        /// Where to.
        topic: String,
        /// UTF-8 unless `binary`.
        payload: Bytes,
        /// A binary message.
        binary: bool,
        /// Of a topic with history.
        position: Option<String>,
    },
    /// For all connections.
    Broadcast {
        /// UTF-8 unless `binary`.
        payload: Bytes,
        /// A binary message.
        binary: bool,
    },
    /// From the hub of another node.
    Control {
        /// Which node.
        node: u64,
        /// What it says.
        payload: Bytes,
    },
    /// The connection is there, or gone.
    State {
        /// Which of both.
        connected: bool,
        /// Why it is gone.
        reason: String,
    },
    /// A publication that was accepted got lost.
    Lost {
        /// Where to; empty if it went to everybody.
        topic: String,
        /// A sentence.
        reason: String,
    },
}

/// An answer that takes its time.
pub(crate) type Replaying = Pin<Box<dyn Future<Output = Replay> + Send>>;

/// A connection to a broker. None of its methods blocks.
pub(crate) trait Upstream: Debug + Send + Sync {
    /// Subscribes to a topic or pattern, or takes that back.
    fn interest(&self, name: &str, on: bool);
    /// Publishes to the other nodes.
    fn publish(&self, topic: &str, payload: Bytes, binary: bool) -> Result<(), QueueFull>;
    /// To all connections of the other nodes.
    fn broadcast(&self, payload: Bytes, binary: bool) -> Result<(), QueueFull>;
    /// To the hubs of the other nodes, if they can be reached now.
    fn control(&self, payload: Bytes);
    /// Appends to the history of a topic and publishes, also to this node.
    fn store(&self, topic: &str, payload: Bytes, binary: bool, limits: &History) -> Result<(), QueueFull>;
    /// What was published to a topic behind a position, as it is when the subscription of the
    /// topic is in force. An empty position means the newest: complete, without entries.
    /// `limits` are those that it was stored with.
    fn replay(&self, topic: &str, position: &str, limits: &History) -> Replaying;
    /// Ends when all that was published has been taken.
    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The connection, and what comes from it.
pub(crate) type Connected = (Arc<dyn Upstream>, mpsc::Receiver<FromBroker>);

/// Whether the settings of a broker can be used.
///
/// # Errors
/// They can't.
pub(crate) fn check(config: &BrokerConfig) -> Result<(), BusError> {
    Err(BusError::Config(format!("no broker can be reached by {:?}", config.url)))
}

/// Connects to the broker of these settings. `node` marks what this node sends.
///
/// # Errors
/// The settings can't be used.
pub(crate) fn connect(config: &BrokerConfig, node: u64) -> Result<Connected, BusError> {
    let _ = node;
    check(config).and(Err(BusError::Config("there is no broker".to_owned())))
}
