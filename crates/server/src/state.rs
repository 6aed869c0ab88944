//! The state that all threads of one server share.

use sprocket_protocol::deflate::Windows;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::channel::event::Interest;
use crate::channel::lanes::Events;
use crate::channel::mailbox::{Mailbox, Stopping};
use crate::channel::notices::Notices;
use crate::channel::wake::Waker;
use crate::cluster::hub_config::HUB;
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

/// The shared state of one server, held by the host's facade and by each I/O thread.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    /// How much of one connection may wait for the host.
    pub(crate) credit: Credit,
    /// Bytes that wait for the host, over all connections.
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) counters: Counters,
    /// Number of closed connections, by close code.
    pub(crate) closes: Closes,
    /// Counts of what the host has taken.
    pub(crate) taken: Taken,
    /// Run times of the host's callbacks.
    pub(crate) handlers: Handlers,
    /// ID of the connection whose message the host is processing; 0 if none.
    pub(crate) handling: AtomicU64,
    /// Start of the server on the monotonic clock; the origin of [`State::nanos`].
    pub(crate) started: Instant,
    /// Start of the server on the wall clock.
    pub(crate) started_at: SystemTime,
    /// The limits on connections.
    pub(crate) limits: Arc<Limits>,
    /// The limits on log lines and refused requests that wait for the host.
    pub(crate) notices: Arc<Notices>,
    /// The limits on sockets that carry no WebSocket.
    pub(crate) handshakes: Arc<Handshakes>,
    /// TLS certificates and keys, if configured.
    pub(crate) tls: Option<TlsState>,
    /// Total memory of the compression windows that connections keep between messages.
    pub(crate) windows: Arc<Windows>,
    pub(crate) files: Option<StaticFiles>,
    /// The kinds of events that the host wants; bits of [`Interest`].
    pub(crate) interest: AtomicU16,
    /// Channel of event batches to the host.
    pub(crate) events: Events,
    /// Wakes the host.
    pub(crate) waker: Waker,
    /// One mailbox of commands for each I/O thread, by its index.
    pub(crate) mailboxes: Box<[Mailbox]>,
    pub(crate) next_ticket: AtomicU64,
    pub(crate) stopping: AtomicBool,
    /// The server stops, but another process continues with its listening sockets. Handshakes under way
    /// are still completed, and their connections closed with 1001.
    pub(crate) leaving: AtomicBool,
    /// Number of I/O threads whose connections are not all closed yet.
    pub(crate) working: AtomicUsize,
    /// A panic has ended a thread or task without which the server cannot continue.
    pub(crate) died: AtomicBool,
    /// The link to the hub, and through it to other workers and nodes.
    pub(crate) cluster: Option<Port>,
    /// The members present in each topic.
    pub(crate) presence: Mutex<View>,
}

/// Number of commands from the first thread in another thread's mailbox above which the first thread
/// stops reading publications from the publish socket and the hub.
pub(crate) const MAX_PASSED: usize = 64;

