//! The configuration of a server. Plain data, passed to [`Server::start`](crate::Server::start).

pub(crate) mod origin;

use crate::blocking::BlockSignals;
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

/// Default for the number of bytes that may wait between a worker and the hub (the process that connects the
/// workers of a node), in each direction.
pub const DEFAULT_QUEUE: usize = 64 << 20;

/// The limits, timeouts and policies of one server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Maximum number of WebSocket connections. Further handshakes are answered with 503.
    pub max_connections: usize,
    /// Maximum number of WebSocket connections from one IPv4 address or one IPv6 /64 network. Further
    /// handshakes are answered with 429. 0 means no limit.
    pub max_connections_per_ip: usize,
    /// Maximum size of an incoming message in bytes, over all its fragments. A larger one closes the
    /// connection with 1009.
    pub max_message_size: usize,
    /// Maximum size of an HTTP request head in bytes. A larger one is answered with 431.
    pub max_header_size: usize,
    /// Maximum size of the body of a plain HTTP request in bytes. A larger one is answered with 413.
    pub max_body_size: usize,
    /// Time limit for a handshake or request, from the accepted socket, or from the first byte of a further
    /// request, to the host's decision. Also the time after which a peer that accepts no byte of a response
    /// is cut.
    pub handshake_timeout: Duration,
    /// Time without input from a peer after which a ping is sent. `None` disables keep-alive.
    pub ping_interval: Option<Duration>,
    /// Time after a ping within which input must arrive from the peer. It starts when the ping has reached
    /// the peer, and starts again while the peer accepts frames sent before the ping.
    pub ping_timeout: Duration,
    /// Time within which a peer must answer a close frame; after that the socket is cut. It starts when the
    /// close frame has reached the peer, and starts again while the peer accepts frames sent before it.
    pub close_timeout: Duration,
    /// Maximum number of bytes that wait for a slow peer before [`Config::slow_consumer`] applies.
    pub send_buffer_limit: usize,
    /// The policy for peers that read too slowly.
    pub slow_consumer: SlowConsumer,
    /// Maximum number of messages of one connection that wait for the host before its socket is no longer
    /// read.
    pub max_pending_messages: usize,
    /// Maximum number of bytes of one connection that wait for the host before its socket is no longer read.
    pub max_pending_bytes: usize,
    /// Maximum number of bytes of all connections together that wait for the host. Above it, no socket is
    /// read, and handshakes and plain requests are answered with 503.
    pub max_pending_total: usize,
    /// The `Origin` headers that are admitted.
    pub origins: Origins,
    /// The server's subprotocols in its order of preference.
    pub subprotocols: Vec<String>,
    /// Whether to refuse, with 400, a client that offers only subprotocols that the server does not have,
    /// instead of continuing without a subprotocol.
    pub strict_subprotocols: bool,
    /// Number of I/O threads, 1 to 64.
    pub io_threads: usize,
    /// Length of the kernel's queue of connections not yet accepted, as for `listen(2)`.
    pub backlog: i32,
    /// The kinds of optional events that the host wants from the first connection on.
    /// [`Server::set_interest`](crate::Server::set_interest) changes them later.
    pub interest: Interest,
    /// A path that the core answers with 200 without asking the host.
    pub health_path: Option<String>,
    /// A path that the core answers with its counters in the Prometheus text format.
    pub metrics_path: Option<String>,
    /// A directory whose files are served to plain requests before the host is asked.
    pub static_files: Option<PathBuf>,
    /// The proxies whose statements about a client's address and scheme are trusted.
    pub trusted_proxies: TrustedProxies,
    /// The settings for listeners with TLS.
    pub tls: Option<Tls>,
    /// The settings for permessage-deflate (RFC 7692) with clients that offer it. `None` disables
    /// compression.
    pub compression: Option<Compression>,
    /// A Unix socket on which other processes on this machine publish.
    pub publish_socket: Option<PublishSocket>,
    /// The topics that keep their last publications, by name or pattern. The first entry that matches a topic
    /// applies. All workers of a node must have the same entries.
    pub history: Vec<(String, History)>,
    /// The identity of this server as one worker of a node. `None` if it is the only one.
    pub cluster: Option<ClusterMember>,
    /// The broker through which topics are shared with other nodes. With [`Config::cluster`], the hub connects
    /// to the broker, and this is ignored.
    pub broker: Option<BrokerConfig>,
    /// Maximum number of bytes of publications that wait for the hub before `publish` fails.
    pub cluster_queue: usize,
    /// Queries the kernel for the number of bytes that a peer has not acknowledged, which distinguishes a peer
    /// that reads slowly from one that does not read. With `None`, bytes count as acknowledged once the kernel
    /// has accepted them.
    pub send_queue: Option<SendQueue>,
    /// Returns freed memory to the kernel if there is much of it. A separate thread calls this every few
    /// seconds while the load is low.
    pub reclaim: Option<fn()>,
    /// Blocks signals on the host's thread while it spawns a thread, which it does when
    /// [`Server::serve`](crate::Server::serve) serves connections. `None` if signals may reach any thread.
    pub block_signals: Option<BlockSignals>,
    /// Maximum number of sockets without a WebSocket, that is, of handshakes and plain HTTP connections. Above
    /// it, a new socket displaces one that waits for its peer.
    pub max_handshakes: usize,
    /// Maximum number of sockets without a WebSocket from one IPv4 address or one IPv6 /64 network. Further
    /// ones are closed. Peers in [`Config::trusted_proxies`] do not count. 0 means no limit.
    pub max_handshakes_per_ip: usize,
    /// Maximum number of sockets, including those of WebSockets.
    pub max_sockets: usize,
    /// Maximum number of static files open at the same time. A further one displaces that which has
    /// waited longest for its client, and which is opened again when the client reads on.
    pub max_open_files: usize,
}

