//! Divides the file descriptors of a process among connections, files and the application.

/// Descriptors reserved for the application: files, databases, its own sockets.
const RESERVE: usize = 64;
/// Descriptors that a server uses in addition to the sockets of clients and the files that it serves:
/// listeners, the connections to the hub and the broker, certificates and resolver files while they are read.
const OWN: usize = 32;
/// Further descriptors for each I/O thread: its event loop and waker, and files that are being opened.
const OWN_PER_THREAD: usize = 24;
/// Sockets without a WebSocket that are reserved for new clients, where the limit allows as many.
const NEWCOMERS: usize = 1024;
/// Default limit of sockets without a WebSocket.
const HANDSHAKES: usize = 4096;
/// Most static files open at a time.
const FILES: usize = 1024;

/// The numbers of descriptors that a server is configured for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// WebSocket connections; `None` for as many as possible.
    pub connections: Option<usize>,
    /// Sockets without a WebSocket; `None` for the default of 4,096.
    pub handshakes: Option<usize>,
    /// Connections to the publish socket.
    pub publishers: usize,
    /// Whether static files are served.
    pub files: bool,
    /// I/O threads.
    pub io_threads: usize,
}

/// The numbers that may be open at once, as [`share_out`] computes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// WebSocket connections.
    pub connections: usize,
    /// Sockets without a WebSocket.
    pub handshakes: usize,
    /// Most sockets of both kinds together.
    pub sockets: usize,
    /// Connections to the publish socket.
    pub publishers: usize,
    /// Static files.
    pub files: usize,
}

/// Divides the descriptors of a process whose limit is `limit` and of which `used` are open already. All
/// shares together leave `RESERVE` to the application if the limit allows it; each share is at least 1.
pub fn share_out(limit: usize, used: usize, wanted: Wanted) -> Shares {
    let own = OWN + OWN_PER_THREAD * wanted.io_threads.max(1);
    let free = limit.saturating_sub(used).saturating_sub(own.saturating_add(RESERVE));
    // If the limit is too low for the reserve, the server still gets a quarter of it.
    let free = free.max(limit.saturating_sub(used) / 4).max(4);
    let publishers = wanted.publishers.min(free / 4);
    let files = if wanted.files { FILES.min(free / 8).max(1) } else { 1 };
    let sockets = (free - publishers).saturating_sub(if wanted.files { files } else { 0 }).max(2);
    let handshakes = wanted.handshakes.unwrap_or(HANDSHAKES).min(sockets - 1).max(1);
    let newcomers = (sockets / 4).clamp(1, NEWCOMERS).min(handshakes);
    let connections = (sockets - newcomers).min(wanted.connections.unwrap_or(usize::MAX)).max(1);
    Shares { connections, handshakes, sockets, publishers, files }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_the_reserve() {
        for limit in [200, 256, 1024, 4096, 1 << 20] {
            for wanted in [
                Wanted::default(),
                Wanted { publishers: 1024, files: true, io_threads: 2, ..Wanted::default() },
                Wanted { connections: Some(1 << 30), handshakes: Some(1 << 30), ..Wanted::default() },
            ] {
                let shares = share_out(limit, 20, wanted);
                let files = if wanted.files { shares.files } else { 0 };
                assert!(shares.sockets + shares.publishers + files + 20 + RESERVE <= limit, "{shares:?}");
                assert!(shares.connections < shares.sockets && shares.handshakes < shares.sockets);
            }
        }
        let shares = share_out(1 << 20, 20, Wanted::default());
        assert!(shares.connections > 1_000_000 && shares.handshakes == 4096, "{shares:?}");
        assert_eq!(
            share_out(1 << 20, 20, Wanted { connections: Some(7), ..Wanted::default() }).connections,
            7
        );
        let least = share_out(10, 9, Wanted { publishers: 9, files: true, ..Wanted::default() });
        assert!(least.connections >= 1 && least.handshakes >= 1 && least.files >= 1);
        assert!(share_out(usize::MAX, 20, Wanted::default()).connections > 1 << 40);
    }
}
