//! Passes notices (log lines and refused requests) from an I/O thread to the host. The limits on their
//! number are in [`notices`](crate::channel::notices).

use std::sync::atomic::Ordering;

use crate::channel::event::{Event, Interest, Refused};
use crate::channel::mailbox::Item;
use crate::channel::notices::{Level, Line, LineKind, peer_of};
use crate::connection::shared::Shared;
use crate::context::ThreadContext;
use crate::metrics::counters::Counters;

// Kinds of log lines about connections that ended because of a limit or a protocol violation. The last
// argument is the option that sets the limit.
pub(crate) const TOO_BIG: LineKind = LineKind::new(Level::Notice, CLOSED, "maxMessageSize");
pub(crate) const SLOW: LineKind = LineKind::new(Level::Notice, CLOSED, "sendBufferLimit");
pub(crate) const PROTOCOL: LineKind = LineKind::new(Level::Notice, CLOSED, "");
pub(crate) const PING_TIMEOUT: LineKind = LineKind::new(Level::Info, CLOSED, "pingTimeout");
pub(crate) const CLOSE_TIMEOUT: LineKind = LineKind::new(Level::Info, CLOSED, "closeTimeout");

const CLOSED: &str = "connection.closed";

/// The last line of a server: it has stopped.
const STOPPED: LineKind = LineKind::new(Level::Info, "server.stopped", "");
/// Refused requests were not passed to `onRefused`, because too many notices waited.
const UNREPORTED: LineKind = LineKind::new(Level::Warning, "refused.unreported", "");

impl ThreadContext {
    /// Passes a log line to the host, or counts it as suppressed if its kind has reached its rate or too
    /// many notices wait. `line` is called only if the host wants log lines.
    #[cold]
    pub(crate) fn log(&mut self, kind: LineKind, line: impl FnOnce() -> Line) {
        if !self.wants(Interest::LOG) {
            return;
        }
        let window = self.server.started.elapsed().as_secs();
        if !self.server.notices.admits(kind, window) || !self.put(line().of(kind)) {
            self.suppress(kind, 1);
        }
    }

    /// Passes a refused request to the host, or counts it if too many notices wait. `refused` is called
    /// only if the host wants such reports.
    #[cold]
    pub(crate) fn refused(&mut self, refused: impl FnOnce() -> Refused) {
        if !self.wants(Interest::REFUSED) {
            return;
        }
        let refused = refused();
        let bytes = refused.request.size_without_certificate() + refused.reason.len();
        match self.server.notices.place(bytes) {
            Some(place) => self.emit(Item::Notice(Box::new((place, Event::Refused(refused))))),
            None => {
                Counters::one(&self.server.counters.refused_unreported);
                if self.wants(Interest::LOG) {
                    self.suppress(UNREPORTED, 1);
                }
            }
        }
    }

    /// Adds a line to the batch of events. Returns false if too many notices wait for the host.
    fn put(&mut self, line: Line) -> bool {
        let Some(place) = self.server.notices.place(line.bytes()) else { return false };
        self.emit(Item::Notice(Box::new((place, Event::Log(line)))));
        true
    }

    /// Counts suppressed lines, and schedules the line that reports their number.
    fn suppress(&mut self, kind: LineKind, lines: u64) {
        if kind != UNREPORTED {
            Counters::add(&self.server.counters.log_suppressed, lines);
        }
        if self.server.notices.suppress(kind, lines) {
            self.suppressed.push(tokio::time::Instant::now(), kind);
        }
    }

    /// Logs how many lines of a kind were suppressed; postpones that if too many notices wait.
    pub(crate) fn report_suppressed(&mut self, kind: LineKind) {
        let lines = self.server.notices.take_suppressed(kind);
        if lines > 0
            && self.wants(Interest::LOG)
            && !self.put(summary(kind, lines))
            && self.server.notices.suppress(kind, lines)
        {
            self.suppressed.push(tokio::time::Instant::now(), kind);
        }
    }

    /// Passes the last log lines of the server to the host, regardless of how many notices wait: there is
    /// at most one line of each kind.
    pub(crate) fn log_stopped(&mut self) {
        if !self.wants(Interest::LOG) {
            return;
        }
        for (kind, lines) in self.server.notices.take_all_suppressed() {
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

    /// Logs that a connection is closed with this code because of a limit or a protocol violation.
    #[cold]
    pub(crate) fn log_close(&mut self, conn: &Shared, kind: LineKind, code: u16, reason: &str) {
        self.log(kind, || {
            let (id, peer) = (conn.id.0, peer_of(conn.remote));
            Line::new(format!("Connection {id} from {peer} closed with {code}: {reason}"))
                .from(conn.remote)
                .with("connection", id)
                .with("code", u64::from(code))
                .with("reason", reason)
        });
    }
}

/// Builds the line that reports how many lines of a kind were suppressed.
fn summary(kind: LineKind, lines: u64) -> Line {
    if kind == UNREPORTED {
        let message =
            format!("{lines} refused requests were not passed to onRefused, because too many waited");
        return Line::new(message).with("requests", lines).of(kind);
    }
    let option = if kind.option.is_empty() { String::new() } else { format!(" ({})", kind.option) };
    Line::new(format!("{lines} more lines were suppressed: {}{option}", kind.event))
        .with("suppressed", kind.event)
        .with("lines", lines)
        .of(LineKind { event: "log.suppressed", ..kind })
}
