//! For processes that serve no connections themselves: publishing to a server on this machine, or to
//! all servers behind a broker.
//!
//! Blocking, with a deadline, and without a thread that outlives the call: names are looked up, and
//! files read, by one that ends with that.

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
