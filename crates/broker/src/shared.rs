//! State that the client and the driver's thread share.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

use super::event::BrokerStats;
use super::queue::{Item, Queue};
use super::subscriptions::{Change, Subscriptions};

/// The state, one per connection; the client and the thread each hold an `Arc` of it.
#[derive(Debug)]
pub(super) struct Shared {
    /// Number of this node.
    pub(super) node: u64,
    inner: Mutex<Inner>,
    /// Notified when a publication, control message or subscription waits for the driver.
    pub(super) wake: Notify,
    /// Notified when the queue of publications becomes empty.
    pub(super) idle: Notify,
    /// Notified when the client is dropped.
    pub(super) gone: Notify,
    pub(super) counters: Counters,
}

/// The part behind the lock. No lock is held across an `await`.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) queue: Queue,
    pub(super) subscriptions: Subscriptions,
    /// Subscriptions and unsubscriptions not sent to the broker yet; empty unless `linked`.
    pub(super) changes: VecDeque<Change>,
    /// Control messages that wait to be sent.
    pub(super) control: VecDeque<Bytes>,
    /// Their size in bytes.
    pub(super) control_bytes: usize,
    /// Whether a session exists that sends `changes`.
    pub(super) linked: bool,
    /// The broker has answered the session's first ping.
    pub(super) connected: bool,
    /// The client was dropped.
    pub(super) closed: bool,
}

/// Counters behind [`BrokerStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) queue_full: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) foreign: AtomicU64,
    /// Connections established, the first one included.
    pub(super) connections: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Shared {
    /// The state of a node whose queue takes `queue` bytes.
    pub(super) fn new(node: u64, queue: usize) -> Self {
        Self {
            node,
            inner: Mutex::new(Inner {
                queue: Queue::new(queue),
                subscriptions: Subscriptions::default(),
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
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the connection has ended. Unconfirmed publications are sent again on the next
    /// connection, except those that are returned: `retry_window` says for how long after its first
    /// attempt the broker recognizes a repeated publication.
    pub(super) fn unlink(&self, retry_window: impl Fn(&Item) -> Option<Duration>) -> Vec<Arc<Item>> {
        let mut inner = self.lock();
        (inner.linked, inner.connected) = (false, false);
        inner.changes.clear();
        inner.control.clear();
        inner.control_bytes = 0;
        inner.queue.rewind(retry_window)
    }

    /// Wakes the callers of [`BrokerClient::flush`](super::BrokerClient::flush) if the queue is empty.
    pub(super) fn notify_if_idle(&self) {
        if self.lock().queue.is_empty() {
            self.idle.notify_waiters();
        }
    }

    /// Current values of the counters.
    pub(super) fn stats(&self) -> BrokerStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let inner = self.lock();
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
            subscriptions: inner.subscriptions.len() as u64,
        }
    }
}
