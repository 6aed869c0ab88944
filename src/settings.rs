//! The options of a server, checked.

use sprocket_server::Config;

/// The options in the core's form, and those that the binding resolves when the server starts.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    /// Its limits on sockets are replaced at the start: see `lifecycle::share_descriptors`.
    pub(crate) config: Config,
    /// Most WebSocket connections; `None` for as many as the descriptor limit allows.
    pub(crate) max_connections: Option<usize>,
    /// Most sockets without a WebSocket; `None` likewise.
    pub(crate) max_handshakes: Option<usize>,
    /// Number of worker processes; 0 for one a core, `None` for a server without workers.
    pub(crate) workers: Option<u16>,
    /// Handshakes, messages and requests after which a worker is replaced; 0 for no limit.
    pub(crate) max_requests: u64,
    /// Bytes of PHP memory at which a worker is replaced; 0 for no limit.
    pub(crate) max_memory: usize,
    /// Number of the property that holds the logger, if there is one.
    pub(crate) logger: Option<usize>,
}
