//! Limits the bytes that a NATS server may send without a message that the node needs. The client library
//! reads as long as data arrives, and buffers a message until it is complete. Therefore the session
//! compares the number of received bytes with a limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Allowed bytes of messages that the node no longer needs, because they were in flight when a topic was
/// unsubscribed.
const IDLE: u64 = 6 << 20;

/// Interval at which the session compares received bytes with the limit while data arrives.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// Whether the session compares received bytes with the limit. The library does not wake the session for
/// an incomplete message, and its thread never sleeps while data arrives. So the session compares each
/// time the thread has slept, and then at intervals of [`LOOK`] as long as data arrives.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicBool);

impl Gauge {
    /// Records that the thread has slept. Returns whether the session must be woken to begin comparing.
    pub(super) fn start(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_measuring(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Records that no data has arrived since the last comparison.
    pub(super) fn stop(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Counts the bytes received since the last message that the node needed.
#[derive(Debug)]
pub(super) struct Useless {
    /// Total number of bytes received when that message arrived.
    since: u64,
    limit: u64,
}

impl Useless {
    /// Sets the limit to one payload of `largest` bytes plus [`IDLE`].
    pub(super) fn new(largest: usize) -> Self {
        Self { since: 0, limit: largest as u64 + IDLE }
    }

    /// Records that a message has arrived that the node needs.
    pub(super) fn begin(&mut self, received: u64) {
        self.since = received;
    }

    /// Returns an error if the limit is exceeded.
    pub(super) fn check(&self, received: u64) -> Result<(), String> {
        if received.saturating_sub(self.since) <= self.limit {
            return Ok(());
        }
        Err(format!(
            "the connection was closed because of invalid data from the server: {} bytes without a message",
            self.limit
        ))
    }
}
