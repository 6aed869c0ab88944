//! Notices for the operator: lines for a log, and requests that the core has refused.
//!
//! An I/O thread makes a line only while the host asks for lines ([`Interest::LOG`]), at most
//! `PER_SECOND` of one kind within a second, and only while few lines wait for the host. It counts
//! the lines that it leaves out, and one further line per kind and second says how many. Lines travel
//! with the other events, so that the host writes them between two events.

mod closes;
mod line;
mod node;
mod sockets;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::env::Env;
use crate::event::{Event, Interest, Refused};
use crate::io;
use crate::queue::Item;
use crate::stats::Counters;

pub(crate) use closes::{CLOSE_TIMEOUT, PING_TIMEOUT, PROTOCOL, SLOW, TOO_BIG};
pub(crate) use line::{Kind, peer_of};
pub use line::{Level, Line, Value};
pub use node::tls_reloaded;
pub(crate) use node::{log_broker, log_publish_refused, log_tls_reloaded, log_unpublished};
pub(crate) use sockets::{Trouble, log_trouble};

/// Lines of one kind that are written within a second.
const PER_SECOND: u32 = 10;
/// The unit of the rate, and the pause before the line about those left out.
const WINDOW: Duration = Duration::from_secs(1);
/// Notices that may wait for the host.
const MOST: usize = 256;
/// Bytes of them.
const MOST_BYTES: usize = 1 << 20;

/// The server has stopped.
const STOPPED: Kind = Kind::new(Level::Info, "server.stopped", "");
/// onRefused could not be called.
const UNTOLD: Kind = Kind::new(Level::Warning, "refused.untold", "");

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
    fn admits(&self, kind: Kind, window: u64) -> bool {
        self.with(kind, |rate| {
            if rate.window != window {
                (rate.window, rate.lines) = (window, 0);
            }
            rate.lines += u32::from(rate.lines < PER_SECOND + 1);
            rate.lines <= PER_SECOND
        })
    }

    /// Counts a line that is not written. True: it is the first one since the last report.
    fn leave_out(&self, kind: Kind, lines: u64) -> bool {
        self.with(kind, |rate| {
            rate.left_out += lines;
            rate.left_out == lines
        })
    }

    /// How many were left out since the last call.
    fn take_left_out(&self, kind: Kind) -> u64 {
        self.with(kind, |rate| std::mem::take(&mut rate.left_out))
    }

    /// The same for all kinds of which some were.
    fn take_all_left_out(&self) -> Vec<(Kind, u64)> {
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
    fn place(self: &Arc<Self>, bytes: usize) -> Option<Place> {
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

impl Env {
    /// Hands the host a line, which `line` makes only if it is wanted.
    #[cold]
    pub(crate) fn log(&mut self, kind: Kind, line: impl FnOnce() -> Line) {
        if !self.wants(Interest::LOG) {
            return;
        }
        let window = self.server.started.elapsed().as_secs();
        if !self.server.notices.admits(kind, window) || !self.put(line().of(kind)) {
            self.leave_out(kind, 1);
        }
    }

    /// Reports a refused request to the host. `request` makes it only if it is wanted.
    #[cold]
    pub(crate) fn refused(&mut self, refused: impl FnOnce() -> Refused) {
        if !self.wants(Interest::REFUSED) {
            return;
        }
        let refused = refused();
        let bytes = refused.request.bytes() + refused.reason.len();
        match self.server.notices.place(bytes) {
            Some(place) => self.emit(Item::Notice(Box::new((place, Event::Refused(refused))))),
            None => {
                Counters::one(&self.server.counters.refused_untold);
                if self.wants(Interest::LOG) {
                    self.leave_out(UNTOLD, 1);
                }
            }
        }
    }

    /// False: too many wait.
    fn put(&mut self, line: Line) -> bool {
        let Some(place) = self.server.notices.place(line.bytes()) else { return false };
        self.emit(Item::Notice(Box::new((place, Event::Log(line)))));
        true
    }

    fn leave_out(&mut self, kind: Kind, lines: u64) {
        if kind != UNTOLD {
            Counters::add(&self.server.counters.log_suppressed, lines);
        }
        if self.server.notices.leave_out(kind, lines) {
            report_later(kind);
        }
    }

    /// Says how many lines of a kind were left out; later, if too many wait.
    fn report_left_out(&mut self, kind: Kind) {
        let lines = self.server.notices.take_left_out(kind);
        if lines > 0
            && self.wants(Interest::LOG)
            && !self.put(summary(kind, lines))
            && self.server.notices.leave_out(kind, lines)
        {
            report_later(kind);
        }
    }

    /// Hands the host the last lines of a server, whatever waits: there is one of each kind at most.
    pub(crate) fn log_stopped(&mut self) {
        if !self.wants(Interest::LOG) {
            return;
        }
        for (kind, lines) in self.server.notices.take_all_left_out() {
            self.emit(Item::plain(Event::Log(summary(kind, lines))));
        }
        let cut = self.server.notices.cut.load(Ordering::Relaxed);
        let message = match cut {
            0 => "Stopped: every connection was closed in order".to_owned(),
            1 => "Stopped: one connection was cut at the end of the grace period".to_owned(),
            n => format!("Stopped: {n} connections were cut at the end of the grace period"),
        };
        self.emit(Item::plain(Event::Log(Line::new(message).with("cut", cut).of(STOPPED))));
    }
}

/// The line about those that were left out.
fn summary(kind: Kind, lines: u64) -> Line {
    if kind == UNTOLD {
        let message =
            format!("{lines} refused requests were not passed to onRefused, because too many waited");
        return Line::new(message).with("requests", lines).of(kind);
    }
    let option = if kind.option.is_empty() { String::new() } else { format!(" ({})", kind.option) };
    Line::new(format!("{lines} more lines were suppressed: {}{option}", kind.event))
        .with("suppressed", kind.event)
        .with("lines", lines)
        .of(Kind { event: "log.suppressed", ..kind })
}

/// At most one task of each kind waits here: the first line left out since the last report starts it.
fn report_later(kind: Kind) {
    tokio::spawn(async move {
        tokio::time::sleep(WINDOW).await;
        io::with(|io| io.env().report_left_out(kind));
    });
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
