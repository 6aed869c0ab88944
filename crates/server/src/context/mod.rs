//! The context of one I/O thread, shared by its sessions: buffers, pools, local counters, and the
//! current batch of events for the host.

pub(crate) mod deadlines;
pub(crate) mod delayed;
pub(crate) mod log;
pub(crate) mod read_buffers;

use bytes::Bytes;
use sprocket_protocol::deflate::{Compressors, Inflaters};
use sprocket_protocol::frame;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

use crate::channel::event::Interest;
use crate::channel::lanes::{EventBatch, Lane};
use crate::channel::mailbox::Item;
use crate::channel::notices::{LineKind, WINDOW};
use crate::connection::shared::Shared;
use crate::context::deadlines::Closing;
use crate::context::delayed::Delayed;
use crate::context::read_buffers::ReadBuffers;
use crate::limits::backlog::Share;
use crate::metrics::counters::Counters;
use crate::state::State;
use crate::topics::subscribers::Subscribers;

/// Number of events after which a batch is published to an awake host, which then works in parallel with
/// the thread. A batch is published earlier when the thread parks.
const BATCH: usize = 64;
/// Number of events after which a batch is published to a sleeping host. Waking it costs two system calls
/// and a context switch; at full load with 16 messages in flight, a batch four times as large saves a
/// tenth of the CPU time.
const WAKING_BATCH: usize = 256;
/// Number of polls between two checks of the age of a batch. Each check reads the clock.
const POLLS_PER_CHECK: usize = 8;
/// Maximum age of a batch while the thread does not park.
const MAX_BATCH_AGE: Duration = Duration::from_millis(1);
/// Size of one read. It exceeds what a socket usually holds, so that one call empties the socket.
const READ_BUFFER: usize = 64 << 10;

/// Payload of keep-alive pings. A pong with this payload is not passed to the host.
pub(crate) const KEEP_ALIVE: &[u8] = b"\0spk";

/// The state that the sessions of one I/O thread share. The thread's [`Io`](crate::thread::Io) owns it
/// and passes it to each session that it calls.
#[derive(Debug)]
pub(crate) struct ThreadContext {
    /// The state that all threads of the server share.
    pub(crate) server: Arc<State>,
    /// Index of this I/O thread.
    pub(crate) index: u16,
    /// Chunks for reads from plain sockets, of which large messages keep parts.
    pub(crate) read_buffers: ReadBuffers,
    /// Scratch buffer for all other reads.
    pub(crate) read: Box<[u8]>,
    /// Scratch buffer for writes; empty between them.
    pub(crate) write: Vec<u8>,
    /// Coarse clock: number of keep-alive scans so far.
    pub(crate) tick: u32,
    /// The sessions subscribed to each topic, on this thread.
    pub(crate) subscribers: Subscribers,
    /// Number of frames that the current session may still decode in its turn.
    pub(crate) frames_left: u32,
    /// Number of sessions whose end has not been reported to the host.
    pub(crate) live: usize,
    /// Notified whenever a session ends or has written its last frame, an HTTP socket closes, or a
    /// publish request is answered: a stop waits for these.
    pub(crate) ended: Arc<Notify>,
    /// Pool of decompressors for incoming messages.
    pub(crate) inflaters: Inflaters,
    /// Pool of compressors for outgoing messages.
    pub(crate) compressors: Compressors,
    // The following are counted locally and added to the shared counters once a batch.
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Incoming messages, included above, that are not delivered to the host.
    pub(crate) undelivered: u64,
    /// Bytes of these messages.
    pub(crate) undelivered_bytes: u64,
    /// Change, since the last batch, in the number of frames that wait in outboxes; wraps below 0.
    pub(crate) waiting_frames: u64,
    /// Change in the number of their bytes; wraps below 0.
    pub(crate) waiting_bytes: u64,
    /// Frames discarded before they were written.
    pub(crate) unsent: u64,
    /// The current batch of events for the host, by [`Lane`].
    events: [Vec<Item>; 2],
    /// Connections that are about to end and have a deadline.
    pub(crate) closing: Closing,
    /// Number of sessions whose end has been reported but whose last frames are not written yet.
    pub(crate) unwritten: usize,
    /// Part of a batch of commands remains for the next turn.
    pub(crate) behind: bool,
    /// This thread's share of the backlog, the total of what waits for the host.
    pub(crate) share: Share,
    /// Whether the task that executes the commands of an awake host is running.
    pub(crate) attending: bool,
    /// Starts that task.
    pub(crate) attend: Arc<Notify>,
    /// Kinds of log lines of which some were suppressed, to be reported after a delay.
    pub(crate) suppressed: Delayed<LineKind>,
    /// Polls of tasks since the last batch was published.
    polls: usize,
    /// Time of the first check of the current batch's age.
    waiting_since: Option<Instant>,
    /// The encoded keep-alive ping.
    keep_alive: Bytes,
}

