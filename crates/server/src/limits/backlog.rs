//! The backlog: all data that waits for the host, over all connections of a server, in bytes.
//!
//! A connection's [`Credit`](crate::connection::shared::Credit) bounds the data that one peer may have
//! waiting; the backlog bounds the sum (`max_pending_total`). It counts payloads, request heads, bodies,
//! close reasons, input that was read and must wait for credit or, over HTTP/2, for its stream
//! ([`arrivals`](crate::limits::arrivals)), and a fixed cost for each event. While it is full, sockets are
//! not read, and handshakes and plain requests are answered with 503. Both resume when half of it is free.
//!
//! Input that is held back may become much larger when it is decoded, because it may be compressed. A
//! full backlog therefore stops decoding as well, except while batches take up little of it: otherwise
//! held-back input alone could fill the backlog, and nothing would ever make room.
//!
//! The number of events of each kind that clients can cause is bounded as follows:
//!
//! | item | bound |
//! |---|---|
//! | `Message`, `Pong` | credit of the connection, which stops reading at the message that uses it up; backlog |
//! | `Open`, `Closed` | one each for a place under `max_connections`, which `Closed` holds until the host takes it; backlog, because a handshake is refused while it is full |
//! | `Upgrade`, `Request` | backlog, likewise; a client that gives up takes the contents back |
//! | `UpgradeGone`, `RequestGone` | one for each `Upgrade` or `Request` that the host has taken and not answered |
//! | `Ending` | one for each connection |
//! | `Drain`, `Resumed` | one for each `send()` or `resume()` of the host |
//! | `StreamDrain`, `StreamClose` | one each for a response that the host has begun |
//! | `Presence` | one at a time, whatever the number of changes |
//! | `Unpublished` | [`Port::may_report_loss`](crate::cluster::port::Port) |
//! | `Notice` | [`Place`](crate::channel::notices::Place) |
//! | `Broker`, `Stopped` | not caused by clients |
//!
//! Each I/O thread counts in a [`Share`] of its own and publishes the count with its batches, and the host
//! releases whole batches, so that no message costs a lock or a shared counter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use tokio::sync::Notify;

use crate::id::Target;
use crate::limits::arrivals::Arrivals;
use crate::metrics::single::Single;

/// A thread publishes its batch early when the batch holds this fraction of the limit, or [`EARLY`] bytes,
/// because other threads don't see the batch before.
const EARLY_PART: u64 = 16;
const EARLY: u64 = 4 << 20;
/// While the backlog is full, input that is held back is decoded only if batches take up less than this
/// part of the limit. The sum then exceeds the limit by this part at most.
const DECODING_PART: u64 = 8;

/// The counts of all threads of a server, held by its state.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// `max_pending_total`, in bytes.
    limit: u64,
    /// Bytes of all batches since the start. Wraps.
    added: AtomicU64,
    /// Bytes of input that sessions hold back.
    held: AtomicU64,
    /// Bytes of request bodies that are being received or wait for the host.
    bodies: AtomicUsize,
    /// Unprocessed input of HTTP/2 connections.
    pub(crate) arrivals: Arrivals,
    /// The threads (one bit each) whose sessions wait for room.
    waiting: AtomicU64,
    /// The threads whose sessions wait to decode input that they hold back.
    decoding: AtomicU64,
    /// One for each thread, notified when there is room.
    room: Box<[Notify]>,
    taken: ProcessedBytes,
}

/// Bytes of the batches that the host has processed since the start. In a cache line of its own, because only
/// the host writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ProcessedBytes(Single);

