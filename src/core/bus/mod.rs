//! What connects the workers of a node: the hub, and each worker's link to it.
//!
//! Workers send what they publish over a Unix socket to the hub, which passes it on to the others
//! and to the broker, puts topics with history into order, and keeps what was published and who
//! is present.

mod facade;
mod gossip;
#[cfg(fuzzing)]
pub(crate) mod harness;
mod history;
mod hub;
mod link;
mod pipe;
mod port;
mod replica;
mod roster;
mod sequence;
mod serve;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use crate::config::{BrokerConfig, Config, History};
use crate::error::StartError;

pub(crate) use history::limits_of;
pub(crate) use link::{Joined, run as link};
pub(crate) use port::{Ask, Outbound, Port, Refused};
pub(crate) use replica::Replica;
pub(crate) use sequence::is_after;
pub(crate) use wire::Up;

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
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { history: Vec::new(), broker: None, queue: crate::config::DEFAULT_QUEUE }
    }
}

/// The hub of a node, for a process of its own: serves the workers that connect to `listener`,
/// until `quit`, the reading end of a pipe, reports that all its writing ends are closed. Workers
/// that are there then may finish, for some seconds.
///
/// # Errors
/// The runtime can't be had, or the listener can't be used.
pub fn serve_blocking(hub: HubConfig, listener: UnixListener, quit: OwnedFd) -> io::Result<()> {
    serve::blocking(hub, listener, quit)
}

/// The way to the hub that a server with these settings has, if it has one.
pub(crate) fn join(config: &Config) -> Result<Option<Joined>, StartError> {
    match &config.bus {
        Some(member) => Ok(Some(Joined::node(member, config)?)),
        None if config.history.is_empty() && config.broker.is_none() => Ok(None),
        None => Joined::inside(config).map(Some),
    }
}
