//! The socket of an HTTP/2 connection, as the library sees it, and as those see it who must know
//! whether its peer takes what a stream has to send.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedWriteHalf;

use crate::h2_meter::Meter;
use crate::progress::{Sample, SendQueue};
use crate::stall::poll_send;
use crate::stream::Stream;
use crate::turn;

/// One read of the library, at most.
const READ: usize = 16 << 10;
/// Reads before others get their turn, among them the streams, which take what was read for them:
/// small frames that wait are held against the client, see [`Incoming`](crate::h2_stream::Incoming).
const READS_PER_TURN: u32 = 4;
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
}

impl H2Socket {
    /// How far the peer is with what all streams together have sent.
    pub(crate) fn sample(&self, queue: Option<SendQueue>) -> Sample {
        let sent = self.sent.load(Ordering::Relaxed);
        let handle = self.handle();
        let ask = |queue: SendQueue| queue(handle.as_ref()?.as_ref().as_fd()).ok();
        let unacknowledged = queue.and_then(ask).unwrap_or(0);
        Sample { taken: sent.saturating_sub(unacknowledged), outstanding: unacknowledged }
    }

    fn handle(&self) -> MutexGuard<'_, Option<OwnedWriteHalf>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
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
}

impl H2Progress {
    pub(crate) fn new(socket: Arc<H2Socket>) -> Self {
        Self { socket, handed: 0, before: (0, 0), shared: 0, left: 0 }
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
        Sample { taken: self.handed + self.shared, outstanding: waiting as u64 + socket.outstanding }
    }
}

/// The socket as the library sees it. When that has done with it, it comes back.
pub(crate) struct H2Io {
    /// There until it is dropped.
    stream: Option<Stream>,
    socket: Arc<H2Socket>,
    /// In this turn.
    reads: u32,
    meter: Meter,
    /// Set once for the connection's owner, who ends it: the peer floods it with frames.
    flooded: Arc<AtomicBool>,
    returned: Arc<Mutex<Option<Stream>>>,
}

impl H2Io {
    pub(crate) fn new(stream: Stream, returned: Arc<Mutex<Option<Stream>>>) -> Self {
        let (stream, handle) = stream.share_below();
        let socket = Arc::new(H2Socket { handle: Mutex::new(handle), sent: AtomicU64::new(0) });
        let flooded = Arc::default();
        Self { stream: Some(stream), socket, reads: 0, meter: Meter::new(), flooded, returned }
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
        if this.reads == READS_PER_TURN || turn::is_over() {
            this.reads = 0;
            turn::pass(cx);
            return Poll::Pending;
        }
        if this.flooded.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let room = buf.remaining().min(READ);
        let input = buf.initialize_unfilled_to(room);
        let read = this.stream()?.poll_read(cx, input);
        this.reads = if read.is_ready() { this.reads + 1 } else { 0 };
        let n = ready!(read)?;
        if this.meter.received(&input[..n]) {
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
        let socket = Arc::new(H2Socket { handle: Mutex::new(None), sent: AtomicU64::new(1 << 30) });
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
