//! Things of one I/O thread that each come up once, all after the same delay.
//!
//! The delay is the same for all, so the list is in order by itself, and one timer serves it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A list of a thread, watched by a task of that thread.
#[derive(Debug)]
pub(crate) struct Delayed<T> {
    /// When each comes up, the next one first.
    due: VecDeque<(Instant, T)>,
    delay: Duration,
    began: Arc<Notify>,
}

impl<T> Delayed<T> {
    pub(crate) fn new(delay: Duration) -> Self {
        Self { due: VecDeque::new(), delay, began: Arc::default() }
    }

    /// Notified when the list has its first entry.
    pub(crate) fn began(&self) -> Arc<Notify> {
        self.began.clone()
    }

    /// Adds an entry that comes up after the delay.
    pub(crate) fn push(&mut self, now: Instant, entry: T) {
        if self.due.is_empty() {
            self.began.notify_one();
        }
        self.due.push_back((now + self.delay, entry));
    }

    /// Takes off the list whatever is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<T> {
        let due = self.due.partition_point(|(when, _)| *when <= now);
        self.due.drain(..due).map(|(_, entry)| entry).collect()
    }

    /// When the next entry comes up.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.front().map(|(when, _)| *when)
    }
}
