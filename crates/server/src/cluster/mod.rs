//! What connects the workers of a node: the hub, and each worker's link to it.
//!
//! Workers send what they publish over a Unix socket to the hub, which passes it on to the others
//! and to the broker, puts topics with history into order, and keeps what was published and who
//! is present.

pub(crate) mod config;
#[cfg(fuzzing)]
pub(crate) mod harness;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod port;
pub(crate) mod presence;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

pub use crate::cluster::hub::serve::serve_blocking;
pub use config::{HUB, HubConfig};
