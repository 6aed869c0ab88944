//! What the sessions of one I/O thread share: buffers, pools, the batch of events.

use bytes::Bytes;
use sprocket_protocol::deflate::{Compressors, Inflaters, Windows};
use sprocket_protocol::frame;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

use crate::admission::Limits;
use crate::backlog::{Backlog, Share};
use crate::bus::port::Port;
use crate::bus::replica::Replica;
use crate::chunks::Chunks;
use crate::closing::{self, Closing};
use crate::config::Config;
use crate::conn::{Credit, Shared};
use crate::delayed::Delayed;
use crate::event::Interest;
use crate::handlers::Handlers;
use crate::handshakes::Handshakes;
use crate::hub::Hub;
use crate::notices::{Kind, Notices, WINDOW};
use crate::queue::{EventBatch, Events, Item, Mailbox, Stopping};
use crate::static_files::StaticFiles;
use crate::stats::{Closes, Counters, Stats, Taken};
use crate::tls::TlsState;
use crate::wake::Waker;

/// Events that are published together when the thread doesn't park earlier: the host then works
/// while the thread goes on.
const BATCH: usize = 64;
/// As many gather before a host that sleeps is woken. Waking costs two system calls and a switch;
/// at full load and 16 messages in flight, four times the batch saves a tenth of the CPU time.
const WAKING_BATCH: usize = 256;
/// Polls of tasks after which a batch that is not empty is looked at by the clock, and how long it
/// may wait while the thread does not park.
const POLLS_PER_LOOK: usize = 8;
const PATIENCE: Duration = Duration::from_millis(1);
/// One read. Larger than what a socket usually holds, so that one call empties it.
const READ_BUFFER: usize = 64 << 10;

/// Payload of keep-alive pings. The host does not see the pong that answers one.
pub(crate) const KEEP_ALIVE: &[u8] = b"\0spk";

/// What all threads of one server share.
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
    pub(crate) bus: Option<Port>,
    pub(crate) presence: Mutex<Replica>,
}

/// What one thread's sessions share.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) server: Arc<State>,
    pub(crate) index: u16,
    /// For reads of plain sockets.
    pub(crate) chunks: Chunks,
    /// Scratch of other reads.
    pub(crate) read: Box<[u8]>,
    /// Scratch of writes, empty between them.
    pub(crate) write: Vec<u8>,
    /// Coarse clock: advances once per keep-alive scan.
    pub(crate) tick: u32,
    pub(crate) hub: Hub,
    /// Frames that the session whose turn it is may still take.
    pub(crate) frames_left: u32,
    /// Sessions whose end the host has not been told.
    pub(crate) live: usize,
    /// Told when one of these, or an HTTP socket, ends.
    pub(crate) ended: Arc<Notify>,
    /// For compressed messages, in and out.
    pub(crate) inflaters: Inflaters,
    pub(crate) compressors: Compressors,
    // Counted here and added to the shared counters once a batch.
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Of the messages above, those that the host does not get.
    pub(crate) undelivered: u64,
    pub(crate) undelivered_bytes: u64,
    /// What sessions have waiting in their outboxes, more (or, wrapping, less) than at the last batch.
    pub(crate) waiting_frames: u64,
    pub(crate) waiting_bytes: u64,
    /// Frames that were given up.
    pub(crate) unsent: u64,
    events: Vec<Item>,
    /// Connections whose end has a deadline.
    pub(crate) closing: Closing,
    /// Sessions whose end the host knows, and that have something to write yet.
    pub(crate) unwritten: usize,
    /// A batch of commands was too much for one turn.
    pub(crate) behind: bool,
    /// This thread's view of what waits for the host.
    pub(crate) share: Share,
    /// The task that looks after an awake host is at work, and what sets it to work.
    pub(crate) attending: bool,
    pub(crate) attend: Arc<Notify>,
    /// Kinds of log lines of which some were left out, to be reported.
    pub(crate) left_out: Delayed<Kind>,
    /// Polls of tasks since the last batch.
    polls: usize,
    /// When the batch was first looked at by the clock.
    waiting_since: Option<Instant>,
    keep_alive: Bytes,
}

impl Env {
    pub(crate) fn new(server: Arc<State>, index: u16) -> Self {
        let closing = closing::list(server.config.close_timeout);
        Self {
            share: Share::new(server.backlog.clone()),
            server,
            index,
            chunks: Chunks::default(),
            read: vec![0; READ_BUFFER].into_boxed_slice(),
            write: Vec::new(),
            tick: 0,
            hub: Hub::default(),
            frames_left: 0,
            live: 0,
            ended: Arc::default(),
            attending: false,
            attend: Arc::default(),
            left_out: Delayed::new(WINDOW),
            polls: 0,
            waiting_since: None,
            inflaters: Inflaters::default(),
            compressors: Compressors::default(),
            messages_in: 0,
            messages_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            undelivered: 0,
            undelivered_bytes: 0,
            waiting_frames: 0,
            waiting_bytes: 0,
            unsent: 0,
            events: Vec::with_capacity(BATCH),
            closing,
            unwritten: 0,
            behind: false,
            keep_alive: frame::ping(KEEP_ALIVE),
        }
    }

