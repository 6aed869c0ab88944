//! Members of topics, over all workers and nodes.

pub(crate) mod gossip;
pub(crate) mod registry;
pub(crate) mod view;
