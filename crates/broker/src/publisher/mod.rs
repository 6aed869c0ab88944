//! Publishing for processes that serve no connections themselves: to a server on the same machine
//! over its publish socket, or to all servers behind a broker.
//!
//! Calls block, with a deadline, and leave no thread behind: the thread that looks up a host name or
//! reads a file ends when it is done.
//!
//! `redis` and `nats` are the counterparts of the modules of these names that hold a node's connection; here
//! the caller waits for each command. They have the same parts, and so the same type names.

mod broker;
mod call;
mod driven;
mod nats;
mod publish_error;
mod redis;
mod stream;
mod unix;

pub use broker::BrokerPublisher;
pub use publish_error::PublishError;
pub use unix::Publisher;
