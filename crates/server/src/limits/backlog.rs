//! Everything that waits for the host, over all connections of a server, in bytes.
//!
//! A connection's [`Credit`](crate::connection::shared::Credit) bounds what one peer has waiting; the backlog bounds
//! the sum. It counts payloads, request heads, bodies, close reasons, input that was read and must
//! wait for credit or, over HTTP/2, for its stream ([`arrivals`](crate::limits::arrivals)), and a fixed cost
//! for each event. While it is full, sockets are not read, and
//! handshakes and plain requests are answered 503; both go on when half of it is free again.
//!
//! Each kind of event that a peer can cause is bounded as follows:
//!
//! | item | bound |
//! |---|---|
//! | `Message`, `Pong` | credit of the connection, which stops reading at the message that uses it up; backlog |
//! | `Open`, `Closed` | one each for a place under `max_connections`, which `Closed` holds until the host takes it; backlog, because a handshake is refused while it is full |
//! | `Upgrade`, `Request` | backlog, likewise; an asker that gives up takes the contents back |
//! | `UpgradeGone`, `RequestGone` | one for each question that the host has taken and still holds |
//! | `Ending` | one for each connection |
//! | `Drain`, `Resumed` | one for each `send()` or `resume()` of the host |
//! | `StreamDrain`, `StreamClose` | one each for a response that the host has begun |
//! | `Presence` | one at a time, whatever the number of changes |
//! | `Unpublished` | [`Port::may_report_loss`](crate::cluster::port::Port) |
//! | `Notice` | [`Place`](crate::channel::notices::Place) |
//! | `Broker`, `Stopped` | not caused by clients |
//!
//! Each I/O thread counts in a [`Share`] of its own and publishes it with its batches, and the host
//! releases whole batches: no message costs a lock or a shared counter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use tokio::sync::Notify;

use crate::id::Target;
use crate::limits::arrivals::Arrivals;
use crate::metrics::single::Single;

/// A thread publishes its batch early when it holds this part of the limit, or [`EARLY`]: until
/// then, other threads do not see it.
const EARLY_PART: u64 = 16;
const EARLY: u64 = 4 << 20;

/// Counts for all threads of a server.
#[derive(Debug)]
pub(crate) struct Backlog {
    limit: u64,
    /// Bytes of all batches so far, and of input held back now. Wraps.
    added: AtomicU64,
    /// Bytes of request bodies that arrive, or that wait for the host.
    bodies: AtomicUsize,
    /// Input of HTTP/2 connections that nobody has taken yet.
    pub(crate) arrivals: Arrivals,
    /// The threads (one bit each) with sessions that wait for room.
    waiting: AtomicU64,
    /// For each thread; told when there is room.
    room: Box<[Notify]>,
    taken: Taken,
}

/// Bytes of the batches that the host has dealt with. In a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Taken(Single);

impl Backlog {
    pub(crate) fn new(limit: usize, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit as u64,
            added: AtomicU64::new(0),
            bodies: AtomicUsize::new(0),
            arrivals: Arrivals::new(limit),
            waiting: AtomicU64::new(0),
            room: (0..threads).map(|_| Notify::new()).collect(),
            taken: Taken::default(),
        })
    }

    /// Bytes that wait, without what threads have not published yet.
    pub(crate) fn bytes(&self) -> u64 {
        self.queued() + self.uploads()
    }

    /// Bytes of bodies, and of input over HTTP/2, much of which belongs to bodies.
    fn uploads(&self) -> u64 {
        (self.bodies.load(Ordering::Relaxed) + self.arrivals.bytes()) as u64
    }

    fn queued(&self) -> u64 {
        // The subtrahend first, so that the difference is never negative.
        let taken = self.taken.0.read();
        self.added.load(Ordering::Relaxed).wrapping_sub(taken)
    }

    /// The same as far as it holds up others: bodies and input over HTTP/2 count up to a half, so that
    /// slow uploads do not keep messages from being read.
    fn load(&self) -> u64 {
        self.queued() + self.uploads().min(self.limit / 2)
    }

    /// Whether nothing new may be let in.
    pub(crate) fn is_full(&self) -> bool {
        self.load() >= self.limit
    }

    /// Whether bodies take more than half of what they may.
    pub(crate) fn has_many_bodies(&self) -> bool {
        self.uploads() > self.limit / 4
    }

    /// Adds a batch that does not come from an I/O thread.
    pub(crate) fn add(&self, bytes: u64) {
        self.added.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The host has dealt with a batch.
    pub(crate) fn release(&self, bytes: u64) {
        self.taken.0.add(bytes);
        self.freed();
    }

    /// Tells the threads whose sessions wait, if half is free.
    fn freed(&self) {
        // Pairs with the one in `await_room`: either this thread sees the bit, or that one sees
        // what was freed.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 || self.load() > self.limit / 2 {
            return;
        }
        let mut threads = self.waiting.swap(0, Ordering::AcqRel);
        while threads != 0 {
            self.room[threads.trailing_zeros() as usize].notify_one();
            threads &= threads - 1;
        }
    }

    /// A session of this thread waits for room.
    fn await_room(&self, thread: u16) {
        self.waiting.fetch_or(1 << thread, Ordering::AcqRel);
        self.freed();
    }

    /// Resolves when there is room for the waiting sessions of this thread.
    pub(crate) async fn room(&self, thread: u16) {
        self.room[thread as usize].notified().await;
    }
}

