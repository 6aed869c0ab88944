//! The connections of one I/O thread that are about to end.
//!
//! Each comes up several times within its timeout, and gets the timeout anew if its peer has taken
//! something since: see [`Progress`](crate::net::progress::Progress).

use std::time::Duration;

use crate::context::delayed::Delayed;
use crate::id::Target;

/// How often a connection comes up within its timeout, at least.
const CHECKS: u32 = 8;
/// The time between two checks, at least and at most: what a timer can tell apart, and what a host
/// that must answer within a short grace period does not miss.
const PERIODS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The list of a thread. A connection on it comes up once, after a fraction of the timeout.
pub(crate) type Closing = Delayed<Target>;

/// An empty list, for connections with this timeout.
pub(crate) fn list(timeout: Duration) -> Closing {
    Delayed::new((timeout / CHECKS).clamp(PERIODS.0, PERIODS.1))
}
