//! Bounds what a NATS server may send without a message that anybody needs. The client library reads
//! as long as data arrives, and buffers a message until it is complete; so the session compares the
//! number of received bytes with a limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of messages that are allowed to arrive although nobody needs them: they were under way when
/// a topic was unsubscribed.
const IDLE: u64 = 6 << 20;

/// Interval between two comparisons while data arrives.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// Whether the session is comparing. The library does not wake the session for an incomplete message,
/// and its thread does not rest while data arrives. So the session compares after each rest of the
/// thread, and then at intervals of [`LOOK`] as long as data arrives.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicBool);

impl Gauge {
    /// The thread continues after a rest. Returns whether the session must be woken to begin
    /// comparing.
    pub(super) fn start(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_measuring(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// No data has arrived since the last comparison.
    pub(super) fn stop(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The number of bytes received since the last message that somebody needed.
#[derive(Debug)]
pub(super) struct Useless {
    /// Number of bytes received by then.
    since: u64,
    limit: u64,
}

impl Useless {
    /// Allows one payload of `largest` bytes, and [`IDLE`] bytes more.
    pub(super) fn new(largest: usize) -> Self {
        Self { since: 0, limit: largest as u64 + IDLE }
    }

    /// A message arrived that somebody needs.
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
