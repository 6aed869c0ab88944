//! How the descriptors of a process are shared out.

/// Descriptors left to the application: files, databases, sockets of its own.
const RESERVE: usize = 64;
/// What a server holds beside sockets of clients and files that it serves: listeners, the hub, the
/// broker, what certificates and names are read from.
const OWN: usize = 32;
/// The same for each I/O thread: its event loop and waker, and files that are being opened.
const OWN_PER_THREAD: usize = 24;
/// Sockets without a WebSocket that are kept free for newcomers, where there are enough.
const NEWCOMERS: usize = 1024;
/// Sockets without a WebSocket at a time, where nobody has chosen another limit.
const HANDSHAKES: usize = 4096;
/// Static files that are open at a time.
const FILES: usize = 1024;

/// What a server wants descriptors for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// WebSocket connections, if somebody has chosen how many.
    pub connections: Option<usize>,
    /// Sockets without a WebSocket, if somebody has chosen how many.
    pub handshakes: Option<usize>,
    /// Connections to the publish socket.
    pub publishers: usize,
    /// Whether static files are served.
    pub files: bool,
    /// I/O threads.
    pub io_threads: usize,
}

/// How many of each may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// WebSocket connections.
    pub connections: usize,
    /// Sockets without a WebSocket.
    pub handshakes: usize,
    /// Both together.
    pub sockets: usize,
    /// Connections to the publish socket.
    pub publishers: usize,
    /// Static files.
    pub files: usize,
}

/// Shares out the descriptors of a process that may have `limit`, and has `used` open already. All
/// shares together leave `RESERVE` to the application; each is at least 1.
pub fn share_out(limit: usize, used: usize, wanted: Wanted) -> Shares {
    let own = OWN + OWN_PER_THREAD * wanted.io_threads.max(1);
    let free = limit.saturating_sub(used).saturating_sub(own.saturating_add(RESERVE));
    // A limit that is too low for all this is too low for any reserve.
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
        let few = share_out(10, 9, Wanted { publishers: 9, files: true, ..Wanted::default() });
        assert!(few.connections >= 1 && few.handshakes >= 1 && few.files >= 1);
        assert!(share_out(usize::MAX, 20, Wanted::default()).connections > 1 << 40);
    }
}
