//! Limit on the input of HTTP/2 connections that was read but not yet processed by a request or session.
//!
//! The streams of a connection share its socket: input is read before it is known which stream it belongs to,
//! and whether that stream's reader has room for it. Two kinds of such input count here, over all connections
//! of a server:
//!
//! - the input of a connection's current turn. The h2 library holds it, with some 250 bytes for each DATA
//!   frame, until the streams have had their turns. The read wakes their tasks, so they run before the next
//!   turn of the connection.
//! - the input that a stream has [gathered](crate::net::h2_stream::Incoming) and that its session has not
//!   read yet.
//!
//! While both together exceed the limit, the sockets are not read. Connections that hold much input stop
//! first, so that one with many streams does not hold up the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Divisor of `max_pending_total` that gives the limit of this input.
pub(crate) const PART: usize = 8;
/// A connection that holds less than one stream's window is light and may read until the limit is reached;
/// the others, heavy ones, stop at half of it.
pub(crate) const LIGHT: usize = 64 << 10;

/// The input counted for all connections of a server, held by its
/// [`Backlog`](crate::limits::backlog::Backlog).
#[derive(Debug)]
pub(crate) struct Arrivals {
    limit: usize,
    bytes: AtomicUsize,
    /// Light connections that wait for room, and heavy ones.
    halted: [Halted; 2],
}

/// Where a connection's waker is registered: whether in the list of heavy connections, and in which of its
/// rounds.
pub(crate) type Listed = Option<(bool, u64)>;

/// The connections of one kind that wait for room.
#[derive(Debug, Default)]
struct Halted {
    /// Whether the list may have wakers; spares the lock.
    any: AtomicBool,
    wakers: Mutex<Wakers>,
}

#[derive(Debug, Default)]
struct Wakers {
    list: Vec<Waker>,
    /// How often the list was emptied: a waker registered in an earlier round is no longer in it.
    rounds: u64,
}

impl Arrivals {
    /// `max_pending_total` limits all data that waits for the host; this input gets a part of it.
    pub(crate) fn new(max_pending_total: usize) -> Self {
        Self {
            limit: (max_pending_total / PART).max(1),
            bytes: AtomicUsize::new(0),
            halted: [Halted::default(), Halted::default()],
        }
    }

    /// Bytes counted now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of bytes at which a connection stops reading.
    fn limit(&self, heavy: bool) -> usize {
        if heavy { self.limit / 2 } else { self.limit }
    }

    /// Counts `bytes` of new input.
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the count of `bytes`, and wakes waiting connections once a quarter of their limit is free.
    pub(crate) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Pairs with the fence in `has_room`: either that thread sees the freed bytes, or this one sees the
        // waker.
        fence(Ordering::SeqCst);
        for (halted, heavy) in self.halted.iter().zip([false, true]) {
            let limit = self.limit(heavy);
            if halted.any.load(Ordering::Relaxed) && self.bytes() <= limit - limit / 4 {
                halted.any.store(false, Ordering::Relaxed);
                let mut wakers = halted.wakers();
                wakers.rounds += 1;
                let list = std::mem::take(&mut wakers.list);
                drop(wakers);
                list.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Whether a connection that holds `own` bytes may read. If not, its task is woken when there is room.
    /// `listed` records where its waker is already registered.
    pub(crate) fn has_room(&self, own: usize, cx: &Context<'_>, listed: &mut Listed) -> bool {
        let heavy = own >= LIGHT;
        let has_room = || self.bytes() == 0 || self.bytes() < self.limit(heavy);
        if has_room() {
            return true;
        }
        let halted = &self.halted[usize::from(heavy)];
        let mut wakers = halted.wakers();
        if listed.replace((heavy, wakers.rounds)) != Some((heavy, wakers.rounds)) {
            wakers.list.push(cx.waker().clone());
        }
        drop(wakers);
        halted.any.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        has_room()
    }
}

impl Halted {
    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
