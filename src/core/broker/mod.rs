//! The connection of a node to a broker, Redis or NATS, through which nodes share their topics.
//!
//! One thread owns one connection. It subscribes to what the node is interested in, publishes what
//! was queued, in order, and connects anew with growing pauses when the broker is away. Whoever
//! uses it holds a [`BrokerHandle`] and a receiver of [`FromBroker`].
//!
//! # What may be lost, and what not
//!
//! * A publication stays in the queue until the broker has confirmed it. When the connection breaks
//!   before that, it may have been carried out or not, and is sent again; publications are numbered,
//!   and nodes (for history: the broker) drop what they have seen. So **none is lost or doubled by
//!   a broken connection**, as long as the queue has room and this process lives.
//! * Past the bound of the queue [`QueueFull`] is returned.
//! * What the broker refuses for good is reported as [`FromBroker::Lost`].
//! * Publish/subscribe has no memory: what **others** publish while this node is disconnected does
//!   not reach it. A topic with history can be replayed.
//! * A subscriber that is not one of our nodes may see a message twice after a broken connection.
//!
//! # The client libraries
//!
//! The protocols are those of the crates `redis` and `async-nats`. What they leave open is done here:
//!
//! * Both read on while a consumer is slow: the one into a channel without bound, the other drops
//!   what its channel does not take. See `driver.rs` for how they are made to wait.
//! * Neither says after a broken connection what of the things that were under way has arrived.
//!   They are not allowed to connect again by themselves; a connection that has ended is thrown
//!   away, and what it has not confirmed is sent again on the next one.
//! * `async-nats` calls a publication flushed when the socket has it. The confirmation is a message
//!   to ourselves behind it, which the server sends back when it has dealt with what came before.
//!
//! ```text
//! hub ── BrokerHandle ──▶ queue, table ──▶ driver ──▶ wire ──▶ redis | async-nats
//!  ▲                                          │
//!  └───────────── FromBroker ◀────────────────┘
//! ```

mod dial;
mod driver;
mod envelope;
mod events;
mod gauge;
#[cfg(fuzzing)]
pub(crate) mod harness;
mod nats;
mod pause;
mod queue;
mod redis;
mod replay;
mod seen;
mod upstream;
mod url;
mod wire;

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

pub use crate::config::{BrokerConfig, History};
use queue::{Queue, Target};
use replay::Replays;
use upstream::{Change, Upstream};

pub use queue::QueueFull;
pub use replay::Replay;
pub use url::{BrokerKind, BrokerUrl, BrokerUrlError};

pub(crate) use dial::{Duplex, client_config, server_name};
pub(crate) use envelope::plain;
pub(crate) use nats::BINARY_NAME as NATS_BINARY;
pub(crate) use nats::link as nats_link;
pub(crate) use nats::subject::Subjects;
pub(crate) use redis::link::greeting as redis_greeting;
pub(crate) use url::Place;

/// Events that may wait for the host before the broker is not read from any more; `events.rs` bounds
/// them in bytes, too.
const EVENTS: usize = 256;
/// Bytes of control messages that may wait to be sent; past it they are dropped, like those for
/// which there is no connection.
const CONTROL: usize = 4 << 20;
/// How long Redis remembers which publications a node has stored.
const FORGET_NODE: Duration = Duration::from_secs(3600);

impl BrokerConfig {
    /// The default of [`BrokerConfig::prefix`].
    pub const PREFIX: &str = "sprocket:";
    /// The default of [`BrokerConfig::queue`]: 16 MiB.
    pub const QUEUE: usize = 16 << 20;

    /// With the defaults.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: Self::PREFIX.to_owned(), queue: Self::QUEUE }
    }

    /// Bytes of the largest payload that is published, and taken from the broker: as many as may wait,
    /// or the default of that if it is more.
    pub fn largest(&self) -> usize {
        self.queue.max(Self::QUEUE)
    }

    /// Checks address and prefix.
    ///
    /// # Errors
    /// One of them is not allowed; the error says what is.
    pub fn check(&self) -> Result<BrokerUrl, BrokerUrlError> {
        let url = BrokerUrl::parse(&self.url)?;
        check_prefix(url.kind(), &self.prefix)?;
        Ok(url)
    }
}

