//! Notices for the operator: lines for a log, and requests that the core has refused.
//!
//! An I/O thread makes a line only while the host asks for lines
//! ([`Interest::LOG`](crate::Interest::LOG)), at most `PER_SECOND` of one kind within a second, and only
//! while few lines wait for the host. It counts the lines that it leaves out, and one further line per
//! kind and second says how many. Lines travel with the other events, so that the host writes them
//! between two events.

mod line;
pub(crate) mod node;
mod sockets;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use line::{Kind, peer_of};
pub use line::{Level, Line, Value};
pub use node::tls_reloaded;
pub(crate) use sockets::Trouble;

/// Lines of one kind that are written within a second.
const PER_SECOND: u32 = 10;
/// The unit of the rate, and the pause before the line about those left out.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// Notices that may wait for the host.
const MOST: usize = 256;
/// Bytes of them.
const MOST_BYTES: usize = 1 << 20;

/// The notices of one server: how many wait, and how many of each kind were written lately.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    /// By event and option. Both are constants of the code, so the map has few entries.
    rates: Mutex<HashMap<(&'static str, &'static str), Rate>>,
    /// Connections that were cut when the server stopped.
    pub(crate) cut: AtomicU64,
}

/// How often a kind of line came lately.
#[derive(Debug)]
struct Rate {
    kind: Kind,
    /// The window that `lines` counts in.
    window: u64,
    lines: u32,
    left_out: u64,
}

impl Notices {
    /// Whether a line of this kind may be written in this window.
    pub(crate) fn admits(&self, kind: Kind, window: u64) -> bool {
        self.with(kind, |rate| {
            if rate.window != window {
                (rate.window, rate.lines) = (window, 0);
            }
            rate.lines += u32::from(rate.lines < PER_SECOND + 1);
            rate.lines <= PER_SECOND
        })
    }

    /// Counts a line that is not written. True: it is the first one since the last report.
    pub(crate) fn leave_out(&self, kind: Kind, lines: u64) -> bool {
        self.with(kind, |rate| {
            rate.left_out += lines;
            rate.left_out == lines
        })
    }

    /// How many were left out since the last call.
    pub(crate) fn take_left_out(&self, kind: Kind) -> u64 {
        self.with(kind, |rate| std::mem::take(&mut rate.left_out))
    }

    /// The same for all kinds of which some were.
    pub(crate) fn take_all_left_out(&self) -> Vec<(Kind, u64)> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rates.values_mut().map(|rate| (rate.kind, std::mem::take(&mut rate.left_out)));
        taken.filter(|(_, lines)| *lines > 0).collect()
    }

    fn with<R>(&self, kind: Kind, f: impl FnOnce(&mut Rate) -> R) -> R {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Rate { kind, window: 0, lines: 0, left_out: 0 };
        f(rates.entry((kind.event, kind.option)).or_insert_with(new))
    }

    /// Room for a notice, held until the host takes it.
    pub(crate) fn place(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let place = Place { notices: self.clone(), bytes };
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (waiting < MOST && before.saturating_add(bytes) <= MOST_BYTES).then_some(place)
    }
}

/// Room that a notice takes up until the host takes it.
#[derive(Debug)]
pub(crate) struct Place {
    notices: Arc<Notices>,
    bytes: usize,
}

impl Place {
    /// Bytes of the notice.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.notices.waiting.fetch_sub(1, Ordering::Relaxed);
        self.notices.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::new(Level::Info, "test", "");
    const OTHER: Kind = Kind::new(Level::Info, "test", "option");

    #[test]
    fn each_kind_has_its_share_of_each_window() {
        let notices = Notices::default();
        let written = |kind, window| (0..50).filter(|_| notices.admits(kind, window)).count();
        assert_eq!(written(KIND, 1), PER_SECOND as usize);
        assert_eq!(written(KIND, 1), 0);
        assert_eq!(written(OTHER, 1), PER_SECOND as usize);
        assert_eq!(written(KIND, 2), PER_SECOND as usize);
        assert!(notices.leave_out(KIND, 1) && !notices.leave_out(KIND, 1));
        assert_eq!((notices.take_left_out(KIND), notices.take_left_out(KIND)), (2, 0));
    }

    #[test]
    fn few_wait_and_few_bytes() {
        let notices = Arc::new(Notices::default());
        let places: Vec<_> = std::iter::from_fn(|| notices.place(10)).collect();
        assert_eq!(places.len(), MOST);
        drop(places);
        assert!(notices.place(MOST_BYTES + 1).is_none());
        let large = notices.place(MOST_BYTES).unwrap();
        assert!(notices.place(1).is_none());
        drop(large);
        assert!(notices.place(1).is_some());
        assert_eq!(notices.bytes.load(Ordering::Relaxed), 0);
    }
}
