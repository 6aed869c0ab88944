//! What a server can be told before it starts. Plain data.

pub(crate) mod origin;

use crate::channel::event::Interest;
use crate::clock;
use sprocket_protocol::deflate::Compression;
use std::path::PathBuf;
use std::time::Duration;

pub use sprocket_broker::{BrokerConfig, History};

use crate::config::origin::OriginPattern;
use crate::net::progress::SendQueue;
use crate::net::tls::Tls;
use sprocket_protocol::forwarded::TrustedProxies;

/// Bytes that may wait on the way between a worker and the hub, each way.
pub const DEFAULT_QUEUE: usize = 64 << 20;

/// Limits, timeouts and policies of one server. Units are in the types or named here.
#[derive(Debug, Clone)]
pub struct Config {
    /// WebSocket connections at once; a further handshake is answered with 503.
    pub max_connections: usize,
    /// WebSocket connections at once from one IP address, of IPv6 from one network of 64 bits; further
    /// ones get 429. 0: no limit.
    pub max_connections_per_ip: usize,
    /// Bytes of one incoming message, over all its fragments; a larger one closes with 1009.
    pub max_message_size: usize,
    /// Bytes of an HTTP request head; a larger one is answered with 431.
    pub max_header_size: usize,
    /// Bytes of the body of a plain HTTP request; a larger one is answered with 413.
    pub max_body_size: usize,
    /// For all of a handshake or request, from the accept, or from the first byte of a further request,
    /// to the decision of the host. Also how long a peer may take nothing of a response.
    pub handshake_timeout: Duration,
    /// A ping goes out when nothing was received for this long. `None`: never.
    pub ping_interval: Option<Duration>,
    /// How long after a ping something must have been received; counted from when the peer has got
    /// the ping, and anew while it takes what was sent before.
    pub ping_timeout: Duration,
    /// How long a peer may take to answer a close frame before the socket is cut; counted from when
    /// it has got that frame, and anew while it takes what was sent before.
    pub close_timeout: Duration,
    /// Bytes that may wait for a slow peer before [`Config::slow_consumer`] acts.
    pub send_buffer_limit: usize,
    /// What happens to a peer that reads too slowly.
    pub slow_consumer: SlowConsumer,
    /// Messages of one connection that may wait undelivered before its socket is no longer read.
    pub max_pending_messages: usize,
    /// Bytes of one connection that may wait undelivered before its socket is no longer read.
    pub max_pending_bytes: usize,
    /// Bytes of everything that may wait for the host, of all connections together: beyond it no
    /// socket is read, and handshakes and plain requests are answered with 503.
    pub max_pending_total: usize,
    /// Which `Origin` headers are admitted.
    pub origins: Origins,
    /// Subprotocols of the server, most wanted first.
    pub subprotocols: Vec<String>,
    /// Refuse a client that offers only subprotocols we don't have (400), instead of going on without one.
    pub strict_subprotocols: bool,
    /// I/O threads, 1 to 64.
    pub io_threads: usize,
    /// Length of the kernel's queue of connections not yet accepted.
    pub backlog: i32,
    /// What the host wants to hear of, from the first connection on;
    /// [`Server::set_interest`](crate::Server::set_interest) changes it later.
    pub interest: Interest,
    /// A path that is answered with 200 without asking the host.
    pub health_path: Option<String>,
    /// A path that is answered with the counters in the text format of Prometheus.
    pub metrics_path: Option<String>,
    /// A directory whose files are served to plain requests before the host is asked.
    pub static_files: Option<PathBuf>,
    /// Whose word about a client's address and scheme counts.
    pub trusted_proxies: TrustedProxies,
    /// For listeners with TLS.
    pub tls: Option<Tls>,
    /// Compress messages with clients that can (permessage-deflate). `None`: never.
    pub compression: Option<Compression>,
    /// Where other processes of the machine publish.
    pub publish_socket: Option<PublishSocket>,
    /// Which topics keep what was published last, by name or pattern; the first that fits a topic
    /// counts. All workers of a node must have the same.
    pub history: Vec<(String, History)>,
    /// This server is one worker of a node. `None`: it is alone in its process.
    pub cluster: Option<ClusterMember>,
    /// Shares topics with other nodes. With [`Config::cluster`] this is the affair of the hub, and not
    /// looked at.
    pub broker: Option<BrokerConfig>,
    /// Bytes of publications that may wait for the hub before `publish` fails.
    pub cluster_queue: usize,
    /// Asks the kernel what a peer has not acknowledged, so that a peer that reads slowly is not taken
    /// for one that does not read. `None`: what the kernel has taken counts as acknowledged.
    pub send_queue: Option<SendQueue>,
    /// Gives freed memory back to the kernel, if there is much: called every few seconds by a thread
    /// of its own while the load is low.
    pub reclaim: Option<fn()>,
    /// Sockets without a WebSocket at once: handshakes, and those that speak plain HTTP. Beyond it a
    /// newcomer takes the place of one that waits for its peer.
    pub max_handshakes: usize,
    /// The same from one IP address, of IPv6 from one network of 64 bits; further ones are closed.
    /// Peers in [`Config::trusted_proxies`] don't count. 0: no limit.
    pub max_handshakes_per_ip: usize,
    /// Sockets at once, those of WebSockets included.
    pub max_sockets: usize,
    /// Static files that are open at once; further requests for files wait.
    pub max_open_files: usize,
}

