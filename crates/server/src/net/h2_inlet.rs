//! Unread input of one HTTP/2 connection: its part of the server's [arrivals](crate::limits::arrivals).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::Context;

use crate::limits::arrivals::Listed;
use crate::limits::backlog::Backlog;

/// Amounts up to this many bytes are not counted: most turns read less, and counting costs an additional
/// turn.
pub(crate) const SMALL: usize = 4 << 10;

/// Counts the unread input of a connection; the connection and its streams share it. Dropping it ends the
/// count of the current turn.
#[derive(Debug)]
pub(crate) struct Inlet {
    backlog: Arc<Backlog>,
    /// Memory of the buffers in which the streams gather input, in bytes.
    gathered: AtomicUsize,
    /// Bytes read in the current turn of the connection's task.
    turn: AtomicUsize,
    /// Whether reading has stopped because the server has no room for more input.
    halted: AtomicBool,
    /// How often reading has stopped.
    halts: AtomicU32,
}

impl Inlet {
    pub(crate) fn new(backlog: Arc<Backlog>) -> Self {
        Self {
            backlog,
            gathered: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            halted: AtomicBool::new(false),
            halts: AtomicU32::new(0),
        }
    }

    /// Begins a turn of the connection's task. The streams have processed the input of the last turn by now,
    /// so it no longer counts.
    pub(crate) fn begin_turn(&self) {
        let bytes = self.turn.swap(0, Ordering::Relaxed);
        if bytes > SMALL {
            self.backlog.arrivals.sub(bytes);
        }
    }

    /// Whether this turn has read enough to be counted. If so, the connection must schedule another turn,
    /// which ends the count.
    pub(crate) fn is_counting(&self) -> bool {
        self.turn.load(Ordering::Relaxed) > SMALL
    }

    /// Counts input that was read and occupies `bytes` of memory.
    pub(crate) fn arrived(&self, bytes: usize) {
        let before = self.turn.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > SMALL {
            self.backlog.arrivals.add(if before > SMALL { bytes } else { before + bytes });
        }
    }

    /// Whether the connection may read. If not, its task is woken when there is room. `listed` records where
    /// the task's waker is registered.
    pub(crate) fn has_room(&self, cx: &Context<'_>, listed: &mut Listed) -> bool {
        let own = self.gathered.load(Ordering::Relaxed) + self.turn.load(Ordering::Relaxed);
        let has_room = self.backlog.arrivals.has_room(own, cx, listed);
        if !has_room && !self.halted.load(Ordering::Relaxed) {
            self.halts.fetch_add(1, Ordering::Relaxed);
        }
        self.halted.store(!has_room, Ordering::Relaxed);
        has_room
    }

    /// Whether reading has stopped for lack of room, so that the server receives nothing from the peer.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// How often reading has stopped for lack of room.
    pub(crate) fn halts(&self) -> u32 {
        self.halts.load(Ordering::Relaxed)
    }

    /// Records that the buffer of one stream has changed its size from `before` to `now` bytes.
    pub(crate) fn gathered(&self, before: usize, now: usize) {
        let counted = |bytes: usize| if bytes > SMALL { bytes } else { 0 };
        let (before, now) = (counted(before), counted(now));
        if now > before {
            self.gathered.fetch_add(now - before, Ordering::Relaxed);
            self.backlog.arrivals.add(now - before);
        } else if now < before {
            self.gathered.fetch_sub(before - now, Ordering::Relaxed);
            self.backlog.arrivals.sub(before - now);
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.begin_turn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::arrivals::{LIGHT, PART};
    use std::task::{Wake, Waker};

    const LIMIT: usize = 1 << 20;

    /// Counts wake-ups.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A server's backlog, two connections, and a count of wake-ups.
    fn two() -> (Arc<Backlog>, [Inlet; 2], Arc<Woken>) {
        let backlog = Backlog::new(PART * LIMIT, 1);
        let inlets = [0, 1].map(|_| Inlet::new(backlog.clone()));
        (backlog, inlets, Arc::default())
    }

    #[test]
    fn a_heavy_connection_stops_before_the_others() {
        let (backlog, [heavy, light], woken) = two();
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        let mut buffers = 0;
        while heavy.has_room(&cx, &mut None) {
            heavy.gathered(0, LIGHT);
            buffers += 1;
        }
        assert_eq!(buffers, LIMIT / 2 / LIGHT);
        assert!(heavy.is_halted() && light.has_room(&cx, &mut None) && !light.is_halted());
        light.arrived(LIGHT - 1);
        assert!(light.has_room(&cx, &mut None));
        assert_eq!(backlog.bytes(), (LIMIT / 2 + LIGHT - 1) as u64, "arrivals count towards the backlog");
        light.begin_turn();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "a heavy connection still has no room");
        heavy.gathered(LIGHT, 0);
        heavy.gathered(LIGHT, 0);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(heavy.has_room(&cx, &mut None) && !heavy.is_halted());
        assert_eq!(heavy.halts(), 1);
    }

    #[test]
    fn all_connections_stop_when_the_room_is_used_up() {
        let (_, [other, light], woken) = two();
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        other.arrived(LIMIT);
        assert!(!light.has_room(&cx, &mut None) && light.is_halted());
        drop(other);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "a connection that ends holds nothing");
        assert!(light.has_room(&cx, &mut None));
    }

    #[test]
    fn input_counts_until_the_next_turn_unless_it_is_small() {
        let (backlog, [inlet, _], _) = two();
        inlet.arrived(SMALL);
        inlet.gathered(0, SMALL);
        assert!(!inlet.is_counting() && backlog.bytes() == 0);
        inlet.arrived(1);
        assert!(inlet.is_counting());
        assert_eq!(backlog.bytes(), SMALL as u64 + 1);
        inlet.arrived(10);
        assert_eq!(backlog.bytes(), SMALL as u64 + 11);
        inlet.begin_turn();
        assert!(!inlet.is_counting() && backlog.bytes() == 0);
    }
}