/// That names can begin with this.
///
/// # Errors
/// It is too long, or has bytes that the protocol can't carry.
pub fn check_prefix(kind: BrokerKind, prefix: &str) -> Result<(), BrokerUrlError> {
    let (fits, allowed) = match kind {
        BrokerKind::Redis => {
            (!prefix.chars().any(char::is_control), "at most 100 bytes of UTF-8 without control characters")
        }
        BrokerKind::Nats => (
            Subjects::new(prefix).is_some(),
            "1 to 100 bytes, tokens separated by dots, without blanks, \"*\", \">\" and \"%\"",
        ),
    };
    if fits && prefix.len() <= 100 {
        return Ok(());
    }
    Err(BrokerUrlError {
        value: prefix.to_owned(),
        part: "the prefix".to_owned(),
        allowed: allowed.to_owned(),
    })
}

/// What comes from the broker. Publications of this node are left out, except those that were
/// [stored](BrokerHandle::store), whose order the broker decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromBroker {
    /// Published to a topic that this node is interested in; once, whatever matches it.
    Message {
        /// The topic.
        topic: String,
        /// The payload.
        payload: Bytes,
        /// Not text.
        binary: bool,
        /// Its place, if it is in the topic's history.
        position: Option<String>,
        /// The place of the topic's message before it, also if that is no longer kept. `None`: the
        /// places of a topic count up by one, and it is the one before.
        previous: Option<String>,
    },
    /// For every connection.
    Broadcast {
        /// The payload.
        payload: Bytes,
        /// Not text.
        binary: bool,
    },
    /// What another node said by [`BrokerHandle::control`].
    Control {
        /// That node.
        node: u64,
        /// What it said.
        payload: Bytes,
    },
    /// The connection was made, or ended, or an attempt failed for another reason than the last.
    State {
        /// Whether there is a connection now.
        connected: bool,
        /// To whom, or why not.
        reason: String,
    },
    /// A publication was not carried out, or it is not known whether it was, and it will not be
    /// tried again; or messages of this topic are not received because the broker refuses it.
    Lost {
        /// The topic; empty for a broadcast.
        topic: String,
        /// Why.
        reason: String,
        /// It may have been carried out all the same.
        uncertain: bool,
    },
}

/// What a connection to a broker has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// There is a connection.
    pub connected: bool,
    /// Publications that the broker has confirmed.
    pub published: u64,
    /// Messages taken from the broker, control messages not counted.
    pub received: u64,
    /// Bytes that wait to be confirmed.
    pub queued_bytes: u64,
    /// Publications refused because the queue was full.
    pub queue_full: u64,
    /// Publications reported as [`FromBroker::Lost`].
    pub lost: u64,
    /// Messages left because they were seen before, after a node had sent them again.
    pub duplicates: u64,
    /// Messages left because they came on something that is no topic of ours.
    pub foreign: u64,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Subscriptions at the broker.
    pub subscriptions: u64,
}

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    received: AtomicU64,
    queue_full: AtomicU64,
    lost: AtomicU64,
    duplicates: AtomicU64,
    foreign: AtomicU64,
    connections: AtomicU64,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// What handle and driver share.
