//! Where an HTTP/1.1 connection is between two requests, and how long the current one may take.
//!
//! The service marks the begin and the end of each request, the socket's side looks: a read means
//! something else before a head, within a body, and while the host decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct RequestClock {
    /// Requests whose head has come, and those that have got their response.
    begun: AtomicUsize,
    done: AtomicUsize,
    /// The current request is a handshake that the host has not decided about.
    undecided: AtomicBool,
    /// A head has not arrived in time.
    late: AtomicBool,
    /// The time that a request has, from its first byte to the answer of the host.
    limit: Duration,
    /// When the time of the request that is expected, or arrives, is up. `None`: it has not begun.
    until: Mutex<Option<Instant>>,
}

impl RequestClock {
    /// The first request has until `first`: its time includes all that comes before HTTP.
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

    /// The head of a request has arrived. Returns when its time is up.
    pub(crate) fn begin(&self, handshake: bool) -> Instant {
        self.undecided.store(handshake, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.until().take().unwrap_or_else(|| Instant::now() + self.limit)
    }

    /// The handshake is accepted.
    pub(crate) fn decided(&self) {
        self.undecided.store(false, Ordering::Relaxed);
    }

    /// The request has got its response.
    pub(crate) fn end(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Between two requests; not before the first one.
    pub(crate) fn is_idle(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0 && !self.is_answering()
    }

    /// A request has not got its response.
    pub(crate) fn is_answering(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.done.load(Ordering::Relaxed)
    }

    /// Somebody decides about a handshake.
    pub(crate) fn is_undecided(&self) -> bool {
        self.is_answering() && self.undecided.load(Ordering::Relaxed)
    }

    /// Until when a head must have arrived, and whether the wait for it begins with this call.
    pub(crate) fn expect_head(&self) -> (Instant, bool) {
        let mut until = self.until();
        let begins = until.is_none();
        (*until.get_or_insert_with(|| Instant::now() + self.limit), begins)
    }

    /// The first bytes of a further head have arrived: its time begins.
    pub(crate) fn begin_head(&self) {
        *self.until() = Some(Instant::now() + self.limit);
    }

    /// A head has not arrived in time.
    pub(crate) fn set_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
