//! Deadlines of connections that are about to end, one list for each I/O thread.
//!
//! The timeout is the same for all, so the list is in order by itself, and one timer serves it. Each
//! connection comes up several times within its timeout, and gets it anew if its peer has taken
//! something since: see [`Progress`](crate::progress::Progress).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::id::Target;
use crate::io;

/// How often a connection comes up within its timeout, at least.
const CHECKS: u32 = 8;
/// The time between two checks, at least and at most: what a timer can tell apart, and what a host
/// that must answer within a short grace period does not miss.
const PERIODS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The list of a thread.
#[derive(Debug)]
pub(crate) struct Closing {
    /// When each comes up, the next one first.
    due: VecDeque<(Instant, Target)>,
    period: Duration,
    began: Arc<Notify>,
}

impl Closing {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            due: VecDeque::new(),
            period: (timeout / CHECKS).clamp(PERIODS.0, PERIODS.1),
            began: Arc::default(),
        }
    }

    /// Told when the list has its first entry.
    pub(crate) fn began(&self) -> Arc<Notify> {
        self.began.clone()
    }

    /// Has the connection come up once, a fraction of the timeout from now.
    pub(crate) fn push(&mut self, now: Instant, target: Target) {
        if self.due.is_empty() {
            self.began.notify_one();
        }
        self.due.push_back((now + self.period, target));
    }

    /// Takes off the list whatever is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Target> {
        let due = self.due.partition_point(|(when, _)| *when <= now);
        self.due.drain(..due).map(|(_, target)| target).collect()
    }

    /// When the next connection comes up.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.front().map(|(when, _)| *when)
    }
}

/// Checks the connections on the list of this thread as they come up.
pub(crate) async fn watch(began: Option<Arc<Notify>>) {
    let _vital = io::Vital;
    let Some(began) = began else { return };
    loop {
        match io::with(io::Io::check_closing).flatten() {
            Some(next) => tokio::time::sleep_until(next).await,
            None => began.notified().await,
        }
    }
}
