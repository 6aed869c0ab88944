//! The list of connections of one I/O thread that are about to end and have a deadline.
//!
//! Each connection is checked several times within its timeout, and its deadline is extended if its peer
//! has made progress since the last check; see [`Progress`](crate::net::progress::Progress).

use std::time::Duration;

use crate::context::delayed::Delayed;
use crate::id::Target;

/// Number of checks of a connection within its timeout, unless [`PERIODS`] demands otherwise.
const CHECKS: u32 = 8;
/// Minimum and maximum time between two checks. The minimum is the resolution of the timer; the maximum
/// is short enough for a grace period of a fraction of a second.
const PERIODS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The list of one thread, held in its [`ThreadContext`](super::ThreadContext). An entry comes due
/// once, for one check; a connection that has not ended by then is added again.
pub(crate) type Closing = Delayed<Target>;

/// Creates an empty list for connections with this timeout.
pub(crate) fn list(timeout: Duration) -> Closing {
    Delayed::new((timeout / CHECKS).clamp(PERIODS.0, PERIODS.1))
}
