//! The WebSocket server core of Sprocket: everything that needs no PHP.
//!
//! A host (the PHP binding, a test) calls [`Server::start`], which binds the listeners and
//! spawns the I/O threads, and then pumps [`Server::next_event`] on one thread of its own.
//! What the host sends gathers in the facade and reaches the I/O threads with
//! [`Server::flush`], once a batch.
//!
//! ```text
//! sockets ── I/O threads ── event batches ──▶ host: next_event()
//!    ▲                                          │ send(), close(), …
//!    └──────── command batches ◀── flush() ◀────┘
//! ```
//!
//! From the roof down, where each file imports from floors below its own; a check holds the code to
//! this picture:
//!
//! ```text
//! api/
//! accept.rs  io_thread.rs  tls_watch.rs
//! http/
//! hub_link/  publish_socket/
//! thread/
//! session/
//! context/
//! state.rs
//! static_files/
//! cluster/
//! config/
//! channel/
//! topics/
//! connection/
//! net/
//! limits/
//! metrics/
//! reclaim.rs  id.rs  error.rs  indexed.rs  clock.rs
//! ```
#![forbid(unsafe_code)]

// What the tests share names the crate as they do.
#[cfg(test)]
extern crate self as sprocket_server;

mod accept;
pub mod api;
mod channel;
mod clock;
pub mod cluster;
pub mod config;
mod connection;
mod context;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod hub_link;
mod id;
mod indexed;
mod io_thread;
mod limits;
mod metrics;
mod net;
mod publish_socket;
mod reclaim;
mod session;
mod state;
mod static_files;
mod thread;
mod tls_watch;
mod topics;

#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

pub use api::{Listeners, SendOutcome, Server, Stopper, Wait};
pub use channel::event;
pub use channel::event::{Decision, Event, Interest, Member, Refused, Response};
pub use channel::notices;
pub use channel::request;
pub use channel::request::Request;
pub use channel::response_stream::ResponseStream;
pub use cluster::HubConfig;
pub use config::origin::OriginPattern;
pub use config::{BrokerConfig, ClusterMember, Config, History, Origins, PublishSocket, SlowConsumer};
pub use connection::handle::Connection;
pub use error::{
    BindError, ClusterError, ForkError, PublishFailed, StartError, ThreadDied, TlsError, TopicError,
};
pub use id::{ConnId, Ticket};
pub use limits::descriptors;
pub use metrics::callback_times;
pub use metrics::callback_times::Handler;
pub use metrics::counters;
pub use metrics::counters::Stats;
pub use net::address::{Bind, Listen};
pub use net::preopened;
pub use net::preopened::OpenListener;
pub use net::progress::SendQueue;
pub use net::tls::{Identity, Tls};
pub use publish_socket::OpenPublishSocket;
pub use sprocket_broker as broker;
pub use sprocket_broker::publisher::{BrokerPublisher, PublishError, Publisher};
pub use sprocket_broker::{Backoff, BrokerKind, BrokerUrl, BrokerUrlError};
pub use sprocket_protocol::deflate::Compression;
pub use sprocket_protocol::forwarded::TrustedProxies;
pub use sprocket_protocol::pem::{Passphrase, PemError};
pub use sprocket_protocol::topic::{check_name, check_topic};
