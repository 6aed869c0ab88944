//! Time limits for which the processes of a node wait for each other.

use std::time::Duration;

/// Grace period for a worker's connections to close: the default of `Server::stop()`.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Additional time after the grace period for a running callback and for the end of the script.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Additional time after a grace period of zero.
pub(super) const NO_PATIENCE: Duration = Duration::from_millis(500);
/// Additional time for a worker that has a successor. It is long because nothing waits for this worker.
pub(super) const HAND_OVER_PATIENCE: Duration = Duration::from_secs(25);
/// Time limit for the hub to end after all workers have ended.
pub(super) const HUB_PATIENCE: Duration = Duration::from_secs(2);
/// Time limit for a successor to accept connections, from the start of its process.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(30);
