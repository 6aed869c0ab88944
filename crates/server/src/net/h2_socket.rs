//! Adapts the socket of an HTTP/2 connection to the h2 library: limits its reads and counts its frames.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::arrivals::Listed;
use crate::limits::backlog::Backlog;
use crate::net::h2_meter::Meter;
use crate::net::h2_progress::H2Socket;
use crate::net::poll_turn;
use crate::net::stall::poll_send;
use crate::net::stream::Stream;

/// Most bytes of one read.
const READ: usize = 16 << 10;
/// Most bytes and frames read before other tasks get their turn, among them the sessions and requests that
/// take their streams' input. The h2 library keeps memory for as many DATA frames as it has ever held at
/// once: 36 KiB for this number.
const BYTES_PER_TURN: usize = 64 << 10;
const FRAMES_PER_TURN: usize = 128;
/// Bytes that the h2 library needs for a DATA frame in addition to its payload.
const FRAME: usize = 256;
/// The reader and writer given to the h2 library. When the library drops it, the stream goes to `returned`.
pub(crate) struct H2Io {
    /// The socket, with or without TLS. `None` only while this is being dropped.
    stream: Option<Stream>,
    socket: Arc<H2Socket>,
    /// Bytes and frames read in this turn.
    bytes: usize,
    frames: usize,
    meter: Meter,
    /// Where the waker of the connection's task is registered while reading is halted.
    listed: Listed,
    /// Set when the peer floods the connection with frames; the connection's owner then ends it.
    flooded: Arc<AtomicBool>,
    /// Receives the socket when the library is done with it.
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
        self.socket.end();
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
        // The time limit also covers the reads that the library starts anew after each request.
        if this.bytes >= BYTES_PER_TURN || this.frames >= FRAMES_PER_TURN || poll_turn::is_over() {
            (this.bytes, this.frames) = (0, 0);
            poll_turn::pass(cx);
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
            // The input is discarded, and the connection's owner gets the turn to end the connection.
            this.flooded.store(true, Ordering::Relaxed);
            poll_turn::pass(cx);
            return Poll::Pending;
        }
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

/// [`Stream`] requires that a write is repeated with the same bytes after `Pending`. The library does so: it
/// never interrupts a frame that it has begun to write.
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
            self.socket.set_sent(sent);
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