/// The identity of a server as one worker of a node. The workers of a node are connected by its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMember {
    /// Path of the Unix socket on which the node's hub listens. Its directory should have mode 0700.
    pub path: PathBuf,
    /// Number of the worker. While one worker replaces another, both have the same number.
    pub slot: u16,
}

/// A Unix socket on which other processes on this machine publish. `docs/publish.md` documents the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishSocket {
    /// Path of the socket. A stale file at this path is replaced; a live socket is an error.
    pub path: PathBuf,
    /// Permissions of the socket file. Every process that can write to it can publish.
    pub mode: u32,
    /// Maximum number of connections. A further one receives an error and is closed.
    pub max_publishers: usize,
    /// Time within which a request must arrive completely after its first byte, and its answer be read.
    pub request_timeout: Duration,
}

impl PublishSocket {
    /// A socket at this path with default limits, to which only the server's own user can write.
    pub fn new(path: PathBuf) -> Self {
        Self { path, mode: 0o600, max_publishers: 1024, request_timeout: Duration::from_secs(10) }
    }
}

/// The policy when more than [`Config::send_buffer_limit`] bytes wait for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowConsumer {
    /// Close the connection with 1013 (Try Again Later).
    Close,
    /// Drop the new message and count it.
    Drop,
}

/// The `Origin` headers that are admitted. A request without `Origin`, which does not come from a browser,
/// is always admitted. A header that violates the grammar of RFC 6454 makes the request malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// The host and port of the origin must equal those of the `Host` header.
    SameHost,
    /// All origins are admitted; the header is ignored.
    Any,
    /// The origin must match one of these patterns.
    List(Vec<OriginPattern>),
}

impl Config {
    /// Limits all durations to values that can be added to a point in time without overflow.
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
            block_signals: None,
            max_handshakes: usize::MAX,
            max_handshakes_per_ip: 0,
            max_sockets: usize::MAX,
            max_open_files: 256,
        }
    }
}
