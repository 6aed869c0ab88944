//! The worker's side of the hub as the host and the I/O threads see it: admission to the queue of
//! publications, and the queue itself.
//!
//! [`Port`] belongs to the state that all threads share; [`Outbound`] is the queue on the first I/O
//! thread, where the link's task (`hub_link`) takes its frames from.

use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use tokio::sync::oneshot;

use crate::channel::ask::{Ask, Room};
use crate::cluster::wire::pipe::Pipe;
use crate::cluster::wire::{self, Up};
use crate::metrics::counters::Stats;

/// Bytes that the link moves from the queue to its pipe at a time. The rest stays in the queue, where
/// it still counts against the limit.
const PIPE_FILL: usize = 256 << 10;
/// Bytes charged for each frame in the queue in addition to its contents: its place in the queue and before
/// that in a mailbox, and its allocation.
const FRAME: usize = 128;
/// Reports of lost publications that may wait for the host; further losses are only counted.
const MOST_LOSS_REPORTS: usize = 1000;
/// Bytes charged for a resume request in addition to its strings: the frame, and the state that the
/// connection keeps until the answer arrives.
const ASK: usize = size_of::<Ask>() + 128;
/// Multiple of the limit that frames other than publications may reach before the link drops its connection,
/// even if the hub still reads: it has fallen behind so far that the complete state is shorter.
const MOST_CONTROL: usize = 2;

/// Admission to the queue for the hub, and what the hub has reported. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Port {
    /// Bytes charged for admitted publications that the link has not yet moved to its pipe.
    queued: AtomicUsize,
    /// Bytes charged for other frames in the queue, as of the link's last turn.
    control: AtomicUsize,
    /// Bytes charged for resume requests that wait for their answers.
    asking: Arc<AtomicUsize>,
    /// Upper bound in bytes for `queued`, and likewise for `asking`.
    limit: usize,
    /// Bytes of the largest publication that the hub accepts, from its `Welcome`.
    pub(crate) largest: AtomicUsize,
    /// The next ticket. 0 is never used: in a frame it means that nobody waits for an answer.
    tickets: AtomicU64,
    /// Reports of losses that wait for the host.
    loss_reports: AtomicUsize,
    /// Slot and last reported counters of each other worker and of the hub, by link number.
    stats: Mutex<HashMap<u32, (u16, Stats)>>,
}

impl Port {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            queued: AtomicUsize::new(0),
            control: AtomicUsize::new(0),
            asking: Arc::default(),
            limit,
            largest: AtomicUsize::new(limit),
            tickets: AtomicU64::new(1),
            loss_reports: AtomicUsize::new(0),
            stats: Mutex::default(),
        }
    }

    /// Reserves queue space for a publication of `frame` bytes. False if the queue is full or the
    /// frame is larger than the hub accepts; if true, the frame must be passed to [`Outbound::push`].
    pub(crate) fn admit(&self, frame: usize) -> bool {
        let cost = frame + FRAME;
        let before = self.queued.fetch_add(cost, Ordering::Relaxed);
        // An empty queue accepts a publication that fills it exactly.
        let fits = frame <= self.limit() && (before == 0 || before.saturating_add(cost) <= self.limit);
        if !fits {
            self.release(frame);
        }
        fits
    }

    /// Reserves space for a resume request until the returned guard is dropped. `None` if the space
    /// for requests is used up; it is as large as that for publications, but separate.
    pub(crate) fn admit_question(&self, topic: &str, position: &str) -> Option<Room> {
        let bytes = topic.len() + position.len() + ASK;
        Room::take(&self.asking, bytes, self.limit)
    }

    /// Bytes of the largest publication that [`Port::admit`] can ever accept.
    pub(crate) fn limit(&self) -> usize {
        self.limit.min(self.largest.load(Ordering::Relaxed))
    }

    /// Bytes of publications that wait in the queue, including their overhead.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether subscriptions and changes of presence arrive faster than the hub takes them, so that the host
    /// should wait.
    pub(crate) fn is_behind(&self) -> bool {
        self.control.load(Ordering::Relaxed) > self.limit
    }

    fn release(&self, frame: usize) {
        self.queued.fetch_sub(frame + FRAME, Ordering::Relaxed);
    }

    /// A number unique in this worker, which ties an answer of the hub to its request.
    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether one more report of a loss may wait for the host. If so, it is counted until
    /// [`Port::loss_reported`].
    pub(crate) fn may_report_loss(&self) -> bool {
        let fits = self.loss_reports.fetch_add(1, Ordering::Relaxed) < MOST_LOSS_REPORTS;
        if !fits {
            self.loss_reported();
        }
        fits
    }

    /// The host has received a report of a loss.
    pub(crate) fn loss_reported(&self) {
        self.loss_reports.fetch_sub(1, Ordering::Relaxed);
    }

    /// Slot and counters of each other worker and of the hub, by link number.
    pub(crate) fn stats(&self) -> MutexGuard<'_, HashMap<u32, (u16, Stats)>> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hub's answer to a publication that it could not forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedForward {
    /// Reason, as text for the publisher.
    pub(crate) why: String,
    /// Delivery is uncertain: the publication may have reached some recipients.
    pub(crate) uncertain: bool,
}

