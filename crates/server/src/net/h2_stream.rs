//! One stream of an HTTP/2 connection that carries a WebSocket (RFC 8441), as a session uses it.

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::limits::handshakes::Carrying;
use crate::net::h2_frame_limit::FrameLimit;
use crate::net::h2_inlet::SMALL;
use crate::net::h2_progress::{H2Progress, H2Socket, InUse};
use crate::net::progress::{OutputSnapshot, SendQueue};

/// Most bytes handed to the connection in one write.
const WRITE: usize = 64 << 10;

/// Both directions of a stream. Dropping it before both have ended resets the stream (RFC 8441 section 5).
#[derive(Debug)]
pub(crate) struct H2Stream {
    send: SendStream<Bytes>,
    /// Limits the frames that wait inside the h2 library.
    frames: FrameLimit,
    incoming: Incoming,
    progress: H2Progress,
    socket: Arc<H2Socket>,
    /// Counts the stream as in use.
    _in_use: InUse,
    /// Counts the socket among those that carry a WebSocket.
    _carrying: Carrying,
}

impl H2Stream {
    pub(crate) fn new(
        send: SendStream<Bytes>,
        incoming: Incoming,
        socket: Arc<H2Socket>,
        carrying: Carrying,
    ) -> Self {
        Self {
            send,
            frames: FrameLimit::default(),
            incoming,
            progress: H2Progress::new(socket.clone()),
            _in_use: socket.use_stream(),
            socket,
            _carrying: carrying,
        }
    }

    /// Whether the connection is not read for lack of room.
    pub(crate) fn is_halted(&self) -> bool {
        self.socket.inlet.is_halted()
    }

    /// See [`Stream::sample`](crate::net::stream::Stream::sample).
    pub(crate) fn sample(&mut self, queue: Option<SendQueue>, waiting: usize) -> OutputSnapshot {
        self.progress.sample(queue, waiting)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        self.incoming.poll_read(cx, out)
    }

    /// Moves input from the connection into the stream's own buffer while the session doesn't read.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        self.incoming.gather(cx);
    }

    /// Writes as much as the peer's windows and the connection's buffer have room for, at most 64 KiB.
    /// Returns `WouldBlock` if that is nothing, or if too many frames wait.
    pub(crate) fn try_write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let all = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(WRITE);
        if all == 0 {
            return Ok(0);
        }
        self.send.reserve_capacity(all);
        let room = self.send.capacity().min(all);
        if room == 0 || self.frames.is_reached() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut data = BytesMut::with_capacity(room);
        for buf in bufs {
            let left = room - data.len();
            data.extend_from_slice(&buf[..buf.len().min(left)]);
        }
        self.send.send_data(self.frames.frame(data.freeze()), false).map_err(lost)?;
        self.progress.add(room);
        Ok(room)
    }

    /// Waits for room after `WouldBlock`.
    pub(crate) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_room(&mut self.send, &self.frames, cx).map_ok(drop)
    }

    /// Ends the server's direction of the stream.
    pub(crate) fn shutdown_write(&mut self) {
        // An error means that the stream is gone already.
        let _ = self.send.send_data(Bytes::new(), true);
    }
}

/// Waits until a part of the capacity requested with `reserve_capacity` is available and a frame may be sent.
/// Returns the bytes of that capacity.
pub(crate) fn poll_room(
    send: &mut SendStream<Bytes>,
    frames: &FrameLimit,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    ready!(frames.poll_below(cx));
    loop {
        match send.capacity() {
            0 => {}
            room => return Poll::Ready(Ok(room)),
        }
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(lost(error))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// The input of one stream, gathered into one buffer.
///
/// The h2 library needs some 250 bytes for each frame that it holds. Input is therefore moved here as soon as
/// it arrives, whether the session reads or not. The flow-control windows bound this buffer, because they
/// open only as the session reads; its memory counts as [arrivals](crate::limits::arrivals).
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    socket: Arc<H2Socket>,
    gathered: BytesMut,
    /// Memory of the buffer in bytes, as last counted.
    room: usize,
    /// How the input has ended, if it has.
    end: Option<io::Result<()>>,
}

impl Incoming {
    pub(crate) fn new(stream: RecvStream, socket: Arc<H2Socket>) -> Self {
        Self { stream, socket, gathered: BytesMut::new(), room: 0, end: None }
    }

    /// Moves all input that the h2 library holds for the stream into the buffer.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.gathered.extend_from_slice(&data),
                Poll::Ready(Some(Err(error))) => self.end = Some(Err(lost(error))),
                Poll::Ready(None) => {
                    self.end = Some(Ok(()));
                    // Trailers are read and ignored.
                    let _ = pin!(self.stream.trailers()).poll(cx);
                }
                Poll::Pending => break,
            }
        }
        let room = self.gathered.capacity();
        if room > self.room {
            self.occupies(room);
        }
    }

    /// Whether the buffer is large enough to be counted as arrivals.
    pub(crate) fn counts(&self) -> bool {
        self.room > SMALL
    }

    /// Sets the memory of the buffer to `room` bytes, and counts the change.
    fn occupies(&mut self, room: usize) {
        let before = std::mem::replace(&mut self.room, room);
        self.socket.inlet.gathered(before, room);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        // The library must not hold input while the buffer is read, either.
        self.gather(cx);
        if self.gathered.is_empty() {
            return match &self.end {
                None => Poll::Pending,
                Some(Ok(())) => Poll::Ready(Ok(0)),
                Some(Err(error)) => Poll::Ready(Err(io::Error::new(error.kind(), error.to_string()))),
            };
        }
        let n = out.len().min(self.gathered.len());
        out[..n].copy_from_slice(&self.gathered[..n]);
        self.gathered.advance(n);
        if self.gathered.is_empty() {
            // Even an empty buffer would keep its memory.
            self.gathered = BytesMut::new();
            self.occupies(0);
        }
        // An error means that the stream is gone, which a later read reports.
        let _ = self.stream.flow_control().release_capacity(n);
        Poll::Ready(Ok(n))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.occupies(0);
    }
}

/// Converts an error of the h2 library; a stream that the peer has cancelled becomes `ConnectionReset`.
pub(crate) fn lost(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(h2::Reason::CANCEL) => {
            io::Error::new(io::ErrorKind::ConnectionReset, "the peer has cancelled the stream")
        }
        _ if error.is_io() => error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()),
        _ => io::Error::other(error),
    }
}
