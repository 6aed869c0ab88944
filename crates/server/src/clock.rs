//! Durations from a host's configuration, limited to what the clock can represent.

use std::time::{Duration, Instant};

/// Longest duration used, about 31 years: `Instant` panics if a sum exceeds what the platform can represent.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// Limits `time` to [`LONGEST`].
pub(crate) fn bounded(time: Duration) -> Duration {
    time.min(LONGEST)
}

/// Returns the moment that is `time` from now.
pub(crate) fn deadline_after(time: Duration) -> Instant {
    Instant::now() + bounded(time)
}
