//! What the host, the I/O threads and the link of one worker share.

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

/// Bytes that are handed to the socket at a time.
const HANDFUL: usize = 256 << 10;
/// Losses that the host has not heard of yet; further ones are only counted.
const MOST_LOSS_REPORTS: usize = 1000;
/// Bytes that a question takes up, beside its names: the frame, and what the connection remembers.
const ASK: usize = size_of::<Ask>() + 128;

/// The way to the hub.
#[derive(Debug)]
pub(crate) struct Port {
    /// Bytes of publications that wait.
    queued: AtomicUsize,
    /// Bytes of questions that wait for their answers.
    asking: Arc<AtomicUsize>,
    limit: usize,
    /// Bytes of a publication that the hub takes.
    pub(crate) largest: AtomicUsize,
    tickets: AtomicU64,
    loss_reports: AtomicUsize,
    /// Counters of the other workers, by their links.
    stats: Mutex<HashMap<u32, (u16, Stats)>>,
}

impl Port {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            queued: AtomicUsize::new(0),
            asking: Arc::default(),
            limit,
            largest: AtomicUsize::new(limit),
            tickets: AtomicU64::new(1),
            loss_reports: AtomicUsize::new(0),
            stats: Mutex::default(),
        }
    }

    /// Takes room for a publication, if there is some. What has it must reach [`Outbound::push`].
    pub(crate) fn admit(&self, frame: usize) -> bool {
        let before = self.queued.fetch_add(frame, Ordering::Relaxed);
        let fits =
            before.saturating_add(frame) <= self.limit && frame <= self.largest.load(Ordering::Relaxed);
        if !fits {
            self.release(frame);
        }
        fits
    }

    /// Takes room for a question, if there is some: as much as for publications, and apart from it.
    pub(crate) fn admit_question(&self, topic: &str, position: &str) -> Option<Room> {
        let bytes = topic.len() + position.len() + ASK;
        Room::take(&self.asking, bytes, self.limit)
    }

    /// How much has room.
    pub(crate) fn limit(&self) -> usize {
        self.limit.min(self.largest.load(Ordering::Relaxed))
    }

    /// Bytes of publications that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn release(&self, frame: usize) {
        self.queued.fetch_sub(frame, Ordering::Relaxed);
    }

    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the host may be told of one more loss.
    pub(crate) fn may_report_loss(&self) -> bool {
        let fits = self.loss_reports.fetch_add(1, Ordering::Relaxed) < MOST_LOSS_REPORTS;
        if !fits {
            self.loss_reported();
        }
        fits
    }

    /// The host has been told of a loss.
    pub(crate) fn loss_reported(&self) {
        self.loss_reports.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, HashMap<u32, (u16, Stats)>> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the hub has not passed a publication on, and whether it has reached somebody all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: String,
    pub(crate) uncertain: bool,
}

/// What waits on the first I/O thread for the link.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    queue: VecDeque<Bytes>,
    /// Bytes of it that are not publications: those have been admitted, these are bounded by
    /// giving the hub up, for a new connection is told all anew.
    told: usize,
    /// Of the link's task.
    waker: Option<Waker>,
    /// The hub is there. Without it, only publications wait; the rest is told anew.
    up: bool,
    /// The hub has a broker.
    pub(crate) broker: bool,
    /// Questions without an answer, by ticket; bounded by the room that each has.
    pub(crate) asks: BTreeMap<u64, Ask>,
    /// Publications whose publishers wait, by ticket, and what the hub has said of them.
    refusals: HashMap<u64, Option<Refused>>,
    /// Who waits for the hub to have all that was queued before, in order.
    syncs: VecDeque<oneshot::Sender<()>>,
}

impl Outbound {
    /// Queues a frame; a publication must have been admitted.
    pub(crate) fn push(&mut self, frame: Bytes) {
        let publication = wire::is_publication(&frame);
        if self.up || publication {
            self.told += if publication { 0 } else { frame.len() };
            self.queue.push_back(frame);
            self.wake();
        }
    }

    /// Resolves when the hub has carried out all that was queued so far, or is gone.
    pub(crate) fn sync(&mut self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        if self.up {
            self.syncs.push_back(done);
            self.push(Up::Sync.encode());
        }
        receiver
    }

    /// The hub does not pass this publication on. False: nobody waits to be told.
    pub(crate) fn refused(&mut self, ticket: u64, refused: Refused) -> bool {
        let waits = self.refusals.get_mut(&ticket);
        waits.map(|told| *told = Some(refused)).is_some()
    }

    /// Somebody waits to be told if the publication with this ticket is refused. Until
    /// [`Outbound::outcome`].
    pub(crate) fn await_refusal(&mut self, ticket: u64) {
        self.refusals.insert(ticket, None);
    }

    /// What is known of it by now.
    pub(crate) fn outcome(&mut self, ticket: u64) -> Option<Refused> {
        self.refusals.remove(&ticket).flatten()
    }

    /// The hub has answered the oldest one.
    pub(crate) fn synced(&mut self) {
        if let Some(done) = self.syncs.pop_front() {
            // An error means that nobody waits any more.
            let _ = done.send(());
        }
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Gives the link what it can write next. Returns how many publications that were. The link
    /// is woken for more.
    pub(crate) fn fill(&mut self, port: &Port, pipe: &mut Pipe, waker: &Waker) -> u64 {
        let mut publications = 0;
        while pipe.waiting() < HANDFUL
            && let Some(frame) = self.queue.pop_front()
        {
            if wire::is_publication(&frame) {
                publications += 1;
                port.release(frame.len());
            } else {
                self.told -= frame.len();
            }
            pipe.push(frame);
        }
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue = VecDeque::new();
        }
        self.waker = Some(waker.clone());
        publications
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether more waits than a hub that reads would leave, beside publications.
    pub(crate) fn is_beyond(&self, port: &Port) -> bool {
        self.told > port.limit
    }

    /// The hub has said hello.
    pub(crate) fn begin(&mut self, broker: bool) {
        self.up = true;
        self.broker = broker;
    }

    /// The hub is gone. What it can't have got is queued again, first; returns how many
    /// publications these are.
    pub(crate) fn interrupt(&mut self, port: &Port, pipe: Pipe) -> u64 {
        self.up = false;
        self.syncs.clear();
        self.queue.retain(|frame| wire::is_publication(frame));
        self.told = 0;
        let unsent: Vec<_> = pipe.into_unsent().into_iter().filter(|f| wire::is_publication(f)).collect();
        let again = unsent.len() as u64;
        for frame in unsent.into_iter().rev() {
            port.queued.fetch_add(frame.len(), Ordering::Relaxed);
            self.queue.push_front(frame);
        }
        again
    }
}
