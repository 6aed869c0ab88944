//! The connection of a node to a broker, Redis or NATS, over which nodes share their topics.
//!
//! A thread owns the connection. It subscribes to the topics that the node is interested in,
//! publishes the queued messages in order, and reconnects with growing pauses while the broker is
//! unreachable. The hub of the node holds a [`BrokerClient`] and a receiver of [`FromBroker`].
//!
//! # Delivery guarantees
//!
//! * A publication stays in the queue until the broker has confirmed it. If the connection breaks
//!   before that, the publication may or may not have been carried out, and is sent again.
//!   Publications are numbered, and the nodes (for histories: the broker) drop duplicates. So **a
//!   broken connection neither loses nor doubles a publication**, as long as the queue has room and
//!   this process lives.
//! * When the queue is full, [`QueueFull`] is returned.
//! * A publication that the broker refuses for good is reported as [`FromBroker::Lost`].
//! * Publish/subscribe keeps nothing: publications of **other** nodes do not reach this node while
//!   it is disconnected. A topic with history can be replayed.
//! * A subscriber other than our nodes may receive a message twice after a broken connection.
//!
//! # The client libraries
//!
//! The crates `redis` and `async-nats` implement the protocols. Three things are added to them:
//!
//! * Both continue to read while a consumer is slow: `redis` into an unbounded channel, `async-nats`
//!   into a channel that drops what does not fit. `thread.rs` describes how they are made to wait.
//! * After a broken connection, neither tells which of the unconfirmed commands have arrived. The
//!   libraries may therefore not reconnect by themselves: a connection that has ended is discarded,
//!   and what it has not confirmed is sent again on the next one.
//! * `async-nats` considers a publication flushed when the socket has taken it. The driver adds a
//!   confirmation of its own, a message to itself; see `nats/mod.rs`.
//!
//! ```text
//! hub ── BrokerClient ──▶ queue, subscriptions ──▶ session ──▶ Driver ──▶ redis | async-nats
//!  ▲                                                  │
//!  └─────────────────── FromBroker ◀──────────────────┘
//! ```
//!
//! # The floors
//!
//! Imports go downward in this picture. The drivers in `nats/` and `redis/` have the same parts, and
//! so the same names of files and types: `link.rs` connects, `reader.rs` reads histories.
//!
//! ```text
//! publisher/                               the blocking publisher
//! client.rs                                what the hub of a node calls
//! thread.rs  replayer.rs                   own a connection: the node's, and that for histories
//! session.rs  nats/  redis/                a connection's life; the protocols that it speaks
//! driver.rs  shared.rs                     between session and protocol, client and thread
//! queue.rs  subscriptions.rs  dedup.rs  event_sender.rs  gauge.rs  connect.rs
//! config.rs  event.rs  replay.rs  envelope.rs  backoff.rs
//! subject.rs  url.rs
//! error.rs
//! ```
#![forbid(unsafe_code)]

mod backoff;
mod client;
mod config;
mod connect;
mod dedup;
mod driver;
mod envelope;
mod error;
mod event;
mod event_sender;
mod gauge;
#[cfg(fuzzing)]
pub mod harness;
mod nats;
pub mod publisher;
mod queue;
mod redis;
mod replay;
mod replayer;
mod session;
mod shared;
mod subject;
mod subscriptions;
mod thread;
mod url;

pub use backoff::Backoff;
pub use client::{BrokerClient, BrokerHandle, Replaying, connect};
pub use config::{BrokerConfig, History, check_prefix};
pub use error::{BrokerUrlError, QueueFull};
pub use event::{BrokerStats, FromBroker};
pub use replay::{Replay, ReplayEntry};
pub use url::{BrokerKind, BrokerUrl};
