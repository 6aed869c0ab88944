//! The interface through which a node's hub uses the broker. A separate thread owns the connection.

use bytes::Bytes;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

use super::config::{BrokerConfig, History};
use super::error::QueueFull;
use super::event::{BrokerStats, FromBroker};
use super::queue::Target;
use super::replay::Replay;
use super::replayer::Replayer;
use super::shared::{Shared, add};
use super::thread;

/// Maximum number of events that wait for the host; `event_sender.rs` also limits their bytes. At the
/// limit nothing is read from the broker.
const EVENTS: usize = 256;
/// Maximum number of bytes of control messages that wait to be sent. Further ones are dropped, as all are
/// without a connection.
const CONTROL: usize = 4 << 20;

/// A future without borrows, which the hub runs as a task.
pub type Replaying = Pin<Box<dyn Future<Output = Replay> + Send>>;

/// A connection to a broker, as the hub uses it. Tests substitute an implementation of their own. No
/// method blocks.
pub trait BrokerClient: Debug + Send + Sync {
    /// Declares whether the node wants the messages of a topic, or of the topics that match a pattern.
    /// Calls are not counted: only the last one for a name matters.
    fn interest(&self, name: &str, on: bool);

    /// Publishes to the other nodes. The topic must be a valid one.
    ///
    /// # Errors
    /// The queue is full; the message is not published.
    fn publish(&self, topic: &str, payload: Bytes, binary: bool) -> Result<(), QueueFull>;

    /// Sends to every connection of the other nodes.
    ///
    /// # Errors
    /// The queue is full; the message is not sent.
    fn broadcast(&self, payload: Bytes, binary: bool) -> Result<(), QueueFull>;

    /// Sends a control message to the other nodes, without a confirmation. Dropped while there is no
    /// connection.
    fn control(&self, payload: Bytes);

    /// Appends to the topic's history and publishes with the position, both or neither. The message
    /// also comes back to this node if it is interested in the topic.
    ///
    /// # Errors
    /// The queue is full; the message is neither stored nor published.
    fn store(&self, topic: &str, payload: Bytes, binary: bool, limits: &History) -> Result<(), QueueFull>;

    /// Reads the messages of a topic after `position`, over a separate connection. An empty position
    /// stands for the newest message: the replay is complete and has no entries. `limits` must be those
    /// that the messages were [stored](BrokerClient::store) with.
    fn replay(&self, topic: &str, position: &str, limits: &History) -> Replaying;

    /// Waits until the broker has confirmed everything that was published.
    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Current values of the counters.
    fn stats(&self) -> BrokerStats {
        BrokerStats::default()
    }
}

/// Starts a thread that connects, and reconnects, until the handle is dropped. An address that is
/// not allowed is reported like a broker that cannot be reached: see [`BrokerConfig::check`].
///
/// `node` is the number of this node, chosen at random at each start, not 0.
pub fn connect(config: BrokerConfig, node: u64) -> (BrokerHandle, mpsc::Receiver<FromBroker>) {
    let (events, receiver) = mpsc::channel(EVENTS);
    let shared = Arc::new(Shared::new(node, config.queue));
    let replayer = Arc::new(tokio::sync::Mutex::new(Replayer::new(&config)));
    let spawned = std::thread::Builder::new().name("sprocket-broker".to_owned()).spawn({
        let (shared, events) = (shared.clone(), events.clone());
        move || thread::run(&config, &shared, &events)
    });
    if let Err(error) = spawned {
        let reason = format!("cannot start a thread: {error}");
        // The channel is empty and has room.
        let _ = events.try_send(FromBroker::State { connected: false, reason });
    }
    (BrokerHandle { shared, replayer }, receiver)
}

/// The client of a real broker. Dropping it ends the connection; see [`BrokerClient::flush`].
#[derive(Debug)]
pub struct BrokerHandle {
    shared: Arc<Shared>,
    replayer: Arc<tokio::sync::Mutex<Replayer>>,
}

impl BrokerHandle {
    fn push(
        &self,
        target: Target,
        payload: Bytes,
        binary: bool,
        history: Option<History>,
    ) -> Result<(), QueueFull> {
        let pushed = self.shared.lock().queue.push(target, payload, binary, history);
        match &pushed {
            Ok(()) => self.shared.wake.notify_one(),
            Err(_) => add(&self.shared.counters.queue_full, 1),
        }
        pushed
    }
}

impl BrokerClient for BrokerHandle {
    fn interest(&self, name: &str, on: bool) {
        let mut inner = self.shared.lock();
        let changes = if on {
            inner.subscriptions.want(name).into_iter().collect()
        } else {
            inner.subscriptions.unwant(name)
        };
        if inner.linked && !changes.is_empty() {
            inner.changes.extend(changes);
            drop(inner);
            self.shared.wake.notify_one();
        }
    }

    fn publish(&self, topic: &str, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.push(Target::Topic(topic.into()), payload, binary, None)
    }

    fn broadcast(&self, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.push(Target::Everybody, payload, binary, None)
    }

    fn control(&self, payload: Bytes) {
        let mut inner = self.shared.lock();
        if inner.connected && inner.control_bytes + payload.len() <= CONTROL {
            inner.control_bytes += payload.len();
            inner.control.push_back(payload);
            drop(inner);
            self.shared.wake.notify_one();
        }
    }

    fn store(&self, topic: &str, payload: Bytes, binary: bool, limits: &History) -> Result<(), QueueFull> {
        self.push(Target::Topic(topic.into()), payload, binary, Some(limits.clone()))
    }

    fn replay(&self, topic: &str, position: &str, limits: &History) -> Replaying {
        let asked = Instant::now();
        let (replayer, limits) = (self.replayer.clone(), limits.clone());
        let (topic, position) = (topic.to_owned(), position.to_owned());
        Box::pin(async move { replayer.lock().await.replay(asked, &topic, &position, &limits).await })
    }

    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            loop {
                let idle = self.shared.idle.notified();
                if self.shared.lock().queue.is_empty() {
                    return;
                }
                idle.await;
            }
        })
    }

    fn stats(&self) -> BrokerStats {
        self.shared.stats()
    }
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.gone.notify_waiters();
    }
}