    pub(crate) fn wants(&self, interest: Interest) -> bool {
        self.server.wants(interest)
    }

    /// Whether the host has messages of the connection to take, or is at work on one of them.
    pub(crate) fn host_answers(&self, conn: &Shared) -> bool {
        self.server.host_answers(conn)
    }

    /// Commands of the host that are not carried out yet.
    pub(crate) fn has_commands(&self) -> bool {
        self.behind || !self.server.mailboxes[self.index as usize].is_empty()
    }

    /// Adds to the batch.
    #[inline(always)]
    pub(crate) fn emit(&mut self, item: Item) {
        // Where the kind of the item is known, so is most of its size.
        let size = item.size();
        self.gather(item, size);
    }

    fn gather(&mut self, item: Item, size: usize) {
        let early = self.share.add(size);
        self.events.push(item);
        let n = self.events.len();
        if early || n >= WAKING_BATCH || n.is_multiple_of(BATCH) && !self.server.waker.is_asleep() {
            self.publish();
        }
    }

    /// Whether too much waits for the host, so that sockets must not be read.
    #[inline]
    pub(crate) fn is_full(&mut self) -> bool {
        let (full, new) = self.share.is_full();
        if new {
            Counters::one(&self.server.counters.pending_full);
        }
        full
    }

    /// Counts a poll of a task. Publishes by number and by time while the thread is too busy to
    /// park, so that what one connection says does not wait for what others do.
    pub(crate) fn polled(&mut self) {
        self.polls += 1;
        if self.polls >= BATCH || self.polls.is_multiple_of(POLLS_PER_LOOK) && self.has_waited() {
            self.publish();
        }
    }

    /// Whether the batch has waited for long. Reads the clock.
    fn has_waited(&mut self) -> bool {
        if self.events.is_empty() {
            return false;
        }
        let now = Instant::now();
        now.duration_since(*self.waiting_since.get_or_insert(now)) >= PATIENCE
    }

    /// Hands the batch to the host.
    pub(crate) fn publish(&mut self) {
        self.polls = 0;
        self.waiting_since = None;
        self.count();
        if self.events.is_empty() {
            return;
        }
        let items = std::mem::replace(&mut self.events, Vec::with_capacity(BATCH));
        let batch = EventBatch { items, bytes: self.share.take_batch() };
        if !self.attending {
            self.attending = true;
            self.attend.notify_one();
        }
        // The receiver lives in the same State, so the channel is never disconnected.
        let _ = self.server.events.0.send(batch);
        self.server.waker.wake();
    }

    /// Adds what was counted here to the shared counters.
    #[inline(always)]
    pub(crate) fn count(&mut self) {
        let counters = &self.server.counters;
        for (local, shared) in [
            (&mut self.messages_in, &counters.messages_in),
            (&mut self.messages_out, &counters.messages_out),
            (&mut self.bytes_in, &counters.bytes_in),
            (&mut self.bytes_out, &counters.bytes_out),
            (&mut self.undelivered, &counters.undelivered),
            (&mut self.undelivered_bytes, &counters.undelivered_bytes),
            (&mut self.waiting_frames, &counters.waiting_frames),
            (&mut self.waiting_bytes, &counters.waiting_bytes),
            (&mut self.unsent, &counters.unsent),
        ] {
            if *local != 0 {
                Counters::add(shared, std::mem::take(local));
            }
        }
        self.share.publish();
    }

    pub(crate) fn keep_alive_frame(&self) -> Bytes {
        self.keep_alive.clone()
    }
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
    pub(crate) fn presence(&self) -> MutexGuard<'_, Replica> {
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
        stats.bus_waiting_bytes = self.bus.as_ref().map_or(0, |port| port.queued() as u64);
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
        let slot = self.config.bus.as_ref().map_or(0, |bus| bus.slot);
        let mut all = vec![(slot, self.stats())];
        if let Some(port) = &self.bus {
            all.extend(port.stats().values().cloned());
        }
        all.sort_by_key(|(slot, _)| *slot);
        all
    }

    /// Their sum, and how many workers there are.
    pub(crate) fn stats_of_node(&self) -> (Stats, usize) {
        let all = self.node_stats();
        let workers = all.iter().filter(|(slot, _)| *slot != crate::bus::config::HUB).count();
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
