//! Tracks which phase an HTTP/1.1 connection is in, and how much time the current request has left.
//!
//! The service marks the beginning and the end of each request. The socket's side reads the phase,
//! because a pending read has a different meaning before a head, within a body, and while the host
//! decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The phase and the time limit of one connection's current request.
#[derive(Debug)]
pub(crate) struct RequestClock {
    /// Number of requests whose head has arrived.
    begun: AtomicUsize,
    /// Number of requests that have received their response.
    done: AtomicUsize,
    /// The current request is a handshake, and the host has not decided about it.
    undecided: AtomicBool,
    /// A head has missed its deadline.
    late: AtomicBool,
    /// Time limit of a request, from its first byte to the answer of the host.
    limit: Duration,
    /// Deadline of the request that is expected or arriving. `None`: its time has not begun.
    until: Mutex<Option<Instant>>,
}

impl RequestClock {
    /// Starts the clock. The deadline `first` of the first request includes all that precedes HTTP.
    pub(crate) fn new(limit: Duration, first: Instant) -> Self {
        Self {
            begun: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            undecided: AtomicBool::new(false),
            late: AtomicBool::new(false),
            limit,
            until: Mutex::new(Some(first)),
        }
    }

    /// Records that the head of a request has arrived. Returns the deadline of the request.
    pub(crate) fn begin(&self, handshake: bool) -> Instant {
        self.undecided.store(handshake, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.until().take().unwrap_or_else(|| Instant::now() + self.limit)
    }

    /// Records that the handshake was accepted.
    pub(crate) fn decided(&self) {
        self.undecided.store(false, Ordering::Relaxed);
    }

    /// Records that the request has received its response.
    pub(crate) fn end(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the connection is between two requests. False before the first one.
    pub(crate) fn is_idle(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0 && !self.is_answering()
    }

    /// Whether a request waits for its response.
    pub(crate) fn is_answering(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.done.load(Ordering::Relaxed)
    }

    /// Whether a handshake waits for its decision.
    pub(crate) fn is_undecided(&self) -> bool {
        self.is_answering() && self.undecided.load(Ordering::Relaxed)
    }

    /// Returns the deadline of the next head, and whether its time begins with this call.
    pub(crate) fn expect_head(&self) -> (Instant, bool) {
        let mut until = self.until();
        let begins = until.is_none();
        (*until.get_or_insert_with(|| Instant::now() + self.limit), begins)
    }

    /// Starts the time of a request whose first bytes have arrived.
    pub(crate) fn begin_head(&self) {
        *self.until() = Some(Instant::now() + self.limit);
    }

    /// Records that a head has missed its deadline.
    pub(crate) fn set_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    /// Whether a head has missed its deadline.
    pub(crate) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