impl State {
    /// The state of a server that starts now, with `threads` I/O threads. `clustered`: the server has a
    /// link to a hub.
    ///
    /// # Errors
    /// The descriptors that wake the host can't be opened.
    pub(crate) fn new(
        config: Config,
        tls: Option<TlsState>,
        files: Option<StaticFiles>,
        threads: usize,
        clustered: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            credit: Credit::new(config.max_pending_messages, config.max_pending_bytes),
            backlog: Backlog::new(config.max_pending_total, threads),
            counters: Counters::default(),
            closes: Closes::default(),
            taken: Taken::default(),
            handlers: Handlers::default(),
            handling: AtomicU64::new(0),
            started: Instant::now(),
            started_at: SystemTime::now(),
            limits: Limits::new(config.max_connections, config.max_connections_per_ip),
            notices: Arc::default(),
            handshakes: Handshakes::new(
                config.max_handshakes,
                config.max_handshakes_per_ip,
                config.max_sockets,
            ),
            tls,
            windows: Arc::default(),
            files,
            interest: AtomicU16::new(config.interest.0),
            events: crossbeam_channel::unbounded(),
            waker: Waker::new()?,
            mailboxes: (0..threads).map(|_| Default::default()).collect(),
            next_ticket: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            working: AtomicUsize::new(threads),
            died: AtomicBool::new(false),
            cluster: clustered.then(|| Port::new(config.cluster_queue)),
            presence: Mutex::default(),
            config,
        })
    }

    /// Whether some I/O thread executes the first thread's commands more slowly than they arrive. Also
    /// delivers the commands that wait for such a thread. Called only by the first thread.
    pub(crate) fn is_crowded(&self) -> bool {
        let mut crowded = false;
        for mailbox in self.mailboxes.iter().skip(1).filter(|m| m.passed() > MAX_PASSED) {
            // A busy host may have posted commands without having delivered them.
            mailbox.deliver();
            crowded = true;
        }
        crowded
    }

    /// Locks the view of the members present in each topic.
    pub(crate) fn presence(&self) -> MutexGuard<'_, View> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the counters, except those that only the host knows.
    pub(crate) fn stats(&self) -> Stats {
        // Read first, so that the host cannot seem to have taken more than was received.
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
        // A connection keeps its place under the limits until the host has taken its `Close` event.
        let placed = stats.opened.saturating_sub(closes) + stats.streams;
        stats.handshakes = (self.limits.open() as u64).saturating_sub(placed);
        stats.pending_total = self.backlog.bytes();
        stats.max_connections = self.config.max_connections as u64;
        stats.max_handshakes = self.config.max_handshakes as u64;
        stats.started = self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        stats.handlers = self.handlers.read(self.nanos());
        stats
    }

    /// Returns the counters of all workers of the node, and of the hub, sorted by slot.
    pub(crate) fn node_stats(&self) -> Vec<(u16, Stats)> {
        let slot = self.config.cluster.as_ref().map_or(0, |cluster| cluster.slot);
        let mut all = vec![(slot, self.stats())];
        if let Some(port) = &self.cluster {
            all.extend(port.stats().values().cloned());
        }
        all.sort_by_key(|(slot, _)| *slot);
        all
    }

    /// Returns the sum of the node's counters, and the number of workers.
    pub(crate) fn stats_of_node(&self) -> (Stats, usize) {
        let all = self.node_stats();
        let workers = all.iter().filter(|(slot, _)| *slot != HUB).count();
        let mut sum = Stats::default();
        all.iter().for_each(|(_, stats)| sum.add(stats));
        (sum, workers)
    }

    /// Whether messages of the connection wait for the host or are being processed by it, so that its
    /// answers are still to come.
    pub(crate) fn host_answers(&self, conn: &Shared) -> bool {
        // The order matters: the host sets `handling` before it returns the message's credit.
        conn.has_pending() || self.handling.load(Ordering::Acquire) == conn.id.0
    }

    /// Returns a number that grows with every event that allocates memory temporarily. Its growth measures
    /// the load.
    pub(crate) fn events(&self) -> u64 {
        let (stats, taken) = (self.counters.read(), &self.taken);
        let received =
            [stats.messages_in, stats.accepted, stats.closed, stats.http_requests, stats.messages_out];
        received.into_iter().chain([taken.messages.read(), taken.closes.read()]).fold(0, u64::wrapping_add)
    }

    /// Returns the clock for callback run times: nanoseconds since the start, never 0.
    pub(crate) fn nanos(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64 | 1
    }

    /// Records that the server stops, and why.
    pub(crate) fn begin_stop(&self, why: Stopping) {
        // A later leave does not revoke a stop for good, because clients have already been told that the
        // server shuts down.
        let leaving = why == Stopping::Leaving
            && (!self.stopping.load(Ordering::Relaxed) || self.leaving.load(Ordering::Relaxed));
        self.leaving.store(leaving, Ordering::Relaxed);
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Records that a panic has ended a thread or task without which the server cannot continue, and wakes
    /// the host, which must end the server.
    pub(crate) fn die(&self) {
        self.died.store(true, Ordering::Release);
        self.waker.signal();
    }

    /// Whether the host wants this kind of event.
    pub(crate) fn wants(&self, interest: Interest) -> bool {
        self.interest.load(Ordering::Relaxed) & interest.0 != 0
    }
}
