//! The part of one HTTP/2 connection in what has [arrived](crate::limits::arrivals) and was not taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::Context;

use crate::limits::arrivals::Listed;
use crate::limits::backlog::Backlog;

/// Amounts up to this do not count: most turns bring less, and counting costs one more turn.
pub(crate) const SMALL: usize = 4 << 10;

/// Counts for a connection and its streams, which share it.
#[derive(Debug)]
pub(crate) struct Inlet {
    backlog: Arc<Backlog>,
    /// Bytes that its streams have gathered.
    gathered: AtomicUsize,
    /// Bytes that it has read in this turn.
    turn: AtomicUsize,
    halted: AtomicBool,
    /// How often it was halted.
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

    /// The connection's task is polled anew: its streams have taken what the last turn has brought.
    pub(crate) fn begin_turn(&self) {
        let bytes = self.turn.swap(0, Ordering::Relaxed);
        if bytes > SMALL {
            self.backlog.arrivals.sub(bytes);
        }
    }

    /// The turn has brought input that counts. Another turn must follow, for it not to count longer
    /// than it is held.
    pub(crate) fn is_counting(&self) -> bool {
        self.turn.load(Ordering::Relaxed) > SMALL
    }

    /// Input was read that takes up so many bytes.
    pub(crate) fn arrived(&self, bytes: usize) {
        let before = self.turn.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > SMALL {
            self.backlog.arrivals.add(if before > SMALL { bytes } else { before + bytes });
        }
    }

    /// Whether the connection may read. If not, its task is woken when there is room.
    pub(crate) fn has_room(&self, cx: &Context<'_>, listed: &mut Listed) -> bool {
        let own = self.gathered.load(Ordering::Relaxed) + self.turn.load(Ordering::Relaxed);
        let has_room = self.backlog.arrivals.has_room(own, cx, listed);
        if !has_room && !self.halted.load(Ordering::Relaxed) {
            self.halts.fetch_add(1, Ordering::Relaxed);
        }
        self.halted.store(!has_room, Ordering::Relaxed);
        has_room
    }

    /// Whether it is not read for want of room: nothing can be heard from its peer.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// How often that has begun.
    pub(crate) fn halts(&self) -> u32 {
        self.halts.load(Ordering::Relaxed)
    }

    /// The memory of one stream's buffer was `before` bytes large.
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

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A server, two connections, and whether the second one was woken.
    fn two() -> (Arc<Backlog>, [Inlet; 2], Arc<Woken>) {
        let backlog = Backlog::new(PART * LIMIT, 1);
        let inlets = [0, 1].map(|_| Inlet::new(backlog.clone()));
        (backlog, inlets, Arc::default())
    }

    #[test]
    fn a_connection_that_holds_much_stops_before_the_others() {
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
        assert_eq!(backlog.bytes(), (LIMIT / 2 + LIGHT - 1) as u64, "it counts towards the backlog");
        light.begin_turn();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "there is no room yet");
        heavy.gathered(LIGHT, 0);
        heavy.gathered(LIGHT, 0);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(heavy.has_room(&cx, &mut None) && !heavy.is_halted());
        assert_eq!(heavy.halts(), 1);
    }

    #[test]
    fn all_stop_where_all_of_the_room_is_taken() {
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
    fn input_of_a_turn_counts_until_the_next_and_little_not_at_all() {
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