/// Queue of frames for the hub, on the first I/O thread, and the requests that wait for answers.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    queue: VecDeque<Bytes>,
    /// Bytes charged for the queued frames that are not publications: subscriptions, presence, resume requests.
    /// Unlike publications they need no admission: the host waits for a moment while they exceed the limit
    /// ([`Port::is_behind`]). If the hub does not read, or they exceed twice the limit, the link drops its
    /// connection, because a new connection starts with the complete state anyway.
    control_bytes: usize,
    /// Wakes the link's task.
    waker: Option<Waker>,
    /// Whether the link is connected. While it is not, only publications are queued; the rest of the
    /// state is sent in full when it connects.
    up: bool,
    /// Whether the hub has a broker.
    pub(crate) broker: bool,
    /// Resume requests without an answer, by ticket. Each holds a reservation of
    /// [`Port::admit_question`], which bounds their number.
    pub(crate) asks: BTreeMap<u64, Ask>,
    /// Publications whose publishers wait for the outcome, by ticket, and the hub's refusal, if any.
    refusals: HashMap<u64, Option<FailedForward>>,
    /// Callers of [`Outbound::sync`], oldest first.
    syncs: VecDeque<oneshot::Sender<()>>,
}

impl Outbound {
    /// Queues a frame and wakes the link. A publication must have been admitted by [`Port::admit`].
    /// Any other frame is dropped while the link is not connected.
    pub(crate) fn push(&mut self, frame: Bytes) {
        let publication = wire::is_publication(&frame);
        if self.up || publication {
            self.control_bytes += if publication { 0 } else { frame.len() + FRAME };
            self.queue.push_back(frame);
            self.wake();
        }
    }

    /// Resolves when the hub has processed every frame queued so far, or with an error when the link
    /// is lost or not connected.
    pub(crate) fn sync(&mut self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        if self.up {
            self.syncs.push_back(done);
            self.push(Up::Sync.encode());
        }
        receiver
    }

    /// Records that the hub refused a publication. False if no publisher waits for its outcome.
    pub(crate) fn refused(&mut self, ticket: u64, refused: FailedForward) -> bool {
        let outcome = self.refusals.get_mut(&ticket);
        outcome.map(|outcome| *outcome = Some(refused)).is_some()
    }

    /// Records that a publisher waits for the outcome of the publication with this ticket, until
    /// [`Outbound::outcome`] is called.
    pub(crate) fn await_refusal(&mut self, ticket: u64) {
        self.refusals.insert(ticket, None);
    }

    /// Returns the hub's refusal of a publication, if one arrived, and stops waiting for it. Complete
    /// once a [`Outbound::sync`] requested after the publication has resolved.
    pub(crate) fn outcome(&mut self, ticket: u64) -> Option<FailedForward> {
        self.refusals.remove(&ticket).flatten()
    }

    /// Resolves the oldest [`Outbound::sync`], because the hub answers them in order.
    pub(crate) fn synced(&mut self) {
        if let Some(done) = self.syncs.pop_front() {
            // An error means that the caller no longer waits.
            let _ = done.send(());
        }
    }

    /// Wakes the link's task.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Moves frames from the queue to the link's pipe, up to [`PIPE_FILL`] bytes, and releases the
    /// space of the publications among them. Returns their number. The next [`Outbound::push`] calls
    /// `waker`.
    pub(crate) fn fill(&mut self, port: &Port, pipe: &mut Pipe, waker: &Waker) -> u64 {
        let mut publications = 0;
        while pipe.waiting() < PIPE_FILL
            && let Some(frame) = self.queue.pop_front()
        {
            if wire::is_publication(&frame) {
                publications += 1;
                port.release(frame.len());
            } else {
                self.control_bytes -= frame.len() + FRAME;
            }
            pipe.push(frame);
        }
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue = VecDeque::new();
        }
        port.control.store(self.control_bytes, Ordering::Relaxed);
        self.waker = Some(waker.clone());
        publications
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the frames that are not publications exceed the limit, which happens only if the hub
    /// reads slowly or not at all.
    pub(crate) fn is_beyond(&self, port: &Port) -> bool {
        self.control_bytes > port.limit
    }

    /// Whether these frames exceed the limit so far that the connection must be dropped at once.
    pub(crate) fn is_far_beyond(&self, port: &Port) -> bool {
        self.control_bytes > port.limit.saturating_mul(MOST_CONTROL)
    }

    /// Marks the link as connected, to a hub with or without a broker.
    pub(crate) fn begin(&mut self, broker: bool) {
        self.up = true;
        self.broker = broker;
    }

    /// Marks the link as lost and abandons all calls of [`Outbound::sync`]. Publications that were not
    /// written in full go back to the front of the queue; returns their number. All other frames are
    /// dropped.
    pub(crate) fn interrupt(&mut self, port: &Port, pipe: Pipe) -> u64 {
        self.up = false;
        self.syncs.clear();
        self.queue.retain(|frame| wire::is_publication(frame));
        self.control_bytes = 0;
        port.control.store(0, Ordering::Relaxed);
        let unsent: Vec<_> = pipe.into_unsent().into_iter().filter(|f| wire::is_publication(f)).collect();
        let again = unsent.len() as u64;
        for frame in unsent.into_iter().rev() {
            port.queued.fetch_add(frame.len() + FRAME, Ordering::Relaxed);
            self.queue.push_front(frame);
        }
        again
    }
}
