//! What all threads of one server share.

use sprocket_protocol::deflate::Windows;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::channel::event::Interest;
use crate::channel::mailbox::{Events, Mailbox, Stopping};
use crate::channel::notices::Notices;
use crate::channel::wake::Waker;
use crate::cluster::config::HUB;
use crate::cluster::port::Port;
use crate::cluster::presence::view::View;
use crate::config::Config;
use crate::connection::shared::{Credit, Shared};
use crate::limits::admission::Limits;
use crate::limits::backlog::Backlog;
use crate::limits::handshakes::Handshakes;
use crate::metrics::callback_times::Handlers;
use crate::metrics::counters::{Closes, Counters, Stats, Taken};
use crate::net::tls::TlsState;
use crate::static_files::StaticFiles;

/// Held by the host and by each I/O thread.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) credit: Credit,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) counters: Counters,
    pub(crate) closes: Closes,
    pub(crate) taken: Taken,
    pub(crate) handlers: Handlers,
    /// The connection whose message the host is at work on; 0 if none.
    pub(crate) handling: AtomicU64,
    /// What times are counted from.
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) limits: Arc<Limits>,
    pub(crate) notices: Arc<Notices>,
    /// Of sockets without a WebSocket.
    pub(crate) handshakes: Arc<Handshakes>,
    /// Where there are settings for TLS.
    pub(crate) tls: Option<TlsState>,
    pub(crate) windows: Arc<Windows>,
    pub(crate) files: Option<StaticFiles>,
    pub(crate) interest: AtomicU16,
    pub(crate) events: Events,
    pub(crate) waker: Waker,
    pub(crate) mailboxes: Box<[Mailbox]>,
    pub(crate) next_ticket: AtomicU64,
    pub(crate) stopping: AtomicBool,
    /// It stops, but others serve on: who has connected already is still let in, and told by 1001.
    pub(crate) leaving: AtomicBool,
    /// Threads whose connections are not all closed yet.
    pub(crate) working: AtomicUsize,
    /// A panic has ended something that the server cannot do without.
    pub(crate) died: AtomicBool,
    /// The way to other workers and nodes, and to what is remembered.
    pub(crate) cluster: Option<Port>,
    pub(crate) presence: Mutex<View>,
}

/// Commands of the first thread that wait for another before those hold on who make it more.
pub(crate) const CROWDED: usize = 64;

impl State {
    /// Whether an I/O thread has more to do than it gets done. What waits for it undelivered, it
    /// is given. For the first thread, when there are others.
    pub(crate) fn is_crowded(&self) -> bool {
        let mut crowded = false;
        for mailbox in self.mailboxes.iter().skip(1).filter(|m| m.passed() > CROWDED) {
            // Among what waits may be what a busy host has not delivered yet.
            mailbox.deliver();
            crowded = true;
        }
        crowded
    }

    /// Who is present.
    pub(crate) fn presence(&self) -> MutexGuard<'_, View> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reading of the counters, but for what only the host knows.
    pub(crate) fn stats(&self) -> Stats {
        // First, so that less is taken than there was.
        let taken = (self.taken.messages.read(), self.taken.bytes.read());
        let dropped = (self.taken.undelivered.read(), self.taken.undelivered_bytes.read());
        let closes = self.taken.closes.read();
        let mut stats = self.counters.read();
        let pending = |received: u64, undelivered: u64, taken: u64| {
            received.saturating_sub(undelivered).saturating_sub(taken)
        };
        stats.pending_messages = pending(stats.messages_in, stats.undelivered, taken.0);
        stats.pending_bytes = pending(stats.bytes_in, stats.undelivered_bytes, taken.1);
        stats.undelivered += dropped.0;
        stats.undelivered_bytes += dropped.1;
        stats.bus_waiting_bytes = self.cluster.as_ref().map_or(0, |port| port.queued() as u64);
        stats.closes = self.closes.read();
        stats.connections = stats.opened.saturating_sub(stats.closed);
        // A connection keeps its place until the host knows of its end.
        let placed = stats.opened.saturating_sub(closes) + stats.streams;
        stats.handshakes = (self.limits.open() as u64).saturating_sub(placed);
        stats.pending_total = self.backlog.bytes();
        stats.max_connections = self.config.max_connections as u64;
        stats.max_handshakes = self.config.max_handshakes as u64;
        stats.started = self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        stats.handlers = self.handlers.read(self.nanos());
        stats
    }

    /// Those of all workers of the node, by their slots, and of the hub.
    pub(crate) fn node_stats(&self) -> Vec<(u16, Stats)> {
        let slot = self.config.cluster.as_ref().map_or(0, |cluster| cluster.slot);
        let mut all = vec![(slot, self.stats())];
        if let Some(port) = &self.cluster {
            all.extend(port.stats().values().cloned());
        }
        all.sort_by_key(|(slot, _)| *slot);
        all
    }

    /// Their sum, and how many workers there are.
    pub(crate) fn stats_of_node(&self) -> (Stats, usize) {
        let all = self.node_stats();
        let workers = all.iter().filter(|(slot, _)| *slot != HUB).count();
        let mut sum = Stats::default();
        all.iter().for_each(|(_, stats)| sum.add(stats));
        (sum, workers)
    }

    /// Whether the host has messages of the connection to take, or is at work on one of them: what it
    /// sends in answer is still to come.
    pub(crate) fn host_answers(&self, conn: &Shared) -> bool {
        // In this order: the host notes what it works on before it gives back the credit.
        conn.has_pending() || self.handling.load(Ordering::Acquire) == conn.id.0
    }

    /// A number that grows with all that takes memory for a while.
    pub(crate) fn events(&self) -> u64 {
        let (stats, taken) = (self.counters.read(), &self.taken);
        let received =
            [stats.messages_in, stats.accepted, stats.closed, stats.http_requests, stats.messages_out];
        received.into_iter().chain([taken.messages.read(), taken.closes.read()]).fold(0, u64::wrapping_add)
    }

    /// The clock of the times of callbacks: nanoseconds since the start, never 0.
    pub(crate) fn nanos(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64 | 1
    }

    /// Notes that the server stops, and why.
    pub(crate) fn begin_stop(&self, why: Stopping) {
        // A stop for good, which clients have been told of, is not taken back by a later leave.
        let leaving = why == Stopping::Leaving
            && (!self.stopping.load(Ordering::Relaxed) || self.leaving.load(Ordering::Relaxed));
        self.leaving.store(leaving, Ordering::Relaxed);
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// A panic has taken away what this server cannot do without: the host must end it.
    pub(crate) fn die(&self) {
        self.died.store(true, Ordering::Release);
        self.waker.signal();
    }

    pub(crate) fn wants(&self, interest: Interest) -> bool {
        self.interest.load(Ordering::Relaxed) & interest.0 != 0
    }
}
