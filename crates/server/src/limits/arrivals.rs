//! Input of HTTP/2 connections that was read and that no request or session has taken.
//!
//! The streams of a connection share its socket: input is read before it is known whether its stream
//! wants it. Two kinds of it count here, over all connections of a server:
//!
//! - the input of a connection's current turn. The h2 library holds it, with some 250 bytes for each
//!   DATA frame, until the streams have had their turns. Their tasks are woken by the read, so the
//!   next turn of the connection comes after them.
//! - the input that a stream has [gathered](crate::net::h2_stream::Incoming) and that its session does not
//!   want yet.
//!
//! While too much of both waits, the sockets are not read. Connections that hold much stop first, so
//! that one with many streams does not hold up the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Input of HTTP/2 connections may take this part of `max_pending_total`.
pub(crate) const PART: usize = 8;
/// A connection that holds less than one stream's window goes on until all of the room is taken; the
/// others stop at half of it.
pub(crate) const LIGHT: usize = 64 << 10;

/// The input that has arrived at all connections of a server.
#[derive(Debug)]
pub(crate) struct Arrivals {
    limit: usize,
    bytes: AtomicUsize,
    /// Connections that hold little, and those that hold much.
    halted: [Halted; 2],
}

/// Which list of wakers a connection is on, and since which round.
pub(crate) type Listed = Option<(bool, u64)>;

/// Connections that wait for room.
#[derive(Debug, Default)]
struct Halted {
    any: AtomicBool,
    wakers: Mutex<Wakers>,
}

#[derive(Debug, Default)]
struct Wakers {
    list: Vec<Waker>,
    /// Times that the list was emptied.
    rounds: u64,
}

impl Arrivals {
    /// `max_pending_total`: the limit of everything that waits for the host.
    pub(crate) fn new(max_pending_total: usize) -> Self {
        Self {
            limit: (max_pending_total / PART).max(1),
            bytes: AtomicUsize::new(0),
            halted: [Halted::default(), Halted::default()],
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes at which a connection stops.
    fn limit(&self, heavy: bool) -> usize {
        if heavy { self.limit / 2 } else { self.limit }
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Pairs with the one in `has_room`: either that one sees the room, or this one the waker.
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

    /// Whether a connection that holds `own` bytes may read. If not, its task is woken when there is
    /// room. `listed` says where its waker is already.
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
