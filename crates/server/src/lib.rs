//! The WebSocket server of Sprocket, without PHP.
//!
//! A *host* is the program that embeds this crate: the PHP binding, or a test. It calls
//! [`Server::start`], which binds the listeners and spawns the I/O threads, and then calls
//! [`Server::next_event`] in a loop, on one thread of its own. Commands of the host (send, close,
//! subscribe and so on) are collected in [`Server`] and reach the I/O threads in batches, with
//! [`Server::flush`].
//!
//! ```text
//! sockets ── I/O threads ── event batches ──▶ host: next_event()
//!    ▲                                          │ send(), close(), …
//!    └──────── command batches ◀── flush() ◀────┘
//! ```
//!
//! # Terms
//!
//! * *Peer*: the program at the other end of a connection, usually a browser.
//! * *Worker*: one of several processes that run the same server on one machine. *Node*: all
//!   workers of one machine, or a server that runs in a single process.
//! * *Hub*: the process that connects the workers of a node with each other and with the broker,
//!   through which nodes reach each other. In a server of a single process, the hub is one of its
//!   tasks.
//! * *Position*: where a publication stands in the history of its topic.
//! * *Turn*: one bounded run of a task, after which it yields to the other tasks of its thread.
//! * *Backlog*: everything that waits for the host, in bytes; [`Config::max_pending_total`] limits
//!   it.
//!
//! # The floors
//!
//! Each file imports only from its own floor and those below it; `tests/lib/imports/check.php`
//! compares this picture with the code.
//!
//! ```text
//! api/                                    what a host calls: Server, with start, send, publish, stop
//! accept.rs  io_thread.rs  tls_watch.rs   start and run the tasks of an I/O thread
//! http/                                   HTTP/1.1 and HTTP/2, up to the handshake or the response
//! hub_link/  publish_socket/              a worker's link to the hub; local publishers
//! thread/                                 one I/O thread: its sessions, commands and deliveries
//! session/                                one WebSocket, from the 101 to the closed socket
//! context/                                buffers, pools and event batch of one I/O thread
//! state.rs                                what all threads of a server share
//! static_files/                           files of a directory, over HTTP
//! cluster/                                hub, presence, history, and their wire format
//! config/                                 settings of a server
//! channel/                                what passes between the host and the I/O threads
//! topics/                                 subscriptions, and the index of their names
//! connection/                             one connection, as host and I/O thread share it
//! net/                                    sockets, listeners, TLS, byte streams
//! limits/                                 bounds that all connections share
//! metrics/                                counters, callback times, Prometheus text
//! reclaim.rs  id.rs  error.rs             return of freed memory; ids; error types
//! indexed.rs  clock.rs                    a list with an index; bounds of durations
//! blocking.rs                             work that may block, on other threads
//! ```
#![forbid(unsafe_code)]

// Test support is shared with the integration tests, which know this crate by its name.
#[cfg(test)]
extern crate self as sprocket_server;

mod accept;
pub mod api;
mod blocking;
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
pub use blocking::BlockSignals;
pub use channel::event;
pub use channel::event::{Decision, Event, Interest, PresenceMember, Refused, Response};
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
pub use sprocket_protocol::authority::Authority;
pub use sprocket_protocol::deflate::Compression;
pub use sprocket_protocol::forwarded::TrustedProxies;
pub use sprocket_protocol::pem::{Passphrase, PemError, certificate_text};
pub use sprocket_protocol::topic::{check_name, check_topic};