impl Backlog {
    pub(crate) fn new(limit: usize, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit as u64,
            added: AtomicU64::new(0),
            held: AtomicU64::new(0),
            bodies: AtomicUsize::new(0),
            arrivals: Arrivals::new(limit),
            waiting: AtomicU64::new(0),
            decoding: AtomicU64::new(0),
            room: (0..threads).map(|_| Notify::new()).collect(),
            taken: ProcessedBytes::default(),
        })
    }

    /// Bytes that wait for the host, except those in batches that threads have not published yet.
    pub(crate) fn bytes(&self) -> u64 {
        self.queued() + self.held.load(Ordering::Relaxed) + self.uploads()
    }

    /// Bytes of bodies and of HTTP/2 input, most of which belongs to bodies.
    fn uploads(&self) -> u64 {
        (self.bodies.load(Ordering::Relaxed) + self.arrivals.bytes()) as u64
    }

    /// Bytes of published batches that the host has not processed.
    fn queued(&self) -> u64 {
        // The subtrahend is read first, so that the difference is never negative.
        let taken = self.taken.0.read();
        self.added.load(Ordering::Relaxed).wrapping_sub(taken)
    }

    /// The bytes that are compared with the limit. Bodies and HTTP/2 input count up to half of it, so that
    /// slow uploads do not keep messages from being read.
    fn load(&self) -> u64 {
        self.queued() + self.held.load(Ordering::Relaxed) + self.uploads().min(self.limit / 2)
    }

    /// Whether the limit is reached, so that nothing new may be accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.load() >= self.limit
    }

    /// Whether bodies use more than half of their share.
    pub(crate) fn has_many_bodies(&self) -> bool {
        self.uploads() > self.limit / 4
    }

    /// Adds a batch that does not come from an I/O thread.
    pub(crate) fn add(&self, bytes: u64) {
        self.added.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Releases a batch of `bytes` that the host has processed.
    pub(crate) fn release(&self, bytes: u64) {
        self.taken.0.add(bytes);
        self.freed();
    }

    /// Notifies the threads whose sessions wait: all of them if half of the limit is free, and those with
    /// input to decode as soon as batches take up little.
    fn freed(&self) {
        // Pairs with this same fence in a call from `await_room`: either this thread sees the bit, or that
        // one sees the freed bytes.
        fence(Ordering::SeqCst);
        let decoding = self.decoding.load(Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) | decoding == 0 {
            return;
        }
        let mut threads = if self.load() <= self.limit / 2 {
            self.waiting.swap(0, Ordering::AcqRel) | self.decoding.swap(0, Ordering::AcqRel)
        } else if decoding != 0 && self.queued() <= self.limit / (2 * DECODING_PART) {
            self.decoding.swap(0, Ordering::AcqRel)
        } else {
            return;
        };
        while threads != 0 {
            self.room[threads.trailing_zeros() as usize].notify_one();
            threads &= threads - 1;
        }
    }

    /// Registers that a session of `thread` waits for room to read, or to decode the input that it holds
    /// back.
    fn await_room(&self, thread: u16, holds_input: bool) {
        let threads = if holds_input { &self.decoding } else { &self.waiting };
        threads.fetch_or(1 << thread, Ordering::AcqRel);
        self.freed();
    }

    /// Resolves when there is room for the waiting sessions of this thread.
    pub(crate) async fn room(&self, thread: u16) {
        self.room[thread as usize].notified().await;
    }
}

/// The bytes of one request body, counted in the backlog until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(backlog: &Arc<Backlog>) -> Self {
        Self { backlog: backlog.clone(), bytes: 0 }
    }

    /// Raises the charge to `bytes`. Returns false, and changes nothing, if all bodies together would exceed
    /// their share or if the backlog is full. A single body may exceed the share.
    #[must_use]
    pub(crate) fn raise(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.backlog.bodies.fetch_add(more, Ordering::Relaxed);
        let alone = before == self.bytes;
        let all = before.saturating_add(more).saturating_add(self.backlog.arrivals.bytes());
        let fits = (alone || all as u64 <= self.backlog.limit / 2) && !self.backlog.is_full();
        if fits {
            self.bytes += more;
        } else {
            self.backlog.bodies.fetch_sub(more, Ordering::Relaxed);
        }
        fits
    }

    /// Adds `bytes`, even if there is no room for them.
    pub(crate) fn force(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.backlog.bodies.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lowers the charge by `bytes`.
    pub(crate) fn lower(&mut self, bytes: usize) {
        let less = bytes.min(self.bytes);
        self.bytes -= less;
        self.backlog.bodies.fetch_sub(less, Ordering::Relaxed);
        self.backlog.freed();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.lower(self.bytes);
    }
}

/// One I/O thread's part of the backlog, and its estimate of the room left.
#[derive(Debug)]
pub(crate) struct Share {
    backlog: Arc<Backlog>,
    /// Bytes of the batch that is being filled.
    batch: u64,
    /// Bytes of the batch that the shared count already includes.
    counted: u64,
    /// Change of the bytes of input held back, since the last publication.
    held: i64,
    /// Bytes left up to the limit, estimated from the load when it was last read and the bytes added by this
    /// thread since.
    room: i64,
    /// Whether the backlog was full at the last call of [`Share::is_full`].
    full: bool,
    /// Sessions that wait for room, in the order of their place numbers.
    waiting: BTreeMap<u64, Target>,
    /// The last place number given out.
    last: u64,
    /// Size at which a batch is published early, in bytes.
    early: u64,
    /// Half of the limit, in bytes.
    half: i64,
}

