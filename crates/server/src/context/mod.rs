//! What the sessions of one I/O thread share: buffers, pools, the batch of events.

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
use crate::channel::mailbox::{EventBatch, Item};
use crate::channel::notices::{Kind, WINDOW};
use crate::connection::shared::Shared;
use crate::context::deadlines::Closing;
use crate::context::delayed::Delayed;
use crate::context::read_buffers::ReadBuffers;
use crate::limits::backlog::Share;
use crate::metrics::counters::Counters;
use crate::state::State;
use crate::topics::subscribers::Subscribers;

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

/// What one thread's sessions share.
#[derive(Debug)]
pub(crate) struct ThreadContext {
    pub(crate) server: Arc<State>,
    pub(crate) index: u16,
    /// For reads of plain sockets.
    pub(crate) read_buffers: ReadBuffers,
    /// Scratch of other reads.
    pub(crate) read: Box<[u8]>,
    /// Scratch of writes, empty between them.
    pub(crate) write: Vec<u8>,
    /// Coarse clock: advances once per keep-alive scan.
    pub(crate) tick: u32,
    pub(crate) subscribers: Subscribers,
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
