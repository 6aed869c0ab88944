//! How long the processes of a node wait for each other.

use std::time::Duration;

/// Time that workers have to end their connections: the default of `Server::stop()`.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Beyond the grace period: what a callback may take that is running, and the end of the script.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// The same where there is no grace.
pub(super) const NO_PATIENCE: Duration = Duration::from_millis(500);
/// The same for a worker that has a successor: nobody waits for it.
pub(super) const HAND_OVER_PATIENCE: Duration = Duration::from_secs(25);
/// For the hub to end, once all workers have.
pub(super) const HUB_PATIENCE: Duration = Duration::from_secs(2);
/// From the start of a successor until it accepts connections.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(30);