impl ThreadContext {
    pub(crate) fn new(server: Arc<State>, index: u16) -> Self {
        let closing = deadlines::list(server.config.close_timeout);
        Self {
            share: Share::new(server.backlog.clone()),
            server,
            index,
            read_buffers: ReadBuffers::default(),
            read: vec![0; READ_BUFFER].into_boxed_slice(),
            write: Vec::new(),
            tick: 0,
            subscribers: Subscribers::default(),
            frames_left: 0,
            live: 0,
            ended: Arc::default(),
            attending: false,
            attend: Arc::default(),
            suppressed: Delayed::new(WINDOW),
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
            events: [Vec::with_capacity(BATCH), Vec::new()],
            closing,
            unwritten: 0,
            behind: false,
            keep_alive: frame::ping(KEEP_ALIVE),
        }
    }

    /// Whether the host wants this kind of event.
    pub(crate) fn wants(&self, interest: Interest) -> bool {
        self.server.wants(interest)
    }

    /// Whether the host still has to process messages of the connection; see [`State::host_answers`].
    pub(crate) fn host_answers(&self, conn: &Shared) -> bool {
        self.server.host_answers(conn)
    }

    /// Whether posted commands have not been executed yet.
    pub(crate) fn has_commands(&self) -> bool {
        self.behind || !self.server.mailboxes[self.index as usize].is_empty()
    }

    /// Adds an item to the current batch of events for the host, in the sparse lane.
    #[inline(always)]
    pub(crate) fn emit(&mut self, item: Item) {
        self.emit_in(Lane::Sparse, item);
    }

    /// Adds an item to the current batch of events for the host.
    #[inline(always)]
    pub(crate) fn emit_in(&mut self, lane: Lane, item: Item) {
        // Inlined, because the caller knows the kind of the item and so most of its size at compile time.
        let size = item.size();
        self.gather(lane, item, size);
    }

    /// Adds an item to the batch, and publishes the batch if it is full.
    fn gather(&mut self, lane: Lane, item: Item, size: usize) {
        let early = self.share.add(size);
        self.events[lane as usize].push(item);
        let n = self.events.iter().map(Vec::len).sum::<usize>();
        if early || n >= WAKING_BATCH || n.is_multiple_of(BATCH) && !self.server.waker.is_asleep() {
            self.publish();
        }
    }

    /// Whether the backlog is full, so that sockets must not be read.
    #[inline]
    pub(crate) fn is_full(&mut self) -> bool {
        let (full, new) = self.share.is_full();
        if new {
            Counters::one(&self.server.counters.pending_full);
        }
        full
    }

    /// Whether sessions must not decode the input that they hold back: the backlog is full, and not of
    /// such input. Publishes the batch first, so that the host can make room.
    #[cold]
    pub(crate) fn holds_decoding(&mut self) -> bool {
        self.publish();
        self.share.holds_decoding()
    }

    /// Counts a poll of a task. While the thread is too busy to park, this publishes the batch after a
    /// number of polls or some time, so that the events of one connection do not wait for the work of
    /// others.
    pub(crate) fn polled(&mut self) {
        self.polls += 1;
        if self.polls >= BATCH || self.polls.is_multiple_of(POLLS_PER_CHECK) && self.has_waited() {
            self.publish();
        }
    }

    /// Whether the batch has waited for [`MAX_BATCH_AGE`]. Reads the clock.
    fn has_waited(&mut self) -> bool {
        if self.events.iter().all(Vec::is_empty) {
            return false;
        }
        let now = Instant::now();
        now.duration_since(*self.waiting_since.get_or_insert(now)) >= MAX_BATCH_AGE
    }

    /// Adds the local counts to the shared counters, and hands the current batch to the host.
    pub(crate) fn publish(&mut self) {
        self.polls = 0;
        self.waiting_since = None;
        self.count();
        if self.events.iter().all(Vec::is_empty) {
            return;
        }
        // While the host drives the reactor, it executes its commands itself.
        if !self.attending && !self.server.waker.is_driving() {
            self.start_attending();
        }
        let bytes = self.share.take_batch();
        // The bulk lane waits longer, so its batch accounts for both.
        let in_bulk = if self.events[Lane::Bulk as usize].is_empty() { 0 } else { bytes };
        self.send(Lane::Sparse, bytes - in_bulk);
        self.send(Lane::Bulk, in_bulk);
        self.server.waker.wake();
    }

    /// Hands the items of one lane, if there are any, to the host.
    #[inline(always)]
    fn send(&mut self, lane: Lane, bytes: u64) {
        let items = &mut self.events[lane as usize];
        if !items.is_empty() {
            let items = std::mem::replace(items, Vec::with_capacity(BATCH));
            // The receiver lives in the same State, so the channel is never disconnected.
            let _ = self.server.events.0.send(EventBatch { items, lane, bytes });
        }
    }

    /// Starts the task that executes the commands of an awake host.
    pub(crate) fn start_attending(&mut self) {
        self.attending = true;
        self.attend.notify_one();
    }

    /// Adds this thread's local counts to the shared counters.
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

    /// Returns the encoded keep-alive ping.
    pub(crate) fn keep_alive_frame(&self) -> Bytes {
        self.keep_alive.clone()
    }
}
