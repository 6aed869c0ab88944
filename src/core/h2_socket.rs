//! The socket of an HTTP/2 connection, as the library sees it, and as those see it who must know
//! whether its peer takes what a stream has to send.

use futures_util::task::AtomicWaker;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedWriteHalf;

use crate::arrivals::Listed;
use crate::backlog::Backlog;
use crate::h2_inlet::Inlet;
use crate::h2_meter::Meter;
use crate::progress::{LEAST_PROGRESS, Sample, SendQueue};
use crate::stall::{WAITING, poll_send};
use crate::stream::Stream;
use crate::turn;

/// One read of the library, at most.
const READ: usize = 16 << 10;
/// Bytes and frames before others get their turn, among them the streams, which take what was read
/// for them. The library keeps room for as many DATA frames as it has ever held at once: 36 KiB for
/// this number.
const BYTES_PER_TURN: usize = 64 << 10;
const FRAMES_PER_TURN: usize = 128;
/// What a DATA frame takes up in the library, beside its payload.
const FRAME: usize = 256;
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

    /// Bytes that its requests take up, see [`h2_charge`](crate::h2_charge).
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

/// The socket as the library sees it. When that has done with it, it comes back.
pub(crate) struct H2Io {
    /// There until it is dropped.
    stream: Option<Stream>,
    socket: Arc<H2Socket>,
    /// Bytes and frames in this turn.
    bytes: usize,
    frames: usize,
    meter: Meter,
    listed: Listed,
    /// Set once for the connection's owner, who ends it: the peer floods it with frames.
    flooded: Arc<AtomicBool>,
    returned: Arc<Mutex<Option<Stream>>>,
}

impl H2Io {
    pub(crate) fn new(stream: Stream, backlog: &Arc<Backlog>, returned: Arc<Mutex<Option<Stream>>>) -> Self {
        let (stream, handle) = stream.share_below();
        Self {
            stream: Some(stream),
            socket: Arc::new(H2Socket::new(handle, backlog)),
            bytes: 0,
            frames: 0,
            meter: Meter::new(),
            listed: None,
            flooded: Arc::default(),
            returned,
        }
    }

    pub(crate) fn socket(&self) -> Arc<H2Socket> {
        self.socket.clone()
    }

    /// Becomes true when the peer floods the connection with frames.
    pub(crate) fn flooded(&self) -> Arc<AtomicBool> {
        self.flooded.clone()
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for H2Io {
    fn drop(&mut self) {
        if let Some(handle) = self.socket.handle().take() {
            // Dropping it would send FIN.
            handle.forget();
        }
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl AsyncRead for H2Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // The time also ends the reads that the library begins anew after each request.
        if this.bytes >= BYTES_PER_TURN || this.frames >= FRAMES_PER_TURN || turn::is_over() {
            (this.bytes, this.frames) = (0, 0);
            turn::pass(cx);
            return Poll::Pending;
        }
        if this.flooded.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        if !this.socket.inlet.has_room(cx, &mut this.listed) {
            (this.bytes, this.frames) = (0, 0);
            return Poll::Pending;
        }
        let room = buf.remaining().min(READ).min(this.meter.room(FRAMES_PER_TURN - this.frames));
        let input = buf.initialize_unfilled_to(room);
        let Poll::Ready(n) = this.stream()?.poll_read(cx, input)? else {
            (this.bytes, this.frames) = (0, 0);
            return Poll::Pending;
        };
        let flooded = this.meter.received(&input[..n]);
        let frames = this.meter.take_frames();
        this.bytes += n;
        this.frames += frames;
        this.socket.inlet.arrived(n + frames * FRAME);
        if flooded {
            // The library gets nothing of it, and its owner the turn to end the connection.
            this.flooded.store(true, Ordering::Relaxed);
            turn::pass(cx);
            return Poll::Pending;
        }
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

/// After `Pending` the library comes again with the same bytes, which the stream demands: it puts
/// nothing before a frame that is being written.
impl AsyncWrite for H2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream()?;
        let written = poll_send(stream, cx, bufs);
        if let Stream::Tls(tls) = stream {
            let (sent, _) = tls.sent();
            self.socket.sent.store(sent, Ordering::Relaxed);
        }
        if let Poll::Ready(Ok(n)) = written {
            self.meter.sent(n);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
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
