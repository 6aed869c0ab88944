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
//! bus/facade.rs  server/
//! io_thread.rs  accept.rs  tls_watch.rs
//! http.rs  http2.rs  http_io.rs  entry.rs  exchange.rs  responses.rs  request_clock.rs
//! handshake.rs  body.rs  switching.rs  target.rs  refusal.rs  stream_body.rs
//! bus/link/  publish_socket.rs  publish_budget.rs
//! report.rs  task.rs  io/
//! session/
//! log.rs  env.rs  closing.rs  chunks.rs  delayed.rs
//! state.rs
//! static_files.rs  preconditions.rs
//! bus/
//! config.rs  origin.rs  authority.rs
//! queue.rs  wake.rs  event.rs  ask.rs  upload.rs  request.rs  response_stream.rs  notices/
//! directory.rs  hub.rs  topics.rs
//! handle.rs  conn.rs  direct.rs  outbox.rs
//! prepared.rs  tls.rs  h2_charge.rs  h2_socket.rs  linger.rs  listener.rs  h2_meter.rs
//! stall.rs  socket.rs  unix_socket.rs  address.rs  stream.rs  flood.rs  tls_stream.rs
//! h2_stream.rs  plain_socket.rs  h2_progress.rs  turn.rs  h2_inlet.rs  progress.rs
//! backlog.rs  handshakes.rs  descriptors.rs  arrivals.rs  admission.rs
//! metrics.rs  stats.rs  handlers.rs  single.rs
//! reclaim.rs  id.rs  error.rs  indexed.rs  clock.rs
//! proxies.rs  proxy_protocol.rs
//! ```
#![forbid(unsafe_code)]

// What the tests share names the crate as they do.
#[cfg(test)]
extern crate self as sprocket_core;

pub mod bus;
pub mod config;
pub mod error;
pub mod event;
pub mod handlers;
mod handshakes;
pub mod request;
pub mod server;

pub mod stats;

#[cfg(fuzzing)]
pub mod fuzzing;

mod accept;
mod address;
mod admission;
mod arrivals;
mod ask;
mod authority;
mod backlog;
mod body;
mod chunks;
mod clock;
mod closing;
mod conn;
mod delayed;
pub mod descriptors;
mod direct;
mod directory;
mod entry;
mod env;
mod exchange;
mod flood;
mod h2_charge;
mod h2_inlet;
mod h2_meter;
mod h2_progress;
mod h2_socket;
mod h2_stream;
mod handle;
mod handshake;
mod http;
mod http2;
mod http_io;
mod hub;
mod id;
mod indexed;
mod io;
mod io_thread;
mod linger;
mod listener;
mod log;
mod metrics;
pub mod notices;
mod origin;
mod outbox;
mod plain_socket;
mod preconditions;
pub mod prepared;
mod progress;
mod proxies;
mod proxy_protocol;
mod publish_budget;
mod publish_socket;
mod queue;
mod reclaim;
mod refusal;
mod report;
mod request_clock;
mod response_stream;
mod responses;
mod session;
mod single;
mod socket;
mod stall;
mod state;
mod static_files;
mod stream;
mod stream_body;
mod switching;
mod target;
mod task;
mod tls;
mod tls_stream;
mod tls_watch;
mod topics;
mod turn;
mod unix_socket;
mod upload;
mod wake;

#[cfg(test)]
#[path = "../../tests/rust/support/mod.rs"]
mod support;

pub use address::{Bind, Listen};
pub use bus::HubConfig;
pub use config::{BrokerConfig, BusMember, Config, History, Origins, PublishSocket, SlowConsumer};
pub use error::{
    BindError, BusError, ForkError, PublishFailed, StartError, ThreadDied, TlsError, TopicError,
};
pub use event::{Decision, Event, Interest, Member, Refused, Response};
pub use handle::Connection;
pub use handlers::Handler;
pub use id::{ConnId, Ticket};
pub use origin::OriginPattern;
pub use prepared::OpenListener;
pub use progress::SendQueue;
pub use proxies::TrustedProxies;
pub use publish_socket::OpenPublishSocket;
pub use request::Request;
pub use response_stream::ResponseStream;
pub use server::{Listeners, SendOutcome, Server, Stopper, Wait};
pub use sprocket_broker as broker;
pub use sprocket_broker::publisher::{BrokerPublisher, PublishError, Publisher};
pub use sprocket_broker::{Backoff, BrokerKind, BrokerUrl, BrokerUrlError};
pub use sprocket_protocol::deflate::Compression;
pub use sprocket_protocol::pem::{Passphrase, PemError};
pub use sprocket_protocol::topic::{check_name, check_topic};
pub use stats::Stats;
pub use tls::{Identity, Tls};
