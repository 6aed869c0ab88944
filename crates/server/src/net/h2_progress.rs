//! What the streams of an HTTP/2 connection share, and how far its peer is with what they have sent.

use futures_util::task::AtomicWaker;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use tokio::net::tcp::OwnedWriteHalf;

use crate::limits::backlog::Backlog;
use crate::net::h2_inlet::Inlet;
use crate::net::progress::{LEAST_PROGRESS, Sample, SendQueue, WAITING};

/// Bytes of the connection that count as progress of one stream since that has last handed something
/// over. What it has handed over waits behind other streams, which take turns, and then in the
/// kernel; a stream that the peer does not want must not live on what other streams do.
const SHARED_PROGRESS: u64 = 16 << 20;

/// The socket as the streams of the connection see it.
#[derive(Debug)]
pub(crate) struct H2Socket {
    /// For the kernel's word on it; until the connection has ended.
    handle: Mutex<Option<OwnedWriteHalf>>,
    /// Ciphertext that the kernel has taken.
    sent: AtomicU64,
    /// Input that nobody has taken.
    pub(crate) inlet: Inlet,
    /// Streams that a task of ours looks after, and the connection's task, woken when there is none.
    users: AtomicUsize,
    owner: AtomicWaker,
    /// Bytes that requests take up.
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

    /// Notes how much ciphertext the kernel has taken since the start.
    pub(crate) fn set_sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }

    /// The connection has ended.
    pub(crate) fn end(&self) {
        if let Some(handle) = self.handle().take() {
            // Dropping it would send FIN.
            handle.forget();
        }
    }

    /// Counts a stream until the result is dropped.
    pub(crate) fn use_stream(self: &Arc<Self>) -> InUse {
        self.users.fetch_add(1, Ordering::Relaxed);
        InUse(self.clone())
    }

    /// Whether a task of ours looks after a stream. The task of the connection, which asks, is woken
    /// when none does any more.
    pub(crate) fn is_in_use(&self, cx: &Context<'_>) -> bool {
        self.owner.register(cx.waker());
        self.users.load(Ordering::Relaxed) > 0
    }

    /// How far the peer is with what all streams together have sent.
    pub(crate) fn sample(&self, queue: Option<SendQueue>) -> Sample {
        let sent = self.sent.load(Ordering::Relaxed);
        let handle = self.handle();
        let ask = |queue: SendQueue| queue(handle.as_ref()?.as_ref().as_fd()).ok();
        let unacknowledged = queue.and_then(ask).unwrap_or(0);
        Sample { taken: sent.saturating_sub(unacknowledged), outstanding: unacknowledged }
    }

    /// The same where more waits for the kernel.
    pub(crate) fn sample_waiting(&self, queue: Option<SendQueue>) -> Sample {
        let Sample { taken, outstanding } = self.sample(queue);
        Sample { taken, outstanding: outstanding + WAITING as u64 }
    }

    /// Bytes that its requests take up, see [`h2_charge`](crate::net::h2_charge).
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A request takes up more.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A request is over.
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

/// Follows the progress of one stream.
#[derive(Debug)]
pub(crate) struct H2Progress {
    socket: Arc<H2Socket>,
    /// Bytes that the connection has taken over from the stream: the peer had a window for them.
    handed: u64,
    /// The same at the last sample, and what the connection's peer had taken then.
    before: (u64, u64),
    /// What of the connection's progress has counted so far, and what may count yet.
    shared: u64,
    left: u64,
    /// How often the connection was halted by then. What its peer says is not heard meanwhile.
    halts: u32,
}

impl H2Progress {
    pub(crate) fn new(socket: Arc<H2Socket>) -> Self {
        Self { socket, handed: 0, before: (0, 0), shared: 0, left: 0, halts: 0 }
    }

    /// The stream has handed over so many bytes.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.handed += bytes as u64;
    }

    /// How far the peer is. `waiting`: bytes that the stream has not handed over.
    pub(crate) fn sample(&mut self, queue: Option<SendQueue>, waiting: usize) -> Sample {
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
        Sample { taken: self.handed + self.shared, outstanding: waiting as u64 + socket.outstanding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_lives_on_the_progress_of_its_connection_only_for_a_while() {
        let socket = Arc::new(H2Socket::new(None, &Backlog::new(1 << 20, 1)));
        socket.sent.store(1 << 30, Ordering::Relaxed);
        let mut progress = H2Progress::new(socket.clone());
        progress.add(1000);
        assert_eq!(progress.sample(None, 0).taken, 1000, "what came before it does not count");
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
