//! Connects the worker processes of a machine with each other and, through a broker, with other
//! machines.
//!
//! Terms that the whole tree uses:
//!
//! - *Worker*: a PHP process with a server of its own. Each has a *slot*, its number from 0.
//! - *Hub*: the process that connects the workers. A server that runs alone but has topics with
//!   history or a broker runs its hub as a task on the first I/O thread.
//! - *Node*: a hub with its workers. Nodes share topics through a *broker* (Redis or NATS). Each
//!   start of a hub draws a random node number.
//! - *Link*: the connection between a worker and its hub, a Unix socket. The worker's end is
//!   `hub_link`, the hub's end is `hub::Link`; `wire` defines the frames that both exchange.
//! - *Position*: the place of a publication in the history of its topic, as the text
//!   `epoch-number`. The epoch changes whenever the history starts over.
//!
//! ```text
//! worker ── hub_link ──┐                        ┌── hub ── worker, worker, …
//! worker ── hub_link ──┼── hub ── broker ───────┤
//! worker ── hub_link ──┘    (Redis or NATS)     └── hub ── worker, worker, …
//! ```
//!
//! A worker sends its publications to the hub, which forwards them to the other workers and to the
//! broker. The hub also orders and stores the publications of topics with history (`history`) and
//! merges the presence lists of all workers and nodes (`presence`).

#[cfg(fuzzing)]
pub(crate) mod harness;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod hub_config;
pub(crate) mod port;
pub(crate) mod presence;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

pub use crate::cluster::hub::serve::serve_blocking;
pub use hub_config::{HUB, HubConfig};
