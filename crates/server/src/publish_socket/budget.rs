//! What all publishers of a publish socket may cost together: work of the I/O thread, which serves
//! clients as well, and memory for requests that have not arrived whole.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::thread as io_thread;

/// Units of work in one turn of all publishers; about half a millisecond's worth. A request is a
/// unit, and so is each delivery, which costs a system call, and each KiB that is read.
const UNITS: usize = 128;
/// Units between two readings of the clock.
const UNITS_PER_READING: usize = 16;
/// A turn ends after this time at the latest, counted from the first reading of the clock in it.
const TURN: Duration = Duration::from_micros(500);
/// Bytes of all requests that have not arrived whole, those up to [`SMALL`] not counted. One
/// request of the largest size always has room.
const MEMORY: usize = 64 << 20;
/// Bytes of a request that is read without waiting for room.
pub(crate) const SMALL: usize = 16 << 10;

/// Shared by the publishers of one socket.
#[derive(Debug)]
pub(crate) struct Budget {
    /// First come, first served.
    turn: Mutex<Turn>,
    memory: Arc<Semaphore>,
    size: usize,
}

/// The turn that publishers share before the sockets of clients have theirs.
#[derive(Debug, Default)]
struct Turn {
    units: usize,
    unread: usize,
    began: Option<Instant>,
}

impl Turn {
    /// Counts work. True: the turn is over, and the next one begins.
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

/// The right to work on the I/O thread.
pub(crate) struct Working<'a>(MutexGuard<'a, Turn>);

impl Working<'_> {
    /// Counts work that was done. Others have their turn when it was enough.
    pub(crate) async fn done(mut self, units: usize) {
        if self.0.count(units) {
            // The host gets what clients have said, although the thread does not park.
            io_thread::with(io_thread::Io::hand_over);
            // The other publishers wait for the turn meanwhile, and the runtime looks at its sockets.
            tokio::task::yield_now().await;
        }
    }
}

impl Budget {
    /// `largest`: bytes of the largest request.
    pub(crate) fn new(largest: usize) -> Arc<Self> {
        let size = MEMORY.max(largest).min(u32::MAX as usize);
        Arc::new(Self { turn: Mutex::default(), memory: Arc::new(Semaphore::new(size)), size })
    }

    /// Waits for this publisher's part of a turn.
    pub(crate) async fn work(&self) -> Working<'_> {
        Working(self.turn.lock().await)
    }

    /// Waits until a request of so many bytes has room. `None`: not in time.
    pub(crate) async fn room(&self, bytes: usize, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(self.size)).ok()?;
        let room = self.memory.clone().acquire_many_owned(bytes);
        tokio::time::timeout(patience, room).await.ok()?.ok()
    }
}

/// Makes `input` larger for a request of which `missing` bytes have not come: by as much as is there
/// already. A length that is only announced gets no memory.
pub(crate) fn make_room(input: &mut Vec<u8>, missing: usize) {
    if input.capacity() - input.len() < missing {
        input.reserve_exact(missing.min(input.len().max(SMALL)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_what_has_come() {
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
    fn a_turn_ends_by_its_work_and_by_its_time() {
        let mut turn = Turn::default();
        assert!((1..UNITS).take_while(|_| !turn.count(1)).count() < UNITS);
        let mut turn = Turn { began: Instant::now().checked_sub(TURN), ..Turn::default() };
        assert!(!turn.count(UNITS_PER_READING - 1));
        assert!(turn.count(1));
        assert!(!turn.count(1));
        assert!(Turn::default().count(UNITS));
    }

    #[tokio::test]
    async fn the_largest_request_has_room_when_the_others_are_done() {
        let budget = Budget::new(100 << 20);
        let small = budget.room(1, Duration::ZERO).await;
        assert!(small.is_some());
        assert!(budget.room(100 << 20, Duration::ZERO).await.is_none());
        drop(small);
        assert!(budget.room(100 << 20, Duration::ZERO).await.is_some());
    }
}
