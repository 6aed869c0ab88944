//! Presence: the members of each topic, over all workers and nodes.
//!
//! A *member* is a name that the application gives to connections when they join a topic, often a
//! user's; several connections may share it. `registry` is the hub's list of members, `gossip` the
//! exchange of these lists between nodes, and `view` a worker's copy, from which the host reads.

pub(crate) mod gossip;
pub(crate) mod registry;
pub(crate) mod view;