/// What a request body takes up, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(backlog: &Arc<Backlog>) -> Self {
        Self { backlog: backlog.clone(), bytes: 0 }
    }

    /// Raises it to `bytes`. False: that is more than all bodies may take, and it stays what it was.
    /// A single body may be larger.
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

    /// Adds `bytes`, whether there is room for them or not.
    pub(crate) fn force(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.backlog.bodies.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lowers it by `bytes`.
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

/// One I/O thread's view of the backlog.
#[derive(Debug)]
pub(crate) struct Share {
    backlog: Arc<Backlog>,
    /// Bytes of the batch that gathers.
    batch: u64,
    /// Part of the batch that the shared count includes already.
    counted: u64,
    /// Bytes of input held back, more (or less) than at the last count.
    held: i64,
    /// Bytes up to the limit, by the load at the last count and what was added here since.
    room: i64,
    /// It was full when it was asked last.
    full: bool,
    /// Sessions that wait for room, by the numbers of their places.
    waiting: BTreeMap<u64, Target>,
    /// Number of the last place.
    last: u64,
    early: u64,
    /// Half of the limit.
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

    /// An item joins the batch. True: other threads should learn of the batch.
    #[inline]
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        self.batch += bytes as u64;
        self.room -= bytes as i64;
        self.batch >= self.early
    }

    /// A session holds back input.
    pub(crate) fn hold(&mut self, bytes: usize) {
        self.held += bytes as i64;
        self.room -= bytes as i64;
    }

    /// It does not any more.
    pub(crate) fn let_go(&mut self, bytes: usize) {
        self.held -= bytes as i64;
        self.room += bytes as i64;
    }

    /// Publishes the counts.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.batch == self.counted && self.held == 0 {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let change = (self.batch - self.counted).wrapping_add_signed(held);
        self.counted = self.batch;
        self.backlog.added.fetch_add(change, Ordering::Relaxed);
        if held < 0 {
            self.backlog.freed();
        }
        // On the only thread nothing else but bodies adds to the load, and these take a half at most:
        // until then there is room whatever the rest.
        if self.room < self.half || self.backlog.room.len() > 1 {
            self.look();
        }
    }

    fn look(&mut self) {
        let limit = i64::try_from(self.backlog.limit).unwrap_or(i64::MAX);
        let load = self.backlog.load().saturating_add(self.batch - self.counted);
        let load = load.saturating_add_signed(self.held);
        self.room = limit.saturating_sub(i64::try_from(load).unwrap_or(i64::MAX));
    }

    /// Bytes of the batch, which goes to the host and has been published.
    pub(crate) fn take_batch(&mut self) -> u64 {
        self.counted = 0;
        std::mem::take(&mut self.batch)
    }

    /// Whether sockets must not be read. The second value: it has just become so.
    #[inline]
    pub(crate) fn is_full(&mut self) -> (bool, bool) {
        if self.room > 0 && !self.full {
            return (false, false);
        }
        let before = self.full;
        self.look();
        self.full = self.room <= 0;
        (self.full, self.full && !before)
    }

    /// A session waits for room, at the place that it has had since its last read: 0 stands for none.
    pub(crate) fn await_room(&mut self, target: Target, thread: u16, place: &mut u64) {
        if *place == 0 {
            self.last += 1;
            *place = self.last;
        }
        self.waiting.insert(*place, target);
        self.backlog.await_room(thread);
    }

    /// Sessions that wait, the one that has waited longest first.
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

    fn is_told(backlog: &Backlog, thread: u16) -> bool {
        pin!(backlog.room(thread)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_waits_for_room_is_told_when_half_is_free() {
        let backlog = Backlog::new(LIMIT, 2);
        let mut share = Share::new(backlog.clone());
        share.add(LIMIT - 1);
        assert_eq!(share.is_full(), (false, false));
        share.add(1);
        assert_eq!(share.is_full(), (true, true), "what is not published yet counts on its own thread");
        assert_eq!(share.is_full(), (true, false));
        assert!(!backlog.is_full());
        share.publish();
        share.publish();
        assert_eq!((share.take_batch(), backlog.bytes()), (1000, 1000));
        let mut place = 0;
        share.await_room(target(1), 1, &mut place);
        backlog.release(499);
        assert!(!is_told(&backlog, 1), "less than a half is free");
        backlog.release(1);
        assert!(is_told(&backlog, 1) && !is_told(&backlog, 0));
        assert_eq!(share.is_full(), (false, false));
        assert_eq!(share.take_waiting().count(), 1);
    }

    #[test]
    fn a_session_keeps_its_place_until_it_has_read() {
        let mut share = Share::new(Backlog::new(LIMIT, 1));
        let (mut first, mut second) = (0, 0);
        share.await_room(target(1), 0, &mut first);
        share.await_room(target(2), 0, &mut second);
        assert_eq!(share.take_waiting().count(), 2);
        share.await_room(target(2), 0, &mut second);
        share.await_room(target(1), 0, &mut first);
        assert_eq!(share.take_waiting().map(|t| t.id.0).collect::<Vec<_>>(), [1, 2]);
        // The first has read, and waits behind the other one.
        first = 0;
        share.await_room(target(1), 0, &mut first);
        share.await_room(target(2), 0, &mut second);
        assert_eq!(share.take_waiting().map(|t| t.id.0).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn held_input_counts_and_its_end_makes_room() {
        let backlog = Backlog::new(LIMIT, 1);
        let mut share = Share::new(backlog.clone());
        share.hold(LIMIT);
        assert!(share.is_full().0);
        share.publish();
        assert!(backlog.is_full());
        share.await_room(target(1), 0, &mut 0);
        share.let_go(LIMIT);
        assert!(!share.is_full().0);
        share.publish();
        assert_eq!(backlog.bytes(), 0);
        assert!(is_told(&backlog, 0));
    }

    #[test]
    fn bodies_take_a_half_unless_there_is_only_one() {
        let backlog = Backlog::new(LIMIT, 1);
        let (mut one, mut other) = (Charge::new(&backlog), Charge::new(&backlog));
        assert!(one.raise(300) && other.raise(200));
        assert!(!other.raise(201) && !one.raise(301));
        drop(one);
        assert!(other.raise(400));
        assert!(other.raise(5 * LIMIT), "alone it may be larger");
        assert!(!backlog.is_full(), "and does not keep messages from being read");
        assert!(!Charge::new(&backlog).raise(1));
        drop(other);
        assert_eq!(backlog.bytes(), 0);
        backlog.add(LIMIT as u64);
        assert!(!Charge::new(&backlog).raise(1), "no body while messages fill it");
    }

    #[test]
    fn a_batch_is_published_early_by_bytes() {
        let mut share = Share::new(Backlog::new(64 << 20, 1));
        assert!(!share.add(EARLY as usize - 1));
        assert!(share.add(1));
        share.publish();
        share.take_batch();
        assert!(!share.add(1));
    }
}
