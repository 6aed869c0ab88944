//! State that the streams of an HTTP/2 connection share, and the progress of the peer in taking their output.

use futures_util::task::AtomicWaker;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use tokio::net::tcp::OwnedWriteHalf;

use crate::limits::backlog::Backlog;
use crate::net::h2_inlet::Inlet;
use crate::net::progress::{LEAST_PROGRESS, OutputSnapshot, SendQueue, WAITING};

/// Bytes of the whole connection's progress that count as progress of one stream, measured since the stream
/// last handed data to the connection. That data waits behind other streams, which take turns, and then in
/// the kernel. The limit keeps a stream that its peer does not read from staying open on the progress of
/// other streams.
const SHARED_PROGRESS: u64 = 16 << 20;

/// The socket of a connection, shared by the connection's task and all of its streams.
#[derive(Debug)]
pub(crate) struct H2Socket {
    /// Used to query the kernel's send queue; `None` once the connection has ended.
    handle: Mutex<Option<OwnedWriteHalf>>,
    /// Bytes of ciphertext that the kernel has accepted since the start.
    sent: AtomicU64,
    /// The connection's unread input.
    pub(crate) inlet: Inlet,
    /// Number of streams that carry a WebSocket or whose request is being answered.
    users: AtomicUsize,
    /// The connection's task, woken when `users` becomes 0.
    owner: AtomicWaker,
    /// Bytes that the connection's requests occupy; see [`h2_charge`](crate::net::h2_charge).
    held: AtomicUsize,
}

impl H2Socket {
    pub(crate) fn new(handle: Option<OwnedWriteHalf>, backlog: &Arc<Backlog>) -> Self {
        Self {
            handle: Mutex::new(handle),
            sent: AtomicU64::new(0),
            inlet: Inlet::new(backlog.clone()),
            users: AtomicUsize::new(0),
            owner: AtomicWaker::new(),
            held: AtomicUsize::new(0),
        }
    }

    /// Sets the number of ciphertext bytes that the kernel has accepted since the start.
    pub(crate) fn set_sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }

    /// Gives up the handle to the socket, because the connection has ended.
    pub(crate) fn end(&self) {
        if let Some(handle) = self.handle().take() {
            // Dropping it would send FIN.
            handle.forget();
        }
    }

    /// Counts a stream as in use until the returned value is dropped.
    pub(crate) fn use_stream(self: &Arc<Self>) -> InUse {
        self.users.fetch_add(1, Ordering::Relaxed);
        InUse(self.clone())
    }

    /// Whether any stream is in use. Must be called by the connection's task, which is woken when the last
    /// stream is no longer in use.
    pub(crate) fn is_in_use(&self, cx: &Context<'_>) -> bool {
        self.owner.register(cx.waker());
        self.users.load(Ordering::Relaxed) > 0
    }

    /// The peer's progress in taking the output of all streams together.
    pub(crate) fn sample(&self, queue: Option<SendQueue>) -> OutputSnapshot {
        let sent = self.sent.load(Ordering::Relaxed);
        let handle = self.handle();
        let ask = |queue: SendQueue| queue(handle.as_ref()?.as_ref().as_fd()).ok();
        let unacknowledged = queue.and_then(ask).unwrap_or(0);
        OutputSnapshot { taken: sent.saturating_sub(unacknowledged), outstanding: unacknowledged }
    }

    /// [`H2Socket::sample`] while further output waits to be written to the socket.
    pub(crate) fn sample_waiting(&self, queue: Option<SendQueue>) -> OutputSnapshot {
        let OutputSnapshot { taken, outstanding } = self.sample(queue);
        OutputSnapshot { taken, outstanding: outstanding + WAITING as u64 }
    }

    /// Bytes that the connection's requests occupy; see [`h2_charge`](crate::net::h2_charge).
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Counts `bytes` more for a request.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the count of `bytes` of a request.
    pub(crate) fn let_go(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn handle(&self) -> MutexGuard<'_, Option<OwnedWriteHalf>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`H2Socket::use_stream`].
#[derive(Debug)]
pub(crate) struct InUse(Arc<H2Socket>);

impl Drop for InUse {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.owner.wake();
        }
    }
}

/// Measures the peer's progress in taking the output of one stream.
#[derive(Debug)]
pub(crate) struct H2Progress {
    socket: Arc<H2Socket>,
    /// Bytes of the stream that the connection has accepted: the peer's flow-control windows had room for
    /// them.
    handed: u64,
    /// `handed`, and the bytes acknowledged on the connection, at the last sample.
    before: (u64, u64),
    /// Bytes of the connection's progress credited to the stream so far.
    shared: u64,
    /// Bytes of the connection's progress that may still be credited, up to [`SHARED_PROGRESS`].
    left: u64,
    /// [`Inlet::halts`] at the last sample. While reading is halted the server doesn't see the peer's window
    /// updates.
    halts: u32,
}

impl H2Progress {
    pub(crate) fn new(socket: Arc<H2Socket>) -> Self {
        Self { socket, handed: 0, before: (0, 0), shared: 0, left: 0, halts: 0 }
    }

    /// Records `bytes` that the stream has handed to the connection.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.handed += bytes as u64;
    }

    /// The peer's progress. `waiting` is the number of bytes that the stream has not handed over yet.
    pub(crate) fn sample(&mut self, queue: Option<SendQueue>, waiting: usize) -> OutputSnapshot {
        let socket = self.socket.sample(queue);
        let moved = socket.taken.saturating_sub(self.before.1).min(self.left);
        self.shared += moved;
        self.left -= moved;
        if self.handed != self.before.0 {
            self.left = SHARED_PROGRESS;
        }
        self.before = (self.handed, socket.taken);
        let inlet = &self.socket.inlet;
        if inlet.is_halted() || inlet.halts() != self.halts {
            self.halts = inlet.halts();
            self.shared += LEAST_PROGRESS;
        }
        OutputSnapshot { taken: self.handed + self.shared, outstanding: waiting as u64 + socket.outstanding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_profits_from_the_progress_of_its_connection_up_to_a_limit() {
        let socket = Arc::new(H2Socket::new(None, &Backlog::new(1 << 20, 1)));
        socket.sent.store(1 << 30, Ordering::Relaxed);
        let mut progress = H2Progress::new(socket.clone());
        progress.add(1000);
        assert_eq!(progress.sample(None, 0).taken, 1000, "earlier progress of the connection does not count");
        socket.sent.fetch_add(5000, Ordering::Relaxed);
        assert_eq!(progress.sample(None, 0).taken, 6000);
        socket.sent.fetch_add(1 << 30, Ordering::Relaxed);
        let most = 1000 + SHARED_PROGRESS;
        assert_eq!(progress.sample(None, 0).taken, most);
        progress.add(1);
        assert_eq!(progress.sample(None, 0).taken, most + 1);
        socket.sent.fetch_add(7, Ordering::Relaxed);
        assert_eq!(progress.sample(None, 0).taken, most + 8);
    }
}
