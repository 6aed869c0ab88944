//! Notices for the operator: log lines, and reports of requests that the core has refused.
//!
//! An I/O thread creates a log line only if the host wants lines
//! ([`Interest::LOG`](crate::Interest::LOG)), at most `PER_SECOND` of one kind per second, and only while
//! few notices wait for the host. It counts the lines that it suppresses and reports their number in one
//! further line per kind and second. Lines travel in the same batches as other events, so the host writes
//! them in the order of the events.

mod line;
pub(crate) mod node;
mod sockets;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use line::{Level, Line, Value};
pub(crate) use line::{LineKind, peer_of};
pub use node::tls_reloaded;
pub(crate) use sockets::SocketFailure;

/// Maximum number of lines of one kind per second.
const PER_SECOND: u32 = 10;
/// The unit of the rate, and the delay before suppressed lines are reported.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// Maximum number of notices that wait for the host.
const MAX_WAITING: usize = 256;
/// Maximum number of bytes in these notices.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// The limits on the notices of one server, held in [`State`](crate::state::State): how many wait for the
/// host, and the current rate of each kind of line.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Number of notices that wait for the host.
    waiting: AtomicUsize,
    /// Bytes of these notices.
    bytes: AtomicUsize,
    /// Rates by event and option. Both are constants of the code, so the map has few entries.
    rates: Mutex<HashMap<(&'static str, &'static str), Rate>>,
    /// Number of connections that were cut when the server stopped.
    pub(crate) cut: AtomicU64,
}

/// The rate of one kind of line.
#[derive(Debug)]
struct Rate {
    kind: LineKind,
    /// The second, since the start of the server, in which `lines` were counted.
    window: u64,
    /// Number of lines in that second.
    lines: u32,
    /// Number of lines suppressed since the last report.
    suppressed: u64,
}

impl Notices {
    /// Whether a line of this kind may be written in this window.
    pub(crate) fn admits(&self, kind: LineKind, window: u64) -> bool {
        self.with(kind, |rate| {
            if rate.window != window {
                (rate.window, rate.lines) = (window, 0);
            }
            rate.lines += u32::from(rate.lines < PER_SECOND + 1);
            rate.lines <= PER_SECOND
        })
    }

    /// Counts suppressed lines. Returns true if they are the first ones since the last report, so that the
    /// caller must schedule the next one.
    pub(crate) fn suppress(&self, kind: LineKind, lines: u64) -> bool {
        self.with(kind, |rate| {
            rate.suppressed += lines;
            rate.suppressed == lines
        })
    }

    /// Returns the number of suppressed lines of a kind, and resets it.
    pub(crate) fn take_suppressed(&self, kind: LineKind) -> u64 {
        self.with(kind, |rate| std::mem::take(&mut rate.suppressed))
    }

    /// Returns and resets the numbers of suppressed lines of all kinds, except those that are 0.
    pub(crate) fn take_all_suppressed(&self) -> Vec<(LineKind, u64)> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rates.values_mut().map(|rate| (rate.kind, std::mem::take(&mut rate.suppressed)));
        taken.filter(|(_, lines)| *lines > 0).collect()
    }

    /// Calls `f` with the rate of a kind, under the lock.
    fn with<R>(&self, kind: LineKind, f: impl FnOnce(&mut Rate) -> R) -> R {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Rate { kind, window: 0, lines: 0, suppressed: 0 };
        f(rates.entry((kind.event, kind.option)).or_insert_with(new))
    }

    /// Reserves room for a notice of this size. Returns `None` if too many notices wait.
    pub(crate) fn place(self: &Arc<Self>, bytes: usize) -> Option<NoticePlace> {
        let place = NoticePlace { notices: self.clone(), bytes };
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (waiting < MAX_WAITING && before.saturating_add(bytes) <= MAX_WAITING_BYTES).then_some(place)
    }
}

/// The place of a notice under the limit on waiting notices. Dropping it, when the host takes the notice,
/// releases the place.
#[derive(Debug)]
pub(crate) struct NoticePlace {
    notices: Arc<Notices>,
    bytes: usize,
}

impl NoticePlace {
    /// Size of the notice in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for NoticePlace {
    fn drop(&mut self) {
        self.notices.waiting.fetch_sub(1, Ordering::Relaxed);
        self.notices.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: LineKind = LineKind::new(Level::Info, "test", "");
    const OTHER: LineKind = LineKind::new(Level::Info, "test", "option");

    #[test]
    fn the_rate_is_limited_per_kind_and_window() {
        let notices = Notices::default();
        let written = |kind, window| (0..50).filter(|_| notices.admits(kind, window)).count();
        assert_eq!(written(KIND, 1), PER_SECOND as usize);
        assert_eq!(written(KIND, 1), 0);
        assert_eq!(written(OTHER, 1), PER_SECOND as usize);
        assert_eq!(written(KIND, 2), PER_SECOND as usize);
        assert!(notices.suppress(KIND, 1) && !notices.suppress(KIND, 1));
        assert_eq!((notices.take_suppressed(KIND), notices.take_suppressed(KIND)), (2, 0));
    }

    #[test]
    fn the_number_and_bytes_of_waiting_notices_are_limited() {
        let notices = Arc::new(Notices::default());
        let places: Vec<_> = std::iter::from_fn(|| notices.place(10)).collect();
        assert_eq!(places.len(), MAX_WAITING);
        drop(places);
        assert!(notices.place(MAX_WAITING_BYTES + 1).is_none());
        let large = notices.place(MAX_WAITING_BYTES).unwrap();
        assert!(notices.place(1).is_none());
        drop(large);
        assert!(notices.place(1).is_some());
        assert_eq!(notices.bytes.load(Ordering::Relaxed), 0);
    }
}
