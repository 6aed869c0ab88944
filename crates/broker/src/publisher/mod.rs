//! Publishing for processes that serve no connections themselves: to a server on the same machine
//! over its publish socket, or to all servers behind a broker.
//!
//! Calls block, with a deadline, and leave no thread behind: the thread that looks up a host name or
//! reads a file ends when it is done.

mod broker;
mod call;
mod driven;
mod error;
mod nats;
mod nats_connect;
mod redis;
mod stream;
mod unix;

pub use broker::BrokerPublisher;
pub use error::PublishError;
pub use unix::Publisher;
