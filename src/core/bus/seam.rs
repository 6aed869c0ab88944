//! Between the hub and a broker, whichever it is.

use bytes::Bytes;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

use crate::broker::{self, BrokerHandle, BrokerStats};
use crate::config::{BrokerConfig, History};
use crate::error::BusError;

pub(crate) use crate::broker::{FromBroker, QueueFull};

/// What a topic holds behind a position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Nothing is missing between the position and the first entry.
    pub(crate) complete: bool,
    /// Position, payload, whether it is binary; oldest first.
    pub(crate) entries: Vec<(String, Bytes, bool)>,
    /// Of the newest publication.
    pub(crate) position: String,
    /// The broker could not be asked: nothing is known.
    pub(crate) failed: bool,
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
    /// Its counters.
    fn counts(&self) -> BrokerStats {
        BrokerStats::default()
    }
}

/// The connection, and what comes from it.
pub(crate) type Connected = (Arc<dyn Upstream>, mpsc::Receiver<FromBroker>);

/// Whether the settings of a broker can be used.
///
/// # Errors
/// They can't.
pub(crate) fn check(config: &BrokerConfig) -> Result<(), BusError> {
    config.check().map(drop).map_err(|error| BusError::Config(error.to_string()))
}

/// Connects to the broker of these settings. `node` marks what this node sends.
///
/// # Errors
/// The settings can't be used.
pub(crate) fn connect(config: &BrokerConfig, node: u64) -> Result<Connected, BusError> {
    check(config)?;
    let (handle, incoming) = broker::connect(config.clone(), node);
    Ok((Arc::new(Arc::new(handle)), incoming))
}

impl Upstream for Arc<BrokerHandle> {
    fn interest(&self, name: &str, on: bool) {
        BrokerHandle::interest(self, name, on);
    }

    fn publish(&self, topic: &str, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        BrokerHandle::publish(self, topic, payload, binary)
    }

    fn broadcast(&self, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        BrokerHandle::broadcast(self, payload, binary)
    }

    fn control(&self, payload: Bytes) {
        BrokerHandle::control(self, payload);
    }

    fn store(&self, topic: &str, payload: Bytes, binary: bool, limits: &History) -> Result<(), QueueFull> {
        BrokerHandle::store(self, topic, payload, binary, limits)
    }

    fn replay(&self, topic: &str, position: &str, limits: &History) -> Replaying {
        let (broker, limits) = (self.clone(), limits.clone());
        let (topic, position) = (topic.to_owned(), position.to_owned());
        Box::pin(async move {
            let replay = BrokerHandle::replay(&broker, &topic, &position, &limits).await;
            let entries = replay.entries.into_iter().map(|e| (e.position, e.payload, e.binary)).collect();
            let failed = replay.failed.is_some();
            Replay { complete: replay.complete, entries, position: replay.position, failed }
        })
    }

    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(BrokerHandle::flush(self))
    }

    fn counts(&self) -> BrokerStats {
        BrokerHandle::stats(self)
    }
}
