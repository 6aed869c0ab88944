//! One end of the socket between a worker and the hub: cuts the input into frames and queues frames
//! for output.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use tokio::net::UnixStream;

use crate::cluster::wire;

/// Bytes of buffer space for one read.
const READ: usize = 64 << 10;
/// Bytes counted for each queued frame in addition to its contents: its place in the queue, whose capacity may
/// be twice its length.
const ENTRY: usize = 2 * size_of::<Bytes>();
/// Frames of one vectored write.
const PIECES: usize = 64;

/// A socket with its input buffer and output queue. A worker's link and the hub hold one each.
#[derive(Debug)]
pub(crate) struct Pipe {
    stream: UnixStream,
    input: BytesMut,
    out: VecDeque<Bytes>,
    /// Bytes of the first queued frame that are already written.
    begun: usize,
    /// Bytes of all queued frames, including those already written of the first.
    waiting: usize,
    /// Bytes written to the socket so far.
    written: u64,
    /// Bytes of the largest frame accepted as input.
    limit: usize,
    /// A write has failed because the peer closed its end. Its earlier output can still be read.
    broken: bool,
}

impl Pipe {
    pub(crate) fn new(stream: UnixStream, limit: usize) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            out: VecDeque::new(),
            begun: 0,
            waiting: 0,
            written: 0,
            limit,
            broken: false,
        }
    }

    /// Queues a frame; [`Pipe::poll_flush`] writes it.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.waiting += frame.len();
        self.out.push_back(frame);
    }

    /// Whether writing has failed for good. [`Pipe::poll_read`] returns an error once the peer's
    /// remaining output is read.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes queued and not yet written, including the overhead of each frame.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting - self.begun + self.out.len() * ENTRY
    }

    /// Bytes written to the socket so far. While the value stays the same, the peer reads nothing.
    pub(crate) fn taken(&self) -> u64 {
        self.written
    }

    /// The next complete frame of the input, if there is one.
    ///
    /// # Errors
    /// The frame has an invalid length. The kind of the error is `Other`.
    pub(crate) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let frame = wire::split(&mut self.input, self.limit).map_err(io::Error::other)?;
        if self.input.is_empty() && self.input.capacity() > 4 * READ {
            self.input = BytesMut::new();
        }
        Ok(frame)
    }

    /// Reads once from the socket into the input buffer.
    ///
    /// # Errors
    /// Reading failed, or the stream has ended (`UnexpectedEof`).
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            }
            self.input.reserve(READ);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes queued frames. `Ready` once the queue is empty; `Pending` while the socket buffer is
    /// full, or for ever if the pipe is broken.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.out.is_empty() {
            if self.broken {
                return Poll::Pending;
            }
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(ready) => self.broken |= ready.is_err(),
                Poll::Pending => return Poll::Pending,
            }
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut used = 0;
            for (piece, frame) in pieces.iter_mut().zip(&self.out) {
                *piece = IoSlice::new(if used == 0 { &frame[self.begun..] } else { frame });
                used += 1;
            }
            match self.stream.try_write_vectored(&pieces[..used]) {
                Ok(0) => self.broken = true,
                Ok(n) => self.consume(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.broken = true,
            }
        }
        if self.out.capacity() > 1024 {
            self.out = VecDeque::new();
        }
        Poll::Ready(())
    }

    /// Drops `n` written bytes from the output queue.
    fn consume(&mut self, n: usize) {
        self.begun += n;
        self.written += n as u64;
        while let Some(front) = self.out.front() {
            if self.begun < front.len() {
                return;
            }
            self.begun -= front.len();
            self.waiting -= front.len();
            self.out.pop_front();
        }
    }

    /// The frames that were not written in full, which the peer therefore can't have processed.
    pub(crate) fn into_unsent(self) -> VecDeque<Bytes> {
        self.out
    }
}
