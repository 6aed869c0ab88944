//! A list of entries of one I/O thread that each come due once, after a fixed delay.
//!
//! Since the delay is the same for all entries, the list is always sorted, and a single timer serves it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A list of entries that come due after a fixed delay. The thread's context holds it; a task of the
/// thread waits for the next entry.
#[derive(Debug)]
pub(crate) struct Delayed<T> {
    /// Entries with the times at which they come due, the next one first.
    due: VecDeque<(Instant, T)>,
    delay: Duration,
    /// Notified when an entry is added to the empty list.
    began: Arc<Notify>,
}

impl<T> Delayed<T> {
    pub(crate) fn new(delay: Duration) -> Self {
        Self { due: VecDeque::new(), delay, began: Arc::default() }
    }

    /// Returns the notification for the task that serves the list: it fires when an entry is added to the
    /// empty list.
    pub(crate) fn began(&self) -> Arc<Notify> {
        self.began.clone()
    }

    /// Adds an entry that comes due after the delay.
    pub(crate) fn push(&mut self, now: Instant, entry: T) {
        if self.due.is_empty() {
            self.began.notify_one();
        }
        self.due.push_back((now + self.delay, entry));
    }

    /// Removes and returns the entries that are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<T> {
        let due = self.due.partition_point(|(when, _)| *when <= now);
        self.due.drain(..due).map(|(_, entry)| entry).collect()
    }

    /// Returns the time at which the next entry comes due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.front().map(|(when, _)| *when)
    }
}