#[derive(Debug)]
struct Shared {
    node: u64,
    inner: Mutex<Inner>,
    /// Something was queued, wanted or closed.
    wake: Notify,
    /// Everything was confirmed.
    idle: Notify,
    /// The handle was dropped.
    gone: Notify,
    counters: Counters,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    upstream: Upstream,
    /// To be told to the broker; empty unless linked.
    changes: VecDeque<Change>,
    control: VecDeque<Bytes>,
    control_bytes: usize,
    /// The driver tells the broker of changes.
    linked: bool,
    /// The broker has answered.
    connected: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, on a thread of its own, and stays connected until the handle is dropped. An address
/// that is not allowed is reported like a broker that is away: see [`BrokerConfig::check`].
///
/// `node` is this node's number, random and not 0, new at each start.
pub fn connect(config: BrokerConfig, node: u64) -> (BrokerHandle, mpsc::Receiver<FromBroker>) {
    let (events, receiver) = mpsc::channel(EVENTS);
    let shared = Arc::new(Shared {
        node,
        inner: Mutex::new(Inner {
            queue: Queue::new(config.queue),
            upstream: Upstream::default(),
            changes: VecDeque::new(),
            control: VecDeque::new(),
            control_bytes: 0,
            linked: false,
            connected: false,
            closed: false,
        }),
        wake: Notify::new(),
        idle: Notify::new(),
        gone: Notify::new(),
        counters: Counters::default(),
    });
    let replays = Arc::new(tokio::sync::Mutex::new(Replays::new(&config)));
    let spawned = std::thread::Builder::new().name("sprocket-broker".to_owned()).spawn({
        let (shared, events) = (shared.clone(), events.clone());
        move || driver::run(&config, &shared, &events)
    });
    if let Err(error) = spawned {
        let reason = format!("cannot start a thread: {error}");
        // There is room: nothing was said yet.
        let _ = events.try_send(FromBroker::State { connected: false, reason });
    }
    (BrokerHandle { shared, replays }, receiver)
}

/// The host's end. Dropping it ends the connection; see [`BrokerHandle::flush`].
#[derive(Debug)]
pub struct BrokerHandle {
    shared: Arc<Shared>,
    replays: Arc<tokio::sync::Mutex<Replays>>,
}

impl BrokerHandle {
    /// Whether messages of a topic, or of topics that match a pattern, are wanted. Not a count: the
    /// last word stands.
    pub fn interest(&self, name: &str, on: bool) {
        let mut inner = self.shared.lock();
        let changes =
            if on { inner.upstream.want(name).into_iter().collect() } else { inner.upstream.unwant(name) };
        if inner.linked && !changes.is_empty() {
            inner.changes.extend(changes);
            drop(inner);
            self.shared.wake.notify_one();
        }
    }

    /// Publishes to the other nodes. The topic must be a valid one.
    ///
    /// # Errors
    /// The queue is full; not published.
    pub fn publish(&self, topic: &str, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.push(Target::Topic(topic.into()), payload, binary, None)
    }

    /// Sends to every connection of the other nodes.
    ///
    /// # Errors
    /// The queue is full; not published.
    pub fn broadcast(&self, payload: Bytes, binary: bool) -> Result<(), QueueFull> {
        self.push(Target::Everybody, payload, binary, None)
    }

    /// Appends to the topic's history and publishes with the position, both or neither. It comes
    /// back to this node, too, if it is interested.
    ///
    /// # Errors
    /// The queue is full; neither stored nor published.
    pub fn store(
        &self,
        topic: &str,
        payload: Bytes,
        binary: bool,
        limits: &History,
    ) -> Result<(), QueueFull> {
        self.push(Target::Topic(topic.into()), payload, binary, Some(limits.clone()))
    }

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

    /// Says something to the other nodes, if there is a connection now: best effort, without a
    /// confirmation.
    pub fn control(&self, payload: Bytes) {
        let mut inner = self.shared.lock();
        if inner.connected && inner.control_bytes + payload.len() <= CONTROL {
            inner.control_bytes += payload.len();
            inner.control.push_back(payload);
            drop(inner);
            self.shared.wake.notify_one();
        }
    }

    /// What was published to a topic with history after `position`, on a connection of its own.
    /// `limits` are those that its messages were [stored](BrokerHandle::store) with.
    pub async fn replay(&self, topic: &str, position: &str, limits: &History) -> Replay {
        let asked = std::time::Instant::now();
        self.replays.lock().await.replay(asked, topic, position, limits).await
    }

    /// Waits until the broker has confirmed all that was published.
    pub async fn flush(&self) {
        loop {
            let idle = self.shared.idle.notified();
            if self.shared.lock().queue.is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Counters up to now.
    pub fn stats(&self) -> BrokerStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        let inner = self.shared.lock();
        BrokerStats {
            connected: inner.connected,
            published: of(&counters.published),
            received: of(&counters.received),
            queued_bytes: inner.queue.bytes() as u64,
            queue_full: of(&counters.queue_full),
            lost: of(&counters.lost),
            duplicates: of(&counters.duplicates),
            foreign: of(&counters.foreign),
            reconnects: of(&counters.connections).saturating_sub(1),
            subscriptions: inner.upstream.len() as u64,
        }
    }
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.gone.notify_waiters();
    }
}
