//! The options of a server, checked.

use sprocket_core::Config;

/// Options as the core takes them, but for those that depend on the process at start.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    /// `max_connections` of it counts only where `max_connections` below is given.
    pub(crate) config: Config,
    /// `None`: what the descriptor limit allows.
    pub(crate) max_connections: Option<usize>,
    /// The same for sockets without a WebSocket.
    pub(crate) max_handshakes: Option<usize>,
    /// Processes; 0 stands for one a core, `None` (and 1) for none but the script's own.
    pub(crate) workers: Option<u16>,
    /// Handshakes, messages and requests after which a worker is replaced; 0: never.
    pub(crate) max_requests: u64,
    /// Bytes of PHP's memory from which on it is; 0: never.
    pub(crate) max_memory: usize,
    /// The number of the property that holds the logger.
    pub(crate) logger: Option<usize>,
}
