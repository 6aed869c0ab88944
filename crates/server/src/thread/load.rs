//! Measures whether the load of a server is moderate, so that one thread can serve it alone.

/// Length of the periods over which the I/O thread measures the load while it drives, in nanoseconds.
const PERIOD: u64 = 8_000_000;

/// The load of an I/O thread and of the host together, measured while the thread drives. Times are in
/// nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Begin of the current period.
    since: u64,
    /// Time at which the thread parked.
    parked: u64,
    /// Number of times that the thread parked in this period.
    parks: u64,
    /// Time in this period during which both slept.
    idle: u64,
}

impl Load {
    /// The thread is about to park. Returns true at the end of a period of moderate load, in which the
    /// thread has parked every two milliseconds or more often, and both slept for a third of the time.
    pub(super) fn park(&mut self, now: u64) -> bool {
        self.parked = now;
        let length = now - self.since;
        if length < PERIOD {
            return false;
        }
        let is_moderate = self.parks * 2_000_000 >= length && self.idle * 3 >= length;
        *self = Self { since: now, parked: now, ..Self::default() };
        is_moderate
    }

    /// The thread is running again. `asleep`: since when the host sleeps, if it does.
    pub(super) fn unpark(&mut self, now: u64, asleep: Option<u64>) {
        self.parks += 1;
        if let Some(asleep) = asleep {
            self.idle += now.saturating_sub(asleep.max(self.parked));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measures one period in which the thread parks every `interval` µs, and both then sleep for `idle`
    /// µs. Returns whether its load is moderate.
    fn is_moderate(interval: u64, idle: u64) -> bool {
        let mut load = Load::default();
        let mut now = 1_000_000_000;
        assert!(!load.park(now), "the first period has no beginning");
        load.unpark(now, None);
        loop {
            now += (interval - idle) * 1000;
            let parked = now;
            if parked - load.since >= PERIOD {
                return load.park(parked);
            }
            assert!(!load.park(parked));
            now += idle * 1000;
            load.unpark(now, Some(parked - 1));
        }
    }

    #[test]
    fn a_moderate_load_has_many_rests_and_much_idle_time() {
        assert!(is_moderate(50, 25));
        assert!(is_moderate(1000, 990));
        assert!(!is_moderate(50, 5), "too busy for one thread");
        assert!(!is_moderate(5000, 4990), "too quiet to be worth looking after");
    }

    #[test]
    fn only_time_in_which_both_sleep_is_idle() {
        let mut load = Load::default();
        load.park(1000);
        load.unpark(5000, None);
        assert_eq!(load.idle, 0, "the host was awake");
        load.park(6000);
        load.unpark(9000, Some(8000));
        assert_eq!(load.idle, 1000, "the host fell asleep after the thread");
        load.park(10_000);
        load.unpark(12_000, Some(8000));
        assert_eq!(load.idle, 3000);
    }
}
