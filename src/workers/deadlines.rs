//! How long the processes of a node wait for each other.

use std::time::Duration;

/// Grace period for a worker's connections to close: the default of `Server::stop()`.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Time beyond the grace period for a callback that is running, and for the end of the script.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// The same with a grace period of zero.
pub(super) const NO_PATIENCE: Duration = Duration::from_millis(500);
/// The same for a worker that has a successor. It is long, because nothing waits for that worker.
pub(super) const HAND_OVER_PATIENCE: Duration = Duration::from_secs(25);
/// Time for the hub to end once all workers have ended.
pub(super) const HUB_PATIENCE: Duration = Duration::from_secs(2);
/// Time from the start of a successor until it must accept connections.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(30);