impl Share {
    pub(crate) fn new(backlog: Arc<Backlog>) -> Self {
        let early = (backlog.limit / EARLY_PART).min(EARLY);
        let limit = i64::try_from(backlog.limit).unwrap_or(i64::MAX);
        Self {
            batch: 0,
            counted: 0,
            held: 0,
            room: limit,
            full: false,
            waiting: BTreeMap::new(),
            last: 0,
            early,
            half: limit / 2,
            backlog,
        }
    }

    /// Counts an item of the batch. Returns true if the batch should be published early.
    #[inline]
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        self.batch += bytes as u64;
        self.room -= bytes as i64;
        self.batch >= self.early
    }

    /// Counts `bytes` of input that a session holds back.
    pub(crate) fn hold(&mut self, bytes: usize) {
        self.held += bytes as i64;
        self.room -= bytes as i64;
    }

    /// Ends the count of `bytes` held back.
    pub(crate) fn let_go(&mut self, bytes: usize) {
        self.held -= bytes as i64;
        self.room += bytes as i64;
    }

    /// Adds the thread's counts to the shared ones.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.batch == self.counted && self.held == 0 {
            return;
        }
        let change = self.batch - self.counted;
        self.counted = self.batch;
        self.backlog.added.fetch_add(change, Ordering::Relaxed);
        let held = std::mem::take(&mut self.held);
        if held != 0 {
            // The sum of what a thread has added is never negative.
            self.backlog.held.fetch_add(held as u64, Ordering::Relaxed);
        }
        if held < 0 {
            self.backlog.freed();
        }
        // With a single thread, only bodies add to the load from elsewhere, and they count up to half of the
        // limit: while `room` is more than half of it, there is room in any case.
        if self.room < self.half || self.backlog.room.len() > 1 {
            self.update_room();
        }
    }

    /// Computes `room` anew from the shared counts.
    fn update_room(&mut self) {
        let limit = i64::try_from(self.backlog.limit).unwrap_or(i64::MAX);
        let load = self.backlog.load().saturating_add(self.batch - self.counted);
        let load = load.saturating_add_signed(self.held);
        self.room = limit.saturating_sub(i64::try_from(load).unwrap_or(i64::MAX));
    }

    /// Ends the batch, which goes to the host and has been published. Returns its bytes.
    pub(crate) fn take_batch(&mut self) -> u64 {
        self.counted = 0;
        std::mem::take(&mut self.batch)
    }

    /// Whether the backlog is full, so that sockets must not be read. The second value is true if it was not
    /// full at the last call.
    #[inline]
    pub(crate) fn is_full(&mut self) -> (bool, bool) {
        if self.room > 0 && !self.full {
            return (false, false);
        }
        let before = self.full;
        self.update_room();
        self.full = self.room <= 0;
        (self.full, self.full && !before)
    }

    /// Whether sessions must not decode the input that they hold back either. Applies while
    /// [`Share::is_full`].
    pub(crate) fn holds_decoding(&self) -> bool {
        let batches = self.backlog.queued() + (self.batch - self.counted);
        batches > self.backlog.limit / DECODING_PART
    }

    /// Registers a session that waits for room to read or, if `holds_input`, to decode. `place` is its
    /// place number, which it keeps until it has read or decoded; 0 requests a new one.
    pub(crate) fn await_room(&mut self, target: Target, thread: u16, place: &mut u64, holds_input: bool) {
        if *place == 0 {
            self.last += 1;
            *place = self.last;
        }
        self.waiting.insert(*place, target);
        self.backlog.await_room(thread, holds_input);
    }

    /// Removes and returns the waiting sessions, the one that has waited longest first.
    pub(crate) fn take_waiting(&mut self) -> impl Iterator<Item = Target> + use<> {
        std::mem::take(&mut self.waiting).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnId;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    const LIMIT: usize = 1000;

    fn target(id: u64) -> Target {
        Target { slot: 0, id: ConnId(id) }
    }

    fn is_notified(backlog: &Backlog, thread: u16) -> bool {
        pin!(backlog.room(thread)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn waiting_threads_are_notified_when_half_is_free() {
        let backlog = Backlog::new(LIMIT, 2);
        let mut share = Share::new(backlog.clone());
        share.add(LIMIT - 1);
        assert_eq!(share.is_full(), (false, false));
        share.add(1);
        assert_eq!(share.is_full(), (true, true), "unpublished bytes count on their own thread");
        assert_eq!(share.is_full(), (true, false));
        assert!(!backlog.is_full());
        share.publish();
        share.publish();
        assert_eq!((share.take_batch(), backlog.bytes()), (1000, 1000));
        let mut place = 0;
        share.await_room(target(1), 1, &mut place, false);
        backlog.release(499);
        assert!(!is_notified(&backlog, 1), "less than half is free");
        backlog.release(1);
        assert!(is_notified(&backlog, 1) && !is_notified(&backlog, 0));
        assert_eq!(share.is_full(), (false, false));
        assert_eq!(share.take_waiting().count(), 1);
    }

    #[test]
    fn a_session_keeps_its_place_until_it_has_read() {
        let mut share = Share::new(Backlog::new(LIMIT, 1));
        let (mut first, mut second) = (0, 0);
        share.await_room(target(1), 0, &mut first, false);
        share.await_room(target(2), 0, &mut second, false);
        assert_eq!(share.take_waiting().count(), 2);
        share.await_room(target(2), 0, &mut second, false);
        share.await_room(target(1), 0, &mut first, false);
        assert_eq!(share.take_waiting().map(|t| t.id.0).collect::<Vec<_>>(), [1, 2]);
        // The first session has read, and now waits behind the second.
        first = 0;
        share.await_room(target(1), 0, &mut first, false);
        share.await_room(target(2), 0, &mut second, false);
        assert_eq!(share.take_waiting().map(|t| t.id.0).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn input_held_back_counts_until_it_is_released() {
        let backlog = Backlog::new(LIMIT, 1);
        let mut share = Share::new(backlog.clone());
        share.hold(LIMIT);
        assert!(share.is_full().0);
        share.publish();
        assert!(backlog.is_full());
        share.await_room(target(1), 0, &mut 0, false);
        share.let_go(LIMIT);
        assert!(!share.is_full().0);
        share.publish();
        assert_eq!(backlog.bytes(), 0);
        assert!(is_notified(&backlog, 0));
    }

    #[test]
    fn held_input_is_decoded_in_a_full_backlog_only_while_batches_take_up_little() {
        let backlog = Backlog::new(LIMIT, 1);
        let mut share = Share::new(backlog.clone());
        share.hold(LIMIT);
        assert!(share.is_full().0 && !share.holds_decoding(), "held-back input alone must not block itself");
        share.add(126);
        assert!(share.holds_decoding(), "batches count before they are published");
        share.publish();
        assert_eq!((share.take_batch(), backlog.bytes()), (126, 1126));
        let (mut reads, mut decodes) = (0, 0);
        share.await_room(target(1), 0, &mut reads, false);
        share.await_room(target(2), 0, &mut decodes, true);
        backlog.release(60);
        assert!(!is_notified(&backlog, 0), "batches still take up too much");
        backlog.release(4);
        assert!(is_notified(&backlog, 0));
        share.await_room(target(1), 0, &mut reads, false);
        assert!(!is_notified(&backlog, 0), "there is no room to read");
    }

    #[test]
    fn bodies_may_use_half_unless_there_is_only_one() {
        let backlog = Backlog::new(LIMIT, 1);
        let (mut one, mut other) = (Charge::new(&backlog), Charge::new(&backlog));
        assert!(one.raise(300) && other.raise(200));
        assert!(!other.raise(201) && !one.raise(301));
        drop(one);
        assert!(other.raise(400));
        assert!(other.raise(5 * LIMIT), "a single body may be larger");
        assert!(!backlog.is_full(), "a large body does not keep messages from being read");
        assert!(!Charge::new(&backlog).raise(1));
        drop(other);
        assert_eq!(backlog.bytes(), 0);
        backlog.add(LIMIT as u64);
        assert!(!Charge::new(&backlog).raise(1), "no body is accepted while messages fill the backlog");
    }

    #[test]
    fn a_large_batch_is_published_early() {
        let mut share = Share::new(Backlog::new(64 << 20, 1));
        assert!(!share.add(EARLY as usize - 1));
        assert!(share.add(1));
        share.publish();
        share.take_batch();
        assert!(!share.add(1));
    }
}
