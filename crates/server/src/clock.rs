//! Times that a host gives, made fit for a clock.

use std::time::{Duration, Instant};

/// Longest time that is counted, about 31 years: `Instant` panics where a sum passes what the
/// platform can count.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// The time, or the longest that is counted.
pub(crate) fn bounded(time: Duration) -> Duration {
    time.min(LONGEST)
}

/// The moment that lies `time` ahead.
pub(crate) fn ahead(time: Duration) -> Instant {
    Instant::now() + bounded(time)
}
