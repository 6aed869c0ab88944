//! What a NATS server may send without sending anything of use. The client library reads as long as
//! there is something to read, and keeps what it can make nothing of; so somebody has to look how
//! much it has read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of messages that nobody wants any more: they were on their way when a topic was given up.
const IDLE: u64 = 6 << 20;

/// Between two looks at how much has come, while something comes.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// Whether somebody looks. The library wakes nobody for what it can make nothing of, and while more
/// comes its thread never rests: so a look follows each rest of the thread, and further ones as long
/// as something has come since the last.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicBool);

impl Gauge {
    /// The thread goes on after a rest. True: somebody has to be woken, to look from now on.
    pub(super) fn start(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_measuring(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Nothing has come since the last look.
    pub(super) fn stop(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The bytes of a connection that have brought nothing of use.
#[derive(Debug)]
pub(super) struct Useless {
    /// What had come when something of use came last.
    since: u64,
    limit: u64,
}

impl Useless {
    /// A payload of `largest` bytes and [`IDLE`] bytes more.
    pub(super) fn new(largest: usize) -> Self {
        Self { since: 0, limit: largest as u64 + IDLE }
    }

    /// Something of use has come.
    pub(super) fn begin(&mut self, received: u64) {
        self.since = received;
    }

    /// An error says that it is too much.
    pub(super) fn check(&self, received: u64) -> Result<(), String> {
        if received.saturating_sub(self.since) <= self.limit {
            return Ok(());
        }
        Err(format!(
            "the connection was ended because of what the server sends: {} bytes without a message",
            self.limit
        ))
    }
}
