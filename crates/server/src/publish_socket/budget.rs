//! Limits what all publishers of a publish socket may cost together: time of the I/O thread, which
//! serves clients as well, and memory for requests that have arrived in part.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::thread as io_thread;

/// Units of work in one turn of all publishers, worth about half a millisecond. A request counts as
/// one unit, and so does each delivery, which costs a system call, and each KiB read.
const UNITS: usize = 128;
/// Units of work between two readings of the clock.
const UNITS_PER_READING: usize = 16;
/// Longest duration of a turn, counted from the first reading of the clock in it.
const TURN: Duration = Duration::from_micros(500);
/// Most bytes of all requests that have arrived in part, not counting those up to [`SMALL`]. A single
/// request of the largest size always fits.
const MEMORY: usize = 64 << 20;
/// Size up to which a request is read without a permit for its memory.
pub(crate) const SMALL: usize = 16 << 10;

/// The budget that all publishers of one socket share.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The lock is fair: publishers receive it in the order in which they ask.
    turn: Mutex<PublisherTurn>,
    /// One permit per byte of memory that is still free.
    memory: Arc<Semaphore>,
    /// Number of permits in total.
    size: usize,
}

/// The work of all publishers in the current turn, after which the sockets of clients are served.
#[derive(Debug, Default)]
struct PublisherTurn {
    /// Units of work done in this turn.
    units: usize,
    /// Units of work done since the last reading of the clock.
    unread: usize,
    /// First reading of the clock in this turn.
    began: Option<Instant>,
}

impl PublisherTurn {
    /// Counts work. Returns `true` if that ends the turn; the next one begins.
    fn count(&mut self, units: usize) -> bool {
        self.units = self.units.saturating_add(units);
        self.unread = self.unread.saturating_add(units);
        let mut over = self.units >= UNITS;
        if self.unread >= UNITS_PER_READING {
            self.unread = 0;
            let now = Instant::now();
            over |= now.duration_since(*self.began.get_or_insert(now)) >= TURN;
        }
        if over {
            *self = Self::default();
        }
        over
    }
}

/// Permission to do work for a publisher on the I/O thread.
pub(crate) struct Working<'a>(MutexGuard<'a, PublisherTurn>);

impl Working<'_> {
    /// Counts the work done, and yields to other tasks if the turn is over.
    pub(crate) async fn done(mut self, units: usize) {
        if self.0.count(units) {
            // Hands the messages of clients to the host; normally this happens when the thread parks,
            // which it does not do now.
            io_thread::with(io_thread::Io::hand_over);
            // The guard is kept while yielding, so that the other publishers wait, and the runtime
            // looks at its sockets.
            tokio::task::yield_now().await;
        }
    }
}

impl Budget {
    /// Creates a budget. `largest`: size of the largest possible request in bytes.
    pub(crate) fn new(largest: usize) -> Arc<Self> {
        let size = MEMORY.max(largest).min(u32::MAX as usize);
        Arc::new(Self { turn: Mutex::default(), memory: Arc::new(Semaphore::new(size)), size })
    }

    /// Waits for permission to work in the current turn.
    pub(crate) async fn work(&self) -> Working<'_> {
        Working(self.turn.lock().await)
    }

    /// Waits until there is room for a request of `bytes`. Returns `None` if there is none within
    /// `patience`.
    pub(crate) async fn room(&self, bytes: usize, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(self.size)).ok()?;
        let room = self.memory.clone().acquire_many_owned(bytes);
        tokio::time::timeout(patience, room).await.ok()?.ok()
    }
}

/// Grows `input` for a request that lacks `missing` bytes, but at most by as much as has arrived
/// already (or [`SMALL`], if that is more): a length that is merely announced receives no memory.
pub(crate) fn make_room(input: &mut Vec<u8>, missing: usize) {
    if input.capacity() - input.len() < missing {
        input.reserve_exact(missing.min(input.len().max(SMALL)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_the_bytes_that_have_arrived() {
        let mut input = vec![0; 30];
        make_room(&mut input, 2 << 30);
        assert!(input.capacity() <= 30 + SMALL);
        input.resize(1 << 20, 0);
        make_room(&mut input, 2 << 30);
        assert!(input.capacity() <= 2 << 20);
        let mut input = vec![0; 1 << 20];
        make_room(&mut input, 5);
        assert!(input.capacity() <= (1 << 20) + 5);
    }

    #[test]
    fn a_turn_ends_after_its_work_or_its_time() {
        let mut turn = PublisherTurn::default();
        assert!((1..UNITS).take_while(|_| !turn.count(1)).count() < UNITS);
        let mut turn = PublisherTurn { began: Instant::now().checked_sub(TURN), ..PublisherTurn::default() };
        assert!(!turn.count(UNITS_PER_READING - 1));
        assert!(turn.count(1));
        assert!(!turn.count(1));
        assert!(PublisherTurn::default().count(UNITS));
    }

    #[tokio::test]
    async fn the_largest_request_has_room_once_the_others_are_finished() {
        let budget = Budget::new(100 << 20);
        let small = budget.room(1, Duration::ZERO).await;
        assert!(small.is_some());
        assert!(budget.room(100 << 20, Duration::ZERO).await.is_none());
        drop(small);
        assert!(budget.room(100 << 20, Duration::ZERO).await.is_some());
    }
}
