//! What connects the workers of a node: the hub, and each worker's link to it.
//!
//! Workers send what they publish over a Unix socket to the hub, which passes it on to the others
//! and to the broker, puts topics with history into order, and keeps what was published and who
//! is present.

pub(crate) mod config;
mod facade;
mod gossip;
#[cfg(fuzzing)]
pub(crate) mod harness;
pub(crate) mod history;
mod hub;
pub(crate) mod link;
mod pipe;
pub(crate) mod port;
pub(crate) mod replica;
mod roster;
pub(crate) mod sequence;
mod serve;
mod upstream;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

pub use config::{HUB, HubConfig};
pub use serve::serve_blocking;
