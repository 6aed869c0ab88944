//! Topics and their subscribers, in three parts: `registry` is the host's list of topics and of each
//! connection's subscriptions, `subscribers` the connections of one I/O thread by topic number, and
//! `name_index` a copy of the names for the first I/O thread, which publishes for the hub and for the
//! publish socket.

pub(crate) mod name_index;
pub(crate) mod registry;
pub(crate) mod subscribers;
