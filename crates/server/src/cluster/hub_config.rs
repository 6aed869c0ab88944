//! Settings of a hub.

use crate::config::{BrokerConfig, DEFAULT_QUEUE, History};

/// Slot number under which [`Server::node_stats`](crate::Server::node_stats) returns the counters of
/// the hub itself, together with those of workers that have ended.
pub const HUB: u16 = u16::MAX;

/// Settings of a node's hub, which the host passes to
/// [`serve_blocking`](crate::cluster::serve_blocking).
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Topics with history: must equal [`Config::history`](crate::Config) of the workers, or the hub
    /// refuses them.
    pub history: Vec<(String, History)>,
    /// The broker that shares topics with other nodes; `None` for a node on its own.
    pub broker: Option<BrokerConfig>,
    /// High-water mark in bytes of the frames that wait for one worker. Above it the hub reads nothing
    /// more from any worker, and it disconnects this one if the backlog does not shrink in time.
    pub queue: usize,
    /// Called while the hub is idle to return freed memory to the system, as
    /// [`Config::reclaim`](crate::Config) is in a worker. `None` for a hub inside a worker.
    pub reclaim: Option<fn()>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { history: Vec::new(), broker: None, queue: DEFAULT_QUEUE, reclaim: None }
    }
}