/// Which worker of which node a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMember {
    /// The Unix socket at which the hub of the node listens; its directory should have mode 0700.
    pub path: PathBuf,
    /// Number of the worker. While one replaces another, both have the same.
    pub slot: u16,
}

/// A Unix socket on which other processes of the machine publish; `docs/publish.md` has the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishSocket {
    /// Its file. A stale one is replaced, a live one is an error.
    pub path: PathBuf,
    /// Permissions of the file: who can write to it can publish.
    pub mode: u32,
    /// Connections at once; a further one is told so and closed.
    pub max_publishers: usize,
    /// How long a request that has begun may take to arrive whole, and an answer to be taken.
    pub request_timeout: Duration,
}

impl PublishSocket {
    /// At this path, for the own user.
    pub fn new(path: PathBuf) -> Self {
        Self { path, mode: 0o600, max_publishers: 1024, request_timeout: Duration::from_secs(10) }
    }
}

/// What happens when more than [`Config::send_buffer_limit`] bytes wait for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowConsumer {
    /// Close with 1013 (Try Again Later).
    Close,
    /// Drop the new message and count it.
    Drop,
}

/// Which `Origin` headers are admitted. A request without `Origin` (not a browser) always is.
/// One that violates the grammar of RFC 6454 is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// The origin's host and port must equal the `Host` header.
    SameHost,
    /// Any; the header is not looked at.
    Any,
    /// One that matches any of these.
    List(Vec<OriginPattern>),
}

impl Config {
    /// Makes all times such that a clock can count them.
    pub(crate) fn bound_times(&mut self) {
        let times =
            [&mut self.handshake_timeout, &mut self.ping_timeout, &mut self.close_timeout].into_iter();
        let times = times.chain(&mut self.ping_interval);
        let times = times.chain(self.publish_socket.as_mut().map(|socket| &mut socket.request_timeout));
        let times = times.chain(self.history.iter_mut().filter_map(|(_, history)| history.seconds.as_mut()));
        times.for_each(|time| *time = clock::bounded(*time));
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: usize::MAX,
            max_connections_per_ip: 0,
            max_message_size: 1 << 20,
            max_header_size: 16 << 10,
            max_body_size: 1 << 20,
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Some(Duration::from_secs(25)),
            ping_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(3),
            send_buffer_limit: 1 << 20,
            slow_consumer: SlowConsumer::Close,
            max_pending_messages: 256,
            max_pending_bytes: 4 << 20,
            max_pending_total: 64 << 20,
            origins: Origins::SameHost,
            subprotocols: Vec::new(),
            strict_subprotocols: false,
            io_threads: 1,
            backlog: 4096,
            interest: Interest::NONE,
            health_path: None,
            metrics_path: None,
            static_files: None,
            trusted_proxies: TrustedProxies::default(),
            tls: None,
            compression: None,
            publish_socket: None,
            history: Vec::new(),
            cluster: None,
            broker: None,
            cluster_queue: DEFAULT_QUEUE,
            send_queue: None,
            reclaim: None,
            max_handshakes: usize::MAX,
            max_handshakes_per_ip: 0,
            max_sockets: usize::MAX,
            max_open_files: 256,
        }
    }
}
