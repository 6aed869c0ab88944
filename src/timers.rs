//! Timers: a heap of due times over a table of callbacks, on the monotonic clock.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use crate::zend::{Callback, Gc};

/// The timers of one server.
#[derive(Default)]
pub(crate) struct Timers {
    /// The next due time comes first. Entries of cancelled timers have no callback in the table.
    heap: RefCell<BinaryHeap<Reverse<(Instant, i64)>>>,
    table: RefCell<HashMap<i64, Timer>>,
    last: Cell<i64>,
}

struct Timer {
    callback: Callback,
    /// `None` for a timer that runs once.
    period: Option<Duration>,
}

impl Timers {
    /// Adds a timer and returns its number. `delay` is at most `convert::LONGEST`.
    pub(crate) fn add(&self, delay: Duration, callback: Callback, repeat: bool) -> i64 {
        let number = self.last.get() + 1;
        self.last.set(number);
        let due = Instant::now() + delay;
        self.table.borrow_mut().insert(number, Timer { callback, period: repeat.then_some(delay) });
        self.heap.borrow_mut().push(Reverse((due, number)));
        number
    }

    /// Cancels a timer. The caller drops the callback while it holds no borrow.
    pub(crate) fn cancel(&self, number: i64) -> Option<Callback> {
        let callback = self.table.borrow_mut().remove(&number).map(|t| t.callback);
        self.tidy();
        callback
    }

    /// Removes the entries of cancelled timers once they make up most of the heap.
    fn tidy(&self) {
        const SMALL: usize = 64;
        let (mut heap, table) = (self.heap.borrow_mut(), self.table.borrow());
        if heap.len() > SMALL && heap.len() > 2 * table.len() {
            heap.retain(|Reverse((_, number))| table.contains_key(number));
        }
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let (mut heap, table) = (self.heap.borrow_mut(), self.table.borrow());
        while let Some(Reverse((due, number))) = heap.peek() {
            if table.contains_key(number) {
                return Some(*due);
            }
            heap.pop();
        }
        None
    }

    /// The callback of a timer that is due. A periodic timer is set again relative to its due time, so that
    /// it does not drift; periods that have passed already are skipped.
    pub(crate) fn due(&self, now: Instant) -> Option<Callback> {
        loop {
            let (due, number) = {
                let mut heap = self.heap.borrow_mut();
                match heap.peek() {
                    Some(Reverse((due, _))) if *due <= now => heap.pop()?.0,
                    _ => return None,
                }
            };
            let mut table = self.table.borrow_mut();
            let Some(timer) = table.get(&number) else { continue };
            let Some(period) = timer.period else {
                return table.remove(&number).map(|t| t.callback);
            };
            self.heap.borrow_mut().push(Reverse((next_turn(due, period, now), number)));
            return Some(timer.callback.share());
        }
    }

    pub(crate) fn visit(&self, gc: &mut Gc) {
        for timer in self.table.borrow().values() {
            gc.add(timer.callback.value());
        }
    }
}

/// The first time after `now` in the sequence `due`, `due + period`, ….
fn next_turn(due: Instant, period: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due).as_nanos();
    let missed = late / period.as_nanos().max(1);
    let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
    due.checked_add(period.saturating_mul(steps)).unwrap_or(now + period)
}
