//! The settings of a hub.

use crate::config::{BrokerConfig, DEFAULT_QUEUE, History};

/// As a slot in [`Server::node_stats`](crate::Server::node_stats): the hub, and workers that have ended.
pub const HUB: u16 = u16::MAX;

/// What the hub of a node is told.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// As in [`Config::history`](crate::Config), and the same.
    pub history: Vec<(String, History)>,
    /// Shares topics with other nodes.
    pub broker: Option<BrokerConfig>,
    /// Bytes that may wait for a worker before the others are held up, and it is cut.
    pub queue: usize,
    /// As in [`Config::reclaim`](crate::Config), for a process of its own.
    pub reclaim: Option<fn()>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { history: Vec::new(), broker: None, queue: DEFAULT_QUEUE, reclaim: None }
    }
}
