//! The subscriptions of one I/O thread, and the index of their names.

pub(crate) mod name_index;
pub(crate) mod registry;
pub(crate) mod subscribers;
