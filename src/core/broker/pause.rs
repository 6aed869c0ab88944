//! How long to wait before the next attempt to connect.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles with each failure.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next one: between half of it and all, so that nodes that lost the broker in the same
    /// instant don't come back in the same instant.
    pub(super) fn next(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(LONGEST);
        // Seeded anew by each call; not secret, and needs no generator.
        let random = RandomState::new().hash_one(0) % 1000;
        longest.mul_f64(0.5 + random as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_bound_and_is_not_the_same_for_everybody() {
        let pauses: Vec<Duration> = {
            let mut pause = Pause::new();
            (0..12).map(|_| pause.next()).collect()
        };
        for (n, pause) in pauses.iter().enumerate() {
            let longest = (FIRST * 2_u32.pow(n as u32)).min(LONGEST);
            assert!(*pause >= longest / 2 && *pause <= longest, "{n}: {pause:?}");
        }
        let firsts: std::collections::HashSet<Duration> = (0..20).map(|_| Pause::new().next()).collect();
        assert!(firsts.len() > 1);
    }
}
