//! Pauses between attempts that fail.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Exponential back-off: each pause is twice as long as the one before it, up to a maximum.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Returns to the first pause, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// Raises the next pause to the longest one. Returns whether it was shorter before.
    pub fn raise(&mut self) -> bool {
        std::mem::replace(&mut self.next, self.longest) < self.longest
    }

    /// The next pause, at full length.
    pub fn full(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// The next pause, shortened at random by up to one half, so that nodes that have lost the same
    /// broker do not return at the same instant.
    pub fn jittered(&mut self) -> Duration {
        // `RandomState` is seeded anew by each call. The jitter is no secret, so this is random enough.
        let random = RandomState::new().hash_one(0) % 1000;
        self.full().mul_f64(0.5 + random as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for _ in 0..2 {
            let pauses: Vec<_> = (0..8).map(|_| backoff.full().as_millis()).collect();
            assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
            backoff.reset();
        }
        assert!(backoff.raise() && !backoff.raise());
        assert_eq!(backoff.full(), LONGEST);
    }

    #[test]
    fn jittered_pauses_differ_between_nodes() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for n in 0..12 {
            let longest = (FIRST * 2_u32.pow(n)).min(LONGEST);
            let pause = backoff.jittered();
            assert!(pause >= longest / 2 && pause <= longest, "{n}: {pause:?}");
        }
        let first = || Backoff::new(FIRST, LONGEST).jittered();
        let firsts: std::collections::HashSet<Duration> = (0..20).map(|_| first()).collect();
        assert!(firsts.len() > 1);
    }
}
